"""A TCP proxy with a round-trip time: every byte arrives half of it later, in each direction, and nothing else changes.

    python -m bench.delay_proxy --to PORT --round-trip-ms 50

The port to connect to is printed on the first line; when standard input ends, so does the proxy. Whatever was read
waits for its own time in a queue, so any number of writes may be on their way at once, as on a long wire of unlimited
bandwidth. Connecting is not delayed: the first thing that a client waits for is the greeting, half a round trip away.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
from collections import deque
from typing import Final, cast

from bench._processes import HOST, serve

# A timer has whole milliseconds: what is due within half of one goes along.
_ALONG_S: Final = 0.0005


class Wire:
    """One direction: what is put in at one end comes out of the other later."""

    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s
        self._loop = asyncio.get_running_loop()
        self._under_way: deque[tuple[float, bytes | None]] = deque()  # None is the end
        self._out: asyncio.Transport | None = None
        self._is_waiting = False

    def lead_to(self, transport: asyncio.Transport) -> None:
        """Where it comes out. What was due before has been waiting for that."""
        self._out = transport
        self._deliver()

    def put(self, data: bytes | None) -> None:
        """Send it on its way; None is the last thing that may be put in."""
        self._under_way.append((self._loop.time() + self._delay_s, data))
        if not self._is_waiting:
            self._wait()

    def _wait(self) -> None:
        self._is_waiting = True
        self._loop.call_at(self._under_way[0][0], self._deliver)

    def _deliver(self) -> None:
        self._is_waiting = False
        if self._out is None:
            return
        due = self._loop.time() + _ALONG_S
        arrived: list[bytes] = []
        is_end = False
        while self._under_way and self._under_way[0][0] <= due:
            _, data = self._under_way.popleft()
            if data is None:
                is_end = True
            else:
                arrived.append(data)
        if arrived and not self._out.is_closing():
            self._out.write(b"".join(arrived))
        if is_end:
            self._out.close()
        elif self._under_way:
            self._wait()


class End(asyncio.Protocol):
    """One end of a proxied connection: puts what comes in on one wire, and the other wire leads to it."""

    def __init__(self, sends_on: Wire, gets_from: Wire) -> None:
        self._sends_on = sends_on
        self._gets_from = gets_from

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._gets_from.lead_to(cast(asyncio.Transport, transport))  # uvloop's are none by their class

    def data_received(self, data: bytes) -> None:
        self._sends_on.put(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - both ways of ending are one here
        self._sends_on.put(None)


class ClientEnd(End):
    """The end that clients connect to; it connects to the server."""

    def __init__(self, port: int, delay_s: float) -> None:
        super().__init__(sends_on=Wire(delay_s), gets_from=Wire(delay_s))
        self._port = port
        self._connecting: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._connecting = asyncio.get_running_loop().create_task(self._connect(transport))

    async def _connect(self, transport: asyncio.BaseTransport) -> None:
        server_end = functools.partial(End, sends_on=self._gets_from, gets_from=self._sends_on)
        try:
            await asyncio.get_running_loop().create_connection(server_end, HOST, self._port)
        except OSError:
            transport.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=int, required=True, metavar="PORT", help="of the server, on this machine")
    parser.add_argument("--round-trip-ms", type=float, required=True)
    options = parser.parse_args()
    delay_s = options.round_trip_ms / 2_000
    serve(lambda: ClientEnd(options.to, delay_s))


if __name__ == "__main__":
    main()
