"""The conversation as a person reads it: `C:` and `S:` lines, nothing secret in them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from mailer.core.reply import Reply
from mailer.redact import MASK, Redactor

_AUTH: Final = "AUTH "


class Transcript:
    """Writes a conversation line by line. What it was told to hide is ***, in the server's words too."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._redact = Redactor()
        self._last = ""

    def hide(self, secret: str) -> None:
        """Never show `secret`, in none of the forms in which it travels."""
        self._redact.add(secret)

    def client(self, text: str) -> None:
        """A line that we send."""
        self._line(f"C: {self._redact(text)}")

    def server(self, text: str) -> None:
        """What the server sends; of several lines each is written by itself."""
        for line in text.split("\n"):
            self._line(f"S: {self._redact(line)}")

    def note(self, text: str) -> None:
        """What happens beside the lines: TLS begun, a message of so many bytes, the connection lost."""
        line = f"-- {self._redact(text)}"
        # How a connection ended is told by it and by whoever opened it, one after the other in the same words.
        if line != self._last:
            self._line(line)

    def _line(self, line: str) -> None:
        self._last = line
        self._write(line)


def shown_reply(reply: Reply) -> str:
    """A reply as it came: every line with its code."""
    lines = reply.text.split("\n")
    enhanced = f"{reply.enhanced} " if reply.enhanced else ""
    return "\n".join(
        f"{reply.code}{'-' if n < len(lines) else ' '}{enhanced}{line}".rstrip() for n, line in enumerate(lines, 1)
    )


def shown_command(line: bytes, *, is_secret: bool) -> str:
    """A command as it may be shown: of one that carries a credential only the mechanism."""
    text = line.decode("utf-8", "replace").removesuffix("\r\n")
    if not is_secret:
        return text
    if text.upper().startswith(_AUTH):
        mechanism, _, response = text[len(_AUTH) :].partition(" ")
        return f"{_AUTH}{mechanism} {MASK}" if response else text
    return text if text in ("", "*") else MASK
