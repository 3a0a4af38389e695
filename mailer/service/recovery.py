"""Settling what a dead worker had in hand, by what its flight recorder says.

1. A free lock means dead; a held one means alive, however silent.
2. A flight file that is gone proves nothing by itself: its worker is judged only once its lease has lapsed, and only by
   a process that could itself reach the database during a whole lease. Its claims are then in doubt.
3. The file is applied, the transaction commits, and only then is the file removed.
4. A message that was in work at three deaths ends failed: it may be what kills.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Final

import structlog

from mailer.core.clock import Clock
from mailer.core.message import Claimed, Ending, OnUncertain, Outcome, Result, State
from mailer.core.outcome import settle
from mailer.core.retry import RetryPolicy
from mailer.errors import StoreError
from mailer.store import Store, Worker
from mailer.store.flight import boot_id, flight_path
from mailer.store.flight_adopt import DeadFlight, NotAdopted, adopt, find_flights
from mailer.store.flight_record import Identity
from mailer.store.flight_recovery import claims_in_work, result_of

log = structlog.get_logger("worker")

MOST_DEATHS: Final = 3


class Recovery:
    """Finds dead workers of one database and settles what they had in hand."""

    def __init__(
        self,
        store: Store,
        *,
        own_worker_id: int | None,
        state_dir: Path,
        retry: RetryPolicy,
        lease_us: int,
        clock: Clock,
        boot_clock: Clock,
        random: Random,
    ) -> None:
        self._store = store
        self._own_id = own_worker_id
        self._state_dir = state_dir
        self._retry = retry
        self._lease_us = lease_us
        self._clock = clock
        self._boot_clock = boot_clock
        self._random = random
        self._able_since_us = boot_clock()
        """Since when this process could reach the database without a break."""

    def could_not_reach_database(self) -> None:
        """Others may not have been able to renew their leases either: nobody is judged by one for a lease from now."""
        self._able_since_us = self._boot_clock()

    async def settle_dead(self) -> int:
        """Look at every other worker that is said to live; how many messages of dead ones were settled."""
        settled = 0
        live = await self._store.workers.live()
        for worker in live:
            if worker.id != self._own_id:
                settled += await self._settle_if_dead(worker)
        await self._remove_orphans({worker.incarnation for worker in live})
        return settled

    async def _remove_orphans(self, known: set[str]) -> None:
        """Remove files that no row names: of a worker that died before it had one, or after it had been settled."""
        for path in find_flights(self._state_dir):
            if path.stem in known:
                continue
            flight = _adopted(path)
            if not isinstance(flight, DeadFlight):
                continue
            with flight:
                # Asked again under the lock: its owner may have got its row, and died, since the rows were read.
                ours = flight.identity is not None and flight.identity.store_id == self._store.store_id
                if ours and path.stem not in {worker.incarnation for worker in await self._store.workers.live()}:
                    _remove(flight)

    async def _settle_if_dead(self, worker: Worker) -> int:
        flight = _adopted(flight_path(Path(worker.state_dir), worker.incarnation))
        if flight is None or flight is NotAdopted.LOCKED:
            return 0
        if isinstance(flight, DeadFlight):
            with flight:
                counts = await self._settle(worker, flight)
                _remove(flight)
        elif self._has_lapsed(worker):
            counts = await self._settle(worker, None)
        else:
            return 0
        log.warning(
            "worker.dead",
            worker=worker.id,
            host=worker.host,
            pid=worker.pid,
            settled=sum(counts.values()),
            **{str(state): count for state, count in counts.items()},
        )
        return sum(counts.values())

    def _has_lapsed(self, worker: Worker) -> bool:
        return self._clock() > worker.lease_until_us and self._boot_clock() - self._able_since_us > self._lease_us

    async def _settle(self, worker: Worker, flight: DeadFlight | None) -> Counter[State]:
        expected = Identity(worker.incarnation, boot_id(), self._store.store_id)

        def judge(claimed: Claimed, claimed_at_us: int, deaths: int) -> Outcome:
            result = result_of(flight, expected, claimed.claim, relay=claimed.relay, claimed_at_us=claimed_at_us)
            if deaths >= MOST_DEATHS:
                claimed, result = _poison(claimed, result, deaths)
            return settle(claimed, result, self._retry, self._clock(), self._random)

        return await self._store.workers.recover(worker.id, claims_in_work(flight, expected), judge)


def _adopted(path: Path) -> DeadFlight | NotAdopted | None:
    """As `adopt`, but one file that cannot be read keeps nobody from the others.

    None where waiting may help. What is not a flight file of ours, or never to be read by us, is as good as gone: then
    the lease decides.
    """
    try:
        return adopt(path)
    except StoreError as error:
        log.warning("recorder.unreadable", reason=error.message, hint=error.hint)
        return None if error.can_wait else NotAdopted.GONE


def _remove(flight: DeadFlight) -> None:
    """What it says has been settled; one that cannot be removed is tried again with the orphans."""
    try:
        flight.unlink()
    except StoreError as error:
        log.warning("recorder.not_removed", reason=error.message, hint=error.hint)


def _poison(claimed: Claimed, result: Result, deaths: int) -> tuple[Claimed, Result]:
    """Not again: ended as unfit, or, where the relay may have it, held for the operator."""
    if result.ending is Ending.ANSWERED:
        return claimed, result
    note = f"{deaths} workers died while they were at work on it; it is not tried again"
    if result.ending is Ending.UNKNOWN:
        return replace(claimed, on_uncertain=OnUncertain.HOLD), replace(result, note=note)
    return claimed, replace(result, ending=Ending.UNFIT, relay=claimed.relay, note=note)
