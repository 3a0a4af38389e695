"""One logged-in connection: the transport, the dialogue on it, and the message that is on its way.

Theory of operation
- Everything happens in callbacks of the event loop; there is no task and no timer object per message. `_go_on` is the
  one place that writes. It runs after whatever may have changed something: bytes came, the transport took some.
- Before any write the socket is asked whether something can be read. If so that is read first: a server that has given
  up says why and closes, and a write to what it closed would throw its last words away. Under TLS that is the only
  way to keep them.
- The transport's own buffer is empty whenever something is written (its high-water mark is zero), so what was written
  is with the kernel, or `_is_paused` says that it is not. The end of data is never put behind a buffer that holds
  something.
- A connection that broke is read to its end before its message is judged (`_read_rest`).
- A message leaves `_delivery` in the step that finishes it: exactly once, whatever comes afterwards.
"""

from __future__ import annotations

import asyncio
import os
import select
from collections.abc import Mapping
from dataclasses import replace
from typing import Final, Protocol

from mailer.core.clock import Clock
from mailer.core.message import Ending, Phase, Result
from mailer.core.reply import Reply
from mailer.errors import MailerError
from mailer.redact import Redactor
from mailer.smtp.auth import Login
from mailer.smtp.body import Stuffer, in_pieces
from mailer.smtp.deadline import Deadline, Timers
from mailer.smtp.delivery import Delivery
from mailer.smtp.dialogue import (
    PHASE,
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
    Write,
    command_name,
)
from mailer.smtp.envelope import transaction
from mailer.smtp.session import Session
from mailer.smtp.settings import RelaySettings, Timeouts
from mailer.smtp.transcript import Transcript, shown_command, shown_reply
from mailer.smtp.trouble import RelayFailure, quoted, refused

# What is read of a broken connection: replies to what was open, of which there are few.
MAX_REST_BYTES: Final = 64 * 1024

# Turns of the event loop that a write waits for the transport to read what is there. One or two are needed; more than
# this means that the transport does not read, e.g. because it is closing.
MAX_READ_TURNS: Final = 16

_DOT: Final = b".\r\n"


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
        clock: Clock,
        timers: Timers,
        timeouts: Timeouts,
        stuffer: Stuffer,
        redact: Redactor,
        transcript: Transcript | None = None,
    ) -> None:
        self._settings = settings
        self._features = session.features
        self._tls = session.tls
        self._transport = session.transport
        self._desk = desk
        self._clock = clock
        self._timeouts: Final[Mapping[Command, float]] = {
            Command.AUTH: timeouts.auth,
            Command.MAIL: timeouts.mail,
            Command.RCPT: timeouts.rcpt,
            Command.DATA: timeouts.data,
            Command.BODY: timeouts.block,
            Command.END: timeouts.end,
            Command.RSET: timeouts.rset,
            Command.QUIT: timeouts.quit,
        }
        self._deadline = Deadline(timers, self._expired)
        self._stuffer = stuffer
        self._redact = redact
        self._transcript = transcript
        self._dialogue = Dialogue(self._show_reply if transcript is not None else None)
        loop = asyncio.get_running_loop()
        self._loop = loop
        self.gone: asyncio.Future[RelayFailure | None] = loop.create_future()
        """Done when the connection has ended: with what that says about the relay, or None for nothing."""
        self.answered = 0
        """Messages that a reply decided on this connection."""
        self._login: asyncio.Future[None] | None = None
        self._delivery: Delivery | None = None
        self._pieces: list[bytes | memoryview] = []  # of the body, the first one last
        self._begun_at_us = 0
        self._begun = 0
        self._size = 0
        self._is_on_wire = False  # MAIL has been written
        self._is_ready = False
        self._is_resting = False
        self._is_quitting = False
        self._is_abandoning = False
        self._is_paused = False
        self._is_end_held = False  # the end of data is in our own buffer still
        self._is_gone = False
        self._is_crashed = False
        self._read_turns = 0
        if self._transport.is_closing():  # it has no socket to ask any more
            raise RelayFailure(
                f"{settings.endpoint} closed the connection after EHLO.", phase=Phase.CONNECT, is_permanent=False
            )
        self._poll = select.poll()
        self._poll.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN)
        # A TLS transport of asyncio compares with >=, so that zero would mean "always full".
        self._transport.set_write_buffer_limits(high=1 if self._tls else 0, low=0)
        session.hand_over(self)

    # What the pool wants

    @property
    def is_stalled(self) -> bool:
        """Whether something we wrote is in our own buffer still."""
        return self._is_paused

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
        self._is_abandoning = True
        if self._delivery is not None and self._dialogue.awaits is Command.BODY:
            self.cut("stopped before its end of data")

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
        self._leave(f"connection lost: {_words(exc)}", None)

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        self._is_end_held = False
        self._go_on()

    def _expired(self) -> None:
        if self._is_resting:
            self.quit()
            return
        command = self._dialogue.awaits
        if command is None or command is Command.QUIT:
            self._leave("timed out", None)
            return
        seconds = self._timeouts[command]
        what = f"no answer to {command_name(command)}"
        if command is Command.BODY:
            what = "a piece of the message was not taken"
        self._leave(f"{what} within {seconds:g} s", None)

    # Events

    def _act_on(self, events: list[Event]) -> None:
        for event in events:
            match event:
                case Decided(phase, reply):
                    self._decided(phase, reply)
                case Ready():
                    self._is_ready = True
                case BodyWanted():
                    self._begin_body()
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
        self._finish(Ending.ANSWERED, phase, reply, "")
        if not self._desk.may_go_on(phase, reply):
            self._is_quitting = True

    def _refuse_login(self, reply: Reply, *, kept_asking: bool) -> None:
        hint = "Check `username` and `password`; many providers want an authorization code or app password here."
        if reply.code < 500:
            hint = "It will be tried again."
        failure = refused(self._settings, Phase.AUTH, "the login", reply, hint)
        if kept_asking:
            failure = RelayFailure(
                f"{self._settings.endpoint} asked for more than a user name and a password.",
                'Another mechanism may work: auth = "plain" or "auto".',
                phase=Phase.AUTH,
                is_permanent=True,
                reply=reply,
            )
        self._leave(failure.message, reply, failure=failure)

    def _begin_body(self) -> None:
        if self._is_abandoning:
            self.cut("stopped before its end of data")

    # Writing

    def _go_on(self) -> None:
        """Write what can be written now."""
        try:
            self._write_on()
        except Exception as error:  # noqa: BLE001 - a bug: handed to whoever awaits `gone`, for the loop would swallow it
            self._crash(error)

    def _write_on(self) -> None:
        while not (self._is_gone or self._is_paused):
            if not (self._dialogue.has_writes or self._has_piece() or self._may_begin()):
                return
            if self._must_read():
                return
            if self._dialogue.has_writes:
                self._write_all(self._dialogue.take_writes())
            elif self._has_piece():
                self._write_body()
            elif not self._begin():
                return

    def _has_piece(self) -> bool:
        return bool(self._pieces) and self._dialogue.awaits is Command.BODY

    def _may_begin(self) -> bool:
        return self._is_ready and not self._is_resting

    def _must_read(self) -> bool:
        """Whether something can be read. If so `_go_on` runs again when the transport has had the time to do it."""
        if self._read_turns >= MAX_READ_TURNS or not self._poll.poll(0):
            self._read_turns = 0
            return False
        self._read_turns += 1
        self._loop.call_soon(self._go_on)
        return True

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
        self._delivery = delivery
        self._begun_at_us = self._clock()
        try:
            parts, size = self._stuffer.stuff(delivery.compose().chunks)
            envelope = transaction(self._settings, self._features, delivery.envelope, size)
        except MailerError as error:
            self._finish(Ending.UNFIT, None, None, error.message)
            # Not in a loop: a thousand of them in a row must not hold up the other connections.
            self._loop.call_soon(self._go_on)
            return False
        parts.append(_DOT)
        self._pieces = in_pieces(parts)[::-1]
        self._size = size
        self._is_on_wire = False
        self._is_ready = False
        self._begun += 1
        self._dialogue.begin(envelope)
        return True

    def _write_body(self) -> None:
        piece = self._pieces.pop()
        if not self._pieces:
            self._dialogue.end(bytes(piece))
            return
        self._deadline.move(self._timeouts[Command.BODY])
        self._transport.write(piece)

    def _write_all(self, writes: list[Write]) -> None:
        for write in writes:
            if not self._is_noted(write):
                return
            if self._transcript is not None:
                self._show_write(write)
            self._deadline.move(self._timeouts[write.command])
            self._transport.write(write.data)
            if write.command is Command.MAIL:
                self._is_on_wire = True
            elif write.command is Command.END:
                # A write that fails makes the transport close at once, and nothing of it has left.
                self._is_end_held = self._is_paused or self._transport.is_closing()

    def _is_noted(self, write: Write) -> bool:
        """Note the step that `write` takes; False if it must not be taken, and the connection is gone."""
        delivery = self._delivery
        if write.step is None or delivery is None:
            return True
        if self._is_abandoning:
            self._leave_untouched("stopped before its end of data")
            return False
        is_first = write.command is Command.MAIL
        is_end = write.command is Command.END
        try:
            if is_first or is_end:
                delivery.note(write.step)
            if is_end and not delivery.may_end():
                self._leave_untouched("stopped before its end of data")
                return False
        except MailerError as error:
            self._leave_untouched(error.message)
            return False
        return True

    # Endings

    def _finish(self, ending: Ending, phase: Phase | None, reply: Reply | None, note: str) -> None:
        delivery, self._delivery = self._delivery, None
        self._pieces = []
        if delivery is None:
            return
        if reply is not None and (text := self._redact(reply.text)) is not reply.text:
            reply = replace(reply, text=text)  # a server may repeat in its words what it was sent
        delivery.finish(
            Result(
                ending,
                phase=phase,
                reply=reply,
                relay=self._settings.name,
                started_at_us=self._begun_at_us,
                duration_us=max(0, self._clock() - self._begun_at_us),  # the wall clock may have been put back
                tls=self._tls,
                note=self._redact(note),
            )
        )

    def _leave_untouched(self, note: str) -> None:
        """Nothing of the message ended, and nothing more may be written."""
        self._finish(Ending.UNTOUCHED, None, None, note)
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
        has_message = self._delivery is not None
        self._judge(command, note, reply, is_ours=is_ours)
        if failure is None and not is_ours and not self._is_quitting and not self.answered:
            # It broke before it did anything for us. A message that was on it pays by its own rule, but the next one
            # on a new connection would meet the same: that is for the pool to slow down.
            phase = PHASE.get(command, Phase.CONNECT) if command is not None else Phase.CONNECT
            doing = "" if has_message or self._login is not None else " before any message"
            failure = RelayFailure(
                f"{self._settings.endpoint}: {note}{doing}.", phase=phase, is_permanent=False, reply=reply
            )
        self._deadline.cancel()
        self._transport.abort()
        if self._login is not None and not self._login.done():
            sentence = f"{self._settings.endpoint}: {note}."
            self._login.set_exception(
                failure or RelayFailure(sentence, phase=Phase.AUTH, is_permanent=False, reply=reply)
            )
        if not self.gone.done():
            self.gone.set_result(failure)

    def _judge(self, command: Command | None, note: str, reply: Reply | None, *, is_ours: bool) -> None:
        if self._delivery is None:
            return
        if command is Command.END and not self._is_end_held:
            self._finish(Ending.UNKNOWN, Phase.END_OF_DATA, reply, note)
        elif is_ours or not (self._is_on_wire or self._is_crashed):
            self._finish(Ending.UNTOUCHED, None, None, note)
        else:
            phase = PHASE[command] if command is not None else Phase.MAIL
            self._finish(Ending.LOST, phase, reply, note)

    def _read_rest(self, note: str, reply: Reply | None) -> tuple[str, Reply | None]:
        """Give the dialogue what the kernel still holds: an answer that had arrived counts, whatever came after it.

        A failed write makes the transport drop what it has not read; the socket still has it. Under TLS these bytes
        are of no use without the transport, which is why nothing is written there while something can be read.
        """
        if self._tls is not None:
            return note, reply
        descriptor = self._transport.get_extra_info("socket").fileno()
        if descriptor < 0 or self._dialogue.is_over:
            return note, reply
        for event in self._dialogue.receive(_drain(descriptor)):
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

    def _show_write(self, write: Write) -> None:
        if self._transcript is None:
            return
        if write.command is Command.END:
            self._transcript.note(f"the message, {self._size:,} bytes")
            self._transcript.client(".")
        else:
            self._transcript.client(shown_command(write.data, is_secret=write.is_secret))


def _drain(descriptor: int) -> bytes:
    """What can be read of a socket now, without waiting."""
    read = b""
    copy = os.dup(descriptor)  # so that nobody closes it under our hands
    try:
        while len(read) < MAX_REST_BYTES:
            data = os.read(copy, MAX_REST_BYTES)
            if not data:
                break
            read += data
    except OSError:
        pass  # nothing there now, or reset: what was read before still counts
    finally:
        os.close(copy)
    return read


def _words(error: Exception | None) -> str:
    if error is None:
        return "closed by the server"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__
