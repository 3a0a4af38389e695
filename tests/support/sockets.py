"""What the tests of connecting share: which sockets of ours are open, and addresses that never answer."""

from __future__ import annotations

import gc
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


def has_ipv6_loopback() -> bool:
    """Whether `::1` can be listened on."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


NEEDS_IPV6 = pytest.mark.skipif(not has_ipv6_loopback(), reason="this machine has no IPv6 loopback (::1)")


def dialled_sockets() -> int:
    """How many sockets are open in this process that the program dialled. The servers of tests keep nothing alive."""
    gc.collect()
    return sum(_is_dialled(one) for one in gc.get_objects() if isinstance(one, socket.socket))


def _is_dialled(sock: socket.socket) -> bool:
    try:
        is_tcp = sock.family in (socket.AF_INET, socket.AF_INET6)
        return is_tcp and sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 15
    except OSError:  # closed, maybe a moment ago by the thread of a server
        return False


@contextmanager
def silent_port(address: str) -> Iterator[int]:
    """A port where a connection is neither taken nor refused: the queue of those that wait to be taken is full."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as listener, socket.socket(family) as first:
        listener.bind((address, 0))
        listener.listen(0)
        first.connect(listener.getsockname())
        yield listener.getsockname()[1]
