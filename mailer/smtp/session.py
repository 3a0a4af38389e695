"""A session that is open: what the server offers, how we are connected to it, and a tap that sees what comes.

Theory of operation
- From the greeting on, a tap stands between the transport and aiosmtplib and reads along with a parser of our own.
  One command has one reply; anything beyond it, by bytes or by what aiosmtplib made of it, is an error. That covers
  text sent ahead of STARTTLS (RFC 3207 section 6) as well as text sent ahead of our taking over.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from mailer.core.reply import Reply
from mailer.smtp.reply_parser import ReplyParser
from mailer.smtp.trouble import OutOfStep


class Features:
    """What the server said it can do (RFC 5321 section 4.1.1.1)."""

    __slots__ = ("auth", "extensions", "has_8bitmime", "has_size", "has_smtputf8", "size_limit")

    def __init__(self, extensions: Mapping[str, str]) -> None:
        self.extensions: Final = extensions
        """Keyword in upper case to its parameters."""
        self.auth: Final = tuple(extensions.get("AUTH", "").upper().split())
        """Mechanisms in upper case. `AUTH=LOGIN`, as some old servers write it, counts."""
        self.has_size: Final = "SIZE" in extensions
        """Whether MAIL may say how large a message is."""
        self.size_limit: Final = _size_limit(extensions.get("SIZE", "").split())
        """The largest message in octets, or None if there is none that is known (RFC 1870 section 4)."""
        self.has_smtputf8: Final = "SMTPUTF8" in extensions
        """Whether addresses may hold letters beyond ASCII (RFC 6531)."""
        self.has_8bitmime: Final = "8BITMIME" in extensions
        """Whether MAIL may say that there are octets with the eighth bit (RFC 6152)."""


def _size_limit(words: Sequence[str]) -> int | None:
    """RFC 1870 section 4: at most 20 digits, and 0 is no limit. What is no number is none either."""
    if not words or re.fullmatch(r"[0-9]{1,20}", words[0]) is None:
        return None
    return int(words[0]) or None


def extensions_in(reply: Reply) -> dict[str, str]:
    """What an answer to EHLO lists in the lines behind the first one: a keyword each, and its parameters."""
    found: dict[str, str] = {}
    for line in reply.text.split("\n")[1:]:
        # "AUTH=LOGIN PLAIN" is how servers wrote it before RFC 4954, and some still do beside the right form.
        keyword, _, parameters = re.sub(r"(?i)^auth=", "AUTH ", line).partition(" ")
        key = keyword.upper()
        found[key] = f"{found[key]} {parameters}" if key == "AUTH" and key in found else parameters
    return found


@dataclass(frozen=True, slots=True)
class Session:
    """An open one, before AUTH. Whoever holds it closes its transport."""

    transport: asyncio.Transport
    tap: Tap
    greeting: Reply
    features: Features
    ehlo_name: str
    tls: str | None
    """Protocol and cipher, or None for plain text."""
    address: str
    """Which of the server's addresses it is."""
    is_loopback: bool

    def hand_over(self, protocol: asyncio.Protocol) -> None:
        """From now on `protocol` gets what the transport reads. Raises OutOfStep if something was read and not used."""
        self.tap.check_quiet()
        self.transport.set_protocol(protocol)


class Tap(asyncio.Protocol):
    """Passes everything on to aiosmtplib, and keeps the replies that went by."""

    def __init__(self, inner: asyncio.Protocol) -> None:
        self._inner = inner
        self._parser = ReplyParser()
        self._replies: list[Reply] = []

    def take_reply(self, said: Reply) -> Reply:
        """The one reply since the last call. Raises OutOfStep if it is not `said`, or not all that came."""
        replies, self._replies = self._replies, []
        if self._parser.error is not None:
            raise self._parser.error
        if replies != [said] or self._parser.has_leftover:
            raise OutOfStep("the server sent more than was asked for", replies[-1] if replies else None)
        return said

    def check_quiet(self) -> None:
        """Raises OutOfStep if anything has come since the last reply was taken."""
        if self._replies or self._parser.error is not None or self._parser.has_leftover:
            raise OutOfStep("the server sent more than was asked for", self._replies[-1] if self._replies else None)

    def data_received(self, data: bytes) -> None:
        self._replies += self._parser.feed(data)
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()
