"""A greylist as Postfix's `check_policy_service` asks for one: the first try is put off, the next one is let through.

Postfix's own `postgrey` judges by the time that has passed, this one by counting alone, so that a test need not wait
and always sees the same. The protocol is described in Postfix's SMTPD_POLICY_README: `name=value` lines, an empty line,
and the answer `action=…` with an empty line after it, any number of times on one connection.
"""

from __future__ import annotations

import socketserver
import threading
from collections import Counter
from collections.abc import Callable
from typing import Final, Self

from support.daemon import Place

# What the well-known greylisting servers answer; mailer's table of replies knows it by the enhanced code and the word.
PUT_OFF: Final = "450 4.2.0 Greylisted, try again later"
LET_THROUGH: Final = "DUNNO"


class Greylist:
    """Puts off the first `times` tries for each pair of sender and recipient. Use it in a `with`."""

    def __init__(self, address: str, port: int, *, times: int = 1) -> None:
        self.tries: Counter[tuple[str, str]] = Counter()
        """How often it was asked for each sender and recipient."""
        self._times = times
        self._lock = threading.Lock()
        self._server = _PolicyServer((address, port), self._decide)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def service(self) -> str:
        """Its name for main.cf."""
        address, port = self._server.server_address[:2]
        return f"check_policy_service inet:{address!s}:{port}"

    def tries_for(self, recipient: str) -> int:
        """How often mail for `recipient` was tried, by whomever."""
        return sum(count for (_, to), count in self.tries.items() if to == recipient)

    def _decide(self, request: dict[str, str]) -> str:
        pair = (request.get("sender", ""), request.get("recipient", ""))
        with self._lock:  # every smtpd has a connection, and every connection a thread
            self.tries[pair] += 1
            return PUT_OFF if self.tries[pair] <= self._times else LET_THROUGH


class _PolicyServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    # A connection lives as long as the smtpd that asks; server_close must not wait for it.
    block_on_close = False

    def __init__(self, place: Place, decide: Callable[[dict[str, str]], str]) -> None:
        self.decide = decide
        super().__init__(place, _PolicyConnection)


class _PolicyConnection(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, _PolicyServer)
        request: dict[str, str] = {}
        for line in self.rfile:
            name, equals, value = line.decode(errors="replace").rstrip("\r\n").partition("=")
            if equals:
                request[name] = value
                continue
            action = self.server.decide(request)
            self.wfile.write(f"action={action}\n\n".encode())
            request = {}
