"""An answer that had arrived counts, although the loop was held up while the server went away.

The server answers a message with 250, says 421 and closes with our next envelope unread, all while our loop does
something else: the kernel then has both replies and a reset, and the first thing the loop may do is to write. Not one
message in a thousand may be uncertain after that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from threading import Semaphore
from typing import Any, NamedTuple

import pytest
from support.certificates import Certificates, make_certificates
from support.modes import CHUNKED, PIPELINED, STEP_BY_STEP, expect, greet, parcel_of, replies, standing_still
from support.scripted_server import PATIENCE_S, Peer, scripted_server
from support.wire import finished, run_on, running_pool, settings_for

from mailer.core.progress import Step
from mailer.smtp import RelaySettings

LOOPS = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
TLS = pytest.mark.parametrize("is_tls", [False, True], ids=["plain", "tls"])

# Pools that work side by side, one connection each, so that every connection has the next message at hand.
POOLS = 4
# Runs of a test, each with all the patience that a run has.
RUNS = 5

SENT = "answered end-of-data 250"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("ca"), "127.0.0.1")


def step_by_step(peer: Peer, loop: asyncio.AbstractEventLoop) -> None:
    """Nothing of the next message can have been written yet; it is a reset all the same."""
    take_in_steps(peer)
    expect(peer, "text0")
    with standing_still(loop):
        peer.say("250 taken")
        peer.say("421 closing")
        peer.reset()


def next_begun(peer: Peer, loop: asyncio.AbstractEventLoop) -> None:
    """The 250 is read and the next MAIL written before the loop is held up."""
    take_in_steps(peer)
    expect(peer, "text0")
    peer.say("250 taken")
    peer.read(1)
    with standing_still(loop):
        peer.say("421 closing")
        go_with_input_unread(peer)


def pipelined(peer: Peer, loop: asyncio.AbstractEventLoop) -> None:
    """The next envelope came together with the end of data."""
    expect(peer, "mail0 rcpt0 data")
    replies(peer, "250 250 354")
    expect(peer, "text0")
    with standing_still(loop):
        peer.say("250 taken")
        peer.say("421 closing")
        go_with_input_unread(peer)


def chunked(peer: Peer, loop: asyncio.AbstractEventLoop) -> None:
    """Four messages have ended, and their answers come together with the end of the connection."""
    expect(peer, "mail0 rcpt0 proof0")
    replies(peer, "250 250 250 250")
    expect(peer, "rest0" + " next0" * 3)
    with standing_still(loop):
        peer.say("250 taken")
        for _ in range(3):
            replies(peer, "250 250 250 250")
        peer.say("421 closing")
        peer.reset()


def take_in_steps(peer: Peer) -> None:
    for piece, reply in [("mail0", "250 ok"), ("rcpt0", "250 ok"), ("data", "354 go on")]:
        expect(peer, piece)
        peer.say(reply)


def go_with_input_unread(peer: Peer) -> None:
    # TLS reads a whole record, whatever is asked for: what is unread there has to be made up for.
    if peer.server.context is None:
        peer.close()
    else:
        peer.reset()


class Way(NamedTuple):
    """One way to go, played on every connection."""

    play: Callable[[Peer, asyncio.AbstractEventLoop], None]
    ehlo: str
    settings: dict[str, Any]
    briefs: list[str]
    """What comes of the messages of one connection."""
    connections: int = 1000


WAYS = {
    "step by step": Way(step_by_step, PIPELINED, {"pipelining": "off"}, [SENT]),
    "step by step, next begun": Way(next_begun, PIPELINED, {"pipelining": "off"}, [SENT, "answered mail 421"], 200),
    # 421 answers the RSET in front of the next MAIL.
    "pipelined": Way(pipelined, PIPELINED, {}, [SENT, "untouched"]),
    "chunked": Way(chunked, CHUNKED, {}, [SENT] * 4, 200),
}


@LOOPS
@TLS
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_a_250_counts_that_arrived_with_a_421_and_a_reset_while_the_loop_was_held_up(
    way: Way, is_tls: bool, loop: str, certificates: Certificates
) -> None:
    context = certificates.server_context() if is_tls else None

    async def main() -> list[list[str]]:
        running = asyncio.get_running_loop()

        def play(peer: Peer) -> None:
            begin(peer, way.ehlo)
            way.play(peer, running)

        with scripted_server(play, context=context) as server:
            relay = settings_for(server.port, max_connections=1, **way.settings, **tls_settings(is_tls, certificates))
            return await asyncio.gather(*(send_all(relay) for _ in range(POOLS)))

    async def send_all(relay: RelaySettings) -> list[str]:
        parcels = [parcel_of(0) for _ in range(len(way.briefs) * rounds)]
        async with running_pool(relay, sleep=no_pause) as pool:
            for parcel in parcels:
                pool.submit(parcel)
            return await finished(*parcels)

    rounds = way.connections // POOLS // RUNS
    for _ in range(RUNS):
        assert run_on(loop, main()) == [way.briefs * rounds] * POOLS


@LOOPS
@TLS
@pytest.mark.parametrize("where", ["compose", "note"])
def test_answers_count_that_arrived_with_a_reset_right_before_the_next_message_was_written(
    where: str, is_tls: bool, loop: str, certificates: Certificates
) -> None:
    """A window of four; the first is answered. While the fifth is got ready the others are, and the server goes."""
    is_held, is_over = Semaphore(0), Semaphore(0)

    def play(peer: Peer) -> None:
        begin(peer, CHUNKED)
        expect(peer, "mail0 rcpt0 proof0")
        replies(peer, "250 250 250 250")
        expect(peer, "rest0" + " next0" * 3)
        peer.say("250 taken")
        is_held.acquire(timeout=PATIENCE_S)
        for _ in range(3):
            replies(peer, "250 250 250 250")
        peer.say("421 closing")
        peer.reset()
        is_over.release()

    def hold_up(step: Step = Step.ON_WIRE) -> None:
        if step is Step.ON_WIRE:
            is_held.release()
            is_over.acquire(timeout=PATIENCE_S)

    async def main(port: int) -> list[str]:
        briefs: list[str] = []
        for _ in range(25):
            parcels = [parcel_of(0) for _ in range(5)]
            if where == "compose":
                parcels[4].on_compose = hold_up
            else:
                parcels[4].on_note = hold_up
            relay = settings_for(port, max_connections=1, **tls_settings(is_tls, certificates))
            async with running_pool(relay, sleep=no_pause) as pool:
                for parcel in parcels:
                    pool.submit(parcel)
                briefs += await finished(*parcels)
        return briefs

    with scripted_server(play, context=certificates.server_context() if is_tls else None) as server:
        assert run_on(loop, main(server.port)) == [SENT, SENT, SENT, SENT, "untouched"] * 25


@LOOPS
@TLS
def test_an_answer_counts_that_arrived_with_a_reset_right_before_the_end_of_a_message_was_written(
    is_tls: bool, loop: str, certificates: Certificates
) -> None:
    """Nothing of the end leaves this process then, so nothing is uncertain either."""
    is_held, is_over = Semaphore(0), Semaphore(0)

    def play(peer: Peer) -> None:
        begin(peer, STEP_BY_STEP)
        take_in_steps(peer)
        is_held.acquire(timeout=PATIENCE_S)
        peer.say("552 5.3.4 too much")
        peer.reset()
        is_over.release()

    def hold_up(step: Step) -> None:
        if step is Step.END_BEGUN:
            is_held.release()
            is_over.acquire(timeout=PATIENCE_S)

    parcel = parcel_of(0)
    parcel.on_note = hold_up

    async def main(port: int) -> None:
        relay = settings_for(port, max_connections=1, **tls_settings(is_tls, certificates))
        async with running_pool(relay, sleep=no_pause) as pool:
            pool.submit(parcel)
            await finished(parcel)

    with scripted_server(play, context=certificates.server_context() if is_tls else None) as server:
        run_on(loop, main(server.port))
    assert parcel.result.reply is not None, parcel.brief
    assert parcel.result.reply.code == 552


def begin(peer: Peer, ehlo: str) -> None:
    if peer.server.context is not None:
        peer.start_tls()
    greet(peer, ehlo)


def tls_settings(is_tls: bool, certificates: Certificates) -> dict[str, Any]:
    return {"tls": "implicit", "ca_file": certificates.ca_file} if is_tls else {}


async def no_pause(seconds: float) -> None:
    """421 pauses a relay; here it is tried again at once."""
