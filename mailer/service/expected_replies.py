"""Reads a transcript over somebody's shoulder: each reply is compared with what the step before it should bring.

    greeting 220 · EHLO 250 · STARTTLS 220 · AUTH 334, then 235 · MAIL 250 · RCPT 250 · DATA 354 · end of data 250
    QUIT 221

Any other reply is named with its command and what it means.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from mailer.core.explain import explain
from mailer.core.reply import read_pasted

_CLIENT: Final = "C: "
_SERVER: Final = "S: "

# RFC 5321 section 4.3.2 (with 251 and 252 of section 4.2.3), RFC 4954 section 4, RFC 3207 section 4.
_EXPECTED: Final[Mapping[str, tuple[int, ...]]] = {
    "the connection": (220,),
    "EHLO": (250,),
    "HELO": (250,),
    "STARTTLS": (220,),
    "AUTH": (334, 235),
    "MAIL": (250,),
    "RCPT": (250, 251, 252),
    "DATA": (354,),
    ".": (250,),
    "RSET": (250,),
    "QUIT": (221,),
}
_NO_INITIAL_RESPONSE: Final = "It takes no initial response: the login goes on in three steps."


class ExpectedReplies:
    """Passes a transcript's lines on to `write`, and adds one of its own after a reply that was not to be expected."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._command = "the connection"
        self._has_initial_response = False
        self._lines: list[str] = []
        self.surprises: list[str] = []
        """What was added, one sentence each."""

    def __call__(self, line: str) -> None:
        """The next line of the transcript."""
        self._write(line)
        if line.startswith(_CLIENT):
            self._see_command(line.removeprefix(_CLIENT))
        elif line.startswith(_SERVER):
            self._see_reply(line.removeprefix(_SERVER))

    def _see_command(self, command: str) -> None:
        verb = command.split(" ", 1)[0].upper()
        # What is neither is a line of an AUTH exchange: a user name or password, already masked.
        if verb in _EXPECTED:
            self._command = verb
            self._has_initial_response = verb == "AUTH" and command.upper().startswith("AUTH LOGIN ")
        self._lines = []

    def _goes_on_in_steps(self, code: int) -> bool:
        """A refused initial response (RFC 4954 section 4) is no end: the same login follows in three steps."""
        return self._has_initial_response and 500 <= code <= 504

    def _see_reply(self, line: str) -> None:
        self._lines.append(line)
        if line[3:4] == "-":
            return
        lines, self._lines = self._lines, []
        code = int(line[:3]) if line[:3].isdigit() else 0
        expected = _EXPECTED[self._command]
        if code in expected:
            return
        meaning = _NO_INITIAL_RESPONSE if self._goes_on_in_steps(code) else _meaning("\n".join(lines))
        wanted = " or ".join(map(str, expected))
        what = "the end of the message" if self._command == "." else self._command
        sentence = f"{what} was answered with {code or line!r}, expected was {wanted}. {meaning}".rstrip()
        self.surprises.append(sentence)
        self._write(f"!! {sentence}")


def _meaning(reply: str) -> str:
    try:
        explanation = explain(read_pasted(reply))
    except ValueError:
        return "That is no reply of SMTP."
    return f"It means: {explanation.meaning} {explanation.advice}"
