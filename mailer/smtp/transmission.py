"""How a message gets on the wire: begun, written piece by piece, each step noted before its bytes, and finished once.

Theory of operation
- Before any write the socket is asked whether something can be read. If so that is read first: a server that has given
  up says why and closes, and a write to what it closed would throw its last words away. Under TLS that is the only
  way to keep them.
- The transport's own buffer is empty whenever something is written (its high-water mark is zero), so what was written
  is with the kernel, or `is_paused` says that it is not. The end of data is never put behind a buffer that holds
  something.
- The step is noted, and for the end of data the delivery is asked, in the step of the event loop that writes. Between
  the last look and the bytes nothing else can happen.
- A message leaves `_delivery` in the step that finishes it: exactly once, whatever comes afterwards.
"""

from __future__ import annotations

import select
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from mailer.core.message import Ending, Phase, Result
from mailer.core.reply import Reply
from mailer.errors import MailerError
from mailer.smtp.body import in_pieces
from mailer.smtp.deadline import Deadline
from mailer.smtp.delivery import Delivery
from mailer.smtp.dialogue import Command, Dialogue, Write, command_name
from mailer.smtp.envelope import transaction
from mailer.smtp.session import Session
from mailer.smtp.settings import RelaySettings
from mailer.smtp.shared import Shared
from mailer.smtp.transcript import Transcript, shown_command

# Turns of the event loop that a write waits for the transport to read what is there. One or two are needed; more than
# this means that the transport does not read, e.g. because it is closing.
MAX_READ_TURNS: Final = 16

ABANDONED: Final = "stopped before its end of data"

_DOT: Final = b".\r\n"


class Transmission:
    """All writing on one connection, and the message that is on its way there, if any: one after the other."""

    def __init__(
        self,
        settings: RelaySettings,
        session: Session,
        dialogue: Dialogue,
        *,
        shared: Shared,
        deadline: Deadline,
        transcript: Transcript | None,
    ) -> None:
        """The session's transport is open; nothing is written before `write`. `deadline` is moved with every write."""
        self._settings = settings
        self._features = session.features
        self._tls = session.tls
        self._transport = session.transport
        self._dialogue = dialogue
        self._clock = shared.clock
        timeouts = shared.timeouts
        self._deadline = deadline
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
        self._stuffer = shared.stuffer
        self._redact = shared.redact
        self._transcript = transcript
        self.is_paused = False
        """Something we wrote is in our own buffer still: nothing may be written."""
        self.is_end_held = False
        """The end of data is in our own buffer still."""
        self.is_on_wire = False
        """MAIL has been written."""
        self.is_abandoned = False
        """No message may take a step any more."""
        self._delivery: Delivery | None = None
        self._pieces: list[bytes | memoryview] = []  # of the body, the first one last
        self._size = 0
        self._begun_at_us = 0
        self._read_turns = 0
        self._poll = select.poll()
        self._poll.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN)
        # A TLS transport of asyncio compares with >=, so that zero would mean "always full".
        self._transport.set_write_buffer_limits(high=1 if self._tls else 0, low=0)

    @property
    def has_message(self) -> bool:
        """Whether a message has begun and is not finished."""
        return self._delivery is not None

    @property
    def has_write(self) -> bool:
        """Whether `write` has something to write now."""
        return self._dialogue.has_writes or (bool(self._pieces) and self._dialogue.awaits is Command.BODY)

    def resume(self) -> None:
        """Our own buffer is empty again."""
        self.is_paused = False
        self.is_end_held = False

    def must_read(self) -> bool:
        """Whether something can be read, which comes before any write. If so, ask again in the loop's next turn."""
        if self._read_turns >= MAX_READ_TURNS or not self._poll.poll(0):
            self._read_turns = 0
            return False
        self._read_turns += 1
        return True

    def begin(self, delivery: Delivery) -> bool:
        """Begin a message, when the dialogue is ready. False if it is unfit: it is finished, and nothing is written."""
        self._delivery = delivery
        self._begun_at_us = self._clock()
        try:
            parts, size = self._stuffer.stuff(delivery.compose().chunks)
            envelope = transaction(self._settings, self._features, delivery.envelope, size)
        except MailerError as error:
            self.finish(Ending.UNFIT, None, None, error.message)
            return False
        parts.append(_DOT)
        self._pieces = in_pieces(parts)[::-1]
        self._size = size
        self.is_on_wire = False
        self._dialogue.begin(envelope)
        return True

    def write(self) -> str | None:
        """Write what the dialogue has to say, or else a piece of the body; only while `has_write`.

        None if that was done. If it must not be done, why not: no byte may be written any more, and nothing of the
        message has ended.
        """
        if self._dialogue.has_writes:
            return self._write_all(self._dialogue.take_writes())
        self._write_body()
        return None

    def late_words(self) -> str:
        """What it is that took longer than it may, for when the deadline has passed."""
        command = self._dialogue.awaits
        if command is None or command is Command.QUIT:
            return "timed out"
        what = f"no answer to {command_name(command)}"
        if command is Command.BODY:
            what = "a piece of the message was not taken"
        return f"{what} within {self._timeouts[command]:g} s"

    def finish(self, ending: Ending, phase: Phase | None, reply: Reply | None, note: str) -> None:
        """Tell the message, if there is one, what came of it, and forget it."""
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

    def _write_body(self) -> None:
        piece = self._pieces.pop()
        if not self._pieces:
            self._dialogue.end(bytes(piece))
            return
        self._deadline.move(self._timeouts[Command.BODY])
        self._transport.write(piece)

    def _write_all(self, writes: list[Write]) -> str | None:
        for write in writes:
            why_not = self._note(write)
            if why_not is not None:
                return why_not
            if self._transcript is not None:
                self._show(write, self._transcript)
            self._deadline.move(self._timeouts[write.command])
            self._transport.write(write.data)
            if write.command is Command.MAIL:
                self.is_on_wire = True
            elif write.command is Command.END:
                # A write that fails makes the transport close at once, and nothing of it has left.
                self.is_end_held = self.is_paused or self._transport.is_closing()
        return None

    def _note(self, write: Write) -> str | None:
        """Note the step that `write` takes. If it must not be taken, why not."""
        delivery = self._delivery
        if write.step is None or delivery is None:
            return None
        if self.is_abandoned:
            return ABANDONED
        is_end = write.command is Command.END
        try:
            if is_end or write.command is Command.MAIL:
                delivery.note(write.step)
            if is_end and not delivery.may_end():
                return ABANDONED
        except MailerError as error:
            return error.message
        return None

    def _show(self, write: Write, transcript: Transcript) -> None:
        if write.command is Command.END:
            transcript.note(f"the message, {self._size:,} bytes")
            transcript.client(".")
        else:
            transcript.client(shown_command(write.data, is_secret=write.is_secret))
