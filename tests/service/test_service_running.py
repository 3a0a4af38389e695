"""`--until-empty`: what a worker waits for, what it leaves to an operator or a later day, and what it says of that."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from support.scripted_server import scripted_server
from support.worker import Clerk, Gate, campaign, gates, post_office, relay

from mailer.core.clock import HOUR_US, SECOND_US
from mailer.errors import ConfigError, StoreError
from mailer.service.job import Job, Share
from mailer.service.running import Summary, run_worker

LATER = "450 4.7.1 greylisted; 250 ok"


def left_of(summary: Summary) -> list[tuple[str, int, str]]:
    return [(one.campaign, one.count, one.reason) for one in summary.left.remainders]


async def test_with_nothing_queued_it_ends_at_once(tmp_path: Path) -> None:
    async with post_office(tmp_path, 1) as office:
        summary = await office.work(until_empty=True)
        assert left_of(summary) == []
        assert not summary.was_stopped
        await office.assert_left_nothing()


async def test_it_waits_for_retries(tmp_path: Path) -> None:
    with scripted_server(Clerk(rcpt={"user1": LATER})) as server:
        async with post_office(tmp_path, server.port) as office:
            await office.queue("spring", 3)
            async with office.working(until_empty=True) as task:
                await office.reach("spring", sent=2, deferred=1)
                assert not task.done()
                office.clock.forward(13 * SECOND_US)
                assert left_of(await task) == []
            assert await office.states("spring") == {"sent": 3}


async def test_with_no_wait_it_ends_when_nothing_is_due_now_and_says_when_the_rest_is(tmp_path: Path) -> None:
    with scripted_server(Clerk(rcpt={"user1": LATER})) as server:
        async with post_office(tmp_path, server.port) as office:
            await office.queue("spring", 3)
            summary = await office.work(until_empty=True, wait=False)
            assert await office.states("spring") == {"sent": 2, "deferred": 1}
            [(name, count, reason)] = left_of(summary)
            [(due,)] = office.rows("SELECT due_at FROM ready")
            assert (name, count, reason) == ("spring", 1, f"deferred until {due}")
            await office.assert_left_nothing()


async def test_it_waits_for_what_another_worker_has_in_hand(tmp_path: Path) -> None:
    gate = Gate()
    with scripted_server(Clerk(on_end=gate)) as server, gates(gate):
        async with post_office(tmp_path, server.port) as office:
            await office.queue("spring", 1)
            async with office.working():
                await gate.reached()
                async with office.working(until_empty=True) as second:
                    await office.reach_row("SELECT 1 FROM worker WHERE id = 2 AND exchange_n > 0")
                    assert not second.done()
                    gate.open()
                    assert left_of(await second) == []


async def test_it_takes_over_what_another_worker_gives_back(tmp_path: Path) -> None:
    gate = Gate()
    with scripted_server(clerk := Clerk(on_data=gate)) as server, gates(gate):
        async with post_office(tmp_path, relay(server.port, more="max_connections = 1")) as office:
            await office.queue("spring", 3)
            async with office.working() as first:
                await gate.reached()
                assert await office.states("spring") == {"sending": 3}
                stop, office.stop = office.stop, asyncio.Event()
                async with office.working(until_empty=True) as second:
                    stop.set()
                    gate.open()
                    await first
                    assert left_of(await second) == []
                assert await office.states("spring") == {"sent": 3}
            await office.assert_left_nothing()
    assert len(clerk.taken) == 3


async def test_it_leaves_what_is_paused_or_scheduled_and_names_the_reason(tmp_path: Path) -> None:
    with scripted_server(clerk := Clerk()) as server:
        async with post_office(tmp_path, server.port) as office:
            start = office.clock() + HOUR_US
            await office.queue("held", 2, hold=True)
            await office.queue("later", 3, campaign(start_at_us=start))
            await office.queue("now", 1)
            summary = await office.work(until_empty=True)
            assert sorted(left_of(summary)) == [
                ("held", 2, "paused: held when it was queued"),
                ("later", 3, f"scheduled for {start}"),
            ]
            assert await office.states("now") == {"sent": 1}
    assert len(clerk.taken) == 1


async def test_it_leaves_what_no_relay_may_carry(tmp_path: Path) -> None:
    async with post_office(tmp_path, relay(1, more='senders = ["else@example.net"]')) as office:
        await office.queue("spring", 2)
        summary = await office.work(until_empty=True)
        assert left_of(summary) == [("spring", 2, "no relay may carry mail from news@example.com")]


async def test_with_no_wait_a_paused_relay_is_left_too(tmp_path: Path) -> None:
    with scripted_server(Clerk(greeting="421 4.3.2 too busy")) as server:
        async with post_office(tmp_path, server.port) as office:
            await office.queue("spring", 2)
            [(name, count, reason)] = left_of(await office.work(until_empty=True, wait=False))
            assert (name, count) == ("spring", 2)
            assert reason.startswith("relay qq paused: ")
            assert "too busy" in reason


async def test_a_paused_relay_is_waited_for(tmp_path: Path) -> None:
    """About a second: the first pause of a relay."""
    with scripted_server(Clerk(greeting="421 4.3.2 too busy"), clerk := Clerk()) as server:
        async with post_office(tmp_path, server.port) as office:
            await office.queue("spring", 2)
            assert left_of(await office.work(until_empty=True)) == []
            assert await office.states("spring") == {"sent": 2}
            assert [entry["event"] for entry in office.journal.entries if entry["event"].startswith("relay.")] == [
                "relay.paused",
                "relay.trying",
            ]
    assert len(clerk.taken) == 2


async def test_a_scheduled_campaign_starts_by_itself_and_is_sent(tmp_path: Path) -> None:
    with scripted_server(Clerk()) as server:
        async with post_office(tmp_path, server.port) as office, office.working():
            await office.queue("later", 2, campaign(start_at_us=office.clock() + 5 * SECOND_US))
            office.clock.forward(6 * SECOND_US)
            await office.reach("later", sent=2)
            assert office.journal.named("campaign.started")[0]["campaign"] == "later"


async def test_a_single_campaign_is_sent_although_it_is_paused_and_no_other(tmp_path: Path) -> None:
    with scripted_server(Clerk()) as server:
        async with post_office(tmp_path, server.port) as office:
            one = await office.queue("one", 2, hold=True)
            await office.queue("other", 2, first=2)
            assert left_of(await office.work(until_empty=True, wait=False, only_campaign=one)) == []
            assert await office.states("one") == {"sent": 2}
            assert await office.states("other") == {"queued": 2}


async def test_without_a_relay_nothing_is_begun(tmp_path: Path) -> None:
    async with post_office(tmp_path) as office:
        with pytest.raises(ConfigError, match="no relay"):
            await office.work()
        assert office.rows("SELECT count(*) FROM worker") == [(0,)]


async def test_a_database_that_is_locked_at_the_start_is_said_at_once(tmp_path: Path) -> None:
    async with post_office(tmp_path, 1) as office:
        async with office.locked():
            with pytest.raises(StoreError, match="locked by another program") as caught:
                await run_worker(office.store, office.config, Job(), office.stop, clock=office.clock, boot=office.boot)
            assert caught.value.exit == 4
        # Nobody knows whether its row was written, so its file stays for the next worker to judge.
        assert len(office.flights()) == 1
        assert office.rows("SELECT count(*) FROM worker") == [(0,)]


async def test_a_folder_for_flight_files_that_cannot_be_made_is_said_before_a_row_exists(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    async with post_office(tmp_path, 1, worker='state_dir = "file/flights"') as office:
        with pytest.raises(StoreError, match="flight recorder cannot be made"):
            await office.work()
        assert office.rows("SELECT count(*) FROM worker") == [(0,)]


def test_the_parts_of_all_processes_are_the_whole() -> None:
    for of in range(1, 9):
        for total in range(20):
            parts = [Share(index, of).connections(total) for index in range(of)]
            assert sum(parts) == total
            assert max(parts) - min(parts) <= 1


async def test_a_process_without_a_connection_of_its_own_leaves_the_work_to_the_others(tmp_path: Path) -> None:
    """`--processes 2` with a relay that allows one connection: the second process has none, and is no obstacle."""
    gate = Gate()
    with scripted_server(Clerk(on_end=gate)) as server, gates(gate):
        async with post_office(tmp_path, relay(server.port, more="max_connections = 1")) as office:
            await office.queue("spring", 2)
            idle = await office.work(until_empty=True, share=Share(1, 2))
            assert left_of(idle) == [], "what another process sends is not left behind"
            gate.open()
            assert left_of(await office.work(until_empty=True, share=Share(0, 2))) == []
            assert await office.states("spring") == {"sent": 2}


async def test_what_no_process_may_carry_is_said_by_all_of_them(tmp_path: Path) -> None:
    async with post_office(tmp_path, relay(1, more='max_connections = 1\nsenders = ["else@example.net"]')) as office:
        await office.queue("spring", 2)
        for index in (0, 1):
            summary = await office.work(until_empty=True, share=Share(index, 2))
            assert left_of(summary) == [("spring", 2, "no relay may carry mail from news@example.com")]


async def test_relays_are_reported_for_the_status_while_they_are_in_trouble(tmp_path: Path) -> None:
    with scripted_server(Clerk(greeting="554 5.3.2 go away")) as server:
        async with post_office(tmp_path, server.port) as office:
            await office.queue("spring", 1)
            async with office.working():
                await office.journal.saw("relay.stopped")
                await office.reach_row("SELECT 1 FROM relay_state WHERE state = 'stopped' AND reason LIKE '%go away%'")
            assert office.rows("SELECT count(*) FROM relay_state") == [(0,)], "a worker takes its reports with it"
