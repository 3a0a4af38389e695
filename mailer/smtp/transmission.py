"""How messages get on the wire: begun, written piece by piece, each step noted before its bytes, and finished once.

Theory of operation
- What is to be said is gathered first, as far as the dialogue has room: the end of one message, the envelope
  of the next, in chunks several whole ones. Then the steps are noted (`note`), and it is written in one go (`write`).
  Composing and noting take their time, so both come before the last look at the socket and at the lease; between those
  and the bytes nothing else can happen.
- Before any write the socket is asked whether something can be read. If so that is read first: a server that has given
  up says why and closes, and a write to what it closed would throw its last words away. Under TLS that is the only
  way to keep them.
- The transport's own buffer is empty whenever something is written (its high-water mark is zero), so what was written
  is with the kernel, or `is_paused` says that it is not.
- Of a large body all pieces but the last go by themselves, and the next message is composed only for the last one: a
  connection holds one large message and not two.
- A message leaves the line in the step that finishes it: exactly once, whatever comes afterwards.
"""

from __future__ import annotations

import select
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from mailer.core.message import FIRST_LINE, Ending, Phase, Result
from mailer.core.progress import Step
from mailer.core.reply import Reply
from mailer.errors import MailerError
from mailer.smtp.body import PIECE_BYTES, Body, in_pieces
from mailer.smtp.deadline import Deadline
from mailer.smtp.delivery import Delivery
from mailer.smtp.dialogue import Dialogue
from mailer.smtp.dialogue_events import Transfer, Write
from mailer.smtp.envelope import transaction
from mailer.smtp.session import Session
from mailer.smtp.settings import RelaySettings
from mailer.smtp.shared import Shared
from mailer.smtp.state_table import NAMES, Command, Mode
from mailer.smtp.transcript import Transcript, shown_command
from mailer.smtp.trouble import shortened

# Turns of the event loop that a write waits for the transport to read what is there. One or two are needed; more than
# this means that the transport does not read, e.g. because it is closing.
MAX_READ_TURNS: Final = 16

# Commands that are written behind another one. A server that drops what it was sent ahead never answers them; five
# minutes for each connection would be long to find that out.
_BEHIND: Final = frozenset({Command.RCPT, Command.DATA, Command.PROOF, Command.NOOP})
TRIAL_S: Final = 30.0

ABANDONED: Final = "stopped before its end of data"

_DOT: Final = b".\r\n"


class Outgoing(Transfer):
    """A message on its way, with what is left of it."""

    __slots__ = ("begun_at_us", "delivery", "is_ahead", "is_ended", "is_on_wire", "noted", "pieces", "size_bytes")

    def __init__(self, delivery: Delivery, mail: bytes, rcpt: bytes, *, as_chunk: bool, is_wary: bool) -> None:
        super().__init__(mail, rcpt, as_chunk=as_chunk, is_wary=is_wary)
        self.delivery = delivery
        self.begun_at_us = 0
        self.pieces: list[bytes | memoryview] = []
        """Of the body, the first one last."""
        self.size_bytes = 0
        self.is_ahead = False
        """It was begun before the message in front of it was answered."""
        self.noted = 0
        """The last step that the delivery was told of, or 0."""
        self.is_on_wire = False
        """MAIL has been written."""
        self.is_ended = False
        """The end of data may have left this process."""


class Transmission:
    """All writing on one connection, and the messages that are on their way there."""

    def __init__(
        self,
        settings: RelaySettings,
        session: Session,
        dialogue: Dialogue[Outgoing],
        *,
        shared: Shared,
        deadline: Deadline,
        transcript: Transcript | None,
    ) -> None:
        """The session's transport is open; nothing is written before `write`."""
        self._settings = settings
        self._features = session.features
        self._tls = session.tls
        self._transport = session.transport
        self._dialogue = dialogue
        self._clock = shared.clock
        self._deadline = deadline
        timeouts = shared.timeouts
        self._timeouts: Final[Mapping[Command, float]] = {
            Command.AUTH: timeouts.auth,
            Command.QUIT: timeouts.quit,
            Command.RSET: timeouts.rset,
            Command.MAIL: timeouts.mail,
            Command.RCPT: timeouts.rcpt,
            Command.DATA: timeouts.data,
            Command.PROOF: timeouts.data,
            Command.NOOP: timeouts.data,
            Command.BODY: timeouts.block,
            Command.DOT: timeouts.end,
            Command.END: timeouts.end,
        }
        self._trust = shared.trust
        self._limit_s = 0.0
        self._stuffer = shared.stuffer
        self._redact = shared.redact
        self._transcript = transcript
        self._progress = 0  # writes that were made or have left, and replies
        self._seen_progress = -1
        self.is_paused = False
        """Something we wrote is in our own buffer still: nothing may be written."""
        self._held: Outgoing | None = None  # its end of data is the last thing in our own buffer
        self._read_turns = 0
        self._poll = select.poll()
        self._poll.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN)
        # A TLS transport of asyncio compares with >=, so that zero would mean "always full".
        self._transport.set_write_buffer_limits(high=1 if self._tls else 0, low=0)

    @property
    def has_ended(self) -> bool:
        """Whether the end of data of a message on its way may have left this process."""
        return any(outgoing.is_ended for outgoing in self._dialogue.transfers)

    @property
    def has_write(self) -> bool:
        """Whether `write` has something to write now."""
        return bool(self._dialogue.unwritten) or self._dialogue.body_of is not None

    def resume(self) -> None:
        """Our own buffer is empty again."""
        self.is_paused = False
        self._progress += 1
        if self._held is not None:
            self._held.is_ended = True
            self._held = None

    def must_read(self) -> bool:
        """Whether something can be read, which comes before any write. If so, ask again in the loop's next turn."""
        if self._read_turns >= MAX_READ_TURNS or not self._poll.poll(0):
            self._read_turns = 0
            return False
        self._read_turns += 1
        return True

    def end_small(self) -> bool:
        """Say the end of the message that the server waits for, if a piece is all that is left. False if not."""
        outgoing = self._dialogue.body_of
        if outgoing is None or len(outgoing.pieces) != 1:
            return False
        last = outgoing.pieces.pop()
        self._dialogue.end(last if isinstance(last, bytes) else bytes(last))
        return True

    def begin(self, delivery: Delivery, *, is_wary: bool) -> bool:
        """Begin a message, while one may begin. False if it is unfit: it is finished, and nothing is said of it.

        `is_wary`: as for Transfer.
        """
        begun_at_us = self._clock()
        try:
            composed = delivery.compose()
            body = self._stuffer.fit(composed.chunks)
            mail, rcpt = transaction(
                self._settings, self._features, delivery.envelope, body.size_bytes, composed.utf8_address
            )
        except MailerError as error:
            self._tell(delivery, begun_at_us, Ending.UNFIT, None, None, error.message)
            return False
        except Exception as error:
            # A bug. It has left the pool's queue and is in no line yet; whatever it does, it counts as a loss.
            self._tell(delivery, begun_at_us, Ending.LOST, Phase.MAIL, None, f"internal error: {type(error).__name__}")
            raise
        dialogue = self._dialogue
        as_chunk, parts, size = (False, [*body.parts, _DOT], body.size_bytes) if is_wary else self._framed(body)
        outgoing = Outgoing(delivery, mail, rcpt, as_chunk=as_chunk, is_wary=is_wary)
        outgoing.begun_at_us = begun_at_us
        outgoing.is_ahead = bool(dialogue.transfers)
        outgoing.size_bytes = size
        outgoing.pieces = [b"".join(parts)] if size < PIECE_BYTES else in_pieces(parts)[::-1]
        dialogue.begin(outgoing)
        return True

    def _framed(self, body: Body) -> tuple[bool, list[bytes], int]:
        """Whether it goes as a chunk, with what is put around it, and its size."""
        parts, size, is_dotted = body
        # A chunk goes out whole before anybody knows whether its recipient is taken: only small ones do. And it is the
        # text as it is, so one with dots added goes as DATA.
        if self._dialogue.mode is not Mode.CHUNKED or is_dotted or not len(FIRST_LINE) < size < PIECE_BYTES:
            return False, [*parts, _DOT], size
        whole = parts[0] if len(parts) == 1 else b"".join(parts)
        # The proof does not tell what becomes of a chunk whose recipient is refused. A server that read it as commands
        # would need one to find another recipient in it.
        if b"rcpt" in whole.lower():
            return False, [whole, _DOT], size
        if self._dialogue.is_proven:
            return True, [b"BDAT %d LAST\r\n" % size, whole], size
        if not whole.startswith(FIRST_LINE):
            return False, [whole, _DOT], size
        return True, [b"BDAT %d LAST\r\n" % (size - len(FIRST_LINE)), whole[len(FIRST_LINE) :]], size

    def note(self) -> str | None:
        """Note the steps that `write` is about to take. If one cannot be noted, why not: then it must not be taken."""
        try:
            for write in self._dialogue.unwritten:
                outgoing = write.transfer
                if outgoing is not None and write.step is not None and write.step > outgoing.noted:
                    outgoing.delivery.note(write.step)
                    outgoing.noted = write.step
        except MailerError as error:
            return error.message
        return None

    def write(self) -> str | None:
        """Write what the dialogue has to say, or else a piece of a body; only while `has_write`, and after `note`.

        None if that was done. If it must not be done, why not: no byte may be written any more.
        """
        if self._dialogue.unwritten:
            return self._write_all()
        outgoing = self._dialogue.body_of
        assert outgoing is not None  # noqa: S101 - has_write
        self._progress += 1
        self._transport.write(outgoing.pieces.pop())
        return None

    def say_good_bye(self) -> None:
        """QUIT, as after every refusal (RFC 5321 section 4.1.1.10). Nothing is to be learnt from the answer."""
        if self.is_paused or self._transport.is_closing():
            return
        if self._transcript is not None:
            self._transcript.client("QUIT")
        self._transport.write(b"QUIT\r\n")

    def watch(self) -> None:
        """Move the deadline to what is awaited now, if anything has been done: a part of a reply is nothing yet."""
        progress = self._progress + self._dialogue.replies
        if progress == self._seen_progress:
            return
        self._seen_progress = progress
        command = Command.BODY if self.is_paused else self._dialogue.awaits
        if command is None:
            return
        self._limit_s = self._timeouts[command]
        if command in _BEHIND and not self._trust.has_worked("PIPELINING") and self._dialogue.mode is not Mode.STEP:
            self._limit_s = min(self._limit_s, TRIAL_S)
        self._deadline.move(self._limit_s)

    def late_words(self) -> str:
        """What it is that took longer than it may, for when the deadline has passed."""
        command = self._dialogue.awaits
        if self.is_paused or command is Command.BODY:
            return f"a piece of the message was not taken within {self._limit_s:g} s"
        if command is None or command is Command.QUIT:
            return "timed out"
        return f"no answer to {NAMES[command]} within {self._limit_s:g} s"

    def finish(self, outgoing: Outgoing, ending: Ending, phase: Phase | None, reply: Reply | None, note: str) -> None:
        """Tell the message what came of it."""
        self._tell(outgoing.delivery, outgoing.begun_at_us, ending, phase, reply, note)

    def _tell(
        self,
        delivery: Delivery,
        begun_at_us: int,
        ending: Ending,
        phase: Phase | None,
        reply: Reply | None,
        note: str,
    ) -> None:
        if reply is not None and (text := self._redact(reply.text)) is not reply.text:
            reply = replace(reply, text=text)  # a server may repeat in its words what it was sent
        delivery.finish(
            Result(
                ending,
                phase=phase,
                reply=reply,
                relay=self._settings.name,
                started_at_us=begun_at_us,
                duration_us=max(0, self._clock() - begun_at_us),  # the wall clock may have been put back
                tls=self._tls,
                note=shortened(self._redact(note)) if note else note,
            )
        )

    def _write_all(self) -> str | None:
        for write in self._dialogue.unwritten:
            if write.step is Step.END_BEGUN and write.transfer is not None and not write.transfer.delivery.may_end():
                return ABANDONED
        writes = self._dialogue.take_writes()
        if self._transcript is not None:
            for write in writes:
                self._show(write, self._transcript)
        self._progress += 1
        self._transport.write(writes[0].data if len(writes) == 1 else b"".join([write.data for write in writes]))
        self._mark(writes)
        return None

    def _mark(self, writes: list[Write[Outgoing]]) -> None:
        """What has left this process by what was just written."""
        if self._transport.is_closing():
            return  # a write that fails makes the transport close at once, and nothing of it has left
        last = writes[-1]
        for write in writes:
            outgoing = write.transfer
            if outgoing is None:
                continue
            if write.step is not Step.END_BEGUN:
                outgoing.is_on_wire = True
            elif self.is_paused and write is last:
                # Its last bytes leave when our buffer is empty, and not before. Were anything behind them they could
                # leave unseen.
                self._held = outgoing
            else:
                outgoing.is_ended = True

    def _show(self, write: Write[Outgoing], transcript: Transcript) -> None:
        outgoing = write.transfer
        if write.commands[-1] is not Command.END or outgoing is None:
            for line in write.data.splitlines(keepends=True):
                transcript.client(shown_command(line, is_secret=write.is_secret))
            return
        if outgoing.as_chunk:
            transcript.client(shown_command(write.data.partition(b"\n")[0], is_secret=False).rstrip("\r"))
        transcript.note(f"the message, {outgoing.size_bytes:,} bytes")
        if not outgoing.as_chunk:
            transcript.client(".")
