"""The operator's retry: ended messages are queued again, in short transactions."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Final

from mailer.core.clock import Clock
from mailer.core.message import State
from mailer.core.replies import Category
from mailer.store.campaign import find_campaign, refuse_unless
from mailer.store.recording import settle_tally
from mailer.store.rest import Rest, resting
from mailer.store.sqlite import Database

# Messages in one transaction: about 30 ms of write lock here.
CHUNK: Final = 2_000
# Categories that a retry leaves alone unless told otherwise: the address itself is wrong, and trying again costs
# reputation with the receiver.
ADDRESS_IS_WRONG: Final = frozenset({Category.NO_SUCH_USER, Category.BAD_DOMAIN})


async def retryable(
    database: Database, name: str, state: State, category: str | None, *, include_permanent: bool
) -> list[int]:
    """The messages that `retry` would queue again: ended in `state`, with that category if one is given."""
    found: list[int] = []
    after = ""
    while True:
        async with database.reading() as tx:
            campaign = await find_campaign(tx, name)
            rows = await tx.all("messages_after", campaign=campaign.id, after=after, limit=CHUNK)
        for message, its_state, due_at, _, its_category in rows:
            if its_state != state or due_at is not None:
                continue
            if category is not None and its_category != category:
                continue
            if category is None and its_category in ADDRESS_IS_WRONG and not include_permanent:
                continue
            found.append(message)
        if len(rows) < CHUNK:
            return found
        after = rows[-1][3]


async def retry(database: Database, clock: Clock, rest: Rest, name: str, messages: Sequence[int], state: State) -> int:
    """Queue again those of `messages` that still are in `state`; how many were."""
    queued = 0
    for start in range(0, len(messages), CHUNK):
        async with resting(rest), database.transaction() as tx:
            now = clock()
            campaign = await find_campaign(tx, name)
            refuse_unless(campaign, ("running", "scheduled", "paused", "finished"), "retried")
            ids = json.dumps(list(messages[start : start + CHUNK]))
            rows = await tx.all("requeue", campaign=campaign.id, ids=ids, now=now, state=state)
            tally: Counter[tuple[int, str]] = Counter()
            for _, lane, new_state in rows:
                tally[lane, state] -= 1
                tally[lane, new_state] += 1
            await tx.run("insert_ready", ids=json.dumps([row[0] for row in rows]))
            await settle_tally(tx, tally, now)
            await tx.run("wake_waiting", rows=json.dumps([[lane, now] for lane in {row[1] for row in rows}]))
            if campaign.state == "finished" and rows:
                await tx.run("reopen_campaign", campaign=campaign.id, state="running")
            queued += len(rows)
    return queued
