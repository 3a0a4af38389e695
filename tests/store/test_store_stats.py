"""`mailer db stats`, and what is said of a load that has not ended."""

from __future__ import annotations

import pytest
from support.store import SENT, Clock, claim, queue, recipients, register, settled, snapshot

from mailer.core.clock import HOUR_US
from mailer.errors import NotFound
from mailer.store import Store
from mailer.store.loading import SILENT_US
from mailer.store.migrate import migrations


async def test_stats_tell_sizes_counts_and_since_when_something_waits(store: Store, clock: Clock) -> None:
    worker = await register(store)
    await queue(store, "paused", recipients(1), hold=True)
    clock.forward(HOUR_US)
    await queue(store, "news", recipients(5), snapshot(blobs={"ab": b"x"}))
    first, _ = await claim(worker, 2)
    await worker.exchange([settled(first, SENT, clock)], [])
    oldest = clock()
    clock.forward(HOUR_US)
    stats = await store.stats()
    assert stats.rows == {
        "campaigns": 2, "messages": 6, "waiting": 4, "in_hand": 1, "attempts": 1, "lanes": 2, "attachments": 1,
        "loads": 0, "live_workers": 1, "past_workers": 0,
    }  # fmt: skip
    assert (stats.at_us, stats.oldest_due_us, stats.version) == (clock(), oldest, len(migrations()))
    assert stats.file_bytes + stats.wal_bytes >= stats.pages * stats.page_bytes > 0


async def test_nothing_is_old_in_an_empty_database(store: Store) -> None:
    stats = await store.stats()
    assert stats.oldest_due_us is None
    assert stats.rows["messages"] == 0


async def test_a_load_in_progress_is_described_until_it_ends(store: Store, clock: Clock) -> None:
    load = await store.begin_load("news", loader="here/1", new=snapshot())
    await load.add(recipients(3))
    found = await store.reading.load_of("news")
    assert found is not None
    assert (found.loader, found.rows, found.heartbeat_at_us, found.is_silent) == ("here/1", 3, clock(), False)
    clock.forward(SILENT_US)
    found = await store.reading.load_of("news")
    assert found is not None
    assert found.is_silent
    await load.release(hold=False)
    assert await store.reading.load_of("news") is None
    with pytest.raises(NotFound):
        await store.reading.load_of("other")


async def test_a_load_that_was_given_up_can_be_taken_up_again_at_once(store: Store) -> None:
    load = await store.begin_load("news", loader="here/1", new=snapshot())
    await load.add(recipients(3))
    await load.give_up()
    again = await store.begin_load("news", loader="here/2", new=snapshot())
    await again.add(recipients(2))
    await again.release(hold=False)
    assert (await store.reading.status("news")).campaigns[0].total == 2
