"""The end of a connection: what the server had said before, and what that means for what was open.

Theory of operation
- A connection that broke is read to its end before its messages are judged: an answer that had arrived counts, whatever
  came after it. A failed write makes the transport drop what it has not read; the socket still has it. Under TLS these
  bytes are of no use without the transport, which is why nothing is written there while something can be read.
- What is open then is judged in order. Once its end of data may have left this process a message is UNKNOWN, whoever
  ended the connection, unless the server said that it reads nothing more. Before that the loss is put down to the first
  one alone: it is LOST. Those behind it had only been written ahead, and are UNTOUCHED; so is the first one if we ended
  the connection, or nothing of it was written, or what broke is our way of speaking and not the message. Where a bug of
  ours ended it nothing is taken for granted: LOST.
- A connection that broke before it did anything for us says something about the relay, too.
"""

from __future__ import annotations

import asyncio
import os
from enum import Enum, auto
from typing import Final

from mailer.core.message import Ending, Phase
from mailer.core.reply import Reply
from mailer.smtp.dialogue import Dialogue
from mailer.smtp.dialogue_events import Broken, Closing, Event, Unproven
from mailer.smtp.settings import RelaySettings
from mailer.smtp.state_table import PHASE, Command, Mode
from mailer.smtp.transmission import Outgoing, Transmission
from mailer.smtp.trouble import RelayFailure, quoted
from mailer.smtp.trust import Extension, Trust

# What is read of a broken connection: replies to what was open, of which there are few.
MAX_REST_BYTES: Final = 64 * 1024


class Cause(Enum):
    """What ended a connection."""

    OURS = auto()
    """We did, for a reason of ours."""
    CLOSING = auto()
    """The server said that it would (421), or was asked to: it has read nothing of what is open."""
    LOST = auto()
    """Closed, reset or silent for too long."""
    OUT_OF_STEP = auto()
    NO_CHUNKS = auto()
    """The server does not take the chunks that it announced."""
    CRASH = auto()
    """A bug of ours."""


def last_events(dialogue: Dialogue[Outgoing], transport: asyncio.Transport, *, is_tls: bool) -> list[Event[Outgoing]]:
    """What the bytes bring about that the kernel still holds. `transport` may be closing, or closed."""
    if is_tls:
        return []
    descriptor = transport.get_extra_info("socket").fileno()
    if descriptor < 0 or dialogue.is_over:
        return []
    return dialogue.receive(_drain(descriptor))


def end_of(event: Closing | Broken | Unproven) -> tuple[str, Reply | None, Cause]:
    """What an event that ends the conversation says of it: a note, the reply, the cause."""
    match event:
        case Closing(said):
            note = "closed" if said is None else f"the server closed the connection: {quoted(said)}"
            return note, said, Cause.CLOSING
        case Broken(error):
            return error.message, error.reply, Cause.OUT_OF_STEP
        case Unproven(reply):
            return no_chunks(reply), reply, Cause.NO_CHUNKS


def no_chunks(reply: Reply) -> str:
    """How it shows that a server takes no chunks."""
    return f"a first chunk was answered with {quoted(reply)}"


def blame(dialogue: Dialogue[Outgoing], cause: Cause, trust: Trust, note: str) -> bool:
    """Whether our way of speaking broke the connection, because the server does not do what it announces.

    If so that is remembered: the next connection speaks in a plainer way.
    """
    unanswered = dialogue.unanswered
    if cause is Cause.NO_CHUNKS:
        trust.lose("CHUNKING", note)
        return True
    # With nothing unanswered a reply too many may still be one to a chunk, read as commands.
    if dialogue.mode is Mode.STEP or not (unanswered or dialogue.transfers or dialogue.is_proven):
        return False
    if cause is Cause.LOST and dialogue.transfers and dialogue.transfers[0].is_disordered:
        trust.lose("PIPELINING", note)
        return True
    if cause is Cause.OUT_OF_STEP:
        trust.lose("CHUNKING" if dialogue.mode is Mode.CHUNKED else "PIPELINING", note)
        return True
    extension: Extension = "CHUNKING" if Command.NOOP in unanswered else "PIPELINING"
    is_ahead = len(unanswered) > 1 or Command.NOOP in unanswered
    if cause is not Cause.LOST or not is_ahead or trust.is_proven(extension):
        return False
    # An end of data that went unanswered with more behind it is a message in doubt: that is not tried twice.
    if _is_answered_in_part(dialogue) or Command.END in unanswered:
        trust.lose(extension, note)
    else:
        trust.doubt(extension, note)
    return not trust.has(extension)


def _is_answered_in_part(dialogue: Dialogue[Outgoing]) -> bool:
    """Whether the server has answered some of the commands that were one write, and not the rest."""
    command = dialogue.awaits
    return command in (Command.RCPT, Command.DATA, Command.PROOF, Command.NOOP) or (
        command in (Command.RSET, Command.MAIL) and bool(dialogue.transfers) and dialogue.transfers[0].is_ahead
    )


def judge_open(
    transmission: Transmission,
    dialogue: Dialogue[Outgoing],
    cause: Cause,
    note: str,
    reply: Reply | None,
    *,
    is_blamed: bool,
) -> None:
    """Finish the messages that are still on their way: all of them, whatever comes of one. Raises the first error."""
    command = dialogue.awaits
    if command is None and dialogue.unwritten:  # lost when it was our turn
        command = dialogue.unwritten[0].commands[0]
    # Who says that it closes, and then goes on answering, has read on, too.
    is_unread = cause is Cause.CLOSING and not dialogue.has_more
    trouble: Exception | None = None
    for n, outgoing in enumerate(tuple(dialogue.transfers)):
        ending, phase, said, words = Ending.UNTOUCHED, None, None, note
        # A server that refuses what was written ahead for being so, and closes, has not refused the message.
        is_void = outgoing.is_disordered or (is_blamed and cause is Cause.LOST and not outgoing.is_ended)
        if outgoing.refusal is not None and not is_void:
            ending, phase, said, words = Ending.ANSWERED, *outgoing.refusal, ""
        elif outgoing.is_ended and not is_unread:
            ending, phase, said = Ending.UNKNOWN, Phase.END_OF_DATA, reply if n == 0 else None
        elif cause is Cause.CRASH or (
            n == 0 and outgoing.is_on_wire and cause not in (Cause.OURS, Cause.CLOSING) and not is_blamed
        ):
            ending, phase = Ending.LOST, Phase.MAIL
            if n == 0:
                said = reply
                phase = PHASE.get(command, Phase.MAIL) if command is not None else Phase.MAIL
        try:
            transmission.finish(outgoing, ending, phase, said, words)
        except Exception as error:  # noqa: BLE001 - raised again below: the others have to be told, too
            trouble = trouble or error
    if trouble is not None:
        raise trouble


def broken_early(
    settings: RelaySettings, command: Command | None, note: str, reply: Reply | None, *, is_idle: bool
) -> RelayFailure:
    """What a connection that did nothing for us says about the relay. `is_idle`: no message and no login was on it.

    A message that was on it pays by its own rule, but the next one on a new connection would meet the same: that is for
    the pool to slow down.
    """
    phase = PHASE.get(command, Phase.CONNECT) if command is not None else Phase.CONNECT
    doing = " before any message" if is_idle else ""
    return RelayFailure(f"{settings.endpoint}: {note}{doing}.", phase=phase, is_permanent=False, reply=reply)


def loss_words(error: Exception | None) -> str:
    """Why the transport says that the connection was lost; None is an end that the server made."""
    if error is None:
        return "closed by the server"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__


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
