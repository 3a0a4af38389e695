"""Bytes in, replies out (RFC 5321 section 4.2), in whatever pieces they come.

What is no reply stops the parser for good: the replies before it are handed out, `error` says what was wrong, and
nothing is read after it, for where the next reply begins cannot be known.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from mailer.core.reply import Reply
from mailer.smtp.trouble import OutOfStep

# Longest reply kept before giving up on the peer. A real EHLO stays under 4 KiB; this only stops a hostile server.
MAX_REPLY_BYTES: Final = 32 * 1024

_LINE: Final = re.compile(rb"([1-5][0-9][0-9])(?:([ -])(.*))?", re.DOTALL)
# RFC 2034 section 4: class, subject, detail in front of the text; the class repeats the first digit of the code.
_ENHANCED: Final = re.compile(r"([245])\.[0-9]{1,3}\.[0-9]{1,3}(?=\s|$)", re.ASCII)
# Most replies are those of the message before: the same few short lines.
_SHORT: Final = 80
_KNOWN: Final = 256
_REPLACEMENT: Final = "\ufffd"


class ReplyParser:
    """Collects bytes until they make replies."""

    __slots__ = ("_code", "_lines", "_partial", "_size", "error")

    def __init__(self) -> None:
        self.error: OutOfStep | None = None
        """Set once something came that is no reply."""
        self._partial = b""
        self._lines: list[str] = []
        self._code = 0
        self._size = 0

    @property
    def has_leftover(self) -> bool:
        """Whether a part of a reply has been read."""
        return bool(self._partial or self._lines)

    def feed(self, data: bytes) -> list[Reply]:
        """The replies that `data` completes, in order."""
        replies: list[Reply] = []
        if self.error is not None:
            return replies
        lines = (self._partial + data if self._partial else data).split(b"\n")
        self._partial = lines.pop()
        for line in lines:
            if not self._lines and len(line) <= _SHORT:
                known = _whole_reply(line)
                if known is not None:
                    replies.append(known)
                    continue
            self._size += len(line) + 1
            reply = self._line(line)
            if reply is not None:
                replies.append(reply)
            elif self.error is not None:
                return replies
        if self._size + len(self._partial) > MAX_REPLY_BYTES:
            self._too_long()
        return replies

    def _line(self, line: bytes) -> Reply | None:
        if self._size > MAX_REPLY_BYTES:
            self._too_long()
            return None
        found = _LINE.fullmatch(line.removesuffix(b"\r"))
        if found is None:
            self.error = OutOfStep(f'the server sent "{_words(line)}", which is no SMTP reply')
            return None
        digits, separator, rest = found.groups(b"")
        code = int(digits)
        if self._lines and code != self._code:
            # "The reply code must be the same on every line" (RFC 5321 section 4.2.1): else which one counts?
            self.error = OutOfStep(f"the lines of one reply begin with {self._code} and {code}")
            return None
        self._code = code
        self._lines.append(_words(rest))
        if separator == b"-":
            return None
        reply = _reply(code, self._lines)
        self._lines = []
        self._size = 0
        return reply

    def _too_long(self) -> None:
        self.error = OutOfStep(f"the server sent a reply of more than {MAX_REPLY_BYTES // 1024} KiB")


@lru_cache(maxsize=_KNOWN)
def _whole_reply(line: bytes) -> Reply | None:
    """The reply that is one line, or None if it is the beginning of a longer one, or none."""
    found = _LINE.fullmatch(line.removesuffix(b"\r"))
    if found is None or found[2] == b"-":
        return None
    return _reply(int(found[1]), [_words(found[3] or b"")])


def reply_of(code: int, message: str) -> Reply:
    """A reply that somebody else has already cut into lines, bytes beyond ASCII as surrogates."""
    return _reply(code, [_words(line) for line in message.encode("utf-8", "surrogateescape").split(b"\n")])


def _reply(code: int, lines: list[str]) -> Reply:
    enhanced: str | None = None
    for n, line in enumerate(lines):
        found = _ENHANCED.match(line)
        if found is None or int(found[1]) != code // 100 or enhanced not in (None, found[0]):
            continue
        enhanced = found[0]
        lines[n] = line[found.end() :].lstrip()
    return Reply(code, enhanced, lines[0] if len(lines) == 1 else "\n".join(lines))


def _words(raw: bytes) -> str:
    """Text that can be stored and shown: what is not UTF-8, and what would steer a terminal, becomes U+FFFD."""
    text = raw.decode("utf-8", "replace").strip()
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else " " if char.isspace() else _REPLACEMENT for char in text)
