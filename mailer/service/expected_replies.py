"""Reads a transcript over somebody's shoulder: each reply is compared with what its command should bring.

    greeting 220 · EHLO 250 · STARTTLS 220 · AUTH 334, then 235 · MAIL 250 · RCPT 250 · DATA 354 · end of data 250
    BDAT 250 · NOOP 250 · RSET 250 · QUIT 221

Any other reply is named with its command and what it means. Commands are answered in the order in which they were
written, several of which may be written ahead; what was written behind a refused sender or recipient is refused, too,
and that surprises nobody.
"""

from __future__ import annotations

from collections import deque
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
    "BDAT": (250,),
    "NOOP": (250,),
    "RSET": (250,),
    "QUIT": (221,),
}
# What is void once the sender or the recipient has been refused (RFC 2920 section 3.1).
_VOID: Final = frozenset({"RCPT", "DATA", ".", "BDAT"})
_NO_INITIAL_RESPONSE: Final = "It takes no initial response: the login goes on in three steps."


class ExpectedReplies:
    """Passes a transcript's lines on to `write`, and adds one of its own after a reply that was not to be expected."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._open = deque(["the connection"])  # what has no answer yet, the oldest first
        self._last = ""
        self._is_refused = False
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
        if self._open and self._open[0] == "the connection":
            self._open.popleft()  # nobody speaks before the greeting
        if verb in _EXPECTED:
            self._last = verb
            self._open.append(verb)
            if verb == "AUTH":
                self._has_initial_response = command.upper().startswith("AUTH LOGIN ")
        elif self._last == "AUTH":  # a line of its exchange: a user name or password, already masked
            self._open.append("AUTH")
        # Else a line of a chunk.

    def _goes_on_in_steps(self, code: int) -> bool:
        """A refused initial response (RFC 4954 section 4) is no end: the same login follows in three steps."""
        return self._has_initial_response and 500 <= code <= 504

    def _see_reply(self, line: str) -> None:
        self._lines.append(line)
        if line[3:4] == "-":
            return
        lines, self._lines = self._lines, []
        code = int(line[:3]) if line[:3].isdigit() else 0
        command = self._open.popleft() if self._open else "nothing"
        if command in ("RSET", "MAIL"):
            self._is_refused = False
        expected = _EXPECTED.get(command, ())
        if code in expected or (self._is_refused and command in _VOID):
            return
        self._is_refused = self._is_refused or command in ("MAIL", "RCPT")
        is_login = command == "AUTH" and self._goes_on_in_steps(code)
        meaning = _NO_INITIAL_RESPONSE if is_login else _meaning("\n".join(lines))
        wanted = " or ".join(map(str, expected)) or "none"
        what = "the end of the message" if command == "." else command
        sentence = f"{what} was answered with {code or line!r}, expected was {wanted}. {meaning}".rstrip()
        self.surprises.append(sentence)
        self._write(f"!! {sentence}")


def _meaning(reply: str) -> str:
    try:
        explanation = explain(read_pasted(reply))
    except ValueError:
        return "That is no reply of SMTP."
    return f"It means: {explanation.meaning} {explanation.advice}"
