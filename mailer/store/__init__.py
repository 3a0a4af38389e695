"""The only SQL: what is queued, in hand and recorded, and how it stays true.

`Store.open` is the door. Its parts: `campaigns` (what an operator does), `workers` (registering, exchanges, recovery),
`reading` (what is shown), `begin_load` (queueing). The flight recorder, which outlives a worker, is `store.flight`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from mailer.clocks import wall_clock
from mailer.core.clock import Clock
from mailer.store import migrate
from mailer.store.campaign import Campaign
from mailer.store.campaigns import Campaigns, StoredContent
from mailer.store.check import Finding, check
from mailer.store.content import Snapshot, weight_of
from mailer.store.ending import Dropped
from mailer.store.exchange import Exchange, Exchanger, Fenced, Route, Want
from mailer.store.loading import Load, NewRow, begin_load
from mailer.store.reading import (
    CampaignStatus,
    ExportRow,
    MessageDetail,
    MessageSummary,
    Reading,
    RelayStatus,
    Status,
)
from mailer.store.sqlite import LOCK_WAIT_S, Database
from mailer.store.stats import Stats, stats
from mailer.store.workers import Left, RelayReport, Worker, Workers

__all__ = [
    "Campaign",
    "CampaignStatus",
    "Dropped",
    "Exchange",
    "Exchanger",
    "ExportRow",
    "Fenced",
    "Finding",
    "Left",
    "Load",
    "MessageDetail",
    "MessageSummary",
    "NewRow",
    "RelayReport",
    "RelayStatus",
    "Route",
    "Snapshot",
    "Stats",
    "Status",
    "Store",
    "StoredContent",
    "Want",
    "Worker",
    "weight_of",
]


class Store:
    """An open database."""

    def __init__(
        self, database: Database, store_id: str, clock: Clock, rest: Callable[[float], Awaitable[None]]
    ) -> None:
        self._database = database
        self._clock = clock
        self._rest = rest
        self.store_id = store_id
        self.campaigns = Campaigns(database, clock, rest)
        self.workers = Workers(database, clock)
        self.reading = Reading(database, clock)

    @property
    def path(self) -> Path:
        """The SQLite file."""
        return self._database.path

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        create: bool,
        synchronous: str = "full",
        lock_wait_s: float = LOCK_WAIT_S,
        clock: Clock = wall_clock,
        rest: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> Store:
        """Open the database at `path`; with `create`, make one and bring it up to date where there is none.

        Another program's lock is waited for `lock_wait_s`. Raises StoreError when the database is missing, of another
        version, not ours, locked, damaged or not to be read.
        """
        database = await Database.open(path, create=create, synchronous=synchronous, lock_wait_s=lock_wait_s)
        try:
            if create and await migrate.version(database) == 0:
                await migrate.upgrade(database, clock)
            await migrate.require_current(database)
            async with database.reading() as tx:
                ((store_id,),) = await tx.all("store_id")
        except BaseException:
            await database.close()
            raise
        return cls(database, store_id, clock, rest)

    async def close(self) -> None:
        """Close the database. Harmless twice."""
        await self._database.close()

    async def __aenter__(self) -> Store:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def begin_load(self, name: str, *, loader: str, new: Snapshot | None, kind: str = "campaign") -> Load:
        """Start loading recipients into campaign `name`; see `loading.begin_load`."""
        return await begin_load(self._database, self._clock, self._rest, name, loader=loader, new=new, kind=kind)

    async def check(self) -> list[Finding]:
        """Every row that breaks an invariant; see `check.check`."""
        return await check(self._database)

    async def back_up(self, target: Path) -> None:
        """Write a copy of the database as of now to a new file, in one step. Raises StoreError if `target` exists."""
        await self._database.back_up(target)

    async def stats(self) -> Stats:
        """How large the database is, and what in it is old."""
        return await stats(self._database, self._clock)

    async def data_version(self) -> int:
        """A number that changes whenever another connection has committed something."""
        return int(await self._database.pragma("data_version"))


async def upgrade(
    path: Path, *, backup: Path | None, lock_wait_s: float = LOCK_WAIT_S, clock: Clock = wall_clock
) -> list[str]:
    """Bring the database at `path` up to date, after a copy to `backup`; the names of the steps applied.

    Raises StoreError for a file that is empty, not ours, or of a newer version.
    """
    database = await Database.open(path, create=False, lock_wait_s=lock_wait_s)
    try:
        if 0 < await migrate.version(database) < len(migrate.migrations()):
            if backup is not None:
                await database.back_up(backup)
            return [f"{step.number:04} {step.name}" for step in await migrate.upgrade(database, clock)]
        await migrate.require_current(database)
        return []
    finally:
        await database.close()
