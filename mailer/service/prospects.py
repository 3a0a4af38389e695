"""What is left for this worker to send: asked while it waits for `--until-empty`, and once more when it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from mailer.config import Relay, may_take
from mailer.errors import StoreError
from mailer.service.job import Job
from mailer.service.left import Outlook, outlook
from mailer.service.terms import Line
from mailer.service.worker import Worker
from mailer.store import Route, Store

__all__ = ["Prospects"]

# How often `--until-empty` asks what is left, while it waits for retries or for other workers.
ASK_LEFT_S: Final = 0.2

RouteOf = Callable[[int], Route | None]


class Prospects:
    """Looks at what campaigns hold with the eyes of one process: its relays, and its connections to them."""

    def __init__(
        self, store: Store, relays: Sequence[Relay], lines: Sequence[Line], job: Job, when: Callable[[int], str]
    ) -> None:
        """`relays` are all that are configured, `lines` those that this process has connections to."""
        self._store = store
        self._relays = relays
        self._lines = lines
        self._job = job
        self._when = when

    async def look(self, route_of: RouteOf) -> Outlook:
        """What is left now. Raises StoreError."""
        left = await self._store.workers.left()
        return outlook(
            [one for one in left if self._is_ours(route_of(one.route_id))],
            lambda route: self._stopped(route_of(route)),
            self._when,
            only=self._job.only_campaign,
        )

    async def until_empty(self, worker: Worker, ending: asyncio.Event) -> None:
        """Set `ending` once there is nothing that waiting would bring."""
        while True:
            await worker.is_idle.wait()
            try:
                seen = await self.look(worker.route)
            except StoreError as error:
                if not error.can_wait:
                    raise
                await asyncio.sleep(ASK_LEFT_S)  # the crank says it, and ends if it takes too long
                continue
            has_work = seen.has_work if self._job.wait else seen.has_due
            if not has_work and worker.is_idle.is_set() and not worker.in_hand:
                ending.set()
                return
            await asyncio.sleep(ASK_LEFT_S)

    def _is_ours(self, route: Route | None) -> bool:
        """False for what only other processes have connections for: they send it, or say why not."""
        if route is None or any(line.carries(route) for line in self._lines):
            return True
        return not any(may_take(relay, route.author, route.envelope_from, route.relays) for relay in self._relays)

    def _stopped(self, route: Route | None) -> str | None:
        """Why no relay takes what goes by `route`; None if one does, or will by itself and is to be waited for."""
        if route is None:
            return None
        able = [line for line in self._lines if line.carries(route)]
        if not able:
            return f"no relay may carry mail from {route.author}"
        states = ("stopped",) if self._job.wait else ("stopped", "paused")
        if all(line.pool.state in states for line in able):
            return "; ".join(f"relay {line.pool.name} {line.pool.state}: {line.pool.reason}" for line in able)
        return None
