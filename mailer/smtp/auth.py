"""Logging in (RFC 4954): which mechanism, and what is said in answer to what. No I/O.

AUTH LOGIN has no standard (draft-murchison-sasl-login describes it), and servers differ in what they ask first:

1. `AUTH LOGIN <user name>` saves a round trip. A server that does not know this form answers 500-504, and only then
   the three steps are taken, once, and at once the next time.
2. The 334 prompt is read. One that asks for a user name gets the user name, again if need be: a server may have
   ignored the one in the command. A password never goes to a prompt for a name.
3. Two prompts are all there can be. The third is answered with `*`, which ends the attempt (RFC 4954 section 4).

Every other answer is final for this try: asking again with the same words locks accounts.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Collection
from enum import Enum, auto
from typing import Final, Literal, Protocol

from mailer.core.message import Phase
from mailer.core.reply import Reply
from mailer.smtp.settings import RelaySettings
from mailer.smtp.trouble import RelayFailure

Mechanism = Literal["login", "plain"]

# RFC 4954 section 4: a command line is at most 512 octets, CRLF included; a longer initial response goes after a 334.
_MAX_AUTH_LINE: Final = 512

# "Username:", "User Name", "User", "Login:", "Account", and what Chinese servers write. "Password for user x" is none.
_NAME_PROMPT: Final = re.compile(r"user|name|login|account|email|用户|帐号|账号", re.IGNORECASE)
_PASSWORD_PROMPT: Final = re.compile(r"pass|pwd|secret|密码|授权码", re.IGNORECASE)


class LoginEnd(Enum):
    """How a try to log in ended."""

    IN = auto()
    REFUSED = auto()


class Login(Protocol):
    """One try to log in: the first line, then for each reply the next line or how it ended."""

    @property
    def is_cancelled(self) -> bool:
        """The server asked for more than there is to be said, and was answered with `*`."""

    def first_line(self) -> bytes:
        """What to send first, with its CRLF."""

    def answer(self, reply: Reply) -> bytes | LoginEnd:
        """What to send next, with its CRLF, or how it ended."""


class LoginMemory:
    """What a relay has taught us about AUTH LOGIN; lives as long as its pool."""

    __slots__ = ("three_steps",)

    def __init__(self) -> None:
        self.three_steps = False


class AuthLogin:
    """AUTH LOGIN: with the user name as initial response, or in three steps."""

    __slots__ = (
        "_gave_password",
        "_is_first",
        "_memory",
        "_password",
        "_prompts",
        "_three_steps",
        "_username",
        "is_cancelled",
    )

    def __init__(self, username: str, password: str, memory: LoginMemory) -> None:
        self._username = _b64(username)
        self._password = _b64(password)
        self._memory = memory
        # Of this try; another one on the same relay may learn it while this one is under way.
        self._three_steps = memory.three_steps or len(b"AUTH LOGIN " + self._username + b"\r\n") > _MAX_AUTH_LINE
        self._is_first = True
        self._prompts = 0
        self._gave_password = False
        self.is_cancelled = False

    def first_line(self) -> bytes:
        return b"AUTH LOGIN\r\n" if self._three_steps else b"AUTH LOGIN " + self._username + b"\r\n"

    def answer(self, reply: Reply) -> bytes | LoginEnd:
        is_first, self._is_first = self._is_first, False
        if self.is_cancelled:
            return LoginEnd.REFUSED
        if reply.code == 235:
            return LoginEnd.IN
        if reply.code == 334:
            return self._prompt(reply.text)
        if is_first and 500 <= reply.code <= 504 and not self._three_steps:
            self._three_steps = self._memory.three_steps = True
            return b"AUTH LOGIN\r\n"
        return LoginEnd.REFUSED

    def _prompt(self, text: str) -> bytes:
        self._prompts += 1
        if self._prompts > 2 or self._gave_password:
            self.is_cancelled = True
            return b"*\r\n"
        # The first of the three steps is the user name, whatever the prompt says: nothing has been said yet.
        if asks_for_name(text) or (self._three_steps and self._prompts == 1):
            return self._username + b"\r\n"
        self._gave_password = True
        return self._password + b"\r\n"


class AuthPlain:
    """AUTH PLAIN (RFC 4616): everything in one line, or after an empty prompt if that line would be too long."""

    __slots__ = ("_has_asked", "_is_short", "_response", "is_cancelled")

    def __init__(self, username: str, password: str) -> None:
        self._response = _b64(f"\0{username}\0{password}")
        self._is_short = len(b"AUTH PLAIN " + self._response + b"\r\n") <= _MAX_AUTH_LINE
        self._has_asked = False
        self.is_cancelled = False

    def first_line(self) -> bytes:
        return b"AUTH PLAIN " + self._response + b"\r\n" if self._is_short else b"AUTH PLAIN\r\n"

    def answer(self, reply: Reply) -> bytes | LoginEnd:
        if self.is_cancelled:
            return LoginEnd.REFUSED
        if reply.code == 235:
            return LoginEnd.IN
        if reply.code != 334:
            return LoginEnd.REFUSED
        if self._has_asked:
            self.is_cancelled = True
            return b"*\r\n"
        # A server that overlooked the initial response may ask for it once; one that asks on is not doing PLAIN.
        self._has_asked = True
        return self._response + b"\r\n"


def asks_for_name(prompt: str) -> bool:
    """Whether the text of a 334, base64 as it should be or not, asks for a user name."""
    try:
        decoded = base64.b64decode(prompt, validate=True).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        decoded = prompt
    return _NAME_PROMPT.search(decoded) is not None and _PASSWORD_PROMPT.search(decoded) is None


def choose_mechanism(
    settings: RelaySettings, offered: Collection[str], *, is_tls: bool, is_loopback: bool
) -> Mechanism | None:
    """The mechanism to log in with, or None for a relay that wants no login. Raises RelayFailure.

    `offered` are the words behind AUTH in the answer to EHLO. Nothing secret has been sent when this raises.
    """
    if settings.auth == "none":
        return None
    if not (is_tls or is_loopback or settings.insecure_auth):
        raise _failure(
            f"{settings.endpoint} would get the password over plain text, which anybody on the way can read.",
            'Set tls = "starttls" (port 587) or "implicit" (port 465).',
        )
    names = {name.lower() for name in offered}
    # PLAIN before LOGIN: it has a standard, and needs one round trip where LOGIN needs two.
    wanted: tuple[Mechanism, ...] = ("plain", "login") if settings.auth == "auto" else (settings.auth,)
    for mechanism in wanted:
        if mechanism in names:
            return mechanism
    words = " or ".join(f"AUTH {name.upper()}" for name in reversed(wanted))
    if not names:
        hint = 'If it wants no login, set auth = "none".'
        if not is_tls:
            hint = 'It may offer it only over TLS (tls = "starttls"), or want no login at all (auth = "none").'
        raise _failure(f"{settings.endpoint} offers no AUTH.", hint)
    known = ", ".join(sorted(name.upper() for name in names))
    raise _failure(f"{settings.endpoint} does not offer {words}, only {known}.", 'auth = "auto" takes what is offered.')


def new_login(mechanism: Mechanism, username: str, password: str, memory: LoginMemory) -> Login:
    """A fresh try. Raises RelayFailure for what no server could take."""
    if "\0" in username or "\0" in password:
        raise _failure("the user name or the password holds a NUL character.", "Check how the secret is stored.")
    if mechanism == "plain":
        return AuthPlain(username, password)
    return AuthLogin(username, password, memory)


def _failure(message: str, hint: str) -> RelayFailure:
    return RelayFailure(message, hint, phase=Phase.AUTH, is_permanent=True)


def _b64(text: str) -> bytes:
    return base64.b64encode(text.encode("utf-8", "surrogateescape"))
