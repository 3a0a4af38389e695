"""`mailer db stats`."""

from __future__ import annotations

from support.store import SENT, Clock, claim, queue, recipients, register, settled, snapshot

from mailer.core.clock import HOUR_US
from mailer.store import Store
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
    assert stats.file_bytes + stats.wal_bytes >= stats.page_bytes > 0


async def test_nothing_is_old_in_an_empty_database(store: Store) -> None:
    stats = await store.stats()
    assert stats.oldest_due_us is None
    assert stats.rows["messages"] == 0
