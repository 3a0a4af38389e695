"""What any worker does now and then: starts, deadlines, cancellations, reports, the dead. Each again, none harmful."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from support.store import Clock, campaign_state, no_rest, queue, recipients, snapshot, states
from support.worker import Journal, journal_kept

from mailer.core.clock import MINUTE_US
from mailer.errors import StoreError
from mailer.service.chores import Chores
from mailer.store import Store


class Round:
    """Chores that count what they ask of others."""

    def __init__(self, store: Store, *, every_s: float = 5.0, settles: Callable[[], int] = lambda: 0) -> None:
        self.recovered = 0
        self.reported = 0
        self.looked = 0
        self.pauses: list[float] = []
        self._settles = settles
        self._pause = asyncio.Event()
        self.chores = Chores(
            store, every_s=every_s, recover=self._recover, report=self._report, look_again=self._look, sleep=self._sleep
        )

    async def _recover(self) -> int:
        self.recovered += 1
        return self._settles()

    async def _report(self) -> None:
        self.reported += 1

    def _look(self) -> None:
        self.looked += 1

    async def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        if len(self.pauses) >= 11:
            self._pause.set()
            await asyncio.Event().wait()

    async def eleven(self) -> None:
        """Eleven rounds, as `run` makes them."""
        task = asyncio.create_task(self.chores.run())
        await self._pause.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def store(tmp_path: Path, clock: Clock) -> AsyncIterator[Store]:
    path = tmp_path / "mailer.db"
    async with await Store.open(path, create=True, synchronous="off", clock=clock, rest=no_rest) as store:
        yield store
        assert await store.check() == []


@pytest.fixture
async def journal() -> AsyncIterator[Journal]:
    with journal_kept() as journal:
        yield journal


async def test_a_scheduled_campaign_starts_when_its_time_has_come_and_the_crank_is_told(
    store: Store, clock: Clock, journal: Journal
) -> None:
    await queue(store, "later", recipients(1), snapshot(start_at_us=clock() + MINUTE_US))
    round_ = Round(store)
    await round_.chores.tick()
    assert await campaign_state(store, "later") == "scheduled"
    assert round_.looked == 0
    clock.forward(MINUTE_US)
    await round_.chores.tick(1)
    assert await campaign_state(store, "later") == "running"
    assert round_.looked == 1
    await round_.chores.tick(2)
    assert round_.looked == 1, "it starts once"
    assert [entry["campaign"] for entry in journal.named("campaign.started")] == ["later"]


async def test_what_is_past_its_deadline_ends_although_nobody_can_send_it(
    store: Store, clock: Clock, journal: Journal
) -> None:
    await queue(store, "stale", recipients(3), snapshot(expires_at_us=clock() + MINUTE_US))
    clock.forward(MINUTE_US)
    await Round(store).chores.tick()
    assert await states(store, "stale") == {"failed": 3}
    assert await campaign_state(store, "stale") == "finished"


async def test_the_dead_are_looked_for_and_relays_reported_once_in_a_renewal(store: Store, journal: Journal) -> None:
    round_ = Round(store, every_s=5.0)
    await round_.eleven()
    assert (round_.recovered, round_.reported) == (3, 3), "in rounds 0, 5 and 10"
    assert set(round_.pauses) == {1.0}


async def test_with_a_short_lease_they_are_looked_for_in_every_round(store: Store, journal: Journal) -> None:
    round_ = Round(store, every_s=0.083)
    await round_.eleven()
    assert round_.recovered == 11


async def test_what_was_settled_for_the_dead_is_told_to_the_crank(store: Store, journal: Journal) -> None:
    round_ = Round(store, settles=lambda: 3)
    await round_.chores.tick()
    assert round_.looked == 1


async def test_a_relay_that_changes_is_reported_in_the_next_round(store: Store, journal: Journal) -> None:
    round_ = Round(store)
    await round_.chores.tick(1)
    assert round_.reported == 0
    round_.chores.report_soon()
    await round_.chores.tick(2)
    await round_.chores.tick(3)
    assert round_.reported == 1


async def test_a_chore_that_fails_is_said_and_tried_again(store: Store, journal: Journal) -> None:
    failures = [StoreError("the disk is full", can_wait=True), StoreError("the disk is full", can_wait=True)]

    def settles() -> int:
        if failures:
            raise failures.pop()
        return 1

    round_ = Round(store, every_s=1, settles=settles)
    await round_.eleven()
    assert [entry["reason"] for entry in journal.named("chores.failed")] == ["the disk is full"] * 2
    assert round_.reported == 9


async def test_an_error_that_nobody_foresaw_ends_the_worker(store: Store, journal: Journal) -> None:
    def settles() -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await Round(store, settles=settles).chores.run()
