"""A server's reply: code, enhanced status code and its own words."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_CODE: Final = re.compile(r"([2-5][0-9][0-9])(?:[ \t:-]+|$)")
# RFC 2034 section 4: at the beginning of the text. A digit or dot behind it makes it a version or an address.
_ENHANCED: Final = re.compile(r"#?([245]\.[0-9]{1,3}\.[0-9]{1,3})(?![0-9.])[ \t:]*")
# qmail and those who follow it put it at the end, as (#5.1.1).
_HASHED: Final = re.compile(r"#([245]\.[0-9]{1,3}\.[0-9]{1,3})(?![0-9.])")
# What stands before a reply where people find it: a bounce's Diagnostic-Code (RFC 3464 section 2.3.6), our transcript.
_BEFORE: Final = re.compile(r"(?:(?:Diagnostic-Code|Status):)?\s*(?:smtp\s*;)?\s*(?:S:)?\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply of any number of lines (RFC 5321 section 4.2).

    `enhanced` is the `class.subject.detail` of RFC 3463 where the server gave one (RFC 2034); `text` the words of all
    lines joined by a newline, without the reply code and the enhanced code.
    """

    code: int
    enhanced: str | None
    text: str


@dataclass(frozen=True, slots=True)
class Pasted:
    """A reply as somebody copied it from a log or a bounce: one of the codes may be missing."""

    code: int | None
    enhanced: str | None
    text: str


def split_enhanced(text: str) -> tuple[str | None, str]:
    """The enhanced status code at the beginning of `text`, or None, and the words behind it."""
    found = _ENHANCED.match(text)
    return (found[1], text[found.end() :]) if found else (None, text)


def read_pasted(text: str) -> Pasted:
    """The reply in `text`: `550 5.1.1 …` on one or several lines, `421`, `5.7.1 …`, `smtp; 550 …`, `S: 250 …`.

    Raises ValueError for a text that begins with neither code.
    """
    code: int | None = None
    enhanced: str | None = None
    words: list[str] = []
    for line in text.strip().splitlines():
        rest = line[_matched_before(line) :].rstrip()
        found = _CODE.match(rest)
        if found is not None and code in (None, int(found[1])):
            code, rest = int(found[1]), rest[found.end() :]
        here, rest = split_enhanced(rest)
        enhanced = enhanced or here
        if code is None and enhanced is None:
            raise ValueError("expected a reply code such as 550, or an enhanced code such as 5.1.1, at the beginning")
        words.append(rest)
    if not words:
        raise ValueError("expected a reply, found nothing")
    if enhanced is None and (hashed := _HASHED.search(text)):
        enhanced = hashed[1]
    return Pasted(code, enhanced, "\n".join(words).strip())


def _matched_before(line: str) -> int:
    found = _BEFORE.match(line)
    return found.end() if found else 0
