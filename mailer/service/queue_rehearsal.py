"""`--dry-run`: every row is rendered as it would be sent, and nothing is written."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from mailer.content import BadRow
from mailer.core.address import address_key, domain_of
from mailer.core.message import State
from mailer.errors import InputError
from mailer.service.queue_draft import Draft
from mailer.service.queue_estimate import Estimate
from mailer.service.queue_rows import BadRows, RowCheck, Rows, encode_fields
from mailer.service.queueing import expected_finish, refuse_if_different
from mailer.store import Store

__all__ = ["Rehearsal", "rehearse"]

# Rows between two looks at whether the operator has had enough: some 50 ms of rendering.
BREATH: Final = 500


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What queueing would do."""

    campaign: str
    rows: int
    would_add: int
    already: int
    duplicates: int
    suppressed: int
    bad: int
    problems: tuple[BadRow, ...]
    """The first of them."""
    by_destination: Mapping[str, int]
    """Of what would be added."""
    smallest_bytes: int | None
    largest_bytes: int | None
    deadline_us: int | None
    estimate: Estimate


async def rehearse(
    draft: Draft,
    recipients: Rows,
    store: Store | None,
    *,
    now_us: int,
    hold: bool = False,
    on_progress: Callable[[], None] = lambda: None,
) -> Rehearsal:
    """Render every row of `recipients`. `store` is None where there is no database yet.

    Raises what `queue` would raise before the first row; bad rows are counted, not raised.
    """
    if recipients.columns is not None:
        draft.compiled.check_columns(recipients.columns)
    seen: set[str] = set()
    queued: set[str] = set()
    if store is not None:
        await refuse_if_different(store, draft)
        queued = await _queued_keys(store, draft.name)
    date = datetime.fromtimestamp(now_us / 1_000_000, UTC)
    check = RowCheck(draft.compiled, domain_of(draft.author))
    bad = BadRows(recipients.where, lambda _row: None)
    rows = already = duplicates = 0
    smallest: int | None = None
    largest = 0
    by_destination: Counter[str] = Counter()
    for row in recipients:
        rows += 1
        if rows % BREATH == 0:
            on_progress()
            await asyncio.sleep(0)  # a Ctrl-C is noticed here
        if isinstance(row, BadRow):
            bad.add(row)
            continue
        problem = check.problem(row.address, row.fields, encode_fields(row.fields))
        if problem is not None:
            bad.add(BadRow(row.row, row.address, problem))
            continue
        try:
            size = check.compose(row.address, row.fields, date=date).size_bytes
        except InputError as error:
            bad.add(BadRow(row.row, row.address, error.message))
            continue
        if row.key in seen:
            duplicates += 1
            continue
        seen.add(row.key)
        if row.key in queued:
            already += 1
            continue
        by_destination[row.destination] += 1
        smallest = size if smallest is None else min(smallest, size)
        largest = max(largest, size)
    if rows == 0:
        raise bad.nobody()
    would_add = by_destination.total()
    waiting = 0 if hold else would_add + await _waiting(store, draft.name)
    return Rehearsal(
        campaign=draft.name,
        rows=rows,
        would_add=would_add,
        already=already,
        duplicates=duplicates,
        suppressed=0,
        bad=bad.count,
        problems=tuple(bad.first),
        by_destination=dict(by_destination.most_common()),
        smallest_bytes=smallest,
        largest_bytes=largest if smallest is not None else None,
        deadline_us=draft.settings.deadline_us(now_us),
        estimate=await expected_finish(store, draft, waiting, now_us),
    )


async def _queued_keys(store: Store, name: str) -> set[str]:
    campaign = await store.campaigns.find_or_none(name)
    # What an unfinished load has written does not count: it would be removed first.
    if campaign is None or campaign.state == "loading":
        return set()
    return {address_key(row.address) async for row in store.reading.export(campaign.id)}


async def _waiting(store: Store | None, name: str) -> int:
    if store is None or await store.campaigns.find_or_none(name) is None:
        return 0
    counts = (await store.reading.status(name)).campaigns[0].counts
    return counts[State.QUEUED] + counts[State.DEFERRED] + counts[State.SENDING]
