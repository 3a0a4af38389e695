"""AUTH LOGIN: it has no standard (draft-murchison-sasl-login describes it), and servers differ in what they ask first.

1. `AUTH LOGIN <user name>` saves a round trip. A server that does not know this form answers 500-504, and only then
   the three steps are taken, once, and at once the next time.
2. The 334 prompt is read. One that asks for a user name gets the user name, again if need be: a server may have
   ignored the one in the command. A password never goes to a prompt for a name.
3. Two prompts are all there can be. The third is answered with `*`, which ends the attempt (RFC 4954 section 4).
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

from mailer.core.reply import Reply
from mailer.smtp.login import Login, LoginEnd, command_line, in_base64

# "Username:", "User Name", "User", "Login:", "Account", and what Chinese servers write. "Password for user x" is none.
_NAME_PROMPT: Final = re.compile(r"user|name|login|account|email|用户|帐号|账号", re.IGNORECASE)
_PASSWORD_PROMPT: Final = re.compile(r"pass|pwd|secret|密码|授权码", re.IGNORECASE)


class LoginMemory:
    """What a relay has taught us about AUTH LOGIN; lives as long as its pool."""

    __slots__ = ("three_steps",)

    def __init__(self) -> None:
        self.three_steps = False


class AuthLogin(Login):
    """AUTH LOGIN: with the user name as initial response, or in three steps."""

    __slots__ = ("_first_line", "_gave_password", "_is_first", "_memory", "_password", "_prompts", "_username")

    def __init__(self, username: str, password: str, memory: LoginMemory) -> None:
        super().__init__()
        self._username = in_base64(username)
        self._password = in_base64(password)
        self._memory = memory
        # None: in three steps. Of this try; another one on the same relay may learn it while this one is under way.
        self._first_line = None if memory.three_steps else command_line("LOGIN", self._username)
        self._is_first = True
        self._prompts = 0
        self._gave_password = False

    def first_line(self) -> bytes:
        return self._first_line or b"AUTH LOGIN\r\n"

    def answer(self, reply: Reply) -> bytes | LoginEnd:
        said = super().answer(reply)
        self._is_first = False
        return said

    def refused(self, reply: Reply) -> bytes | LoginEnd:
        if self._is_first and 500 <= reply.code <= 504 and self._first_line is not None:
            self._first_line = None
            self._memory.three_steps = True
            return b"AUTH LOGIN\r\n"
        return LoginEnd.REFUSED

    def respond(self, challenge: str) -> bytes:
        self._prompts += 1
        if self._prompts > 2 or self._gave_password:
            return self.cancel("asked for more than a user name and a password")
        # The first of the three steps is the user name, whatever the prompt says: nothing has been said yet.
        if asks_for_name(challenge) or (self._first_line is None and self._prompts == 1):
            return self._username + b"\r\n"
        self._gave_password = True
        return self._password + b"\r\n"


def asks_for_name(prompt: str) -> bool:
    """Whether the text of a 334 asks for a user name: in base64 as it should be, or not, on any of its lines."""
    lines = prompt.split("\n")
    # What was meant as plain text may be base64 by accident ("User" is), so what says nothing decoded is read as it is.
    for text in (" ".join(map(_decoded, lines)), " ".join(lines)):
        if _PASSWORD_PROMPT.search(text):
            return False
        if _NAME_PROMPT.search(text):
            return True
    return False


def _decoded(line: str) -> str:
    try:
        raw = base64.b64decode(line.rstrip("=") + "=" * (-len(line.rstrip("=")) % 4), validate=True)
    except (binascii.Error, ValueError):
        return line
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("gb18030", "replace")  # Chinese letters that are not UTF-8 are these
