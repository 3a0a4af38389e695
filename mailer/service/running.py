"""A worker from its configuration to its end: one incarnation after the other until it is told to stop.

run_worker
  └ for each incarnation: flight file (made and locked) → row in the store → Worker (the crank) beside Chores
      └ fenced: the next incarnation settles what the file of this one says
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from random import Random
from typing import Final

import structlog

from mailer.clocks import boot_clock, wall_clock
from mailer.config import Config, Relay, may_take
from mailer.core.clock import SECOND_US, Clock
from mailer.errors import ConfigError, StoreError
from mailer.service.chores import Chores
from mailer.service.lease import Lease
from mailer.service.left import Outlook, outlook
from mailer.service.recovery import Recovery
from mailer.service.relays import relay_settings
from mailer.service.worker import LONGEST_TRY_S, Line, Run, Terms, Worker
from mailer.smtp import RelayPool, Transcript
from mailer.store import Exchanger, Fenced, Left, Route, Store
from mailer.store.flight import FlightRecorder, boot_id
from mailer.store.flight_record import Identity

__all__ = ["Job", "Share", "Summary", "run_worker"]

log = structlog.get_logger("worker")

# The contract: claimed and not yet recorded is never more than this, whatever the number of slots.
MOST_IN_HAND: Final = 500
# How often `--until-empty` asks what is left, while it waits for retries or for other workers.
ASK_LEFT_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class Share:
    """This process is number `index` of `of`: it opens its share of each relay's connections."""

    index: int = 0
    of: int = 1

    def connections(self, total: int) -> int:
        """Its part of `total`; all parts together are `total`."""
        return total // self.of + (1 if self.index < total % self.of else 0)


@dataclass(frozen=True)
class Job:
    """What a worker is asked to do."""

    until_empty: bool = False
    wait: bool = True
    """With `until_empty`: wait for what is due later."""
    only_campaign: int | None = None
    share: Share = field(default_factory=Share)
    transcript: Callable[[], Transcript] | None = None
    """Makes the transcript of each connection. With one there is a single connection, so that it can be read."""


@dataclass(frozen=True)
class Reload:
    """Reading the configuration again while a worker runs (SIGHUP)."""

    read: Callable[[], Config]
    """Raises ConfigError for one that cannot be used; the worker then goes on by the one it has."""
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    def next_config(self, current: Config) -> Config:
        """What to go on by, and nothing asked any more."""
        self.asked.clear()
        try:
            config = self.read()
            _require_relays(config)
            _require_same_database(config, current)
        except ConfigError as error:
            log.error("config.refused", reason=error.message, hint=error.hint)  # noqa: TRY400 - the sentence says it
            return current
        log.info("config.read")
        return config


@dataclass(frozen=True)
class Summary:
    """How a run ended."""

    unanswered: int
    """Messages whose end of data had no answer when the worker left."""
    left: Outlook
    was_stopped: bool


async def run_worker(
    store: Store,
    config: Config,
    job: Job,
    stop: asyncio.Event,
    *,
    reload: Reload | None = None,
    clock: Clock = wall_clock,
    boot: Clock = boot_clock,
    random: Random | None = None,
    when: Callable[[int], str] = str,
) -> Summary:
    """Send until `stop` is set, or with `job.until_empty` until nothing is left that this worker could send.

    When `reload` is asked for, what is in hand is brought to an end and a new incarnation goes on by what was read: a
    relay that had stopped is tried again. Raises ConfigError without a relay, StoreError when the database is not
    usable and waiting does not help.
    """
    _require_relays(config)
    reload = reload or Reload(lambda: config)
    run = Run()
    random = random or Random()  # noqa: S311 - jitter, not secrets
    is_first = True
    while True:
        try:
            left = await _incarnation(
                store, config, job, (stop, reload.asked), run, clock, boot, random, when, is_first=is_first
            )
        except BaseExceptionGroup as group:
            error = _what_went_wrong(group)
            if not isinstance(error, Fenced):
                raise error from group
            log.warning("worker.fenced", reason=error.message)
        else:
            if stop.is_set() or not reload.asked.is_set():
                return Summary(run.unanswered, left, was_stopped=stop.is_set())
            config = reload.next_config(config)
        is_first = False


async def _incarnation(
    store: Store,
    config: Config,
    job: Job,
    ends: tuple[asyncio.Event, ...],
    run: Run,
    clock: Clock,
    boot: Clock,
    random: Random,
    when: Callable[[int], str],
    *,
    is_first: bool,
) -> Outlook:
    lines: list[Line] = []
    told: list[Callable[[], None]] = []
    said: dict[str, str] = {}

    def changed() -> None:
        _say_changes([line.pool for line in lines], said, when)
        for tell in told:
            tell()

    for relay in config.relays:
        connections = 1 if job.transcript is not None else job.share.connections(relay.max_connections)
        if connections:
            settings = replace(relay_settings(relay), max_connections=connections)
            pool = RelayPool(settings, clock=clock, random=random, transcript=job.transcript, on_change=changed)
            lines.append(_line(relay, pool, connections * config.worker.slots_per_connection))
    slots = sum(line.places for line in lines) // 2
    most = config.worker.max_in_hand or min(2 * slots, MOST_IN_HAND)
    lease = Lease(config.worker.lease // timedelta(microseconds=1), wall=clock, boot=boot)
    identity = Identity(secrets.token_hex(16), boot_id(), store.store_id)
    recorder = FlightRecorder.create(config.state_dir, identity, slots=max(most, 1), clock=clock)
    is_settled = False
    try:
        register = partial(
            store.workers.register,
            incarnation=identity.incarnation,
            host=socket.gethostname(),
            pid=os.getpid(),
            boot_id=identity.boot_id,
            processes=job.share.of,
            slots=slots,
            state_dir=str(config.state_dir),
            lease_us=lease.lease_us,
        )
        # Whoever starts a worker is told at once what is wrong; one that has worked waits for better times.
        exchanger = await (register() if is_first else _patiently(register, ends[0]))
        terms = Terms(config.retry.policy, config.worker.stop_within.total_seconds(), most, job.only_campaign)
        ending = asyncio.Event()
        recovery = Recovery(
            store,
            own_worker_id=exchanger.worker_id,
            state_dir=config.state_dir,
            retry=terms.retry,
            lease_us=lease.lease_us,
            clock=clock,
            boot_clock=boot,
            random=random,
        )
        worker = Worker(
            store, exchanger, recorder, lease, lines, terms,
            stop=ending, run=run, clock=clock, random=random, on_trouble=recovery.could_not_reach_database,
        )  # fmt: skip
        chores = Chores(
            store,
            every_s=lease.renewal_us / SECOND_US,
            recover=recovery.settle_dead,
            report=lambda: store.workers.report_relays(exchanger.worker_id, worker.reports()),
            look_again=worker.look_again,
        )
        told += [worker.look_again, chores.report_soon]
        log.info("worker.started", worker=exchanger.worker_id, relays=[line.pool.name for line in lines], slots=slots)
        async with asyncio.TaskGroup() as group:
            others = [group.create_task(chores.run(), name="chores")]
            others += [group.create_task(_until(end, ending), name="end") for end in ends]
            if job.until_empty:
                others.append(
                    group.create_task(
                        _until_empty(store, worker, config.relays, lines, job, ending, when), name="until empty"
                    )
                )
            try:
                await worker.run()
            finally:
                for task in others:
                    task.cancel()
        await store.workers.end(exchanger.worker_id)
        is_settled = True
        left = outlook(
            _ours(await store.workers.left(), exchanger.route, config.relays, lines),
            lambda route: _stopped(exchanger.route(route), lines, or_paused=not job.wait),
            when,
            only=job.only_campaign,
        )
        log.info("worker.ended", worker=exchanger.worker_id)
    finally:
        recorder.close(unlink=is_settled)
    return left


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


def _say_changes(pools: Sequence[RelayPool], said: dict[str, str], when: Callable[[int], str]) -> None:
    """Log what has become of each relay since `said`, which is brought up to date."""
    for pool in pools:
        if said.get(pool.name, "ready") == pool.state:
            continue
        said[pool.name] = pool.state
        until = when(pool.paused_until_us) if pool.paused_until_us is not None else None
        if pool.state == "stopped":
            log.error("relay.stopped", relay=pool.name, reason=pool.reason)
        elif pool.state == "paused":
            log.warning("relay.paused", relay=pool.name, reason=pool.reason, until=until)
        else:
            log.info("relay.trying", relay=pool.name)


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


def _what_went_wrong(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one error of a group of tasks that ended together; being fenced counts least, for it passes."""
    leaves = [_what_went_wrong(one) if isinstance(one, BaseExceptionGroup) else one for one in group.exceptions]
    return min(leaves, key=lambda error: isinstance(error, Fenced))


def _require_relays(config: Config) -> None:
    if not config.relays:
        raise ConfigError("no relay is configured.", "`mailer init` sets one up in config.toml.")


def _require_same_database(config: Config, current: Config) -> None:
    if config.database != current.database:
        raise ConfigError("the database cannot change while a worker runs.", "Stop the worker and start it.")


async def _until(asked: asyncio.Event, ending: asyncio.Event) -> None:
    await asked.wait()
    ending.set()


async def _until_empty(
    store: Store,
    worker: Worker,
    relays: Sequence[Relay],
    lines: Sequence[Line],
    job: Job,
    ending: asyncio.Event,
    when: Callable[[int], str],
) -> None:
    """Set `ending` once there is nothing that waiting would bring."""
    while True:
        await worker.is_idle.wait()
        try:
            held = await store.workers.left()
        except StoreError as error:
            if not error.can_wait:
                raise
            await asyncio.sleep(ASK_LEFT_S)  # the crank says it, and ends if it takes too long
            continue
        seen = outlook(
            _ours(held, worker.route, relays, lines),
            lambda route: _stopped(worker.route(route), lines, or_paused=not job.wait),
            when,
            only=job.only_campaign,
        )
        has_work = seen.has_work if job.wait else seen.has_due
        if not has_work and worker.is_idle.is_set() and not worker.in_hand:
            ending.set()
            return
        await asyncio.sleep(ASK_LEFT_S)


def _ours(
    left: Sequence[Left], route_of: Callable[[int], Route | None], relays: Sequence[Relay], lines: Sequence[Line]
) -> list[Left]:
    """Without what only other processes have connections for: they send it, or say why not."""

    def is_ours(route: Route | None) -> bool:
        if route is None or any(line.carries(route) for line in lines):
            return True
        return not any(may_take(relay, route.author, route.envelope_from, route.relays) for relay in relays)

    return [one for one in left if is_ours(route_of(one.route_id))]


def _stopped(route: Route | None, lines: Sequence[Line], *, or_paused: bool) -> str | None:
    """Why no relay takes what goes by `route`; None if one does, or will by itself (not so with `or_paused`)."""
    if route is None:
        return None
    able = [line for line in lines if line.carries(route)]
    if not able:
        return f"no relay may carry mail from {route.author}"
    states = ("stopped", "paused") if or_paused else ("stopped",)
    if all(line.pool.state in states for line in able):
        return "; ".join(f"relay {line.pool.name} {line.pool.state}: {line.pool.reason}" for line in able)
    return None
