"""How many messages ended badly between two looks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.store import PUT_OFF, REFUSED, SENT, UNKNOWN, Clock, no_rest, queue, recipients, register, send_all

from mailer.service.bad_endings import BadEndings
from mailer.store import Store


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def store(tmp_path: Path, clock: Clock) -> AsyncIterator[Store]:
    path = tmp_path / "mailer.db"
    async with await Store.open(path, create=True, synchronous="off", clock=clock, rest=no_rest) as store:
        yield store


async def test_what_had_ended_before_does_not_count(store: Store, clock: Clock) -> None:
    worker = await register(store)
    await queue(store, "old", recipients(2))
    await send_all(worker, clock, REFUSED)
    before = await BadEndings.read(store)
    assert (before.bad, before.total) == (2, 2)
    await queue(store, "good", recipients(3))
    await send_all(worker, clock, SENT)
    await queue(store, "bad", recipients(1))
    await send_all(worker, clock, REFUSED)
    await queue(store, "doubt", recipients(1))
    await send_all(worker, clock, UNKNOWN)
    await queue(store, "later", recipients(1))
    await send_all(worker, clock, PUT_OFF)
    assert (await BadEndings.read(store)).since(before) == (2, 5), "one failed, one is uncertain; one has not ended"


async def test_one_campaign_can_be_looked_at_alone(store: Store, clock: Clock) -> None:
    worker = await register(store)
    await queue(store, "bad", recipients(2))
    await send_all(worker, clock, REFUSED)
    await queue(store, "good", recipients(3))
    await send_all(worker, clock, SENT)
    seen = await BadEndings.read(store, "good")
    assert (seen.bad, seen.total) == (0, 3)


async def test_a_campaign_deleted_meanwhile_counts_for_nothing(store: Store, clock: Clock) -> None:
    await queue(store, "bad", recipients(2))
    await send_all(await register(store), clock, REFUSED)
    before = await BadEndings.read(store)
    await store.campaigns.delete("bad")
    assert (await BadEndings.read(store)).since(before) == (0, 0)
