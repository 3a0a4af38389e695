"""The mechanisms in which the client says one thing: PLAIN (RFC 4616), XOAUTH2 and CRAM-MD5 (RFC 2195).

PLAIN and XOAUTH2 say it with the command, or after an empty 334 where that line would be too long (RFC 4954 section 4).
That matters: an access token has 1 to 2 KiB at Microsoft and up to 1 KiB at Google, whose server answers 555 5.5.2 to
an AUTH line of about a thousand octets, while both take `AUTH XOAUTH2` alone, and the token after the 334. Microsoft
documents that form only.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
from collections.abc import Callable
from typing import Final

from mailer.smtp.login import Login, command_line, in_base64

# Of each value that is quoted from a server's error text.
_MAX_QUOTED: Final = 100


class AuthPlain(Login):
    """AUTH PLAIN (RFC 4616): everything in one line."""

    __slots__ = ("_first_line", "_has_asked", "_response")

    def __init__(self, username: str, password: str) -> None:
        super().__init__()
        self._response = in_base64(f"\0{username}\0{password}")
        self._first_line = command_line("PLAIN", self._response)
        self._has_asked = False

    def first_line(self) -> bytes:
        return self._first_line or b"AUTH PLAIN\r\n"

    def respond(self, challenge: str) -> bytes:
        del challenge
        if self._has_asked:
            return self.cancel("asked for more than a user name and a password")
        # A server that overlooked the initial response may ask for it once; one that asks on is not doing PLAIN.
        self._has_asked = True
        return self._response + b"\r\n"


class AuthXoauth2(Login):
    """AUTH XOAUTH2, as Google and Microsoft document it: the user name and an access token.

    A token that is not taken brings a 334 with a JSON text, which is answered with an empty line; the refusal itself
    comes after that. Microsoft refuses at once.
    """

    __slots__ = ("_first_line", "_has_answered_error", "_has_asked", "_response")

    def __init__(self, username: str, token: str) -> None:
        super().__init__()
        self._response = in_base64(f"user={username}\1auth=Bearer {token}\1\1")
        self._first_line = command_line("XOAUTH2", self._response)
        self._has_asked = False
        self._has_answered_error = False

    def first_line(self) -> bytes:
        return self._first_line or b"AUTH XOAUTH2\r\n"

    def respond(self, challenge: str) -> bytes:
        if self._has_answered_error:
            return self.cancel("asked for more than an access token")
        # The first 334 after `AUTH XOAUTH2` alone asks for the token, and so does an empty one of a server that
        # overlooked the initial response.
        if not self._has_asked and (self._first_line is None or not challenge):
            self._has_asked = True
            return self._response + b"\r\n"
        self._has_answered_error = True
        self.complaint = _error_words(challenge)
        return b"\r\n"


class AuthCramMd5(Login):
    """AUTH CRAM-MD5 (RFC 2195): a digest of the server's challenge, keyed with the password."""

    __slots__ = ("_has_answered", "_hide", "_password", "_username")

    def __init__(self, username: str, password: str, hide: Callable[[str], None]) -> None:
        """`hide` is told the digest before it is said: it lets passwords be tried out at leisure."""
        super().__init__()
        self._username = username
        self._password = password.encode("utf-8")
        self._hide = hide
        self._has_answered = False

    def first_line(self) -> bytes:
        return b"AUTH CRAM-MD5\r\n"

    def respond(self, challenge: str) -> bytes:
        if self._has_answered:
            return self.cancel("sent a second challenge for CRAM-MD5")
        try:
            decoded = base64.b64decode(challenge, validate=True)
        except (binascii.Error, ValueError):
            return self.cancel("sent a challenge for CRAM-MD5 that is not base64")
        if not decoded:
            return self.cancel("sent an empty challenge for CRAM-MD5")
        try:
            digest = hmac.digest(self._password, decoded, "md5").hex()
        except ValueError:
            return self.cancel("wants CRAM-MD5, and OpenSSL does no MD5 on this machine")
        self._has_answered = True
        self._hide(digest)
        return in_base64(f"{self._username} {digest}") + b"\r\n"


def _error_words(challenge: str) -> str:
    """What the JSON text in a 334 says: `status 401, scope https://mail.google.com/`, or nothing if it is none."""
    try:
        found = json.loads(base64.b64decode(challenge.replace("\n", ""), validate=True))
    except (ValueError, RecursionError):  # not base64, not UTF-8 and not JSON are all ValueErrors
        return ""
    if not isinstance(found, dict):
        return ""
    said = ((name, _quoted(found.get(name))) for name in ("status", "scope"))
    return ", ".join(f"{name} {value}" for name, value in said if value)


def _quoted(value: object) -> str:
    """A text or number from outside, fit to be shown."""
    if not isinstance(value, (str, int)):
        return ""
    return "".join(char if char.isprintable() else " " for char in str(value)[:_MAX_QUOTED]).strip()
