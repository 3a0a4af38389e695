"""What has to be done now and then, by whichever worker gets to it: starts, deadlines, cancellations, the dead.

Every chore is safe to do twice and by several workers at once. One that fails is said and tried again: the crank finds
out by itself when the database is gone for good.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from mailer.errors import StoreError
from mailer.store import Store

log = structlog.get_logger("worker")

# A scheduled campaign starts at most this late.
TICK_S: Final = 1.0
FORGET_EVERY: Final = 60


class Chores:
    """The chores of one worker."""

    def __init__(
        self,
        store: Store,
        *,
        every_s: float,
        recover: Callable[[], Awaitable[int]],
        report: Callable[[], Awaitable[None]],
        look_again: Callable[[], None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._every = max(1, round(every_s / TICK_S))
        self._recover = recover
        self._report = report
        self._look_again = look_again
        self._sleep = sleep
        self._is_report_due = False

    def report_soon(self) -> None:
        """A relay has changed its state: `mailer status` is to show it within a tick."""
        self._is_report_due = True

    async def run(self) -> None:
        """Do them until cancelled."""
        n = 0
        while True:
            try:
                await self.tick(n)
            except StoreError as error:
                log.warning("chores.failed", reason=error.message)
            n += 1
            await self._sleep(TICK_S)

    async def tick(self, n: int = 0) -> None:
        """One round; `n` counts them, for what is not done in each. Raises StoreError."""
        started = await self._store.campaigns.start_due()
        for name in started:
            log.info("campaign.started", campaign=name)
        if await self._store.campaigns.sweep():
            log.info("campaign.swept")
        if n % self._every == 0:
            self._is_report_due = True
            if await self._recover():
                self._look_again()
        if started:
            self._look_again()
        if self._is_report_due:
            self._is_report_due = False
            await self._report()
        if n % FORGET_EVERY == 0:
            await self._store.workers.forget_traffic()
