"""A database that nobody can write to for longer than a lease: the worker stops sending, and goes on when it can."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest
import structlog
from structlog.typing import EventDict, WrappedLogger
from support.store import Clock, no_rest

from mailer.config import load
from mailer.core.clock import MINUTE_US
from mailer.errors import StoreError
from mailer.service.job import Job
from mailer.service.running import run_worker
from mailer.store import Store

CONFIG = """
[[relay]]
name = "qq"
host = "127.0.0.1"
port = 1
tls = "none"
auth = "none"
"""


class Heard:
    """The log's events, as they come."""

    def __init__(self) -> None:
        self._events: asyncio.Queue[str] = asyncio.Queue()

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        self._events.put_nowait(event["event"])
        raise structlog.DropEvent

    async def wait_for(self, wanted: str) -> None:
        async with asyncio.timeout(20):
            while await self._events.get() != wanted:
                pass


@pytest.fixture
def heard() -> Iterator[Heard]:
    before = structlog.get_config()
    heard = Heard()
    structlog.configure(processors=[heard])
    yield heard
    structlog.configure(**before)


async def first_exchange(store: Store) -> None:
    """Its lease runs from then on; until it does, there is none to lose."""
    async with asyncio.timeout(20):
        while True:
            if any(worker.exchange_n for worker in await store.workers.live()):
                return
            await asyncio.sleep(0)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """As by a backup tool or somebody's VACUUM."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.close()


async def test_a_worker_survives_a_lock_that_outlasts_its_lease(tmp_path: Path, heard: Heard) -> None:
    (tmp_path / "config.toml").write_text(CONFIG, "utf-8")
    config = load({}, file=tmp_path / "config.toml", cwd=tmp_path).config
    clock, stop = Clock(), asyncio.Event()
    path = config.database.path
    async with await Store.open(path, create=True, clock=clock, rest=no_rest, lock_wait_s=0.01) as store:
        run = asyncio.create_task(run_worker(store, config, Job(), stop, clock=clock, boot=clock, random=Random(1)))
        await heard.wait_for("worker.started")
        await first_exchange(store)
        with locked(path):
            clock.forward(MINUTE_US)  # the next exchange is due, and cannot be made
            await heard.wait_for("worker.fenced")
            for _ in range(3):
                await heard.wait_for("database.waiting")
        await heard.wait_for("worker.started")
        await heard.wait_for("worker.dead")
        stop.set()
        assert (await run).was_stopped
        assert await store.workers.live() == []


async def test_a_worker_that_waits_for_the_database_can_be_stopped(tmp_path: Path, heard: Heard) -> None:
    (tmp_path / "config.toml").write_text(CONFIG, "utf-8")
    config = load({}, file=tmp_path / "config.toml", cwd=tmp_path).config
    clock, stop = Clock(), asyncio.Event()
    path = config.database.path
    async with await Store.open(path, create=True, clock=clock, rest=no_rest, lock_wait_s=0.01) as store:
        run = asyncio.create_task(run_worker(store, config, Job(), stop, clock=clock, boot=clock, random=Random(1)))
        await heard.wait_for("worker.started")
        await first_exchange(store)
        with locked(path):
            clock.forward(MINUTE_US)
            await heard.wait_for("worker.fenced")
            await heard.wait_for("database.waiting")
            stop.set()
            with pytest.raises(StoreError, match="locked"):
                await run
