"""A server's reply: code, enhanced status code and its own words."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply of any number of lines (RFC 5321 section 4.2).

    `enhanced` is the `class.subject.detail` of RFC 3463 where the server gave one (RFC 2034); `text` the words of all
    lines joined by a newline, without the reply code and the enhanced code.
    """

    code: int
    enhanced: str | None
    text: str
