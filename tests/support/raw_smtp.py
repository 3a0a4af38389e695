"""One SMTP connection spoken by hand: exactly these bytes, exactly so many replies."""

from __future__ import annotations

import socket
from types import TracebackType
from typing import Final, Self

from support.daemon import Place

# Only a server that hangs keeps us waiting for so long.
_ANSWERED_WITHIN_S: Final = 20.0


class RawSmtp:
    """A connection whose greeting has been read. Use it in a `with`."""

    def __init__(self, place: Place) -> None:
        self._socket = socket.create_connection(place, timeout=_ANSWERED_WITHIN_S)
        self._replies = self._socket.makefile("rb")
        self._reply()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._replies.close()
        self._socket.close()

    def say(self, data: bytes, replies: int = 1) -> list[str]:
        """Write `data` at once and return that many replies, each by its last line. Raises EOFError."""
        self._socket.sendall(data)
        return [self._reply() for _ in range(replies)]

    def codes(self, data: bytes, replies: int = 1) -> str:
        """As `say`, the codes alone, with blanks between."""
        return " ".join(reply[:3] for reply in self.say(data, replies))

    def _reply(self) -> str:
        while True:
            line = self._replies.readline()
            if not line:
                raise EOFError("the server closed the connection")
            if line[3:4] != b"-":
                return line.decode("utf-8", "replace").rstrip()
