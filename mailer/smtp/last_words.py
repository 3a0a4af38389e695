"""The end of a connection that broke: what the server had said before, and what that means for what was open.

Theory of operation
- A connection that broke is read to its end before its message is judged: an answer that had arrived counts, whatever
  came after it. A failed write makes the transport drop what it has not read; the socket still has it. Under TLS these
  bytes are of no use without the transport, which is why nothing is written there while something can be read.
- What is open then is judged by the oldest command without an answer. Once the end of data may have left this process
  the message is UNKNOWN, whoever ended the connection; before that it is LOST, or UNTOUCHED if we ended it or nothing
  of it was written. Where a bug of ours ended it nothing is taken for granted: LOST.
- A connection that broke before it did anything for us says something about the relay, too.
"""

from __future__ import annotations

import asyncio
import os
from typing import Final

from mailer.core.message import Ending, Phase
from mailer.core.reply import Reply
from mailer.smtp.dialogue import PHASE, Command, Dialogue, Event
from mailer.smtp.settings import RelaySettings
from mailer.smtp.transmission import Transmission
from mailer.smtp.trouble import RelayFailure

# What is read of a broken connection: replies to what was open, of which there are few.
MAX_REST_BYTES: Final = 64 * 1024


def last_events(dialogue: Dialogue, transport: asyncio.Transport, *, is_tls: bool) -> list[Event]:
    """What the bytes bring about that the kernel still holds. `transport` may be closing, or closed."""
    if is_tls:
        return []
    descriptor = transport.get_extra_info("socket").fileno()
    if descriptor < 0 or dialogue.is_over:
        return []
    return dialogue.receive(_drain(descriptor))


def judge_open(
    transmission: Transmission,
    command: Command | None,
    note: str,
    reply: Reply | None,
    *,
    is_ours: bool,
    is_crashed: bool,
) -> None:
    """Finish the message that is still on its way, if any. `command` is the oldest one without an answer."""
    if not transmission.has_message:
        return
    if command is Command.END and not transmission.is_end_held:
        transmission.finish(Ending.UNKNOWN, Phase.END_OF_DATA, reply, note)
    elif is_ours or not (transmission.is_on_wire or is_crashed):
        transmission.finish(Ending.UNTOUCHED, None, None, note)
    else:
        phase = PHASE[command] if command is not None else Phase.MAIL
        transmission.finish(Ending.LOST, phase, reply, note)


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
