"""A server that says or reads nothing more: how long it is waited for, and what becomes then (RFC 5321 4.5.3.2).

Time is moved by hand. What is to be expected of answers stands in the tables of `support.conversations`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from support.conversations import MODES, Mode, Row, Talk, converse, outcomes, rows_of
from support.modes import CHUNKED, FIRST_LINE, greet, parcel_of
from support.scripted_server import Peer, ScriptedServer, scripted_server
from support.wire import (
    PATIENCE_S,
    HandTimers,
    Parcel,
    Pauses,
    finished,
    run_on,
    running_pool,
    secret,
    settings_for,
    until,
)

from mailer.core.progress import Step
from mailer.smtp import RelayPool, Timeouts

LOOPS = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])

# As sentences name them.
NAMES = {"PROOF": "a first chunk", "END": "the end of a message"}

SENT = "answered end-of-data 250"
LATE_PIECE = "a piece of the message was not taken within 180 s"


@LOOPS
@pytest.mark.parametrize("mode", MODES.values(), ids=MODES.keys())
def test_each_answer_is_waited_for_as_long_as_rfc_5321_says_and_no_longer(mode: Mode, loop: str) -> None:
    notes: list[str] = []

    async def main(rows: list[Row]) -> list[str]:
        def fall_silent(peer: Peer) -> None:
            converse(peer, rows)
            peer.server.events["silent"].set()
            peer.hold()

        async def wait(talk: Talk) -> None:
            await asyncio.to_thread(talk.server.events["silent"].wait, PATIENCE_S)
            await until(lambda: talk.replies_read == sum(row.speaker == "S" for row in rows))
            decided = sum(len(parcel.results) for parcel in talk.parcels)
            talk.timers.advance(rows[-1].wait_s - 1)
            assert sum(len(parcel.results) for parcel in talk.parcels) == decided
            talk.timers.advance(1)
            notes.append(talk.parcels[decided].result.note)

        return await outcomes(mode, fall_silent, wait)

    silences = [mode.rows[:n] for n, row in enumerate(mode.rows, 1) if row.awaits]
    assert [run_on(loop, main(rows)) for rows in silences] == [rows[-1].briefs for rows in silences]
    assert notes == [f"no answer to {NAMES.get(row.awaits, row.awaits)} within {row.wait_s} s" for *_, row in silences]


@asynccontextmanager
async def talking(play: str, **settings: Any) -> AsyncIterator[tuple[RelayPool, HandTimers, ScriptedServer]]:
    """A server that plays these rows and then says nothing; a further connection it does not even greet."""

    def play_on(peer: Peer) -> None:
        greet(peer, CHUNKED)
        converse(peer, rows_of(play))
        server.events["silent"].set()
        server.events["over"].wait(PATIENCE_S)

    timers = HandTimers()
    with scripted_server(play_on, "hold") as server:
        relay = settings_for(server.port, max_connections=1, **settings)
        async with running_pool(relay, sleep=Pauses(), timers=timers, timeouts=Timeouts()) as pool:
            yield pool, timers, server
        server.events["over"].set()


# What comes before the server reads nothing more of a large text. What is large never goes as a chunk.
STALLS: dict[str, tuple[dict[str, Any], int, str]] = {
    "step by step, first": (
        {"pipelining": "off"},
        0,
        """
        C: mail0
        S: 250
        C: rcpt0
        S: 250
        C: data
        S: 354
        """,
    ),
    "pipelined, first": (
        {"chunking": "off"},
        0,
        """
        C: mail0 rcpt0 data
        S: 250 250 354
        """,
    ),
    "pipelined, second": (
        {"chunking": "off"},
        1,
        """
        C: mail0 rcpt0 data
        S: 250 250 354
        C: text0 rset mail0 rcpt0 data
        S: 250 250 250 250 354
        """,
    ),
    "chunked, first": (
        {},
        0,
        """
        C: mail0 rcpt0 data
        S: 250 250 354
        """,
    ),
    "chunked, second": (
        {},
        1,
        """
        C: mail0 rcpt0 proof0
        S: 250 250 250 250
        C: rest0 rset mail0 rcpt0 data
        S: 250 250 250 250 354
        """,
    ),
}


@LOOPS
@pytest.mark.parametrize(("settings", "before", "play"), STALLS.values(), ids=STALLS.keys())
def test_a_text_that_the_server_stops_to_read_is_given_three_minutes(
    settings: dict[str, Any], before: int, play: str, loop: str
) -> None:
    huge = parcel_of(0)
    huge.chunks = (FIRST_LINE, b"\r\n", (b"z" * 70 + b"\r\n") * 300_000)
    sent, behind = [parcel_of(0) for _ in range(before)], parcel_of(0)

    async def main() -> None:
        async with talking(play, **settings) as (pool, timers, _):
            for parcel in [*sent, huge, behind]:
                pool.submit(parcel)
            await until(lambda: pool.is_stalled)
            timers.advance(179)
            assert huge.results == []
            timers.advance(1)
            await finished(huge)

    run_on(loop, main())
    assert [parcel.brief for parcel in [*sent, huge, behind]] == [SENT] * before + ["lost data", "untouched"]
    assert huge.result.note == LATE_PIECE
    assert Step.END_BEGUN not in huge.steps
    assert behind.steps == []


@LOOPS
def test_a_window_that_the_server_stops_to_read_is_given_three_minutes(loop: str) -> None:
    """The last one's last bytes are still here; of those before it nobody can tell."""
    parcels = [parcel_of(0) for _ in range(400)]
    for parcel in parcels[1:]:
        parcel.chunks = (FIRST_LINE, b"\r\n", (b"z" * 70 + b"\r\n") * 900)
    play = """
        C: mail0 rcpt0 proof0
        S: 250 250 250 250
        C: rest0
        """

    async def main() -> None:
        async with talking(play, window=len(parcels), messages_per_connection=len(parcels)) as (pool, timers, _):
            for parcel in parcels:
                pool.submit(parcel)
            await until(lambda: pool.is_stalled)
            timers.advance(179)
            assert all(parcel.results == [] for parcel in parcels)
            timers.advance(1)
            await finished(*parcels)

    run_on(loop, main())
    assert [parcel.brief for parcel in parcels] == ["unknown end-of-data"] * 399 + ["untouched"]
    assert parcels[0].result.note == LATE_PIECE


@LOOPS
def test_an_answer_to_rset_is_given_five_minutes(loop: str) -> None:
    refused, next_one = parcel_of(0), parcel_of(0)
    play = """
        C: mail0
        S: 250
        C: rcpt0
        S: 550
        C: rset
        """

    async def main() -> None:
        async with talking(play, pipelining="off") as (pool, timers, server):
            pool.submit(refused)
            pool.submit(next_one)
            await asyncio.to_thread(server.events["silent"].wait, PATIENCE_S)
            timers.advance(299)
            await asyncio.sleep(0)
            assert (pool.connections, server.connections) == (1, 1)
            timers.advance(1)
            await until(lambda: server.connections == 2)

    run_on(loop, main())
    assert [refused.brief, next_one.brief] == ["answered rcpt 550", "untouched"]


ONE_MESSAGE = {
    "step by step": (
        {"pipelining": "off"},
        """
        C: mail0
        S: 250
        C: rcpt0
        S: 250
        C: data
        S: 354
        C: text0
        S: 250
        """,
    ),
    "pipelined": (
        {"chunking": "off"},
        """
        C: mail0 rcpt0 data
        S: 250 250 354
        C: text0
        S: 250
        """,
    ),
    "chunked": (
        {},
        """
        C: mail0 rcpt0 proof0
        S: 250 250 250 250
        C: rest0
        S: 250
        """,
    ),
}


@LOOPS
@pytest.mark.parametrize(("settings", "play"), ONE_MESSAGE.values(), ids=ONE_MESSAGE.keys())
@pytest.mark.parametrize("why", ["used up", "idle"])
def test_an_answer_to_quit_is_given_five_seconds(why: str, settings: dict[str, Any], play: str, loop: str) -> None:
    """QUIT comes after so many messages, or after ten seconds without one."""
    parcel = parcel_of(0)
    settings = settings | ({"messages_per_connection": 1} if why == "used up" else {"idle_timeout_s": 10})

    async def main() -> None:
        async with talking(f"{play}\nC: quit", **settings) as (pool, timers, server):
            pool.submit(parcel)
            await finished(parcel)
            if why == "idle":
                timers.advance(9)
                await asyncio.sleep(0)
                assert not server.events["silent"].is_set()
                timers.advance(1)
            await asyncio.to_thread(server.events["silent"].wait, PATIENCE_S)
            timers.advance(4)
            await asyncio.sleep(0)
            assert pool.connections == 1
            timers.advance(1)
            await until(lambda: pool.connections == 0)

    run_on(loop, main())
    assert parcel.brief == SENT


@LOOPS
def test_an_answer_to_a_login_is_given_two_minutes(loop: str) -> None:
    parcel, timers = Parcel(), HandTimers()

    async def main() -> str:
        relay = settings_for(server.port, auth="plain", username="me", password=secret)
        paused = asyncio.Event()
        async with running_pool(relay, sleep=Pauses(), timers=timers, on_change=paused.set) as pool:
            pool.submit(parcel)
            await asyncio.to_thread(server.events["silent"].wait, PATIENCE_S)
            timers.advance(119)
            await asyncio.sleep(0)
            assert pool.state == "ready"
            timers.advance(1)
            await paused.wait()
            return pool.reason

    with scripted_server(
        "S: 220 relay\nC: EHLO *\nS: 250-relay | 250 AUTH PLAIN\nC: AUTH PLAIN *\nthen: silent\nhold"
    ) as server:
        assert run_on(loop, main()) == f"127.0.0.1:{server.port}: no answer to AUTH within 120 s."
    assert (parcel.brief, parcel.steps) == ("untouched", [])
