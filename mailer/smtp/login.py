"""One try to log in (RFC 4954), as the dialogue sees it: the first line, then one for each reply. No I/O.

What all mechanisms have in common is here; what each of them says is in `auth_login` and `auth_response`. Every answer
that is neither 235 nor 334 is final for this try, and so is what a mechanism makes of a 334 that it has no answer to:
asking again with the same words locks accounts.
"""

from __future__ import annotations

import base64
from abc import ABC, abstractmethod
from enum import Enum, auto
from typing import Final

from mailer.core.reply import Reply

# RFC 4954 section 4: a command line is at most 512 octets, CRLF included; a longer initial response goes after a 334.
MAX_COMMAND_LINE: Final = 512
# The same section: what a line of base64 may have, as far as anything is known of what servers take.
MAX_RESPONSE_LINE: Final = 12_288


class LoginEnd(Enum):
    """How a try to log in ended."""

    IN = auto()
    REFUSED = auto()


class Login(ABC):
    """One try to log in: the first line, then for each reply the next line or how it ended."""

    __slots__ = ("complaint", "is_cancelled")

    def __init__(self) -> None:
        self.is_cancelled = False
        """There was nothing to be said to what the server asked, and it was answered with `*`."""
        self.complaint = ""
        """What the mechanism alone can tell of a failure, or nothing.

        If it cancelled, what the server did, to stand behind its name: "sent an empty challenge". Else a remark on the
        refusal, to stand in parentheses behind the reply. It may quote the server, and is to be redacted.
        """

    @abstractmethod
    def first_line(self) -> bytes:
        """What to send first, with its CRLF."""

    def answer(self, reply: Reply) -> bytes | LoginEnd:
        """What to send next, with its CRLF, or how it ended."""
        if self.is_cancelled:
            return LoginEnd.REFUSED
        if reply.code == 235:
            return LoginEnd.IN
        if reply.code == 334:
            return self.respond(reply.text)
        return self.refused(reply)

    @abstractmethod
    def respond(self, challenge: str) -> bytes:
        """What to send after a 334 with this text."""

    def refused(self, reply: Reply) -> bytes | LoginEnd:
        """What to send after any other reply; nothing, unless a mechanism knows better."""
        del reply
        return LoginEnd.REFUSED

    def cancel(self, complaint: str) -> bytes:
        """End the attempt (RFC 4954 section 4); whatever is answered to that, it was refused."""
        self.is_cancelled = True
        self.complaint = complaint
        return b"*\r\n"


def command_line(mechanism: str, response: bytes) -> bytes | None:
    """AUTH with an initial response, or None if that would be too long for a command."""
    line = b"AUTH %b %b\r\n" % (mechanism.encode("ascii"), response)
    return line if len(line) <= MAX_COMMAND_LINE else None


def in_base64(text: str) -> bytes:
    """`text` as it goes over the wire: UTF-8 (RFC 4616 section 2), then base64. Raises UnicodeEncodeError."""
    return base64.b64encode(text.encode("utf-8"))
