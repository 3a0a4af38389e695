"""Connecting: the addresses of a host are raced, what fails is said address by address, and no socket is left open."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from aiohappyeyeballs import AddrInfoType
from support.scripted_server import HELLO, scripted_server
from support.sockets import NEEDS_IPV6, dialled_sockets, silent_port
from support.wire import run_on, settings_for, until

from mailer.core.message import Phase
from mailer.smtp import Transcript
from mailer.smtp.dialling import STAGGER_S, Line, Resolve, dial
from mailer.smtp.session import Session
from mailer.smtp.session_opener import open_session
from mailer.smtp.trouble import RelayFailure

LOOPS = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
HOST = "mail.example.com"


def info(address: str, port: int) -> AddrInfoType:
    """One line of getaddrinfo's answer."""
    if ":" in address:
        return (socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port, 0, 0))
    return (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port))


class Names:
    """A resolver that knows one host, and remembers what it was asked."""

    def __init__(self, *infos: AddrInfoType) -> None:
        self.infos = infos
        self.asked: list[tuple[str, int, int]] = []

    async def __call__(self, host: str, port: int, family: int, /) -> Sequence[AddrInfoType]:
        self.asked.append((host, port, family))
        return self.infos


async def nobody_knows(host: str, port: int, family: int, /) -> Sequence[AddrInfoType]:
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


async def never_answers(host: str, port: int, family: int, /) -> Sequence[AddrInfoType]:
    await asyncio.Event().wait()
    return []


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port where nobody listens, on any address of this machine; nobody else gets it."""
    with socket.socket() as bound:
        bound.bind(("0.0.0.0", 0))  # noqa: S104 - it does not listen
        yield bound.getsockname()[1]


def dialled(loop: str, resolve: Resolve, *, port: int = 25, **settings: Any) -> str:
    """The address that was connected to, or the sentence that says why none was. Nothing stays open."""

    async def main() -> str:
        try:
            line = await dial(settings_for(port, **({"host": HOST} | settings)), resolve, stagger_s=0.001)
        except RelayFailure as failure:
            assert dialled_sockets() == 0
            assert (failure.phase, failure.is_permanent) == (Phase.CONNECT, False)
            return failure.message
        assert dialled_sockets() == 1  # those that lost the race are closed
        line.sock.close()
        return line.peer

    found: str = run_on(loop, main())
    return found


# The race


@LOOPS
@NEEDS_IPV6
def test_the_one_that_answers_wins_over_the_one_before_it_that_does_not(loop: str) -> None:
    with silent_port("::1") as dead, scripted_server("hold") as alive:
        assert dialled(loop, Names(info("::1", dead), info("127.0.0.1", alive.port))) == "127.0.0.1"


@LOOPS
@NEEDS_IPV6
def test_the_first_one_wins_if_it_answers(loop: str) -> None:
    with scripted_server("hold", host="::1") as six, scripted_server("hold") as four:
        assert dialled(loop, Names(info("::1", six.port), info("127.0.0.1", four.port))) == "::1"


@LOOPS
def test_after_a_refusal_the_next_one_does_not_wait_for_its_turn(loop: str, closed_port: int) -> None:
    async def main(port: int) -> Line:
        names = Names(info("127.0.0.2", closed_port), info("127.0.0.1", port))
        return await dial(settings_for(25, host=HOST), names, stagger_s=3600)

    with scripted_server("hold") as alive:
        line = run_on(loop, main(alive.port))
        line.sock.close()
    assert line.peer == "127.0.0.1"


@LOOPS
@NEEDS_IPV6
def test_a_session_is_opened_through_the_address_that_is_alive(loop: str) -> None:
    lines: list[str] = []

    async def main(*infos: AddrInfoType) -> Session:
        session = await open_session(settings_for(25, host=HOST), None, Transcript(lines.append), resolve=Names(*infos))
        session.transport.abort()
        return session

    assert STAGGER_S == 0.25
    with silent_port("::1") as dead, scripted_server(HELLO + "hold") as alive:
        session = run_on(loop, main(info("::1", dead), info("127.0.0.1", alive.port)))
    assert (session.address, session.is_loopback) == ("127.0.0.1", True)
    assert lines[:2] == [f"-- connecting to {HOST}:25", "-- connected to 127.0.0.1"]


@LOOPS
@NEEDS_IPV6
def test_a_session_over_ipv6(loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "laptop")

    async def main(port: int) -> Session:
        session = await open_session(settings_for(port, host="::1"), None)
        session.transport.abort()
        return session

    with scripted_server(HELLO + "hold", host="::1") as server:
        session = run_on(loop, main(server.port))
    assert (session.address, session.is_loopback, session.ehlo_name) == ("::1", True, "[IPv6:::1]")
    assert server.heard == ["EHLO [IPv6:::1]"]


# The look-up


@LOOPS
@pytest.mark.parametrize("host", ["127.0.0.1", pytest.param("::1", marks=NEEDS_IPV6)])
def test_an_address_is_not_looked_up(loop: str, host: str) -> None:
    with scripted_server("hold", host=host) as server:
        assert dialled(loop, nobody_knows, port=server.port, host=host) == host


@LOOPS
def test_the_resolver_is_asked_once_for_both_families(loop: str) -> None:
    with scripted_server("hold") as server:
        names = Names(info("127.0.0.1", server.port))
        assert dialled(loop, names, port=587) == "127.0.0.1"
    assert names.asked == [(HOST, 587, socket.AF_UNSPEC)]


@LOOPS
def test_a_host_that_nobody_knows(loop: str) -> None:
    sentence = f'there is no address for the host "{HOST}" (name or service not known).'
    assert dialled(loop, nobody_knows) == sentence


@pytest.mark.parametrize("host", ["mail..example", "a" * 64 + ".example"])
def test_a_host_that_no_resolver_could_know(host: str) -> None:
    async def as_the_system_does(host: str, port: int, family: int, /) -> Sequence[AddrInfoType]:
        return await asyncio.get_running_loop().getaddrinfo(host, port)

    assert dialled("asyncio", as_the_system_does, host=host).startswith(f'there is no address for the host "{host}" (')


@LOOPS
def test_a_look_up_that_takes_too_long(loop: str) -> None:
    sentence = f'no address of the host "{HOST}" was found within 0.01 s.'
    assert dialled(loop, never_answers, connect_timeout_s=0.01) == sentence


# What fails is said


@LOOPS
def test_one_address_that_refuses(loop: str, closed_port: int) -> None:
    assert dialled(loop, Names(info("127.0.0.1", closed_port)), port=587) == f"nobody listens on {HOST}:587."


@LOOPS
@NEEDS_IPV6
def test_all_that_were_tried_are_named_in_the_order_of_their_attempts(loop: str, closed_port: int) -> None:
    names = Names(*(info(address, closed_port) for address in ("127.0.0.2", "127.0.0.3", "::1")))
    assert dialled(loop, names, port=587) == f"nobody listens on {HOST}:587 (tried 127.0.0.2, ::1 and 127.0.0.3)."


@LOOPS
def test_the_time_limit_is_for_all_of_them_together(loop: str) -> None:
    with silent_port("127.0.0.2") as one, silent_port("127.0.0.3") as other:
        names = Names(info("127.0.0.2", one), info("127.0.0.3", other))
        sentence = dialled(loop, names, port=465, connect_timeout_s=0.1)
    assert sentence == f"{HOST}:465 did not answer within 0.1 s (tried 127.0.0.2 and 127.0.0.3)."


@LOOPS
def test_where_they_failed_in_different_ways_each_way_is_said(loop: str, closed_port: int) -> None:
    with silent_port("127.0.0.2") as dead:
        names = Names(info("127.0.0.2", dead), info("127.0.0.3", closed_port))
        sentence = dialled(loop, names, connect_timeout_s=0.1)
    assert sentence == (
        f"cannot connect to {HOST}:25 (127.0.0.2: no answer within 0.1 s; 127.0.0.3: connection refused)."
    )


@LOOPS
def test_a_reason_that_all_share_is_said_once_and_in_the_systems_words(loop: str) -> None:
    # No connection can be made to a group of machines (RFC 9293 section 3.9.2.3).
    names = Names(info("224.0.0.1", 25), info("224.0.0.2", 25))
    sentence = f"cannot connect to {HOST}:25: network is unreachable (tried 224.0.0.1 and 224.0.0.2)."
    assert dialled(loop, names) == sentence


@LOOPS
@NEEDS_IPV6
def test_a_server_is_named_with_brackets_where_its_host_is_an_ipv6_address(loop: str, closed_port: int) -> None:
    assert dialled(loop, nobody_knows, host="::1", port=closed_port) == f"nobody listens on [::1]:{closed_port}."


# Our own end


@LOOPS
def test_the_connection_comes_from_the_address_that_was_chosen(loop: str) -> None:
    async def main(port: int) -> Line:
        line = await dial(settings_for(port, source_address="127.0.0.9"))
        line.sock.close()
        return line

    with scripted_server("hold") as server:
        line = run_on(loop, main(server.port))
    assert (line.local, line.peer) == ("127.0.0.9", "127.0.0.1")


@LOOPS
@NEEDS_IPV6
def test_only_addresses_of_its_family_are_tried(loop: str) -> None:
    with scripted_server("hold", host="::1") as six, scripted_server("hold") as four:
        names = Names(info("::1", six.port), info("127.0.0.1", four.port))
        assert dialled(loop, names, source_address="127.0.0.1") == "127.0.0.1"
        assert dialled(loop, names, source_address="::1") == "::1"
    assert [family for _, _, family in names.asked] == [socket.AF_INET, socket.AF_INET6]


@LOOPS
@pytest.mark.parametrize(
    ("host", "source", "kind"), [(HOST, "192.0.2.7", "IPv4"), ("192.0.2.1", "2001:db8::7", "IPv6")]
)
def test_a_host_without_an_address_of_that_family(loop: str, host: str, source: str, kind: str) -> None:
    sentence = f'there is no {kind} address for the host "{host}" (none of that kind).'
    assert dialled(loop, Names(info("::1", 25)), host=host, source_address=source) == sentence


@LOOPS
def test_an_address_that_this_machine_does_not_have(loop: str) -> None:
    sentence = "this machine does not have the address 192.0.2.7."
    assert dialled(loop, Names(info("127.0.0.1", 25)), source_address="192.0.2.7") == sentence
    several = Names(info("127.0.0.1", 25), info("127.0.0.2", 25))
    assert dialled(loop, several, source_address="192.0.2.7") == sentence


@LOOPS
@pytest.mark.parametrize("is_raced", [False, True])
def test_every_connection_is_kept_alive_and_sends_at_once(loop: str, is_raced: bool) -> None:
    async def main(port: int) -> list[int]:
        names = Names(*[info("127.0.0.1", port), info("127.0.0.2", port)][: 2 if is_raced else 1])
        session = await open_session(settings_for(port, host=HOST), None, resolve=names)
        sock = session.transport.get_extra_info("socket")
        tcp = (socket.TCP_NODELAY, socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        values = [sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)]
        values += [sock.getsockopt(socket.IPPROTO_TCP, option) for option in tcp]
        session.transport.abort()
        return values

    with scripted_server(HELLO + "hold") as server:
        alive, *tcp = run_on(loop, main(server.port))
    assert alive
    assert tcp == [1, 60, 15, 4]


# Cancellation


@LOOPS
@pytest.mark.parametrize("count", [1, 3])
def test_a_cancelled_race_leaves_nothing_open(loop: str, count: int) -> None:
    async def main(port: int) -> None:
        names = Names(*(info(f"127.0.0.{n}", port) for n in range(2, 2 + count)))
        dialling = asyncio.ensure_future(dial(settings_for(25, host=HOST), names, stagger_s=0.001))
        await until(lambda: dialled_sockets() == count)
        dialling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await dialling
        assert dialled_sockets() == 0

    with silent_port("0.0.0.0") as port:  # noqa: S104 - for the length of this test
        run_on(loop, main(port))


@LOOPS
@pytest.mark.parametrize("turns", range(12))
@pytest.mark.parametrize("count", [1, 2])
def test_cancelled_at_any_turn_of_the_loop_nothing_is_left_open(loop: str, turns: int, count: int) -> None:
    async def main(port: int) -> None:
        names = Names(*(info(f"127.0.0.{n}", port) for n in range(1, 1 + count)))
        opening = asyncio.ensure_future(open_session(settings_for(25, host=HOST), None, resolve=names))
        for _ in range(turns):
            await asyncio.sleep(0)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        await until(lambda: dialled_sockets() == 0)

    with scripted_server("hold", host="0.0.0.0") as server:  # noqa: S104 - for the length of this test
        run_on(loop, main(server.port))
