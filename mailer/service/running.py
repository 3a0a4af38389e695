"""A worker from its configuration to its end: one incarnation after the other until it is told to stop.

One that was fenced is followed by another, which settles what its flight file says; one that was asked to read the
configuration again, by another that goes by the new one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import structlog

from mailer.clocks import boot_clock, wall_clock
from mailer.config import Config
from mailer.core.clock import Clock
from mailer.errors import ConfigError
from mailer.service.incarnation import Incarnation, Instruments
from mailer.service.job import Job
from mailer.service.left import Outlook
from mailer.service.terms import Run
from mailer.store import Fenced, Store

__all__ = ["Reload", "Summary", "run_worker"]

log = structlog.get_logger("worker")


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
    instruments = Instruments(clock, boot, random or Random(), when)  # noqa: S311 - jitter, not secrets
    is_first = True
    while True:
        try:
            left = await Incarnation(store, config, job, run, instruments).live((stop, reload.asked), is_first=is_first)
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
