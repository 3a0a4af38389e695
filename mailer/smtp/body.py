"""A message's bytes as DATA carries them: CRLF line ends, leading dots doubled, in pieces that can be written at once.

Rule: whatever the chunks hold and wherever their borders are, the server reads `\\r\\n.\\r\\n` once, at our end
(RFC 5321 section 4.5.2). Bare CR or LF would let servers differ about where lines end, which is how one message is
smuggled inside another; they become CRLF here even though content has none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

# Pieces of a large body. Large enough that a fast link is not waited for, small enough that a stop cuts in soon.
PIECE_BYTES: Final = 64 * 1024

# Chunks at least this long are looked at once as long as they come again: an attachment is the same bytes object for
# every recipient. Shorter ones cost less to look at than to remember.
REMEMBERED_BYTES: Final = 16 * 1024
MOST_REMEMBERED: Final = 64
# Of a few large attachments less: what is remembered stays in memory when its campaign is long gone.
MOST_REMEMBERED_BYTES: Final = 64 * 1024 * 1024

_DOT: Final = 0x2E
_LF: Final = 0x0A
_LINE_END: Final = re.compile(rb"\r\n|\r|\n")


class Stuffer:
    """Makes bodies fit for DATA, and remembers what it found out about large chunks."""

    __slots__ = ("_bytes", "_remembered")

    def __init__(self) -> None:
        # By identity, with the chunk itself kept so that its id cannot be taken by another.
        self._remembered: dict[int, tuple[bytes, bytes | None]] = {}
        self._bytes = 0

    def stuff(self, chunks: Sequence[bytes]) -> tuple[list[bytes], int]:
        """The body's pieces and its size in octets without the dots that were added (RFC 1870 section 3)."""
        pieces: list[bytes] = []
        size = 0
        at_line_start = True
        for chunk in _joined(chunks):
            stuffed = self._stuffed(chunk)
            if stuffed is None:
                return _made_clean(chunks)
            if at_line_start and chunk[0] == _DOT:
                pieces.append(b".")
            pieces.append(stuffed)
            size += len(chunk)
            at_line_start = chunk[-1] == _LF
        if not at_line_start:
            pieces.append(b"\r\n")
            size += 2
        return pieces, size

    def _stuffed(self, chunk: bytes) -> bytes | None:
        """The chunk with the dots inside it doubled, or None if it has bare CR or LF."""
        if len(chunk) < REMEMBERED_BYTES:
            return _look(chunk)
        known = self._remembered.pop(id(chunk), None)
        if known is None:
            known = (chunk, _look(chunk))
            self._bytes += _held(known)
            while self._remembered and (
                len(self._remembered) >= MOST_REMEMBERED or self._bytes > MOST_REMEMBERED_BYTES
            ):
                # The one not seen for longest.
                self._bytes -= _held(self._remembered.pop(next(iter(self._remembered))))
        self._remembered[id(chunk)] = known
        return known[1]


def _held(known: tuple[bytes, bytes | None]) -> int:
    chunk, stuffed = known
    return len(chunk) + (len(stuffed) if stuffed is not None and stuffed is not chunk else 0)


def _joined(chunks: Sequence[bytes]) -> list[bytes]:
    """The same bytes, neighbours that are not worth remembering made one; none is empty."""
    joined: list[bytes] = []
    small: list[bytes] = []
    for chunk in chunks:
        if len(chunk) < REMEMBERED_BYTES:
            small.append(chunk)
            continue
        if whole := b"".join(small):
            joined.append(whole)
        small = []
        joined.append(chunk)
    if whole := b"".join(small):
        joined.append(whole)
    return joined


def _made_clean(chunks: Sequence[bytes]) -> tuple[list[bytes], int]:
    """The slow way, for what holds a bare CR or LF, or has a CRLF cut in two by a border."""
    whole = _LINE_END.sub(b"\r\n", b"".join(chunks))
    if not whole.endswith(b"\r\n"):
        whole += b"\r\n"
    stuffed = whole.replace(b"\n.", b"\n..")
    return ([b".", stuffed] if whole.startswith(b".") else [stuffed]), len(whole)


def _look(chunk: bytes) -> bytes | None:
    ends = chunk.count(b"\r\n")
    if chunk.count(b"\n") != ends or chunk.count(b"\r") != ends:
        return None
    return chunk.replace(b"\n.", b"\n..")


def in_pieces(parts: Sequence[bytes]) -> list[bytes | memoryview]:
    """The same bytes in pieces of about PIECE_BYTES: small parts joined, large ones cut without copying."""
    pieces: list[bytes | memoryview] = []
    small: list[bytes] = []
    held = 0
    for part in parts:
        if held + len(part) <= PIECE_BYTES:
            small.append(part)
            held += len(part)
            continue
        if held:
            pieces.append(b"".join(small))
            small, held = [], 0
        if len(part) <= PIECE_BYTES:
            small, held = [part], len(part)
            continue
        view = memoryview(part)
        pieces.extend(view[at : at + PIECE_BYTES] for at in range(0, len(part), PIECE_BYTES))
    if held:
        pieces.append(b"".join(small))
    return pieces
