"""A bulk writer rests after each transaction for at least half as long as it took, so that others get their turn."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

Rest = Callable[[float], Awaitable[None]]


@asynccontextmanager
async def resting(rest: Rest) -> AsyncIterator[None]:
    """Around a transaction of a bulk writer."""
    began = time.monotonic()
    yield
    await rest((time.monotonic() - began) / 2)
