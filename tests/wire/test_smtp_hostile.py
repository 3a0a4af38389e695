"""Servers that mean harm or are badly broken, and bugs of ours: what a message's outcome must not depend on."""

from __future__ import annotations

import asyncio

import pytest
from support.dialogues import play
from support.modes import CHUNKED, STEP_BY_STEP, expect, greet, parcel_of, replies
from support.scripted_server import HELLO, LOGIN, Peer, scripted_server
from support.wire import HandTimers, Parcel, Pauses, finished, run_on, running_pool, secret, settings_for, until

from mailer.errors import StoreError
from mailer.smtp.state_table import Mode

SENT = "answered end-of-data 250"


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_part_of_a_reply_now_and_then_does_not_hold_a_message_for_ever(loop: str) -> None:
    """RFC 5321 section 4.5.3.2.6: ten minutes for the answer, and not for each of its octets."""
    parcel, timers = Parcel(), HandTimers()

    def drip(peer: Peer) -> None:
        greet(peer, STEP_BY_STEP)
        for code in ("250", "250", "354"):
            peer.line()
            replies(peer, code)
        peer.message()
        peer.server.events["ended"].set()
        for octet in b"250-":
            peer.server.events["drip"].wait(20)
            peer.server.events["drip"].clear()
            peer.send(bytes([octet]))
        peer.hold()

    async def main() -> None:
        async with running_pool(settings_for(server.port), sleep=Pauses(), timers=timers) as pool:
            pool.submit(parcel)
            await asyncio.to_thread(server.events["ended"].wait, 20)
            for _ in range(3):
                timers.advance(199)
                server.events["drip"].set()
                await until(lambda: not server.events["drip"].is_set())
                await asyncio.to_thread(lambda: None)
            timers.advance(10)
            assert await finished(parcel) == ["unknown end-of-data"]

    with scripted_server(drip) as server:
        run_on(loop, main())


def test_one_answer_too_many_among_chunks_does_not_make_a_recipient_s_answer_a_message_s() -> None:
    """Every answer there is a 250; only the enhanced code (RFC 3463 section 3.2) tells what it is about."""
    proof = "C: MAIL FROM:<a@b>\nC: RCPT TO:<c@d>\nC: BDAT 19\nC: MIME-Version: 1.0\nC: NOOP"
    chunk = "C: RSET\nC: MAIL FROM:<a@b>\nC: RCPT TO:<c@d>\nC: BDAT 3 LAST\nC: x"
    play(
        f"""
        begin
        {proof}
        S: 250 ok / 250 ok / 250 ok / 250 ok
        => body
        begin
        C: BDAT 3 LAST
        C: x
        {chunk}
        S: 250 2.0.0 taken / 250 2.0.0 taken / 250 2.0.0 reset / 250 2.1.0 sender / 250 2.1.5 recipient / 452 4.3.1 full
        => end-of-data 250, broken""",
        Mode.CHUNKED,
    )


def test_a_text_that_could_name_another_recipient_is_no_chunk() -> None:
    """A server that refuses a recipient and then reads the chunk as commands finds none in it for a second mail."""
    parcel = parcel_of(1)
    parcel.chunks = (b"MIME-Version: 1.0\r\n\r\nRSET\r\nmail from:<x@y>\r\nRcpt To:<victim@y>\r\n",)

    def data(peer: Peer) -> None:
        greet(peer, CHUNKED)
        expect(peer, "mail1 rcpt1 data")
        replies(peer, "250 550 554")
        peer.expect("QUIT")

    async def main(port: int) -> list[str]:
        async with running_pool(settings_for(port, messages_per_connection=1)) as pool:
            pool.submit(parcel)
            return await finished(parcel)

    with scripted_server(data) as server:
        assert run_on("asyncio", main(server.port)) == ["answered rcpt 550"]


def test_a_server_that_says_421_and_answers_on_has_read_on() -> None:
    """RFC 5321 section 3.8 has it close. What it answers behind that may have been taken: not sent again in silence."""
    parcels = [parcel_of(n) for n in range(1, 4)]

    def play(peer: Peer) -> None:
        greet(peer, CHUNKED)
        expect(peer, "mail1 rcpt1 proof1")
        replies(peer, "250 250 250 250")
        expect(peer, "rest1 next2 next3")
        replies(peer, "250 250 250 421 250 250 250 250 250")
        peer.hold()

    async def main(port: int) -> list[str]:
        async with running_pool(settings_for(port, max_connections=1), sleep=Pauses()) as pool:
            for parcel in parcels:
                pool.submit(parcel)
            return await finished(*parcels)

    with scripted_server(play) as server:
        assert run_on("asyncio", main(server.port)) == [SENT, "answered rcpt 421", "unknown end-of-data"]


@pytest.mark.parametrize("how", ["answered", "lost"])
def test_an_error_of_ours_at_the_end_of_one_message_takes_nothing_from_the_others(how: str) -> None:
    parcels = [parcel_of(n) for n in range(1, 5)]

    def bug(parcel: Parcel) -> None:
        raise ZeroDivisionError

    parcels[1].on_finish = bug

    def play(peer: Peer) -> None:
        greet(peer, CHUNKED)
        expect(peer, "mail1 rcpt1 proof1")
        replies(peer, "250 250 250 250")
        expect(peer, "rest1 next2 next3 next4")
        if how == "answered":
            replies(peer, "250" + " 250 250 250 250" * 3)
        peer.end()
        peer.hold()

    async def main(port: int) -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async with running_pool(settings_for(port, max_connections=1), sleep=Pauses()) as pool:
                for parcel in parcels:
                    pool.submit(parcel)
                await finished(*parcels)
        assert caught.group_contains(ZeroDivisionError)

    with scripted_server(play) as server:
        run_on("asyncio", main(server.port))
    assert [parcel.brief for parcel in parcels] == [SENT if how == "answered" else "unknown end-of-data"] * 4


def test_what_hinders_a_message_on_our_side_does_not_open_a_connection_for_each_of_the_others() -> None:
    def full(_: object) -> None:
        raise StoreError("the disk is full")

    parcels = [Parcel(on_note=full), *(Parcel(on_note=full) for _ in range(5))]
    pauses = Pauses()

    async def main(port: int) -> None:
        async with running_pool(settings_for(port, max_connections=1), sleep=pauses) as pool:
            for parcel in parcels:
                pool.submit(parcel)
            assert await finished(parcels[0]) == ["untouched"]
            await pauses.is_asked.wait()
            assert pool.waiting == 5
            pauses.end()
            assert await finished(parcels[1]) == ["untouched"]

    with scripted_server(HELLO + "hold") as server:
        run_on("asyncio", main(server.port))
        assert server.connections == 2
    assert pauses.asked[0] == 1.0


def test_a_secret_that_a_server_repeats_is_hidden_whole_however_much_else_it_says() -> None:
    password = "hunter22-geheim"
    answers = [f"{'x' * n}{password}" for n in (0, 175, 185, 195, 290, 299)]

    async def main(port: int, parcel: Parcel) -> None:
        login = {"auth": "login", "username": "me", "password": secret}
        async with running_pool(settings_for(port, **login), sleep=Pauses()) as pool:
            pool.submit(parcel)
            await finished(parcel)

    for answer in answers:
        parcel = Parcel()
        with scripted_server(HELLO + LOGIN + f"C: MAIL FROM:*\nS: 354 {answer}\nhold") as server:
            run_on("asyncio", main(server.port, parcel))
        result = parcel.result
        assert result.reply is not None
        for piece in (password[:n] for n in range(6, len(password) + 1)):
            assert piece not in result.note + result.reply.text
        assert len(result.note) <= 301
