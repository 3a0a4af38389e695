"""What a client writes in each mode, and a loop that stands still meanwhile.

A piece is named by what stands in it, with the number of the message it belongs to:

    mail1 rcpt1 data            the envelope of message 1, and DATA
    text1                       its text, and the lone dot behind it
    proof1                      its first line as a chunk by itself, which shows that the server does CHUNKING, and NOOP
    rest1                       the rest of its text behind that line, as the last chunk
    whole1                      all of its text as one last chunk
    next1                       all of it as it follows another one: rset mail1 rcpt1 whole1
    rset dot quit               as they are

`expect` reads exactly these bytes and not one more, so that what a client writes beyond them lies unread.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from support.scripted_server import PATIENCE_S, Peer, Unexpected
from support.wire import Parcel

from mailer.core.message import Envelope

# How a server answers EHLO so that a client takes the mode. None lists SIZE: MAIL would say the size of every text.
STEP_BY_STEP: Final = "250-relay | 250 HELP"
PIPELINED: Final = "250-relay | 250 PIPELINING"
CHUNKED: Final = "250-relay | 250-PIPELINING | 250 CHUNKING"

FIRST_LINE: Final = b"MIME-Version: 1.0\r\n"


def text_of(n: int) -> bytes:
    """What message `n` says. No line begins with a dot: such a message goes as DATA in every mode."""
    return FIRST_LINE + b"Subject: %d\r\n\r\nHello\r\n" % n


def parcel_of(n: int) -> Parcel:
    """Message `n`."""
    return Parcel(envelope=Envelope("a@sender.example", f"{n}@recipient.example"), chunks=(text_of(n),))


def written(words: str) -> bytes:
    """The bytes of some pieces."""
    return b"".join(map(_piece, words.split()))


def expect(peer: Peer, words: str) -> None:
    """Read these pieces, and no more. Raises Unexpected."""
    wanted = written(words)
    got = peer.read(len(wanted))
    if got != wanted:
        raise Unexpected(f"expected {wanted!r} ({words}), got {got!r}")


def replies(peer: Peer, codes: str) -> None:
    """Answer with these codes, all in one go."""
    peer.send("".join(f"{code} ok\r\n" for code in codes.split()).encode())


def greet(peer: Peer, ehlo: str) -> None:
    """The beginning of every connection; `ehlo` is how the server answers EHLO."""
    peer.say("220 relay ready")
    peer.expect("EHLO *")
    peer.say(ehlo)


@contextmanager
def standing_still(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """From another thread: the loop does nothing meanwhile, and then finds everything that happened at once."""
    is_still, is_over = threading.Event(), threading.Event()

    def stand_still() -> None:
        is_still.set()
        is_over.wait(PATIENCE_S)

    loop.call_soon_threadsafe(stand_still)
    is_still.wait(PATIENCE_S)
    try:
        yield
    finally:
        is_over.set()


def _piece(word: str) -> bytes:
    name, number = re.fullmatch(r"([a-z]+)(\d*)", word).groups()  # type: ignore[union-attr]  # words are our own
    text = text_of(int(number or 0))
    match name:
        case "mail":
            return b"MAIL FROM:<a@sender.example>\r\n"
        case "rcpt":
            return b"RCPT TO:<%s@recipient.example>\r\n" % number.encode()
        case "text":
            return text + b".\r\n"
        case "proof":
            return b"BDAT %d\r\n" % len(FIRST_LINE) + FIRST_LINE + b"NOOP\r\n"
        case "rest":
            return _last_chunk(text.removeprefix(FIRST_LINE))
        case "whole":
            return _last_chunk(text)
        case "dot":
            return b".\r\n"
        case "next":
            return written(f"rset mail{number} rcpt{number} whole{number}")
        case "data" | "rset" | "quit":
            return name.upper().encode() + b"\r\n"
        case _:
            raise ValueError(f"there is no piece {word!r}")


def _last_chunk(data: bytes) -> bytes:
    return b"BDAT %d LAST\r\n" % len(data) + data
