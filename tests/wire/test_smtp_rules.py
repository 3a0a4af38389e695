"""What a connection may begin, and what counts as a sign against a relay, rule by rule."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from support.modes import CHUNKED, PIPELINED, expect, greet, parcel_of, replies
from support.scripted_server import Peer, ScriptedServer, scripted_server
from support.wire import Parcel, finished, run_on, running_pool, settings_for

from mailer.smtp import RelayPool

SENT = "answered end-of-data 250"


async def no_pause(_: float) -> None:
    """A pause of the relay's that is over at once."""
    await asyncio.sleep(0)


async def seen(server: ScriptedServer, name: str) -> None:
    """Wait for an event of the server's."""
    assert await asyncio.to_thread(server.events[name].wait, 20), name


def send_each(server: ScriptedServer, *parcels: Parcel, **others: Any) -> tuple[list[str], list[str]]:
    """Send one by one over one connection at a time: what came of them, and what is said of the relay."""
    said: list[str] = []

    async def main() -> list[str]:
        settings = settings_for(server.port, max_connections=1, **others)
        async with running_pool(settings, sleep=no_pause, on_distrust=said.append) as pool:
            for parcel in parcels:
                pool.submit(parcel)
                await finished(parcel)
            return [parcel.brief for parcel in parcels]

    return run_on("asyncio", main()), said


# Who writes ahead


def one_envelope(n: int, *written: str) -> Callable[[Peer], None]:
    """Begin message `n`, and when the test says `go` take its text, with what is `written` behind it."""

    def play(peer: Peer) -> None:
        events = peer.server.events
        greet(peer, PIPELINED)
        expect(peer, f"mail{n} rcpt{n} data")
        events[f"begun{n}"].set()
        events[f"go{n}"].wait(20)
        replies(peer, "250 250 354")
        expect(peer, " ".join((f"text{n}", *written)))
        events[f"ended{n}"].set()
        peer.hold()

    return play


async def begin_both(server: ScriptedServer, pool: RelayPool) -> None:
    """Messages 1 and 2 have begun, each on a connection of its own."""
    for n in (1, 2):
        pool.submit(parcel_of(n))
        await seen(server, f"begun{n}")


def test_of_two_connections_only_one_writes_ahead_while_that_has_not_worked() -> None:
    async def main(server: ScriptedServer) -> None:
        async with running_pool(settings_for(server.port, max_connections=2)) as pool:
            await begin_both(server, pool)
            for n in (3, 4):
                pool.submit(parcel_of(n))
            server.events["go1"].set()
            await seen(server, "ended1")
            assert pool.waiting == 1
            server.events["go2"].set()
            await seen(server, "ended2")
            assert pool.waiting == 1, "the second connection has begun another one behind its end"

    with scripted_server(one_envelope(1, "rset mail3 rcpt3 data"), one_envelope(2)) as server:
        run_on("asyncio", main(server))


def test_a_connection_that_rests_lets_another_one_write_ahead() -> None:
    def rests(peer: Peer) -> None:
        greet(peer, PIPELINED)
        expect(peer, "mail1 rcpt1 data")
        peer.server.events["begun1"].set()
        peer.server.events["begun2"].wait(20)
        replies(peer, "250 250 354")
        expect(peer, "text1")
        replies(peer, "250")
        expect(peer, "rset mail3 rcpt3 data")
        peer.server.events["begun3"].set()
        peer.hold()

    async def main(server: ScriptedServer) -> None:
        async with running_pool(settings_for(server.port, max_connections=2)) as pool:
            first = parcel_of(1)
            pool.submit(first)
            await seen(server, "begun1")
            pool.submit(parcel_of(2))
            assert await finished(first) == [SENT]
            for n in (3, 4):
                pool.submit(parcel_of(n))
            await seen(server, "begun3")
            assert pool.waiting == 1
            server.events["go2"].set()
            await seen(server, "ended2")
            assert pool.waiting == 0

    with scripted_server(rests, one_envelope(2, "rset mail4 rcpt4 data")) as server:
        run_on("asyncio", main(server))


# Signs against a relay


def gone_at_first_envelope(n: int) -> Callable[[Peer], None]:
    def play(peer: Peer) -> None:
        greet(peer, PIPELINED)
        expect(peer, f"mail{n} rcpt{n} data")
        peer.close()

    return play


def test_a_message_that_went_well_clears_the_sign_before_it() -> None:
    def good(peer: Peer) -> None:
        greet(peer, PIPELINED)
        expect(peer, "mail2 rcpt2 data")
        replies(peer, "250 250 354")
        expect(peer, "text2")
        replies(peer, "250")
        peer.expect("QUIT")

    def still_pipelined(peer: Peer) -> None:
        greet(peer, PIPELINED)
        expect(peer, "mail4 rcpt4 data")
        replies(peer, "450 503 503")
        peer.expect("QUIT")

    with scripted_server(gone_at_first_envelope(1), good, gone_at_first_envelope(3), still_pipelined) as server:
        assert send_each(server, *map(parcel_of, range(1, 5)), messages_per_connection=1) == (
            ["lost mail", SENT, "lost mail", "answered mail 450"],
            [],
        )


def test_after_a_command_out_of_order_nothing_more_is_begun_although_messages_wait() -> None:
    parcels = [parcel_of(n) for n in range(1, 4)]

    def disordered(peer: Peer) -> None:
        greet(peer, PIPELINED)
        expect(peer, "mail1 rcpt1 data")
        replies(peer, "250 503 503")
        peer.expect("QUIT")
        peer.server.events["quit"].set()

    async def main(server: ScriptedServer) -> None:
        async with running_pool(settings_for(server.port, max_connections=1)) as pool:
            for parcel in parcels:
                pool.submit(parcel)
            assert await finished(parcels[0]) == ["untouched"]
            await seen(server, "quit")

    with scripted_server(disordered, Peer.hold) as server:
        run_on("asyncio", main(server))


@pytest.mark.parametrize(
    ("ehlo", "written", "last_words"),
    [
        (PIPELINED, "mail1 rcpt1 data", b""),
        (PIPELINED, "mail1 rcpt1 data", b"421 bye\r\n"),
        (PIPELINED, "mail1 rcpt1 data", b"what?\r\n"),
        (CHUNKED, "mail1 rcpt1 proof1", b""),
    ],
)
def test_what_was_out_of_order_goes_back_although_the_connection_ends_before_it_is_answered_whole(
    ehlo: str, written: str, last_words: bytes
) -> None:
    def play(peer: Peer) -> None:
        greet(peer, ehlo)
        expect(peer, written)
        replies(peer, "250 503")
        peer.send(last_words)
        peer.close()

    with scripted_server(play) as server:
        results, _ = send_each(server, parcel_of(1))
    assert results == ["untouched"]


def test_what_was_out_of_order_goes_back_when_we_end_the_connection() -> None:
    parcel = parcel_of(1)

    def play(peer: Peer) -> None:
        greet(peer, PIPELINED)
        expect(peer, "mail1 rcpt1 data")
        replies(peer, "250 503")
        peer.server.events["answered"].set()
        peer.hold()

    async def main(server: ScriptedServer) -> None:
        async with running_pool(settings_for(server.port)) as pool:
            pool.submit(parcel)
            await seen(server, "answered")

    with scripted_server(play) as server:
        run_on("asyncio", main(server))
    assert parcel.brief == "untouched"


def proven(peer: Peer) -> None:
    """Message 1 as a chunk, and all is well."""
    greet(peer, CHUNKED)
    expect(peer, "mail1 rcpt1 proof1")
    replies(peer, "250 250 250 250")
    expect(peer, "rest1")
    replies(peer, "250")
    peer.expect("QUIT")


def goes(n: int, codes: str, *, written: str = "proof") -> Callable[[Peer], None]:
    """A new connection's first message is written like this, and answered with these codes."""

    def play(peer: Peer) -> None:
        greet(peer, CHUNKED)
        expect(peer, f"mail{n} rcpt{n} " + (f"proof{n}" if written == "proof" else written))
        replies(peer, codes)
        peer.hold()

    return play


@pytest.mark.parametrize(("codes", "result"), [("421", "answered mail 421"), ("250 250 421", "answered data 421")])
def test_a_relay_that_has_taken_chunks_may_say_421_as_often_as_it_likes(codes: str, result: str) -> None:
    with scripted_server(proven, goes(2, codes), goes(3, codes), goes(4, codes)) as server:
        assert send_each(server, *map(parcel_of, range(1, 5)), messages_per_connection=1) == (
            [SENT, result, result, result],
            [],
        )


def test_421_to_the_sender_is_no_sign_against_chunks() -> None:
    with scripted_server(goes(1, "421"), goes(2, "421"), goes(3, "421")) as server:
        assert send_each(server, *map(parcel_of, range(1, 4))) == (["answered mail 421"] * 3, [])


def test_421_to_a_first_chunk_twice_in_a_row_is_one() -> None:
    with scripted_server(
        goes(1, "250 250 421"), goes(2, "250 250 421"), goes(3, "450 503 503", written="data")
    ) as server:
        assert send_each(server, *map(parcel_of, range(1, 4))) == (
            ["answered data 421", "answered data 421", "answered mail 450"],
            ["it announces CHUNKING and does not do it (a first chunk was answered with 421 ok); not used for a day"],
        )
