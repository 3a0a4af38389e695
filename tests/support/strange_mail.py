"""Messages as no composer would make them: everything that may stand in a line, ended in every way, cut anywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

# What the wire carries at most, without the CRLF (RFC 5321 section 4.5.3.1.6).
LONGEST_LINE: Final = 998

_LINES: Final = (
    *(b"", b".", b"..", b"...", b". ", b".x", b" .", b"\0", b".\0", b"a\0b\0", b"From me", b">From me", b" ", b"\t"),
    *(
        b"QUIT",
        b"RSET",
        b"DATA",
        b"BDAT 5 LAST",
        b"MAIL FROM:<x@evil.test>",
        b"Subject: not a header",
        b"--x",
        b"--x--",
    ),
    *(b"trailing blanks \t ", b"=2E=", b"\xff\xfe 8 bit \x80", "中文 ÿ 😀".encode(), b"\x1a\x08\x7f\x1b\x0b\x0c\x85"),
)
# As they come in files of three systems, and as broken programs make them. All but the first are not CRLF.
_ENDS: Final = (b"\r\n", b"\n", b"\r", b"\r\r\n", b"\n\r", b"\n\n", b"\r\r")

# One in so many is large: more than the engine looks at anew, or more than it sends as one chunk.
_LARGE_EVERY: Final = 60


@dataclass(frozen=True, slots=True)
class StrangeMail:
    """One of them."""

    chunks: tuple[bytes, ...]
    """As it is handed over."""
    expected: bytes
    """As a server has to have it: every line end CRLF, the last line ended, and not a byte else changed."""


def strange_mail(random: Random) -> StrangeMail:
    """The next one. It begins with a header, or is empty: Postfix would put an empty line before other text."""
    whole = b"".join(_parts(random))
    return StrangeMail(cut(whole, random), as_expected(whole))


def as_expected(text: bytes) -> bytes:
    """What a server has to receive of it."""
    # For bytes a line ends with CRLF, CR or LF and nothing else: what the engine promises, by another way.
    return b"".join(line + b"\r\n" for line in text.splitlines())


def cut(text: bytes, random: Random) -> tuple[bytes, ...]:
    """It in up to six chunks, some of them empty."""
    places = sorted(random.randint(0, len(text)) for _ in range(random.randint(0, 5)))
    return tuple(text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True))


def assert_same(expected: Mapping[str, bytes], kept: Mapping[str, Sequence[bytes]]) -> None:
    """Each recipient in `expected` was given that message, once. Otherwise the first difference is shown."""
    for recipient, text in expected.items():
        stored = kept.get(recipient, [])
        assert len(stored) == 1, f"{recipient} has {len(stored)} messages instead of one"
        if stored[0] != text:
            at = next((n for n, (a, b) in enumerate(zip(stored[0], text, strict=False)) if a != b), None)
            where = min(len(stored[0]), len(text)) if at is None else at
            raise AssertionError(
                f"{recipient}: stored {len(stored[0])} bytes, expected {len(text)}, different from byte {where} on:\n"
                f"stored   …{stored[0][max(0, where - 40) : where + 40]!r}…\n"
                f"expected …{text[max(0, where - 40) : where + 40]!r}…"
            )


def _parts(random: Random) -> list[bytes]:
    ends = _ENDS if random.random() < 0.5 else (b"\r\n",)
    kind = random.random()
    if kind < 0.02:
        return []
    parts = [b"MIME-Version: 1.0" if kind < 0.7 else b"Subject: first", random.choice(ends[:2])]
    if kind < 0.04:
        return parts
    parts += [b"X-Number: %d" % random.randrange(10**9), random.choice(ends[:2]), ends[0]]
    for _ in range(random.randint(0, 12)):
        parts += [_line(random), random.choice(ends)]
    if random.randrange(_LARGE_EVERY) == 0:
        line = random.randbytes(57).hex().encode() + b"\r\n"
        parts += [line * random.choice([150, 600, 2000]), b".\r\n"]
    if random.random() < 0.3:
        parts.append(_line(random))  # and no line end
    return parts


def _line(random: Random) -> bytes:
    if random.random() < 0.1:
        length = random.choice([LONGEST_LINE, LONGEST_LINE - 1, random.randint(1, LONGEST_LINE)])
        return random.choice([b".", b"x", b"\0", b"\xe9"]) * length
    return random.choice(_LINES)
