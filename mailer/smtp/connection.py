"""One logged-in connection: what the event loop calls, and what is done about it.

Theory of operation
- Everything happens in callbacks of the event loop; there is no task and no timer object per message. `_go_on` is the
  one place that begins and writes. It runs after whatever may have changed something: bytes came, the transport took
  some, there is a message again.
- How many messages are on their way at once, and in what order their parts are written, is the dialogue's to say.
- Once a message must not be ended any more (`_abandoned`), none is: those that have ended are waited for, and then the
  connection is cut.
- `_leave` is the one way to end. It reads what is left and judges the messages (`last_words`), then tells whoever
  awaits `gone` what that says about the relay.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

from mailer.core.message import Ending, Phase
from mailer.core.reply import Reply
from mailer.smtp.auth import Login
from mailer.smtp.deadline import Deadline
from mailer.smtp.delivery import Delivery
from mailer.smtp.dialogue import Dialogue
from mailer.smtp.dialogue_events import Broken, Closing, Decided, Disordered, Event, LoggedIn, LoginRefused, Unproven
from mailer.smtp.last_words import (
    Cause,
    blame,
    broken_early,
    end_of,
    judge_open,
    last_events,
    loss_words,
    no_chunks,
)
from mailer.smtp.mode import choose_mode
from mailer.smtp.session import Session
from mailer.smtp.settings import RelaySettings
from mailer.smtp.shared import Shared
from mailer.smtp.state_table import Command, Mode
from mailer.smtp.transcript import Transcript, shown_reply
from mailer.smtp.transmission import ABANDONED, Outgoing, Transmission
from mailer.smtp.trouble import RelayFailure, login_refused, quoted

# A server counts what is written behind a refused recipient as a mistake of its own, and ends the session of a client
# that makes many (Postfix: 20). A list with this many bad addresses in a row has more of them.
REFUSED_IN_A_ROW: Final = 2


class Desk(Protocol):
    """Where a connection gets its messages, and whom it tells what is about the relay."""

    def next_delivery(self, *, is_ahead: bool) -> Delivery | None:
        """The next message to send, or None if there is none now.

        `is_ahead`: the connection has one on its way still; another one without any would send it sooner.
        """

    def is_resting(self, connection: Connection) -> None:
        """The connection has nothing to do. `wake` it when there is something."""

    def may_go_on(self, phase: Phase, reply: Reply) -> bool:
        """A reply decided a message; whether the connection is good for another one."""

    def is_hindered(self) -> None:
        """Something of ours did not let a message go on; it would be the same on any connection."""


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
        self._trust = shared.trust
        mode = choose_mode(settings, session.features, shared.trust)
        on_reply = self._show_reply if transcript is not None else None
        self._dialogue: Dialogue[Outgoing] = Dialogue(mode, settings.window, on_reply)
        loop = asyncio.get_running_loop()
        self._loop = loop
        self._deadline = Deadline(shared.timers if shared.timers is not None else loop, self._expired)
        self.gone: asyncio.Future[RelayFailure | None] = loop.create_future()
        """Done when the connection has ended: with what that says about the relay, or None for nothing."""
        self.answered = 0
        """Messages that a reply decided on this connection."""
        self._login: asyncio.Future[None] | None = None
        self._begun = 0
        self._refused = 0  # recipients in a row
        self._abandoned = ""  # why no message may be ended any more
        self._is_ready = False
        self._is_resting = False
        self._is_quitting = False
        self._is_gone = False
        if self._transport.is_closing():  # it has no socket to ask any more
            raise RelayFailure(
                f"{settings.endpoint} closed the connection after EHLO.", phase=Phase.CONNECT, is_permanent=False
            )
        self._transmission = Transmission(
            settings, session, self._dialogue, shared=shared, deadline=self._deadline, transcript=transcript
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

    def abandon_bodies(self) -> None:
        """End no message any more: those that have not ended are UNTOUCHED once those that have are answered."""
        self._abandon(ABANDONED)
        self._go_on()

    def cut(self, note: str) -> None:
        """End the connection now, for a reason of ours. A message that has ended is UNKNOWN, any other UNTOUCHED."""
        self._leave(note, None, Cause.OURS)

    # What the transport tells

    def data_received(self, data: bytes) -> None:
        if self._is_gone:
            return  # a TLS transport reads on while it closes
        try:
            self._act_on(self._dialogue.receive(data))
        except Exception as error:  # noqa: BLE001 - as in _go_on
            self._crash(error)
        self._go_on()

    def eof_received(self) -> bool:
        return False  # the transport closes, and connection_lost follows

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave(f"connection lost: {loss_words(exc)}", None, Cause.LOST)

    def pause_writing(self) -> None:
        self._transmission.is_paused = True

    def resume_writing(self) -> None:
        self._transmission.resume()
        self._go_on()

    def _expired(self) -> None:
        if self._is_resting:
            self.quit()
        else:
            self._leave(self._transmission.late_words(), None, Cause.LOST)

    # Events

    def _act_on(self, events: list[Event[Outgoing]]) -> None:
        """Act on each of them, whatever comes of one. Raises the first error."""
        trouble: Exception | None = None
        for event in events:
            try:
                self._act(event)
            except Exception as error:  # noqa: BLE001 - raised again below: the messages behind it were decided, too
                trouble = trouble or error
        if trouble is not None:
            raise trouble

    def _act(self, event: Event[Outgoing]) -> None:
        match event:
            case Decided():
                self._decided(event)
            case Disordered():
                self._put_back(event)
            case LoggedIn():
                if self._login is not None and not self._login.done():
                    self._login.set_result(None)
                self._deadline.cancel()
            case LoginRefused(reply):
                failure = login_refused(self._settings, reply)
                self._leave(failure.message, reply, Cause.LOST, failure=failure)
            case _:
                self._leave(*end_of(event))

    def _decided(self, event: Decided[Outgoing]) -> None:
        outgoing, phase, reply = event
        self.answered += 1
        if (
            self._dialogue.mode is not Mode.STEP and reply.code != 421
        ):  # a message is decided when its group is answered
            if outgoing.is_ahead:
                self._trust.prove("PIPELINING")
            else:
                self._trust.worked("PIPELINING")
        if outgoing.as_chunk and phase is Phase.END_OF_DATA:
            self._trust.prove("CHUNKING")
        if reply.code == 421 and outgoing.as_chunk and phase is Phase.DATA and not self._trust.is_proven("CHUNKING"):
            self._trust.doubt("CHUNKING", no_chunks(reply))
        self._refused = self._refused + 1 if phase is Phase.RCPT else 0
        self._transmission.finish(outgoing, Ending.ANSWERED, phase, reply, "")
        if not self._desk.may_go_on(phase, reply):
            self._is_quitting = True

    def _put_back(self, event: Disordered[Outgoing]) -> None:
        """The server did not do what it announces. What it has been sent is waited for, and nothing more is begun."""
        outgoing, phase, reply = event
        note = f"{phase.upper()} was answered with {quoted(reply)}"
        self._trust.lose("PIPELINING", note)
        self._transmission.finish(outgoing, Ending.UNTOUCHED, None, None, note)
        self._is_quitting = True

    # Writing

    def _go_on(self) -> None:
        """Write what can be written now."""
        try:
            self._write_on()
        except Exception as error:  # noqa: BLE001 - a bug: handed to whoever awaits `gone`, for the loop would swallow it
            self._crash(error)

    def _write_on(self) -> None:
        transmission = self._transmission
        while not self._is_gone:
            if self._abandoned and self._dialogue.transfers:
                if not transmission.has_ended:
                    self.cut(self._abandoned)
                break
            if transmission.is_paused:
                break
            if self._is_ready:
                self._fill()
            if not transmission.has_write:
                break
            why_not = transmission.note()
            if why_not is None:
                if self._transport.is_closing():
                    break  # `connection_lost` is on its way
                if transmission.must_read():
                    self._loop.call_soon(self._go_on)  # when the transport has had the time to do it
                    return
                why_not = transmission.write()
            if why_not is not None:
                self._desk.is_hindered()
                self._abandon(why_not)
        if not (self._is_gone or self._is_resting):
            transmission.watch()

    def _fill(self) -> None:
        """Gather what can be said now: ends, and messages as far as there is room."""
        transmission, dialogue = self._transmission, self._dialogue
        while True:
            if transmission.end_small():
                continue
            if self._is_resting or not dialogue.may_begin:
                return
            if self._is_quitting or self._begun >= self._settings.messages_per_connection:
                if dialogue.is_idle:
                    self._is_ready = False
                    self._is_quitting = True
                    dialogue.quit()
                return
            is_ahead = bool(dialogue.transfers)
            if is_ahead and not self._trust.may_go_ahead(self):
                return
            delivery = self._desk.next_delivery(is_ahead=is_ahead)
            if delivery is None:
                if dialogue.is_idle:
                    self._is_resting = True
                    self._deadline.move(self._settings.idle_timeout_s)
                    self._trust.leave(self)
                    self._desk.is_resting(self)
                return
            is_wary = self._refused >= REFUSED_IN_A_ROW and dialogue.mode is not Mode.STEP
            if not transmission.begin(delivery, is_wary=is_wary):
                # Not in a loop: a thousand of them in a row must not hold up the other connections.
                self._loop.call_soon(self._go_on)
                return
            self._begun += 1

    def _abandon(self, why: str) -> None:
        self._abandoned = why
        self._is_quitting = True
        self._is_resting = False

    # Endings

    def _leave(self, note: str, reply: Reply | None, cause: Cause, *, failure: RelayFailure | None = None) -> None:
        """The end of the connection, once, whatever ends it: read what is left, judge the messages, let go."""
        if self._is_gone:
            return
        self._is_gone = True
        self._is_resting = False
        dialogue = self._dialogue
        rest = last_events(dialogue, self._transport, is_tls=self._is_tls)
        for event in rest:
            # What we end, or a bug of ours, stays that, unless the server says that it had read nothing more.
            if isinstance(event, Closing) or (cause is Cause.LOST and isinstance(event, Broken | Unproven)):
                last_note, said, last_cause = end_of(event)
                cause = cause if cause is Cause.CRASH else last_cause
                note, reply = (last_note, said) if said is not None else (note, reply)
        is_orderly = failure is not None or cause is Cause.NO_CHUNKS or (cause is Cause.OURS and dialogue.is_idle)
        is_idle = self._login is None and not dialogue.transfers
        is_blamed = blame(dialogue, cause, self._trust, note)
        self._trust.leave(self)
        self._deadline.cancel()
        try:
            self._act_on([event for event in rest if isinstance(event, Decided | Disordered)])
        except Exception as error:  # noqa: BLE001 - as in _crash; what is open has to be judged
            self._is_troubled_by(error)
        try:
            judge_open(self._transmission, dialogue, cause, note, reply, is_blamed=is_blamed)
        except Exception as error:  # noqa: BLE001 - as in _crash; the connection has to be let go
            self._is_troubled_by(error)
        if failure is None and not (cause is Cause.OURS or is_blamed or self._is_quitting or self.answered):
            failure = broken_early(self._settings, dialogue.awaits, note, reply, is_idle=is_idle)
        self._let_go(note, reply, failure, is_orderly=is_orderly)

    def _let_go(self, note: str, reply: Reply | None, failure: RelayFailure | None, *, is_orderly: bool) -> None:
        is_logging_in = self._login is not None and not self._login.done()
        if self._transcript is not None and not (self._is_quitting or is_logging_in):  # who logs in tells how it ended
            self._transcript.note(note)
        if is_orderly:
            self._transmission.say_good_bye()
        self._transport.close()  # under TLS this says that nothing follows (RFC 8446 section 6.1)
        self._transport.abort()
        if self._login is not None and not self._login.done():
            sentence = f"{self._settings.endpoint}: {note}."
            self._login.set_exception(
                failure or RelayFailure(sentence, phase=Phase.AUTH, is_permanent=False, reply=reply)
            )
        if not self.gone.done():
            self.gone.set_result(failure)

    def _crash(self, error: Exception) -> None:
        """A bug in our own code or in a delivery. Its messages are judged like those of a lost connection."""
        self._is_troubled_by(error)
        self._leave(f"internal error: {type(error).__name__}", None, Cause.CRASH)

    def _is_troubled_by(self, error: Exception) -> None:
        if not self.gone.done():
            self.gone.set_exception(error)

    # Transcript

    def _show_reply(self, reply: Reply) -> None:
        if self._transcript is not None:
            self._transcript.server(shown_reply(reply))
