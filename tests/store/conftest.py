"""A store on a real file, its clock, and the promise that every test leaves it true."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.store import Clock, open_store

from mailer.store import Store


@pytest.fixture
def clock() -> Clock:
    """The store's clock."""
    return Clock()


@pytest.fixture
async def store(tmp_path: Path, clock: Clock) -> AsyncIterator[Store]:
    """An empty store. What a test leaves in it must break no invariant."""
    async with await open_store(tmp_path / "mailer.db", clock) as store:
        yield store
        assert await store.check() == []


@pytest.fixture
async def broken_store(tmp_path: Path, clock: Clock) -> AsyncIterator[Store]:
    """An empty store for tests that break it."""
    async with await open_store(tmp_path / "broken.db", clock) as store:
        yield store
