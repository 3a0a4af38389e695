"""What becomes of a message when the connection does not survive it: each phase, each way of dying, both event loops.

LOST before the end of data had begun, UNKNOWN after it, UNTOUCHED if nothing of it was written, and whatever the server
had said before it went counts (RFC 5321 sections 4.1.1.4 and 6.1).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.certificates import Certificates, make_certificates
from support.scripted_server import DATA, ENVELOPE, HELLO, MESSAGE, Peer, ScriptedServer, scripted_server
from support.wire import (
    IMPATIENT,
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

from mailer.core.message import Ending, Phase
from mailer.core.progress import Step
from mailer.core.reply import Reply
from mailer.errors import StoreError
from mailer.smtp import RelayPool
from mailer.smtp.auth import LoginMemory, new_login
from mailer.smtp.body import PIECE_BYTES
from mailer.smtp.connection import Connection
from mailer.smtp.session import Session, Tap
from mailer.smtp.session_opener import open_session
from mailer.smtp.shared import Shared
from mailer.smtp.trouble import RelayFailure
from mailer.smtp.trust import Trust

LOOPS = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])

MAIL = "C: MAIL FROM:<*>*\n"
RCPT = MAIL + "S: 250 ok\nC: RCPT TO:<*>\n"
TO_DATA = ENVELOPE + "C: DATA\n"
PHASES = {
    "MAIL": (MAIL, "lost mail"),
    "RCPT": (RCPT, "lost rcpt"),
    "DATA": (TO_DATA, "lost data"),
    "the end of data": (ENVELOPE + DATA, "unknown end-of-data"),
}


def send(loop: str, server: ScriptedServer, *parcels: Parcel, **settings: object) -> list[str]:
    """Send the parcels one after the other through one connection; what came of each."""

    async def main() -> list[str]:
        async with running_pool(settings_for(server.port, max_connections=1, **settings), sleep=Pauses()) as pool:
            for parcel in parcels:
                pool.submit(parcel)
            return await finished(*parcels)

    return list(run_on(loop, main()))


@LOOPS
@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize(("script", "brief"), PHASES.values(), ids=PHASES.keys())
def test_a_connection_lost_in_place_of_an_answer(loop: str, how: str, script: str, brief: str) -> None:
    parcel = Parcel()
    with scripted_server(HELLO + script + how) as server:
        assert send(loop, server, parcel) == [brief]
    assert parcel.result.note.startswith("connection lost: ")
    assert parcel.steps[-1] is (Step.END_BEGUN if brief.startswith("unknown") else Step.ON_WIRE)


@pytest.mark.parametrize(("script", "brief"), PHASES.values(), ids=PHASES.keys())
def test_an_answer_cut_short_is_none(script: str, brief: str) -> None:
    with scripted_server(HELLO + script + "raw: 250 ok\nclose") as server:
        assert send("asyncio", server, Parcel()) == [brief]


@pytest.mark.parametrize(("script", "brief"), PHASES.values(), ids=PHASES.keys())
def test_what_is_no_reply_is_a_loss_and_says_what_came(script: str, brief: str) -> None:
    parcel = Parcel()
    with scripted_server(HELLO + script + "S: oops\nhold") as server:
        assert send("asyncio", server, parcel) == [brief]
    assert parcel.result.note == 'the server sent "oops", which is no SMTP reply'


def test_a_reply_out_of_place_is_kept_with_the_loss() -> None:
    parcel = Parcel()
    with scripted_server(HELLO + MAIL + "S: 354 go on\nhold") as server:
        assert send("asyncio", server, parcel) == ["lost mail 354"]
    assert parcel.result.note == "the server answered MAIL with 354 go on"


@pytest.mark.parametrize(
    ("script", "brief", "wait_s", "note"),
    [
        (MAIL, "lost mail", 300, "no answer to MAIL within 300 s"),
        (RCPT, "lost rcpt", 300, "no answer to RCPT within 300 s"),
        (TO_DATA, "lost data", 120, "no answer to DATA within 120 s"),
        (ENVELOPE + DATA, "unknown end-of-data", 600, "no answer to the end of a message within 600 s"),
    ],
)
def test_silence_ends_after_the_time_that_rfc_5321_gives(script: str, brief: str, wait_s: int, note: str) -> None:
    parcel, timers = Parcel(), HandTimers()

    async def main() -> None:
        async with running_pool(settings_for(server.port), sleep=Pauses(), timers=timers) as pool:
            pool.submit(parcel)
            await asyncio.to_thread(server.events["heard"].wait, 20)
            timers.advance(wait_s - 1)
            assert parcel.results == []
            timers.advance(1)
            assert await finished(parcel) == [brief]

    with scripted_server(HELLO + script + "then: heard\nhold") as server:
        run_on("asyncio", main())
    assert parcel.result.note == note


@LOOPS
def test_an_end_of_data_answered_250_and_then_421_and_closed_is_sent(loop: str) -> None:
    parcel = Parcel()
    with scripted_server(HELLO + MESSAGE + "S: 421 closing\nclose") as server:
        assert send(loop, server, parcel) == ["answered end-of-data 250"]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("ca"), "127.0.0.1")


def early_answer(words: str, size: int) -> Callable[[Peer], None]:
    """A server that reads a part of the message, says something and closes with the rest unread.

    Under TLS it stays, and reads nothing more: what lies encrypted in the socket when a reset is met is lost to us, so
    whether the answer is read before the write fails would be chance. Such a loss is a message tried again.
    """

    def play(peer: Peer) -> None:
        if peer.server.context is not None:
            peer.start_tls()
        peer.say("220 relay ready")
        peer.expect("EHLO *")
        peer.say("250 relay")
        peer.expect("MAIL FROM:<*>*")
        peer.say("250 ok")
        peer.expect("RCPT TO:<*>")
        peer.say("250 ok")
        peer.expect("DATA")
        peer.say("354 go on")
        peer.read(size)
        peer.say(words)
        if peer.server.context is not None:
            peer.server.events["read"].wait(20)
        peer.close()

    return play


@LOOPS
@pytest.mark.parametrize("is_tls", [False, True], ids=["plain", "tls"])
def test_a_refusal_in_the_middle_of_a_body_counts_although_the_rest_could_not_be_written(
    loop: str, is_tls: bool, certificates: Certificates
) -> None:
    parcel = Parcel(chunks=(b"Subject: x\r\n\r\n", b"x" * 70 + b"\r\n", (b"y" * 70 + b"\r\n") * 200_000))
    context = certificates.server_context() if is_tls else None
    with scripted_server(early_answer("552 5.3.4 too much\r\n421 closing", 5000), context=context) as server:
        tls = {"tls": "implicit", "ca_file": certificates.ca_file} if is_tls else {}
        try:
            assert send(loop, server, parcel, **tls) == ["answered data 552"]
        finally:
            server.events["read"].set()
    assert parcel.steps == [Step.ON_WIRE]


@LOOPS
def test_a_250_that_had_arrived_counts_although_the_next_write_failed(loop: str) -> None:
    """The server answers 250, then 421, and closes with the next envelope unread: our write meets a reset."""
    first, second = Parcel(), Parcel()

    def play(peer: Peer) -> None:
        peer.say("220 relay ready")
        peer.expect("EHLO *")
        peer.say("250 relay")
        peer.expect("MAIL FROM:<*>*")
        peer.say("250 ok")
        peer.expect("RCPT TO:<*>")
        peer.say("250 ok")
        peer.expect("DATA")
        peer.say("354 go on")
        peer.message()
        peer.say("250 taken")
        peer.expect("MAIL FROM:<*>*")
        peer.say("250 ok")
        peer.read(1)  # the first byte of RCPT: what is not read makes the close a reset
        peer.say("450 4.2.0 not this one\r\n421 closing")
        peer.close()

    with scripted_server(play) as server:
        assert send(loop, server, first, second) == ["answered end-of-data 250", "answered rcpt 450"]


@LOOPS
def test_what_is_written_to_a_server_that_reads_nothing_has_not_ended(loop: str) -> None:
    """The end of data stands in our own buffer, behind what the kernel does not take: it is not even begun."""
    parcel, timers = Parcel(chunks=((b"z" * 70 + b"\r\n") * 300_000,)), HandTimers()

    async def main() -> None:
        async with running_pool(settings_for(server.port), sleep=Pauses(), timers=timers) as pool:
            pool.submit(parcel)
            await asyncio.to_thread(server.events["heard"].wait, 20)
            await until(lambda: pool.is_stalled)
            timers.advance(180)
            assert await finished(parcel) == ["lost data"]

    with scripted_server(HELLO + TO_DATA + "S: 354 go on\nthen: heard\nwait: never") as server:
        run_on(loop, main())
        server.events["never"].set()
    assert Step.END_BEGUN not in parcel.steps
    assert parcel.result.note == "a piece of the message was not taken within 180 s"


def test_the_next_message_goes_over_a_new_connection() -> None:
    first, second = Parcel(), Parcel()
    with scripted_server(HELLO + MESSAGE + MAIL + "close", HELLO + MESSAGE + "hold") as server:
        third = Parcel()
        assert send("asyncio", server, first, second, third) == [
            "answered end-of-data 250",
            "lost mail",
            "answered end-of-data 250",
        ]
        assert server.connections == 2


def test_a_server_that_closed_while_we_rested_costs_no_message_anything() -> None:
    first, second = Parcel(), Parcel()

    async def main() -> list[str]:
        async with running_pool(settings_for(server.port, max_connections=1), sleep=Pauses()) as pool:
            pool.submit(first)
            await finished(first)
            await asyncio.to_thread(server.events["closed"].wait, 20)
            pool.submit(second)
            return await finished(second)

    with scripted_server(HELLO + MESSAGE + "S: 421 idle\nclose\nthen: closed", HELLO + MESSAGE + "hold") as server:
        assert run_on("asyncio", main()) == ["answered end-of-data 250"]
    assert second.steps == [Step.ON_WIRE, Step.END_BEGUN]


def fail(error: Exception) -> None:
    raise error


def test_a_message_whose_first_step_cannot_be_noted_is_untouched_and_nothing_of_it_is_written() -> None:
    parcel = Parcel(on_note=lambda _: fail(StoreError("the disk is full")))
    with scripted_server(HELLO + "hold") as server:
        assert send("asyncio", server, parcel) == ["untouched"]
        assert parcel.result.note == "the disk is full"
    assert len(server.heard) == 1  # EHLO


@LOOPS
@pytest.mark.parametrize("why", ["not noted", "may not end"])
def test_a_message_that_must_not_end_is_cut_without_its_dot(loop: str, why: str) -> None:
    def note(step: Step) -> None:
        if step is Step.END_BEGUN and why == "not noted":
            raise StoreError("the disk is full")

    parcel = Parcel(on_note=note, ends=lambda: why == "not noted")
    received: list[bytes] = []

    def play(peer: Peer) -> None:
        peer.say("220 relay ready")
        peer.expect("EHLO *")
        peer.say("250 relay")
        peer.expect("MAIL FROM:<*>*")
        peer.say("250 ok")
        peer.expect("RCPT TO:<*>")
        peer.say("250 ok")
        peer.expect("DATA")
        peer.say("354 go on")
        received.append(peer.read(100_000))

    with scripted_server(play) as server:
        assert send(loop, server, parcel) == ["untouched"]
    assert received == [b""]


@pytest.mark.parametrize(
    ("script", "ending"),
    [
        (MAIL, Ending.UNTOUCHED),
        (RCPT, Ending.UNTOUCHED),
        (TO_DATA, Ending.UNTOUCHED),
        (ENVELOPE + DATA, Ending.UNKNOWN),
    ],
)
@LOOPS
@pytest.mark.parametrize("how", ["close", "cancel"])
def test_a_pool_that_is_closed_or_cancelled_in_the_middle_finishes_each_message_once(
    script: str, ending: Ending, loop: str, how: str
) -> None:
    parcel, waiting = Parcel(), Parcel()

    async def main() -> None:
        pool = RelayPool(settings_for(server.port, max_connections=1), clock=lambda: 0, random=Random(1))
        task = asyncio.ensure_future(pool.run())
        pool.submit(parcel)
        pool.submit(waiting)
        await asyncio.to_thread(server.events["heard"].wait, 20)
        if how == "close":
            await pool.close()
            await task
        else:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await pool.close()

    with scripted_server(HELLO + script + "then: heard\nhold") as server:
        run_on(loop, main())
    assert parcel.result.ending is ending
    assert waiting.result.ending is Ending.UNTOUCHED
    assert waiting.steps == []


@LOOPS
def test_an_answer_that_had_arrived_when_the_connection_was_cut_counts(loop: str) -> None:
    parcel = Parcel()

    async def main() -> None:
        async with running_pool(settings_for(server.port)) as pool:
            pool.submit(parcel)
            await until(lambda: Step.END_BEGUN in parcel.steps)
            # The loop is held up here, so that the answer is in the kernel and nobody has read it.
            server.events["answered"].wait(20)
            (connection,) = pool._established
            connection.cut("stopped")
            assert parcel.brief == "answered end-of-data 250"

    with scripted_server(HELLO + MESSAGE + "then: answered\nhold") as server:
        run_on(loop, main())


@LOOPS
def test_an_answer_counts_that_arrived_right_before_a_write_that_failed(loop: str) -> None:
    """The server answers, and closes with a part of the message unread, while its end is noted: that is not written."""

    def note(step: Step) -> None:
        if step is Step.END_BEGUN:
            server.events["ending"].set()
            server.events["closed"].wait(20)

    def play(peer: Peer) -> None:
        peer.say("220 relay ready")
        peer.expect("EHLO *")
        peer.say("250 relay")
        peer.expect("MAIL FROM:<*>*")
        peer.say("250 ok")
        peer.expect("RCPT TO:<*>")
        peer.say("250 ok")
        peer.expect("DATA")
        peer.say("354 go on")
        peer.read(1)
        server.events["ending"].wait(20)
        peer.say("552 5.3.4 too much")
        peer.close()
        server.events["closed"].set()

    # A piece that is written, and one that is written too late.
    parcel = Parcel(chunks=(b"x" * 70 + b"\r\n", (b"y" * 62 + b"\r\n") * (PIECE_BYTES // 64)), on_note=note)
    with scripted_server(play) as server:
        assert send(loop, server, parcel) == ["answered data 552"]


def test_abandoned_bodies_are_untouched_and_answers_are_waited_for() -> None:
    ended, cut = Parcel(), Parcel(chunks=((b"z" * 70 + b"\r\n") * 300_000,))

    async def main() -> None:
        async with running_pool(settings_for(server.port, max_connections=2)) as pool:
            pool.submit(ended)
            await asyncio.to_thread(server.events["ended"].wait, 20)
            pool.submit(cut)
            await asyncio.to_thread(server.events["body"].wait, 20)
            await until(lambda: pool.is_stalled)
            pool.abandon_bodies()
            assert await finished(cut) == ["untouched"]
            late = Parcel()
            pool.submit(late)
            server.events["answer"].set()
            assert await finished(ended) == ["answered end-of-data 250"]
            assert pool.withdraw(lambda _: True) == [late]

    first = HELLO + ENVELOPE + DATA + "then: ended\nwait: answer\nS: 250 taken\nhold"
    second = HELLO + TO_DATA + "S: 354 go on\nthen: body\nwait: answer"
    with scripted_server(first, second) as server:
        run_on("asyncio", main())


def test_a_message_in_its_envelope_when_bodies_are_abandoned_is_not_begun() -> None:
    parcel = Parcel()

    async def main() -> None:
        async with running_pool(settings_for(server.port)) as pool:
            pool.submit(parcel)
            await asyncio.to_thread(server.events["heard"].wait, 20)
            pool.abandon_bodies()
            server.events["answer"].set()
            assert await finished(parcel) == ["untouched"]

    with scripted_server(HELLO + MAIL + "then: heard\nwait: answer\nS: 250 ok\nhold") as server:
        run_on("asyncio", main())


@LOOPS
@pytest.mark.parametrize("where", ["connecting", "TLS", "EHLO", "the login"])
def test_a_pool_cancelled_while_it_opens_a_connection_leaves_nothing_and_has_touched_nothing(
    loop: str, where: str, certificates: Certificates
) -> None:
    parcel = Parcel()
    scripts = {
        "connecting": "then: heard\nhold",
        "TLS": "then: heard\nhold",
        "EHLO": "S: 220 x\nC: EHLO *\nthen: heard\nhold",
        "the login": HELLO + "C: AUTH LOGIN *\nthen: heard\nhold",
    }
    tls: dict[str, Any] = {"tls": "implicit", "ca_file": certificates.ca_file} if where == "TLS" else {}
    login: dict[str, Any] = {"auth": "login", "username": "me", "password": secret} if where == "the login" else {}

    async def main() -> None:
        pool = RelayPool(settings_for(server.port, **tls, **login), clock=lambda: 0, random=Random(1))
        task = asyncio.ensure_future(pool.run())
        pool.submit(parcel)
        await asyncio.to_thread(server.events["heard"].wait, 20)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with scripted_server(scripts[where]) as server:
        run_on(loop, main())
    assert parcel.brief == "untouched"
    assert parcel.steps == []


@pytest.mark.parametrize("how", ["close", "cancel"])
def test_a_cancellation_in_the_moment_of_an_answer_is_not_lost(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """asyncio.wait_for of Python 3.11 returns the answer then, and forgets that it was cancelled."""
    parcel, timers = Parcel(), HandTimers()  # an idle connection would rest for ever
    stop: list[Callable[[], object]] = []
    read = Tap.data_received

    def read_and_stop(tap: Tap, data: bytes) -> None:
        read(tap, data)
        stop[0]()

    async def main() -> None:
        pool = RelayPool(settings_for(server.port), clock=lambda: 0, random=Random(1), timers=timers)
        task = asyncio.ensure_future(pool.run())
        pool.submit(parcel)

        def close() -> None:
            # What `close` sets in motion, in this very step.
            pool._wants_close.set()
            pool._is_ending = True
            pool._begin_to_close()

        stop.append(close if how == "close" else task.cancel)
        await asyncio.wait([task])

    monkeypatch.setattr(Tap, "data_received", read_and_stop)
    with scripted_server("S: 220 x\nC: EHLO *\nS: 250 x\nhold") as server:
        run_on("asyncio", main())
    assert parcel.brief == "untouched"


_GOOD = ["220 relay\r\n", "250 relay\r\n", "250 ok\r\n", "250 ok\r\n", "354 go on\r\n", "250 taken\r\n"]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 6), st.binary(max_size=60) | st.sampled_from([b"421 x\r\n", b"550 x\r\n", b"250-", b"\n"]))
@LOOPS
def test_random_bytes_from_a_server_end_every_message_once_and_raise_nothing(loop: str, good: int, junk: bytes) -> None:
    """The server says the right thing so many times, then something random, and closes."""
    parcel = Parcel()

    def play(peer: Peer) -> None:
        for n, reply in enumerate(_GOOD[:good]):
            if n == 5:
                peer.message()
            elif n:
                peer.line()
            peer.send(reply.encode())
        peer.send(junk)
        peer.close()

    async def main() -> None:
        paused = asyncio.Event()
        async with running_pool(settings_for(server.port), sleep=Pauses(), on_change=paused.set) as pool:
            pool.submit(parcel)
            _, pending = await asyncio.wait(
                [asyncio.ensure_future(paused.wait()), asyncio.ensure_future(parcel.finished.wait())],
                return_when=asyncio.FIRST_COMPLETED,
            )
            for waiter in pending:
                waiter.cancel()

    with scripted_server(play) as server:
        run_on(loop, main())
    assert len(parcel.results) == 1
    if good == 6:
        assert parcel.brief == "answered end-of-data 250"
    elif good < 5:
        assert parcel.result.ending in (Ending.UNTOUCHED, Ending.LOST, Ending.ANSWERED)


# Lost between EHLO and the login, while nobody looks


@LOOPS
def test_a_connection_that_was_lost_before_it_was_taken_over_is_a_failure_of_the_relays(loop: str) -> None:
    async def main(port: int) -> None:
        session = await open_session(settings_for(port), None)
        gone = asyncio.Event()
        passed_on = session.tap.connection_lost

        def connection_lost(error: Exception | None) -> None:
            passed_on(error)
            gone.set()

        session.tap.connection_lost = connection_lost  # type: ignore[assignment, method-assign]
        session.transport.abort()
        await gone.wait()
        with pytest.raises(RelayFailure, match="closed the connection after EHLO") as caught:
            connection_on(session, port)
        assert not caught.value.is_permanent

    with scripted_server(HELLO + "hold") as server:
        run_on(loop, main(server.port))


@LOOPS
def test_a_connection_that_was_lost_while_the_password_was_fetched_does_not_wait_for_an_answer(loop: str) -> None:
    async def main(server: ScriptedServer) -> None:
        connection = connection_on(await open_session(settings_for(server.port), None), server.port)
        server.events["open"].set()
        await connection.gone
        with pytest.raises(RelayFailure, match="connection lost"):
            async with asyncio.timeout(1):
                await connection.log_in(new_login("login", "user", "hunter22-geheim", LoginMemory()))

    with scripted_server(HELLO + "wait: open\nclose") as server:
        run_on(loop, main(server))


class NoDesk:
    """Has no messages."""

    def next_delivery(self, *, is_ahead: bool) -> None:
        return None

    def is_resting(self, connection: Connection) -> None:
        """It may."""

    def may_go_on(self, phase: Phase, reply: Reply) -> bool:
        return True

    def is_hindered(self) -> None:
        """It may be."""


def connection_on(session: Session, port: int) -> Connection:
    """What `open_connection` makes of a session before it logs in."""
    return Connection(
        settings_for(port),
        session,
        NoDesk(),
        shared=Shared(clock=lambda: 0, timeouts=IMPATIENT, timers=HandTimers(), trust=Trust(lambda: 0)),
    )
