"""The crank: what it claims, gives back, records and waits for, through real connections and a real database."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

import pytest
from support.scripted_server import scripted_server
from support.store import UNKNOWN, campaign_state
from support.worker import Clerk, Gate, campaign, gates, letter, post_office, relay, rows_of

from mailer.content import Part
from mailer.core.clock import MINUTE_US, SECOND_US
from mailer.core.outcome import settle
from mailer.errors import StoreError
from mailer.store.campaigns import Campaigns
from mailer.store.sqlite import Database

BUSY_LOGIN = 'username = "me@example.com"\npassword = "literal"\n'


async def test_what_is_queued_is_sent_and_recorded_with_the_servers_words(tmp_path: Path) -> None:
    clerk = Clerk(rcpt={"user1": "550 5.1.1 no such user"})
    with scripted_server(clerk) as server:
        async with post_office(tmp_path, server.port) as office:
            await office.queue("spring", 3)
            await office.work(until_empty=True)
            assert await office.states("spring") == {"sent": 2, "failed": 1}
            assert office.rows("SELECT code, enhanced, text FROM attempt ORDER BY message_id")[1] == (
                550, "5.1.1", "no such user",
            )  # fmt: skip
            await office.assert_left_nothing()
    assert sorted(clerk.taken) == ["user0", "user2"]
    body = server.heard
    assert "Subject: Hello User 0" in body
    assert "Dear User 2," in body


async def test_an_idle_worker_takes_a_new_message_without_being_told(tmp_path: Path) -> None:
    """The clocks stand still, so no renewal of the lease brings it about: only the change of the database does."""
    arrived = asyncio.Queue[float]()
    loop = asyncio.get_running_loop()

    def note(_: str) -> None:
        loop.call_soon_threadsafe(arrived.put_nowait, time.monotonic())

    with scripted_server(Clerk(on_rcpt=note)) as server:
        async with post_office(tmp_path, server.port) as office, office.working():
            latencies = []
            for n in range(6):
                await office.queue(f"c{n}", 1, first=n)
                queued_at = time.monotonic()
                latencies.append(await asyncio.wait_for(arrived.get(), 20) - queued_at)
                await office.reach(f"c{n}", sent=1)
    assert min(latencies) < 0.1, f"it is to start within 100 ms: {latencies}"


async def test_what_is_queued_between_the_first_exchange_and_the_first_look_is_seen(tmp_path: Path) -> None:
    with scripted_server(clerk := Clerk()) as server:
        async with post_office(tmp_path, server.port) as office, office.working():
            await office.reach_row("SELECT 1 FROM worker WHERE exchange_n > 0")
            await office.queue("spring", 1)
            await office.reach("spring", sent=1)
    assert clerk.taken == ["user0"]


async def test_outcomes_gather_into_few_exchanges_and_the_hand_is_never_fuller_than_allowed(tmp_path: Path) -> None:
    most = 0
    database = tmp_path / "mailer.db"

    def count(_: str) -> None:
        nonlocal most
        most = max(most, rows_of(database, "SELECT count(*) FROM claim")[0][0])

    with scripted_server(Clerk(on_rcpt=count)) as server:
        async with post_office(
            tmp_path, relay(server.port, more="max_connections = 4"), worker="max_in_hand = 20"
        ) as office:
            await office.queue("spring", 300)
            await office.work(until_empty=True)
            assert await office.states("spring") == {"sent": 300}
            [(exchanges,)] = office.rows("SELECT exchange_n FROM worker")
    assert 10 <= most <= 20
    assert exchanges < 150


async def test_a_campaign_that_is_paused_meanwhile_gets_its_messages_back_uncharged(tmp_path: Path) -> None:
    gate = Gate()
    with scripted_server(clerk := Clerk(on_data=gate)) as server, gates(gate):
        async with post_office(
            tmp_path, relay(server.port, more="max_connections = 1"), worker="slots_per_connection = 10"
        ) as office:
            await office.queue("spring", 10)
            async with office.working():
                await gate.reached()
                assert await office.states("spring") == {"sending": 10}
                await office.store.campaigns.pause("spring")
                await office.reach("spring", queued=9, sending=1)
                gate.open()
                await office.reach("spring", queued=9, sent=1)
            assert office.rows(
                "SELECT sum(attempts), sum(refusals), sum(losses) FROM message WHERE state = 'queued'"
            ) == [(0, 0, 0)]
            await office.assert_left_nothing()
    assert len(clerk.taken) == 1


async def test_of_a_campaign_that_is_cancelled_meanwhile_only_what_is_on_the_wire_goes_out(tmp_path: Path) -> None:
    gate = Gate()
    with scripted_server(clerk := Clerk(on_data=gate)) as server, gates(gate):
        async with post_office(
            tmp_path, relay(server.port, more="max_connections = 1"), worker="slots_per_connection = 10"
        ) as office:
            await office.queue("spring", 10)
            async with office.working():
                await gate.reached()
                await office.store.campaigns.cancel("spring")
                await office.journal.saw("campaign.swept")
                gate.open()
                await office.reach("spring", cancelled=9, sent=1)
            await office.store.campaigns.sweep()
            assert await campaign_state(office.store, "spring") == "cancelled"
            await office.assert_left_nothing()
    assert len(clerk.taken) == 1


async def test_a_relay_that_pauses_gives_its_messages_back_and_another_one_takes_them(tmp_path: Path) -> None:
    busy, good = Clerk(greeting="421 4.3.2 too busy"), Clerk()
    with scripted_server(busy) as first, scripted_server(good) as second:
        async with post_office(
            tmp_path,
            relay(first.port, "busy", "weight = 100"),
            relay(second.port, "good", "max_connections = 1"),
            worker="slots_per_connection = 1",
        ) as office:
            await office.queue("spring", 12)
            await office.work(until_empty=True)
            assert await office.states("spring") == {"sent": 12}
            assert {entry["relay"] for entry in office.journal.named("relay.paused")} == {"busy"}
            assert office.rows("SELECT DISTINCT relay, code FROM attempt") == [("good", 250)]
            assert office.rows("SELECT max(attempts), max(refusals), max(losses) FROM message") == [(1, 0, 0)]
            await office.assert_left_nothing()


async def test_a_relay_may_only_take_over_what_it_may_carry(tmp_path: Path) -> None:
    with scripted_server(Clerk(greeting="554 5.3.2 go away")) as first, scripted_server(clerk := Clerk()) as second:
        async with post_office(
            tmp_path,
            relay(first.port, "any"),
            relay(second.port, "other", 'senders = ["else@example.net"]'),
        ) as office:
            await office.queue("spring", 4)
            summary = await office.work(until_empty=True)
            assert await office.states("spring") == {"queued": 4}
    [left] = summary.left.remainders
    assert (left.campaign, left.count) == ("spring", 4)
    assert "relay any stopped" in left.reason
    assert "go away" in left.reason
    assert clerk.taken == []


async def test_a_wrong_password_stops_the_relay_and_no_message_pays(tmp_path: Path) -> None:
    script = """
    S: 220 relay ready
    C: EHLO *
    S: 250-relay | 250 AUTH LOGIN
    C: AUTH LOGIN *
    S: 334 UGFzc3dvcmQ6
    C: *
    S: 535 5.7.8 authentication failed
    """
    with scripted_server(script) as server:
        wrong = relay(server.port).replace('auth = "none"', f'auth = "login"\n{BUSY_LOGIN}')
        async with post_office(tmp_path, wrong) as office:
            await office.queue("spring", 7)
            summary = await office.work(until_empty=True)
            assert await office.states("spring") == {"queued": 7}
            assert office.rows("SELECT count(*) FROM attempt") == [(0,)]
            assert office.rows("SELECT max(attempts + refusals + losses) FROM message") == [(0,)]
            await office.assert_left_nothing()
    assert server.connections == 1, "a wrong password is tried once"
    [left] = summary.left.remainders
    assert left.count == 7
    assert "535" in left.reason


async def test_a_locked_database_is_waited_out_and_nothing_is_lost_or_sent_twice(tmp_path: Path) -> None:
    gate = Gate()
    with scripted_server(clerk := Clerk(on_data=gate)) as server, gates(gate):
        async with post_office(tmp_path, server.port) as office:
            await office.queue("spring", 60)
            async with office.working():
                await gate.reached()
                async with office.locked():
                    gate.open()
                    await office.journal.saw("database.waiting", 2)
                await office.reach("spring", sent=60)
            await office.assert_left_nothing()
    assert sorted(clerk.taken) == sorted(f"user{n}" for n in range(60))


async def test_an_exchange_whose_answer_is_lost_is_made_again_without_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every third exchange commits, and then says that it could not."""
    real = Database.in_one_visit
    calls = 0

    async def loses_answers(self: Database, body: Any) -> Any:
        nonlocal calls
        answer = await real(self, body)
        calls += 1
        if calls % 3 == 0:
            raise StoreError("the connection to the database was lost", can_wait=True)
        return answer

    monkeypatch.setattr(Database, "in_one_visit", loses_answers)
    with scripted_server(clerk := Clerk(rcpt={"user4": "450 4.7.1 later; 250 ok"})) as server:
        async with post_office(tmp_path, server.port, worker="max_in_hand = 4") as office:
            await office.queue("spring", 40)
            async with office.working(until_empty=True) as task:
                await office.journal.saw("message.deferred")
                await office.reach("spring", sent=39, deferred=1)
                office.clock.forward(15 * SECOND_US)
                await task
            assert await office.states("spring") == {"sent": 40}
            await office.assert_left_nothing()
    assert calls > 9
    assert sorted(clerk.taken) == sorted(f"user{n}" for n in range(40)), "nobody is skipped, nobody is mailed twice"


async def test_a_database_that_is_gone_for_good_ends_the_run_with_that_error_and_leaves_the_flight_file(
    tmp_path: Path,
) -> None:
    gate = Gate()
    with scripted_server(Clerk(on_end=gate)) as server, gates(gate):
        async with post_office(tmp_path, server.port) as office:
            await office.queue("spring", 3)
            task = asyncio.create_task(office.work())
            await gate.reached()
            path = office.config.database.path
            path.rename(tmp_path / "elsewhere.db")
            gate.open()
            with pytest.raises(StoreError, match="removed or replaced"):
                await task
            assert len(office.flights()) == 1
            (tmp_path / "elsewhere.db").rename(path)


async def test_after_such_an_end_the_next_worker_records_what_the_file_had(tmp_path: Path) -> None:
    gate = Gate()
    with scripted_server(clerk := Clerk(on_end=gate)) as server, gates(gate):
        async with post_office(tmp_path, relay(server.port, more="max_connections = 1")) as office:
            await office.queue("spring", 3)
            task = asyncio.create_task(office.work())
            await gate.reached()
            path = office.config.database.path
            path.rename(tmp_path / "elsewhere.db")
            gate.open()
            with pytest.raises(StoreError):
                await task
            (tmp_path / "elsewhere.db").rename(path)
            async with office.working(until_empty=True) as again:
                await office.journal.saw("worker.dead")
                await again
            assert await office.states("spring") == {"sent": 3}
            await office.assert_left_nothing()
    assert sorted(clerk.taken) == ["user0", "user1", "user2"], "nobody is mailed twice"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{}", "its content cannot be used: the stored content cannot be read"),
        (letter(text="{% if %}").to_json(), "its content cannot be used: "),
    ],
)
async def test_content_that_cannot_be_compiled_fails_its_messages_with_the_reason(
    tmp_path: Path, content: str, reason: str
) -> None:
    with scripted_server(clerk := Clerk()) as server:
        async with post_office(tmp_path, server.port) as office:
            await office.queue("broken", 2, campaign(body=content, digest="b" * 64))
            await office.queue("good", 1, first=5)
            await office.work(until_empty=True)
            assert await office.states("broken") == {"failed": 2}
            assert await office.states("good") == {"sent": 1}
            [(found,)] = office.rows("SELECT DISTINCT reason FROM message WHERE state = 'failed'")
            assert found.startswith(reason)
            await office.assert_left_nothing()
    assert clerk.taken == ["user5"]


async def test_a_row_that_cannot_be_rendered_fails_alone(tmp_path: Path) -> None:
    with scripted_server(clerk := Clerk()) as server:
        async with post_office(tmp_path, server.port) as office:
            await office.queue("spring", 2, campaign(letter(text="{{ 1 / (name | length - 6) }} {{ name[5] }}")))
            await office.queue("autumn", 1, campaign(letter(text="{{ nme }}")))
            await office.work(until_empty=True)
            assert await office.states("autumn") == {"failed": 1}
            [(reason,)] = office.rows("SELECT DISTINCT reason FROM message WHERE state = 'failed' AND campaign_id = 2")
            assert "nme" in reason
            assert await office.states("spring") == {"failed": 2}
            await office.assert_left_nothing()
    assert clerk.taken == []


async def test_while_content_cannot_be_fetched_messages_go_back_and_come_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Campaigns.content
    refusals = 3

    async def content(self: Campaigns, *wanted: Any) -> Any:
        nonlocal refusals
        if refusals:
            refusals -= 1
            raise StoreError("the disk answered with an error", can_wait=True)
        return await real(self, *wanted)

    monkeypatch.setattr(Campaigns, "content", content)
    with scripted_server(Clerk()) as server:
        async with post_office(tmp_path, server.port) as office:
            await office.queue("spring", 3)
            await office.work(until_empty=True)
            assert await office.states("spring") == {"sent": 3}
            assert office.rows("SELECT max(attempts), max(refusals) FROM message") == [(1, 0)]
            assert office.journal.named("database.waiting")
            await office.assert_left_nothing()
    assert refusals == 0


async def test_content_that_the_database_cannot_give_at_all_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def content(self: Campaigns, *wanted: Any) -> Any:
        raise StoreError("the database is damaged")

    monkeypatch.setattr(Campaigns, "content", content)
    with scripted_server(Clerk()) as server:
        async with post_office(tmp_path, server.port) as office:
            await office.queue("spring", 3)
            with pytest.raises(StoreError, match="damaged"):
                await office.work(until_empty=True)
            assert len(office.flights()) == 1


async def test_a_message_whose_deadline_passes_in_hand_fails_without_an_attempt(tmp_path: Path) -> None:
    gate = Gate()
    with scripted_server(clerk := Clerk(on_data=gate)) as server, gates(gate):
        async with post_office(tmp_path, relay(server.port, more="max_connections = 1")) as office:
            deadline = office.clock() + 20 * SECOND_US
            await office.queue("spring", 3, campaign(expires_at_us=deadline))
            async with office.working():
                await gate.reached()
                office.clock.forward(21 * SECOND_US)
                gate.open()
                await office.reach("spring", sent=1, failed=2)
            assert office.rows("SELECT DISTINCT attempts, reason FROM message WHERE state = 'failed'") == [
                (0, "not accepted before the campaign's deadline")
            ]
            await office.assert_left_nothing()
    assert len(clerk.taken) == 1


@pytest.mark.parametrize("which", ["wall", "boot"])
async def test_a_worker_whose_lease_is_lost_by_either_clock_ends_nothing_more_and_starts_over(
    tmp_path: Path, which: str
) -> None:
    gate = Gate()
    with scripted_server(clerk := Clerk(on_data=gate)) as server, gates(gate):
        async with post_office(tmp_path, relay(server.port, more="max_connections = 1")) as office:
            await office.queue("spring", 2)
            async with office.working():
                await gate.reached()
                assert len(office.flights()) == 1
                first = office.flights()
                # While the lock is held no exchange is answered, so the lease runs out whatever the worker does.
                async with office.locked():
                    clock = office.clock if which == "wall" else office.boot
                    clock.forward(46 * SECOND_US)
                    gate.open()
                    await office.journal.saw("worker.fenced")
                    assert clerk.taken == []
                await office.journal.saw("worker.started", 2)
                await office.journal.saw("worker.dead")
                await office.reach("spring", sent=2)
                assert office.flights() != first
                assert len(office.flights()) == 1
            assert office.rows("SELECT state FROM worker ORDER BY id") == [("dead",), ("ended",)]
            await office.assert_left_nothing()
    assert sorted(clerk.taken) == ["user0", "user1"]


async def test_a_worker_that_was_taken_for_dead_starts_over_and_its_answers_count_once(tmp_path: Path) -> None:
    gate = Gate()
    with scripted_server(clerk := Clerk(on_end=gate)) as server, gates(gate):
        async with post_office(tmp_path, relay(server.port, more="max_connections = 1")) as office:
            await office.queue("spring", 1)
            async with office.working():
                await gate.reached()
                [(worker,)] = office.rows("SELECT id FROM worker")
                await office.store.workers.recover(worker, (), _unknown_to(office))
                gate.open()
                await office.journal.saw("worker.fenced")
                await office.journal.saw("worker.started", 2)
                assert await office.states("spring") == {"uncertain": 1}
                office.clock.forward(13 * SECOND_US)
                await office.reach("spring", sent=1)
            await office.assert_left_nothing()
            shown = office.rows("SELECT n, code FROM attempt ORDER BY n")
            assert shown == [(1, None), (2, 250)]
    assert clerk.taken == ["user0", "user0"]


def _unknown_to(office: Any) -> Any:
    retry = office.config.retry.policy
    return lambda claimed, _claimed_at, _deaths: settle(claimed, UNKNOWN, retry, office.clock(), Random(1))


async def test_a_clean_stop_leaves_nothing_in_hand(tmp_path: Path) -> None:
    gate = Gate()
    with scripted_server(clerk := Clerk(on_end=gate)) as server, gates(gate):
        async with post_office(tmp_path, server.port, worker="max_in_hand = 10") as office:
            await office.queue("spring", 500)
            async with office.working() as task:
                await gate.reached()
                gate.open()
                office.stop.set()
                summary = await task
            found = await office.states("spring")
            assert found["sent"] == len(clerk.taken) < 500
            assert found["queued"] == 500 - found["sent"]
            assert summary.was_stopped
            assert summary.unanswered == 0
            await office.assert_left_nothing()


async def test_what_is_not_answered_when_the_time_to_stop_is_over_is_uncertain_and_counted(tmp_path: Path) -> None:
    gate = Gate()
    with scripted_server(Clerk(on_end=gate)) as server, gates(gate):
        async with post_office(tmp_path, relay(server.port, more="max_connections = 1"), stop_within="0.2s") as office:
            await office.queue("spring", 5)
            async with office.working() as task:
                await gate.reached()
                office.stop.set()
                summary = await task
            assert summary.unanswered == 1
            assert await office.states("spring") == {"queued": 4, "uncertain": 1}
            await office.assert_left_nothing()


async def test_an_answer_that_comes_before_the_time_to_stop_is_over_counts(tmp_path: Path) -> None:
    gate = Gate()
    with scripted_server(Clerk(on_end=gate)) as server, gates(gate):
        async with post_office(tmp_path, relay(server.port, more="max_connections = 1")) as office:
            await office.queue("spring", 5)
            async with office.working() as task:
                await gate.reached()
                office.stop.set()
                await office.reach("spring", queued=4, sending=1)
                gate.open()
                summary = await task
            assert summary.unanswered == 0
            assert await office.states("spring") == {"queued": 4, "sent": 1}
            await office.assert_left_nothing()


async def test_a_body_under_way_at_half_the_time_to_stop_comes_back_untouched(tmp_path: Path) -> None:
    """The server says 354 and reads nothing: the body is far larger than what the kernel holds for it."""
    reading = asyncio.Event()
    loop = asyncio.get_running_loop()
    release = Gate()

    def stuck(peer: Any) -> None:
        peer.say("220 relay ready")
        while (line := peer.line()) is not None:
            peer.say("250 ok" if line != "DATA" else "354 go on")
            if line == "DATA":
                loop.call_soon_threadsafe(reading.set)
                release("")
                return

    noise = Random(1).randbytes(12_000_000)
    part = Part("noise.bin", "application/octet-stream", sha256(noise).hexdigest(), len(noise))
    big = campaign(replace(letter(), attachments=(part,)), blobs={part.digest: noise})
    with scripted_server(stuck) as server, gates(release):
        async with post_office(tmp_path, relay(server.port, more="max_connections = 1"), stop_within="0.2s") as office:
            await office.queue("spring", 1, big)
            async with office.working() as task:
                await asyncio.wait_for(reading.wait(), 20)
                office.stop.set()
                summary = await task
            assert summary.unanswered == 0
            assert await office.states("spring") == {"queued": 1}
            assert office.rows("SELECT attempts, refusals, losses, in_doubt FROM message") == [(0, 0, 0, 0)]
            await office.assert_left_nothing()


async def test_a_rate_is_kept_across_exchanges(tmp_path: Path) -> None:
    with scripted_server(clerk := Clerk()) as server:
        async with post_office(tmp_path, relay(server.port, more='rate = "60/minute"')) as office:
            await office.queue("spring", 6)
            async with office.working():
                await office.reach("spring", sent=1, queued=5)
                for n in range(2, 7):
                    office.clock.forward(SECOND_US)
                    await office.reach("spring", sent=n, **({"queued": 6 - n} if n < 6 else {}))
    assert len(clerk.taken) == 6


async def test_a_daily_limit_is_kept_over_workers_and_exchanges(tmp_path: Path) -> None:
    with scripted_server(clerk := Clerk()) as server:
        async with post_office(tmp_path, relay(server.port, more="daily_limit = 5")) as office:
            await office.queue("spring", 8)
            async with office.working():
                await office.reach("spring", sent=5, queued=3)
            office.stop.clear()
            office.clock.forward(60 * MINUTE_US)
            async with office.working():
                await office.queue("other", 1, first=50)
                await office.reach_row("SELECT 1 FROM worker WHERE id = 2 AND exchange_n > 1")
                assert await office.states("spring") == {"sent": 5, "queued": 3}
            office.stop.clear()
            office.clock.forward(24 * 60 * MINUTE_US)
            await office.work(until_empty=True)
            assert await office.states("spring") == {"sent": 8}
    assert len(clerk.taken) == 9


async def test_a_recorder_that_cannot_write_stops_sending_and_goes_on_when_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.pwrite
    failures = 3

    def full(fd: int, data: bytes, offset: int) -> int:
        nonlocal failures
        if failures and offset >= 1024:  # a record; the two frames before are the file's own
            failures -= 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(fd, data, offset)

    with scripted_server(clerk := Clerk()) as server:
        # It is tried again whenever the lease is renewed: every twelfth of a second.
        async with post_office(tmp_path, server.port, worker='lease = "1s"') as office:
            await office.queue("spring", 3)
            async with office.working():
                await office.reach("spring", sent=3)
                monkeypatch.setattr("mailer.store.flight.os.pwrite", full)
                await office.queue("winter", 3, first=10)
                for n in (1, 2):
                    await office.journal.saw("recorder.failed", n)
                    assert not {"user10", "user11", "user12"} & set(clerk.taken)
                    office.clock.forward(100_000)
                await office.reach("winter", sent=3)
            assert office.journal.named("recorder.resumed")
            assert office.rows("SELECT max(attempts), max(refusals + losses) FROM message") == [(1, 0)]
            await office.assert_left_nothing()
    assert failures == 0
