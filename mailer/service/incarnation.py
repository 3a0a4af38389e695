"""One life of a worker: its flight file, its row in the store, the crank and the chores beside it, and its end.

    flight file (made and locked) → row in the store → Worker (the crank) beside Chores → row ended → file removed

Whatever ends it otherwise leaves file and row behind, and whoever comes next settles what they say.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from random import Random
from typing import Final

import structlog

from mailer.config import Config, Relay, may_take
from mailer.core.clock import SECOND_US, Clock
from mailer.errors import StoreError
from mailer.service.chores import Chores
from mailer.service.job import Job
from mailer.service.lease import Lease
from mailer.service.left import Outlook
from mailer.service.prospects import Prospects
from mailer.service.recovery import Recovery
from mailer.service.relays import relay_settings
from mailer.service.terms import Line, Run, Terms
from mailer.service.worker import LONGEST_TRY_S, Worker
from mailer.smtp import RelayPool
from mailer.store import Exchanger, Route, Store
from mailer.store.flight import FlightRecorder, boot_id
from mailer.store.flight_record import Identity

__all__ = ["Incarnation", "Instruments"]

log = structlog.get_logger("worker")

# The contract: claimed and not yet recorded is never more than this, whatever the number of slots.
MOST_IN_HAND: Final = 500


@dataclass(frozen=True)
class Instruments:
    """What a worker tells the time by, how it writes it for people, and what it draws lots with."""

    clock: Clock
    boot: Clock
    random: Random
    when: Callable[[int], str]


class Incarnation:
    """One life. `live` is called once."""

    def __init__(self, store: Store, config: Config, job: Job, run: Run, instruments: Instruments) -> None:
        self._store = store
        self._config = config
        self._job = job
        self._run = run
        self._with = instruments
        self._said: dict[str, str] = {}
        """The state in which each relay was last logged."""
        self._told: list[Callable[[], None]] = []
        """Who wants to know that a relay has changed its state."""
        self._lines = self._make_lines()
        self._slots = sum(line.places for line in self._lines) // 2
        self._most = config.worker.max_in_hand or min(2 * self._slots, MOST_IN_HAND)
        self._lease = Lease(
            config.worker.lease // timedelta(microseconds=1), wall=instruments.clock, boot=instruments.boot
        )

    async def live(self, ends: Sequence[asyncio.Event], *, is_first: bool) -> Outlook:
        """Work until one of `ends` is set, or with `until_empty` until nothing is left; what is left then.

        The first of `ends` is the one that also ends the waiting for a database. Raises Fenced when this life is over
        and another one may begin, StoreError when the database is not usable.
        """
        identity = Identity(secrets.token_hex(16), boot_id(), self._store.store_id)
        recorder = FlightRecorder.create(
            self._config.state_dir, identity, slots=max(self._most, 1), clock=self._with.clock
        )
        is_settled = False
        try:
            register = partial(self._register, identity)
            # Whoever starts a worker is told at once what is wrong; one that has worked waits for better times.
            exchanger = await (register() if is_first else _patiently(register, ends[0]))
            prospects = Prospects(self._store, self._config.relays, self._lines, self._job, self._with.when)
            await self._work(exchanger, recorder, prospects, ends)
            await self._store.workers.end(exchanger.worker_id)
            is_settled = True
            left = await prospects.look(exchanger.route)
            log.info("worker.ended", worker=exchanger.worker_id)
        finally:
            recorder.close(unlink=is_settled)
        return left

    async def _register(self, identity: Identity) -> Exchanger:
        return await self._store.workers.register(
            incarnation=identity.incarnation,
            host=socket.gethostname(),
            pid=os.getpid(),
            boot_id=identity.boot_id,
            processes=self._job.share.of,
            slots=self._slots,
            state_dir=str(self._config.state_dir),
            lease_us=self._lease.lease_us,
        )

    async def _work(
        self, exchanger: Exchanger, recorder: FlightRecorder, prospects: Prospects, ends: Sequence[asyncio.Event]
    ) -> None:
        """The crank and everything beside it, until the crank ends."""
        config, job, ending = self._config, self._job, asyncio.Event()
        terms = Terms(config.retry.policy, config.worker.stop_within.total_seconds(), self._most, job.only_campaign)
        recovery = Recovery(
            self._store,
            own_worker_id=exchanger.worker_id,
            state_dir=config.state_dir,
            retry=terms.retry,
            lease_us=self._lease.lease_us,
            clock=self._with.clock,
            boot_clock=self._with.boot,
            random=self._with.random,
        )
        worker = Worker(
            self._store,
            exchanger,
            recorder,
            self._lease,
            self._lines,
            terms,
            stop=ending,
            run=self._run,
            clock=self._with.clock,
            random=self._with.random,
            on_trouble=recovery.could_not_reach_database,
        )
        chores = Chores(
            self._store,
            every_s=self._lease.renewal_us / SECOND_US,
            recover=recovery.settle_dead,
            report=lambda: self._store.workers.report_relays(exchanger.worker_id, worker.reports()),
            look_again=worker.look_again,
        )
        self._told += [worker.look_again, chores.report_soon]
        relays = [line.pool.name for line in self._lines]
        log.info("worker.started", worker=exchanger.worker_id, relays=relays, slots=self._slots)
        async with asyncio.TaskGroup() as group:
            others = [group.create_task(chores.run(), name="chores")]
            others += [group.create_task(_until(end, ending), name="end") for end in ends]
            if job.until_empty:
                others.append(group.create_task(prospects.until_empty(worker, ending), name="until empty"))
            try:
                await worker.run()
            finally:
                for task in others:
                    task.cancel()

    def _make_lines(self) -> list[Line]:
        lines: list[Line] = []
        for relay in self._config.relays:
            is_watched = self._job.transcript is not None
            connections = 1 if is_watched else self._job.share.connections(relay.max_connections)
            if connections:
                window = self._config.worker.slots_per_connection
                pool = RelayPool(
                    replace(relay_settings(relay), max_connections=connections, window=window),
                    clock=self._with.clock,
                    random=self._with.random,
                    transcript=self._job.transcript,
                    on_change=self._relay_changed,
                    on_distrust=partial(_log_distrust, relay.name),
                )
                lines.append(_line(relay, pool, connections * window))
        return lines

    def _relay_changed(self) -> None:
        """Log what has become of each relay, and tell who has to act on it."""
        for pool in (line.pool for line in self._lines):
            if self._said.get(pool.name, "ready") == pool.state:
                continue
            self._said[pool.name] = pool.state
            until = self._with.when(pool.paused_until_us) if pool.paused_until_us is not None else None
            if pool.state == "stopped":
                log.error("relay.stopped", relay=pool.name, reason=pool.reason)
            elif pool.state == "paused":
                log.warning("relay.paused", relay=pool.name, reason=pool.reason, until=until)
            else:
                log.info("relay.trying", relay=pool.name)
        for tell in self._told:
            tell()


def _log_distrust(relay: str, reason: str) -> None:
    log.warning("relay.distrusted", relay=relay, reason=reason)


def _line(relay: Relay, pool: RelayPool, slots: int) -> Line:
    known: dict[int, bool] = {}

    def may_carry(route: Route) -> bool:
        found = known.get(route.id)
        if found is None:
            found = known[route.id] = may_take(relay, route.author, route.envelope_from, route.relays)
        return found

    return Line(
        pool=pool,
        places=2 * slots,
        weight=relay.weight,
        carries=may_carry,
        interval_us=round(SECOND_US / relay.rate.per_second) if relay.rate else 0,
        daily_limit=relay.daily_limit,
    )


async def _patiently(register: Callable[[], Awaitable[Exchanger]], stop: asyncio.Event) -> Exchanger:
    """For a worker that was fenced because nobody reached the database: try until somebody does, or until `stop`."""
    is_waiting = False
    while True:
        try:
            exchanger = await register()
        except StoreError as error:
            if not error.can_wait or stop.is_set():
                raise
            say = log.debug if is_waiting else log.warning
            say("database.waiting", reason=error.message, hint=error.hint)
            is_waiting = True
            with suppress(TimeoutError):
                async with asyncio.timeout(LONGEST_TRY_S):
                    await stop.wait()
        else:
            if is_waiting:
                log.info("database.back")
            return exchanger


async def _until(asked: asyncio.Event, ending: asyncio.Event) -> None:
    await asked.wait()
    ending.set()
