"""One logged-in connection: what the event loop calls, and what is done about it.

Theory of operation
- Everything happens in callbacks of the event loop; there is no task and no timer object per message. `_go_on` is the
  one place that begins and writes. It runs after whatever may have changed something: bytes came, the transport took
  some, there is a message again.
- A connection does one thing at a time: it logs in, rests, has a message on its way (`transmission`), or says QUIT.
- `_leave` is the one way to end. It reads what is left and judges the message (`last_words`), then tells whoever
  awaits `gone` what that says about the relay.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from mailer.core.message import Ending, Phase
from mailer.core.reply import Reply
from mailer.smtp.auth import Login
from mailer.smtp.deadline import Deadline
from mailer.smtp.delivery import Delivery
from mailer.smtp.dialogue import (
    BodyWanted,
    Broken,
    Closing,
    Command,
    Decided,
    Dialogue,
    Event,
    LoggedIn,
    LoginRefused,
    Ready,
)
from mailer.smtp.last_words import broken_early, judge_open, last_events, loss_words
from mailer.smtp.session import Session
from mailer.smtp.settings import RelaySettings
from mailer.smtp.shared import Shared
from mailer.smtp.transcript import Transcript, shown_reply
from mailer.smtp.transmission import ABANDONED, Transmission
from mailer.smtp.trouble import RelayFailure, login_refused, quoted


class Desk(Protocol):
    """Where a connection gets its messages, and whom it tells what is about the relay."""

    def next_delivery(self) -> Delivery | None:
        """The next message to send, or None if there is none now."""

    def is_resting(self, connection: Connection) -> None:
        """The connection has nothing to do. `wake` it when there is something."""

    def may_go_on(self, phase: Phase, reply: Reply) -> bool:
        """A reply decided a message; whether the connection is good for another one."""


class Connection(asyncio.Protocol):
    """Sends one message after the other until there is none, its share is used up, or it breaks."""

    def __init__(
        self,
        settings: RelaySettings,
        session: Session,
        desk: Desk,
        *,
        shared: Shared,
        transcript: Transcript | None = None,
    ) -> None:
        self._settings = settings
        self._transport = session.transport
        self._is_tls = session.tls is not None
        self._desk = desk
        self._transcript = transcript
        self._dialogue = Dialogue(self._show_reply if transcript is not None else None)
        loop = asyncio.get_running_loop()
        self._loop = loop
        self._deadline = Deadline(shared.timers if shared.timers is not None else loop, self._expired)
        self.gone: asyncio.Future[RelayFailure | None] = loop.create_future()
        """Done when the connection has ended: with what that says about the relay, or None for nothing."""
        self.answered = 0
        """Messages that a reply decided on this connection."""
        self._login: asyncio.Future[None] | None = None
        self._begun = 0
        self._is_ready = False
        self._is_resting = False
        self._is_quitting = False
        self._is_gone = False
        self._is_crashed = False
        if self._transport.is_closing():  # it has no socket to ask any more
            raise RelayFailure(
                f"{settings.endpoint} closed the connection after EHLO.", phase=Phase.CONNECT, is_permanent=False
            )
        self._transmission = Transmission(
            settings,
            session,
            self._dialogue,
            shared=shared,
            deadline=self._deadline,
            transcript=transcript,
        )
        session.hand_over(self)

    # What the pool wants

    @property
    def is_stalled(self) -> bool:
        """Whether something we wrote is in our own buffer still."""
        return self._transmission.is_paused

    async def log_in(self, login: Login) -> None:
        """Raises RelayFailure if the login is refused or the connection ends. Cancelled, it has to be cut."""
        if self.gone.done():  # while the password was fetched
            sentence = f"{self._settings.endpoint} closed the connection before the login."
            raise self.gone.result() or RelayFailure(sentence, phase=Phase.AUTH, is_permanent=False)
        self._login = self._loop.create_future()
        self._dialogue.log_in(login)
        self._go_on()
        try:
            await self._login
        finally:
            self._login = None

    def start(self) -> None:
        """Begin to send; after log_in, or at once where none is needed."""
        self._is_ready = True
        self._go_on()

    def wake(self) -> bool:
        """There is something to send. False if this connection is not resting any more."""
        if not self._is_resting:
            return False
        self._is_resting = False
        self._go_on()
        return True

    def quit(self) -> None:
        """Say QUIT as soon as no message is on its way, and end."""
        self._is_quitting = True
        self._is_resting = False
        self._go_on()

    def stop(self) -> None:
        """Say QUIT if nothing is on the wire, else end now as by `cut`."""
        if self._is_resting:
            self.quit()
        elif self._dialogue.awaits is not Command.QUIT:
            self.cut("stopped")

    def abandon_body(self) -> None:
        """End no message any more: one whose end of data has not begun is cut off, UNTOUCHED."""
        self._transmission.is_abandoned = True
        if self._transmission.has_message and self._dialogue.awaits is Command.BODY:
            self.cut(ABANDONED)

    def cut(self, note: str) -> None:
        """End the connection now, for a reason of ours. Its message is UNKNOWN if its end had begun, else UNTOUCHED."""
        self._leave(note, None, is_ours=True)

    # What the transport tells

    def data_received(self, data: bytes) -> None:
        try:
            self._act_on(self._dialogue.receive(data))
        except Exception as error:  # noqa: BLE001 - as in _go_on
            self._crash(error)
        self._go_on()

    def eof_received(self) -> bool:
        return False  # the transport closes, and connection_lost follows

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave(f"connection lost: {loss_words(exc)}", None)

    def pause_writing(self) -> None:
        self._transmission.is_paused = True

    def resume_writing(self) -> None:
        self._transmission.resume()
        self._go_on()

    def _expired(self) -> None:
        if self._is_resting:
            self.quit()
        else:
            self._leave(self._transmission.late_words(), None)

    # Events

    def _act_on(self, events: list[Event]) -> None:
        for event in events:
            match event:
                case Decided(phase, reply):
                    self._decided(phase, reply)
                case Ready():
                    self._is_ready = True
                case BodyWanted():
                    if self._transmission.is_abandoned:
                        self.cut(ABANDONED)
                case Closing(reply):
                    self._leave(f"the server closed the connection: {quoted(reply)}" if reply else "closed", reply)
                case Broken(error):
                    self._leave(error.message, error.reply)
                case LoggedIn():
                    if self._login is not None and not self._login.done():
                        self._login.set_result(None)
                    self._deadline.cancel()
                case LoginRefused(reply, kept_asking):
                    self._refuse_login(reply, kept_asking=kept_asking)

    def _decided(self, phase: Phase, reply: Reply) -> None:
        self.answered += 1
        self._transmission.finish(Ending.ANSWERED, phase, reply, "")
        if not self._desk.may_go_on(phase, reply):
            self._is_quitting = True

    def _refuse_login(self, reply: Reply, *, kept_asking: bool) -> None:
        failure = login_refused(self._settings, reply, kept_asking=kept_asking)
        self._leave(failure.message, reply, failure=failure)

    # Writing

    def _go_on(self) -> None:
        """Write what can be written now."""
        try:
            self._write_on()
        except Exception as error:  # noqa: BLE001 - a bug: handed to whoever awaits `gone`, for the loop would swallow it
            self._crash(error)

    def _write_on(self) -> None:
        transmission = self._transmission
        while not (self._is_gone or transmission.is_paused):
            has_write = transmission.has_write
            if not (has_write or self._may_begin()):
                return
            if transmission.must_read():
                self._loop.call_soon(self._go_on)  # when the transport has had the time to do it
                return
            if has_write:
                why_not = transmission.write()
                if why_not is not None:
                    self._leave_untouched(why_not)
            elif not self._begin():
                return

    def _may_begin(self) -> bool:
        return self._is_ready and not self._is_resting

    def _begin(self) -> bool:
        """Begin the next message, or rest, or say QUIT. False if nothing more can be written now."""
        if self._is_quitting or self._begun >= self._settings.messages_per_connection:
            self._is_ready = False
            self._is_quitting = True
            self._dialogue.quit()
            return True
        delivery = self._desk.next_delivery()
        if delivery is None:
            self._is_resting = True
            self._deadline.move(self._settings.idle_timeout_s)
            self._desk.is_resting(self)
            return False
        if not self._transmission.begin(delivery):
            # Not in a loop: a thousand of them in a row must not hold up the other connections.
            self._loop.call_soon(self._go_on)
            return False
        self._is_ready = False
        self._begun += 1
        return True

    # Endings

    def _leave_untouched(self, note: str) -> None:
        """Nothing of the message ended, and nothing more may be written."""
        self._transmission.finish(Ending.UNTOUCHED, None, None, note)
        self._leave(note, None, is_ours=True)

    def _leave(
        self, note: str, reply: Reply | None, *, is_ours: bool = False, failure: RelayFailure | None = None
    ) -> None:
        """The end of the connection, once, whatever ends it: read what is left, judge the message, let go."""
        if self._is_gone:
            return
        self._is_gone = True
        self._is_resting = False
        note, reply = self._read_rest(note, reply)
        if self._transcript is not None and not self._is_quitting:
            self._transcript.note(note)
        command = self._dialogue.awaits
        is_idle = self._login is None and not self._transmission.has_message
        judge_open(self._transmission, command, note, reply, is_ours=is_ours, is_crashed=self._is_crashed)
        if failure is None and not is_ours and not self._is_quitting and not self.answered:
            failure = broken_early(self._settings, command, note, reply, is_idle=is_idle)
        self._deadline.cancel()
        self._transport.abort()
        if self._login is not None and not self._login.done():
            sentence = f"{self._settings.endpoint}: {note}."
            self._login.set_exception(
                failure or RelayFailure(sentence, phase=Phase.AUTH, is_permanent=False, reply=reply)
            )
        if not self.gone.done():
            self.gone.set_result(failure)

    def _read_rest(self, note: str, reply: Reply | None) -> tuple[str, Reply | None]:
        """An answer that had arrived counts, whatever came after it."""
        for event in last_events(self._dialogue, self._transport, is_tls=self._is_tls):
            match event:
                case Decided(phase, decisive):
                    self._decided(phase, decisive)
                case Closing(said) if said is not None:
                    note, reply = f"the server closed the connection: {quoted(said)}", said
                case Broken(error) if error.reply is not None:
                    note, reply = error.message, error.reply
                case _:
                    pass
        return note, reply

    def _crash(self, error: Exception) -> None:
        """A bug in our own code or in a delivery. Its message is judged like one of a lost connection."""
        self._is_crashed = True
        if not self.gone.done():
            self.gone.set_exception(error)
        self._leave(f"internal error: {type(error).__name__}", None)

    # Transcript

    def _show_reply(self, reply: Reply) -> None:
        if self._transcript is not None:
            self._transcript.server(shown_reply(reply))
