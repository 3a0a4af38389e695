"""Queueing: a draft and its recipients into the store, all of them or none.

The way of a load: the first rows are checked before the database is touched, so that a file that is wrong from its
first row leaves no trace. Then rows are written, in short transactions, where no worker can claim them, and opened by
one transaction at the end. A row that cannot be used takes everything back, unless it is to be skipped. Whoever is
killed in between leaves rows that are never sent; the same command removes them and begins anew.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from typing import Final

from mailer.content import BadRow, Content
from mailer.core.address import domain_of
from mailer.core.clock import DAY_US, Clock
from mailer.core.message import State
from mailer.errors import MailerError, Refused
from mailer.service.queue_difference import content_differences, setting_differences
from mailer.service.queue_draft import Draft
from mailer.service.queue_estimate import Capacity, Estimate, estimate_finish, share_of_others
from mailer.service.queue_rows import BadRows, RowCheck, Rows, chunks, good_rows
from mailer.service.queue_settings import Settings
from mailer.service.queue_when import in_zone
from mailer.store import Campaign, CampaignStatus, Load, NewRow, Store, weight_of

__all__ = ["Queued", "add_recipients", "expected_finish", "queue", "refuse_if_different", "warnings"]

# Rows handed to the store at once. It splits them further where the disk is slow.
CHUNK: Final = 2_000
# A finish further away than this is worth a word: few mean a campaign to go on for longer.
FAR_AWAY_US: Final = 7 * DAY_US

OpenStore = Callable[[], AbstractAsyncContextManager[Store]]


@dataclass(frozen=True, slots=True)
class Queued:
    """What became of the recipients."""

    campaign: str
    state: str
    added: int
    already: int
    duplicates: int
    suppressed: int
    bad: int
    start_at_us: int | None
    deadline_us: int | None
    estimate: Estimate


async def queue(
    draft: Draft,
    recipients: Rows,
    open_store: OpenStore,
    *,
    clock: Clock,
    hold: bool = False,
    on_bad: Callable[[BadRow], None] | None = None,
    on_progress: Callable[[], None] = lambda: None,
) -> Queued:
    """Queue `recipients` for the campaign that `draft` describes, making it if it does not exist.

    `on_bad` takes the rows that cannot be used; without it one of them refuses all. Raises Refused, changing nothing,
    when the campaign exists with other content or settings; InputError for bad rows. After a cancellation nothing of
    this load is ever sent and the same call takes it up again, unless all of it had been queued by then: in that case
    it returns as if it had not been cancelled.
    """
    source = _Source(draft, recipients, on_bad, on_progress)
    source.look_ahead()
    async with open_store() as store:
        await refuse_if_different(store, draft)
        load = await store.begin_load(draft.name, loader=loader_name(), new=draft.snapshot(clock()))
        async with _taken_back_on_error(load):
            # Another command may have made the campaign since the comparison.
            await refuse_if_different(store, draft, loading=True)
            await source.pour_into(load)
            state = await _release(load, hold=hold)
        return await _queued(store, draft, load, state, source.bad.count, clock())


async def add_recipients(
    draft: Draft,
    recipients: Rows,
    store: Store,
    *,
    clock: Clock,
    on_bad: Callable[[BadRow], None] | None = None,
    on_progress: Callable[[], None] = lambda: None,
) -> Queued:
    """Add `recipients` to the campaign that `draft` was read from; in all else as `queue`."""
    source = _Source(draft, recipients, on_bad, on_progress)
    source.look_ahead()
    load = await store.begin_load(draft.name, loader=loader_name(), new=None)
    async with _taken_back_on_error(load):
        await source.pour_into(load)
        state = await _release(load, hold=False)
    return await _queued(store, draft, load, state, source.bad.count, clock())


async def refuse_if_different(store: Store, draft: Draft, *, loading: bool = False) -> None:
    """Raises Refused, naming what differs, if `draft`'s campaign exists and is not what `draft` says.

    One that is still being loaded does not exist yet: it is either ours (`loading`) or will be removed or refused.
    """
    campaign = await store.campaigns.find_or_none(draft.name)
    if campaign is None or (campaign.state == "loading" and not loading):
        return
    stored = await store.campaigns.content(campaign.id, campaign.version)
    names = setting_differences(Settings.from_json(campaign.settings), draft.settings)
    if stored.digest != draft.content.digest:
        names = [*content_differences(Content.from_json(stored.body), draft.content), *names]
    if names:
        raise Refused(
            f"campaign {draft.name} exists and differs in: {', '.join(names)}. Nothing was changed.",
            f"Queue under another name, or change what waits with `mailer campaign edit {draft.name}`.",
        )


async def expected_finish(store: Store | None, draft: Draft, waiting: int, now_us: int) -> Estimate:
    """When `waiting` messages of `draft` will be through, beside what else waits in the database."""
    others: list[CampaignStatus] = []
    used: dict[str, int] = {}
    if store is not None:
        status = await store.reading.status()
        used = {relay.name: relay.claimed_24h for relay in status.relays}
        others = [one for one in status.campaigns if one.state == "running" and one.name != draft.name]
    capacities = [
        Capacity(
            name=relay.name,
            rate_per_second=relay.rate.per_second if relay.rate else None,
            connections=relay.max_connections,
            daily_limit=relay.daily_limit,
            used_today=used.get(relay.name, 0),
        )
        for relay in draft.carriers
    ]
    weight = weight_of(draft.settings.priority)
    return estimate_finish(
        waiting,
        capacities,
        start_at_us=max(now_us, draft.settings.start_at_us or 0),
        others=share_of_others(waiting, weight, [(one.to_do, weight_of(one.priority)) for one in others]),
    )


def warnings(estimate: Estimate, deadline_us: int | None, start_at_us: int, zone: str) -> list[str]:
    """What the operator should know about when it will be finished."""
    finish = estimate.finish_at_us
    if finish is None:
        return []
    if deadline_us is not None and finish > deadline_us:
        return [
            f"the relays' limits put the finish at {in_zone(finish, zone)}, later than the deadline "
            f"{in_zone(deadline_us, zone)}: what is not accepted by then will fail."
        ]
    if finish - start_at_us > FAR_AWAY_US:
        days = (finish - start_at_us) // DAY_US
        return [f"the relays' limits put the finish at {in_zone(finish, zone)}, {days} days away."]
    return []


def loader_name() -> str:
    """Who loads, for people: host and process."""
    return f"{socket.gethostname()}, process {os.getpid()}"


class _Source:
    """The rows of a file on their way into a load."""

    def __init__(
        self,
        draft: Draft,
        recipients: Rows,
        on_bad: Callable[[BadRow], None] | None,
        on_progress: Callable[[], None],
    ) -> None:
        if recipients.columns is not None:
            draft.compiled.check_columns(recipients.columns)
        self.bad = BadRows(recipients.where, on_bad)
        self._chunks = chunks(good_rows(recipients, RowCheck(draft.compiled, domain_of(draft.author)), self.bad), CHUNK)
        self._first: list[NewRow] = []
        self._on_progress = on_progress

    def look_ahead(self) -> None:
        """Read the first rows, before anything is written. Raises InputError if they cannot be used."""
        self._first = next(self._chunks, [])
        self._refuse_if_bad()
        if not self._first:
            raise self.bad.nobody()

    async def pour_into(self, load: Load) -> None:
        """Write all rows. Raises InputError when one cannot be used and is not to be skipped."""
        for chunk in chain([self._first], self._chunks):
            self._refuse_if_bad()
            await load.add(chunk)
            self._on_progress()
        self._refuse_if_bad()

    def _refuse_if_bad(self) -> None:
        if self.bad.refuse_all:
            for _ in self._chunks:
                self._on_progress()  # to the end, so that all that is wrong is told at once
            raise self.bad.error()


@asynccontextmanager
async def _taken_back_on_error(load: Load) -> AsyncIterator[None]:
    try:
        yield
    except asyncio.CancelledError:
        # No time to remove what was written: whoever comes next does. They need not wait for a sign of life either.
        with suppress(MailerError):
            await load.give_up()
        raise
    except Exception:
        # If this fails too (another command took over, the disk is full), the load counts as dead after a while.
        with suppress(MailerError):
            await load.remove()
        raise


async def _release(load: Load, *, hold: bool) -> str:
    """Open the load. A cancellation that comes too late is overruled: the rows are queued, and that is said."""
    releasing = asyncio.ensure_future(load.release(hold=hold))
    try:
        return await asyncio.shield(releasing)
    except asyncio.CancelledError:
        state = await releasing
        task = asyncio.current_task()
        if task is not None:
            task.uncancel()
        return state


async def _queued(store: Store, draft: Draft, load: Load, state: str, bad: int, now_us: int) -> Queued:
    campaign: Campaign = await store.campaigns.find(draft.name)
    counts = (await store.reading.status(draft.name)).campaigns[0]
    # When a held campaign goes on is up to the operator.
    waiting = counts.to_do if state in ("running", "scheduled") else 0
    return Queued(
        campaign=draft.name,
        state=campaign.state,
        added=load.added,
        already=load.already,
        duplicates=load.duplicates,
        suppressed=counts.counts[State.SUPPRESSED],
        bad=bad,
        start_at_us=campaign.start_at_us,
        deadline_us=campaign.expires_at_us,
        estimate=await expected_finish(store, draft, waiting, now_us),
    )
