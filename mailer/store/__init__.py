"""The only SQL: what is queued, in hand and recorded, and how it stays true.

`Store.open` is the door. Its parts: `campaigns` (what an operator does), `workers` (registering, exchanges, recovery),
`reading` (what is shown), `begin_load` (queueing). The flight recorder, which outlives a worker, is `store.flight`.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from mailer.core.clock import Clock
from mailer.errors import StoreError
from mailer.store import migrate
from mailer.store.campaigns import Campaign, Campaigns, Dropped
from mailer.store.check import Finding, check
from mailer.store.exchange import Exchange, Exchanger, Fenced, Route, Want
from mailer.store.loading import Load, NewRow, Snapshot, begin_load
from mailer.store.reading import CampaignStatus, ExportRow, MessageDetail, MessageSummary, Reading, RelayStatus, Status
from mailer.store.sqlite import Database
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
    "Status",
    "Store",
    "Want",
    "Worker",
]


def wall_clock() -> int:
    """Microseconds since the epoch, UTC."""
    return time.time_ns() // 1_000


class Store:
    """An open database."""

    def __init__(self, database: Database, store_id: str, clock: Clock, rest: Callable[[float], Awaitable[None]]) -> None:
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
        clock: Clock = wall_clock,
        rest: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> Store:
        """Open the database at `path`; with `create`, make one and bring it up to date where there is none.

        Raises StoreError when it is missing, of another version, not ours, locked, damaged or not to be read.
        """
        is_new = create and (not path.exists() or path.stat().st_size == 0)
        database = await Database.open(path, create=create, synchronous=synchronous)
        try:
            if is_new:
                await migrate.upgrade(database)
                async with database.transaction() as tx:
                    await tx.run("insert_store", store_id=secrets.token_hex(16), now=clock())
            await migrate.require_current(database)
            async with database.reading() as tx:
                row = await tx.one("store_id")
            if row is None:
                raise StoreError(f"the database at {path} has no identity", "It was not created completely; delete it.")
        except BaseException:
            await database.close()
            raise
        return cls(database, row[0], clock, rest)

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
        if target.exists():
            raise StoreError(f"{target} exists already", "Give the backup a name of its own; nothing is overwritten.")
        await self._database.back_up(target)

    async def data_version(self) -> int:
        """A number that changes whenever another connection has committed something."""
        return int(await self._database.pragma("data_version"))


async def upgrade(path: Path, *, backup: Path | None) -> list[str]:
    """Bring the database at `path` up to date, after a copy to `backup`; the names of the steps applied."""
    database = await Database.open(path, create=False)
    try:
        if backup is not None and await migrate.version(database) < len(migrate.migrations()):
            await database.back_up(backup)
        return [f"{step.number:04} {step.name}" for step in await migrate.upgrade(database)]
    finally:
        await database.close()
