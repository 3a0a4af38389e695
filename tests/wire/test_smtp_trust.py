"""What a relay announces and does not do: noticed by what goes wrong, left alone for a day, and nobody pays for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from support.modes import CHUNKED, PIPELINED, expect, greet, parcel_of, replies
from support.scripted_server import Peer, ScriptedServer, scripted_server
from support.wire import HandTimers, Parcel, Pauses, finished, run_on, running_pool, settings_for

from mailer.smtp.trust import DISTRUST_US, Trust

SENT = "answered end-of-data 250"


class HandClock:
    """A wall clock that is moved by hand."""

    def __init__(self) -> None:
        self.now_us = 1_000_000

    def __call__(self) -> int:
        return self.now_us


# The rule


def test_what_was_lost_is_believed_again_after_a_day() -> None:
    clock, said = HandClock(), list[str]()
    trust = Trust(clock, said.append)
    trust.prove("CHUNKING")
    trust.lose("CHUNKING", "it said 500")
    assert not trust.has("CHUNKING") and not trust.is_proven("CHUNKING") and trust.has("PIPELINING")
    trust.lose("CHUNKING", "another connection met the same")
    clock.now_us += DISTRUST_US
    assert trust.has("CHUNKING")
    assert said == ["it announces CHUNKING and does not do it (it said 500); not used for a day"]


def test_two_signs_in_a_row_are_needed() -> None:
    trust = Trust(HandClock())
    trust.doubt("PIPELINING", "reset")
    trust.worked("PIPELINING")
    trust.doubt("PIPELINING", "reset")
    assert trust.has("PIPELINING")
    trust.doubt("PIPELINING", "reset")
    assert not trust.has("PIPELINING")


def test_one_connection_at_a_time_goes_ahead_until_that_has_worked() -> None:
    trust = Trust(HandClock())
    one, two = object(), object()
    assert trust.may_go_ahead(one)
    assert trust.may_go_ahead(one)
    assert not trust.may_go_ahead(two)
    trust.leave(two)
    assert not trust.may_go_ahead(two)
    trust.leave(one)
    assert trust.may_go_ahead(two)
    trust.prove("PIPELINING")
    assert trust.may_go_ahead(one)


# On the wire


def group_answered(peer: Peer) -> None:
    """The first envelope of a connection is one write, and is answered."""
    greet(peer, PIPELINED)
    expect(peer, "mail1 rcpt1 data")
    replies(peer, "250 250 354")


def step_by_step(*numbers: int) -> Callable[[Peer], None]:
    """A connection on which nothing is written ahead; what comes ahead all the same is out of its place."""

    def play(peer: Peer) -> None:
        greet(peer, PIPELINED)
        for n in numbers:
            for piece, code in ((f"mail{n}", "250"), (f"rcpt{n}", "250"), ("data", "354"), (f"text{n}", "250")):
                expect(peer, piece)
                replies(peer, code)
        peer.expect("QUIT")
        peer.say("221 bye")

    return play


def send(server: ScriptedServer, *parcels: Parcel, timers: HandTimers | None = None, **others: Any) -> list[str]:
    """Send them on one connection at a time, those that come back untouched once more; what came of each in the end."""
    said: list[str] = []

    async def main() -> list[str]:
        settings = settings_for(server.port, max_connections=1, **others)
        async with running_pool(settings, sleep=Pauses(), timers=timers, on_distrust=said.append) as pool:
            came_back: list[Parcel] = []

            def note(parcel: Parcel) -> None:
                if parcel.brief == "untouched":
                    came_back.append(parcel)

            for parcel in parcels:
                parcel.on_finish = note
                pool.submit(parcel)
            if timers is not None:
                await asyncio.to_thread(server.events["silent"].wait, 20)
                timers.advance(30)
            await finished(*parcels)
            for parcel in came_back:
                parcel.results.clear()
                parcel.finished.clear()
                pool.submit(parcel)
            return [*await finished(*parcels), *said]

    return list(run_on("asyncio", main()))


def distrusted(extension: str, why: str) -> str:
    return f"it announces {extension} and does not do it ({why}); not used for a day"


@pytest.mark.parametrize("loses", ["close", "silence"])
def test_a_server_that_drops_what_is_behind_its_first_command_is_spoken_to_step_by_step(loses: str) -> None:
    def play(peer: Peer) -> None:
        greet(peer, PIPELINED)
        expect(peer, "mail1 rcpt1 data")
        replies(peer, "250")
        if loses == "close":
            peer.close()
        else:
            peer.server.events["silent"].set()
            peer.hold()

    timers = HandTimers() if loses == "silence" else None
    why = "connection lost: closed by the server" if loses == "close" else "no answer to RCPT within 30 s"
    with scripted_server(play, step_by_step(2, 1)) as server:
        assert send(server, parcel_of(1), parcel_of(2), timers=timers, messages_per_connection=2) == [
            SENT,
            SENT,
            distrusted("PIPELINING", why),
        ]


def test_a_server_that_breaks_at_an_envelope_behind_an_end_puts_one_message_in_doubt_and_not_two() -> None:
    def play(peer: Peer) -> None:
        group_answered(peer)
        expect(peer, "text1 rset mail2 rcpt2 data")
        peer.close()

    with scripted_server(play, step_by_step(3, 2)) as server:
        assert send(server, parcel_of(1), parcel_of(2), parcel_of(3), messages_per_connection=2) == [
            "unknown end-of-data",
            SENT,
            SENT,
            distrusted("PIPELINING", "connection lost: closed by the server"),
        ]


def test_a_server_that_answers_out_of_order_is_spoken_to_step_by_step() -> None:
    def play(peer: Peer) -> None:
        greet(peer, PIPELINED)
        expect(peer, "mail1 rcpt1 data")
        replies(peer, "250 503 503")
        peer.expect("QUIT")

    with scripted_server(play, step_by_step(1)) as server:
        assert send(server, parcel_of(1), messages_per_connection=1) == [
            SENT,
            distrusted("PIPELINING", "RCPT was answered with 503 ok"),
        ]


def test_a_server_that_refuses_what_is_written_ahead_for_being_so_has_not_refused_the_message() -> None:
    def play(peer: Peer) -> None:
        greet(peer, PIPELINED)
        expect(peer, "mail1 rcpt1 data")
        peer.say("554 5.5.0 SMTP synchronization error")
        peer.end()
        peer.hold()

    with scripted_server(play, step_by_step(1)) as server:
        assert send(server, parcel_of(1), messages_per_connection=1) == [
            SENT,
            distrusted("PIPELINING", "connection lost: closed by the server"),
        ]


def test_one_connection_lost_at_its_first_envelope_is_no_sign_yet() -> None:
    def play(peer: Peer) -> None:
        greet(peer, PIPELINED)
        expect(peer, "mail1 rcpt1 data")
        peer.close()

    with scripted_server(play) as server:
        assert send(server, parcel_of(1)) == ["lost mail"]


def test_chunks_are_left_alone_after_a_refused_proof_and_the_relay_still_is_written_to_ahead() -> None:
    def proof(peer: Peer) -> None:
        greet(peer, CHUNKED)
        expect(peer, "mail1 rcpt1 proof1")
        replies(peer, "250 250 500 500 250")
        peer.hold()

    def pipelined(peer: Peer) -> None:
        greet(peer, CHUNKED)
        expect(peer, "mail1 rcpt1 data")
        replies(peer, "250 250 354")
        expect(peer, "text1")
        replies(peer, "250")
        peer.expect("QUIT")

    with scripted_server(proof, pipelined) as server:
        assert send(server, parcel_of(1), messages_per_connection=1) == [
            SENT,
            distrusted("CHUNKING", "a first chunk was answered with 500 ok"),
        ]


@pytest.mark.parametrize(
    ("ehlo", "off", "first"),
    [
        (CHUNKED, "chunking", "mail1 rcpt1 data"),
        (CHUNKED, "pipelining", "mail1"),
        (PIPELINED, "pipelining", "mail1"),
        ("250-relay | 250 CHUNKING", "", "mail1"),  # of no use where nothing may be written ahead
    ],
)
def test_the_operator_can_turn_off_either(ehlo: str, off: str, first: str) -> None:
    def play(peer: Peer) -> None:
        greet(peer, ehlo)
        expect(peer, first)
        replies(peer, "450" if first == "mail1" else "450 503 503")
        peer.expect("QUIT")

    others: dict[str, Any] = {off: "off"} if off else {}
    with scripted_server(play) as server:
        assert send(server, parcel_of(1), messages_per_connection=1, **others) == ["answered mail 450"]


def test_a_connection_to_be_opened_comes_before_one_that_would_write_ahead() -> None:
    """Two messages for two connections: neither is written behind the other, although the first has room for it."""

    def play(peer: Peer) -> None:
        greet(peer, PIPELINED)
        rcpt = ""
        while (line := peer.line()) is not None and line != "QUIT":
            if line.startswith("RCPT"):
                rcpt = line
            elif line == "DATA":
                replies(peer, "354")
                peer.message()
                peer.server.events[rcpt].set()
                peer.server.events["both"].wait(20)
            replies(peer, "250")

    async def main(server: ScriptedServer) -> list[str]:
        async with running_pool(settings_for(server.port, max_connections=2)) as pool:
            server.events["both"].set()
            first = parcel_of(1)
            pool.submit(first)
            await finished(first)
            server.events["both"].clear()
            parcels = [parcel_of(n) for n in (3, 4)]
            for parcel in parcels:
                pool.submit(parcel)
            for n in (3, 4):
                assert await asyncio.to_thread(server.events[f"RCPT TO:<{n}@recipient.example>"].wait, 20)
            server.events["both"].set()
            return await finished(*parcels)

    with scripted_server(play) as server:
        assert run_on("asyncio", main(server)) == [SENT, SENT]


def test_what_worked_once_has_not_worked_any_more_when_it_is_lost() -> None:
    trust = Trust(HandClock())
    trust.worked("PIPELINING")
    assert trust.has_worked("PIPELINING") and not trust.is_proven("PIPELINING")
    trust.prove("CHUNKING")
    assert trust.has_worked("CHUNKING")
    trust.lose("PIPELINING", "reset")
    assert not trust.has_worked("PIPELINING")
