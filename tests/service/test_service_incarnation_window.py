"""`[worker] slots_per_connection` is how many messages are on their way on one connection, and no more than that."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.modes import CHUNKED, greet
from support.scripted_server import Peer, scripted_server
from support.worker import post_office, relay


class Counter:
    """A server that takes chunks. Once that is proven it answers nothing until so many messages have come."""

    def __init__(self, wanted: int) -> None:
        self.unread: bytes | None = None
        """What had come behind them."""
        self._wanted = wanted

    def __call__(self, peer: Peer) -> None:
        """One connection."""
        greet(peer, CHUNKED)
        owed, ended, is_proven = 0, 0, False
        while (line := peer.line()) not in (None, "QUIT"):
            assert line is not None
            owed += 1
            if line.startswith("BDAT"):
                peer.read(int(line.split()[1]))
                ended += line.endswith("LAST")
            if ended == self._wanted and self.unread is None:
                self.unread = peer.unread()
            if not is_proven or self.unread is not None:
                peer.send(b"250 ok\r\n" * owed)
                owed = 0
            is_proven = is_proven or line == "NOOP"


@pytest.mark.parametrize("slots", [1, 2, 6])
async def test_so_many_messages_are_on_their_way_on_a_connection_and_no_more(tmp_path: Path, slots: int) -> None:
    with scripted_server(counter := Counter(slots)) as server:
        async with post_office(
            tmp_path, relay(server.port, more="max_connections = 1"), worker=f"slots_per_connection = {slots}"
        ) as office:
            await office.queue("spring", 2 * slots + 1)
            await office.work(until_empty=True)
            assert await office.states("spring") == {"sent": 2 * slots + 1}
    assert counter.unread == b""
