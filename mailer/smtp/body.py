"""A message's bytes as the wire carries them: CRLF line ends, no line too long, leading dots doubled for DATA.

Rule: whatever the chunks hold and wherever their borders are, the server reads `\\r\\n.\\r\\n` once, at our end
(RFC 5321 section 4.5.2). Bare CR or LF would let servers differ about where lines end, which is how one message is
smuggled inside another; they become CRLF here even though content has none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from mailer.smtp.envelope import Misfit

# Pieces of a large body. Large enough that a fast link is not waited for, small enough that a stop cuts in soon.
PIECE_BYTES: Final = 64 * 1024

# Chunks at least this long are looked at once as long as they come again: an attachment is the same bytes object for
# every recipient. Shorter ones cost less to look at than to remember.
REMEMBERED_BYTES: Final = 16 * 1024
MOST_REMEMBERED: Final = 64
# Of a few large attachments less: what is remembered stays in memory when its campaign is long gone.
MOST_REMEMBERED_BYTES: Final = 64 * 1024 * 1024

# RFC 5321 section 4.5.3.1.6: 1000 octets with the CRLF, an added dot not counted.
LONGEST_LINE_BYTES: Final = 998

_DOT: Final = 0x2E
_LINE_END: Final = re.compile(rb"\r\n|\r|\n")


class Body(NamedTuple):
    """A message fit for the wire."""

    parts: list[bytes]
    size_bytes: int
    """As RFC 1870 section 3 counts: CRLF as two, added dots not at all."""
    is_dotted: bool
    """Dots have been added: good for DATA, and not for a chunk."""


class _Look(NamedTuple):
    """What there is to know of a chunk."""

    stuffed: bytes | None
    """With the dots inside it doubled; the chunk itself where there are none. None if it has bare CR or LF."""
    head: int
    """Octets of its first line, or of the whole chunk if no line ends in it."""
    tail: int
    """Octets behind its last line end."""
    has_long_line: bool


class Stuffer:
    """Makes bodies fit, and remembers what it found out about large chunks."""

    __slots__ = ("_bytes", "_remembered")

    def __init__(self) -> None:
        # By identity, with the chunk itself kept so that its id cannot be taken by another.
        self._remembered: dict[int, tuple[bytes, _Look]] = {}
        self._bytes = 0

    def fit(self, chunks: Sequence[bytes]) -> Body:
        """The body made of `chunks`. Raises Misfit for a line that is too long."""
        if sum(map(len, chunks)) < REMEMBERED_BYTES:
            whole = chunks[0] if len(chunks) == 1 else b"".join(chunks)
            if _is_plain(whole):
                return Body([whole], len(whole), is_dotted=False)
        return self._fit(chunks)

    def _fit(self, chunks: Sequence[bytes]) -> Body:
        parts: list[bytes] = []
        size = 0
        line = 0  # octets of the line that the chunks so far have left open
        is_dotted = False
        for chunk in _joined(chunks):
            look = self._look(chunk)
            stuffed = look.stuffed
            if stuffed is None:
                return _made_clean(chunks)
            if look.has_long_line or line + look.head > LONGEST_LINE_BYTES + 2:
                raise _too_long(chunks)
            if not line and chunk[0] == _DOT:
                parts.append(b".")
                is_dotted = True
            if stuffed is not chunk:
                is_dotted = True
            parts.append(stuffed)
            size += len(chunk)
            line = look.tail if look.tail < len(chunk) else line + look.tail
        if line:
            parts.append(b"\r\n")
            size += 2
            if line + 2 > LONGEST_LINE_BYTES + 2:
                raise _too_long(chunks)
        return Body(parts, size, is_dotted)

    def _look(self, chunk: bytes) -> _Look:
        if len(chunk) < REMEMBERED_BYTES:
            return _look_at(chunk)
        known = self._remembered.pop(id(chunk), None)
        if known is None:
            known = (chunk, _look_at(chunk))
            self._bytes += _held(known)
            while self._remembered and (
                len(self._remembered) >= MOST_REMEMBERED or self._bytes > MOST_REMEMBERED_BYTES
            ):
                # The one not seen for longest.
                self._bytes -= _held(self._remembered.pop(next(iter(self._remembered))))
        self._remembered[id(chunk)] = known
        return known[1]


def _held(known: tuple[bytes, _Look]) -> int:
    chunk, (stuffed, *_) = known
    return len(chunk) + (len(stuffed) if stuffed is not None and stuffed is not chunk else 0)


def _joined(chunks: Sequence[bytes]) -> Sequence[bytes]:
    """The same bytes, neighbours that are not worth remembering made one; none is empty."""
    if len(chunks) == 1 and chunks[0]:
        return chunks
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


def _is_plain(whole: bytes) -> bool:
    """Whether it can go as it is: complete lines that end in CRLF, none too long, none with a dot in front.

    That is how messages are composed. For small ones it is the quickest way to be sure.
    """
    if not whole.endswith(b"\r\n") or whole[0] == _DOT or b"\r\n." in whole:
        return False
    lines = whole.splitlines()
    # All that splitlines took away must have been two octets each time.
    return len(b"".join(lines)) + 2 * len(lines) == len(whole) and not _has_long_line(whole, 0, len(whole))


def _look_at(chunk: bytes) -> _Look:
    ends = chunk.count(b"\r\n")
    if chunk.count(b"\n") != ends or chunk.count(b"\r") != ends:
        return _Look(None, 0, 0, has_long_line=False)
    stuffed = chunk.replace(b"\n.", b"\n..") if b"\n." in chunk else chunk
    if not ends:
        return _Look(stuffed, len(chunk), len(chunk), has_long_line=False)
    first = chunk.find(b"\n") + 1
    last = chunk.rfind(b"\n") + 1
    return _Look(stuffed, first, len(chunk) - last, has_long_line=_has_long_line(chunk, first, last))


def _has_long_line(chunk: bytes, at: int, end: int) -> bool:
    """Whether a line between `at` and `end`, both behind a line end, is too long.

    Looks for the last line end that a line beginning at `at` may have, and goes on from there: it leaps over as many
    lines as fit into one.
    """
    while at < end:
        behind = chunk.rfind(b"\n", at, at + LONGEST_LINE_BYTES + 2) + 1
        if not behind:
            return True
        at = behind
    return False


def _made_clean(chunks: Sequence[bytes]) -> Body:
    """The slow way, for what holds a bare CR or LF, or has a CRLF cut in two by a border."""
    whole = _LINE_END.sub(b"\r\n", b"".join(chunks))
    if not whole.endswith(b"\r\n"):
        whole += b"\r\n"
    if _has_long_line(whole, 0, len(whole)):
        raise _too_long([whole])
    stuffed = whole.replace(b"\n.", b"\n..")
    if whole.startswith(b"."):
        return Body([b".", stuffed], len(whole), is_dotted=True)
    return Body([stuffed], len(whole), is_dotted=len(stuffed) != len(whole))


def _too_long(chunks: Sequence[bytes]) -> Misfit:
    lines = b"".join(chunks).split(b"\n")
    n, length = next(
        (n, size) for n, line in enumerate(lines, 1) if (size := len(line.rstrip(b"\r"))) > LONGEST_LINE_BYTES
    )
    return Misfit(
        f"line {n} of the message has {length:,} bytes, and a line may have {LONGEST_LINE_BYTES} (RFC 5321 4.5.3.1.6)"
    )


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
