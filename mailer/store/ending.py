"""What ends messages before their turn, or removes them: cancelling, deadlines, dropping, deleting.

All of it in short transactions with a rest between them, so that workers get their turn. Each can be cut off anywhere
and done again, by any process.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from mailer.core.clock import Clock
from mailer.core.message import State
from mailer.errors import Refused
from mailer.store.campaign import find_campaign, refuse_unless
from mailer.store.loading import remove_dead_load
from mailer.store.recording import settle_tally
from mailer.store.rest import Rest, resting
from mailer.store.sqlite import Database, Row, Transaction

# Messages in one transaction: about 30 ms of write lock here.
CHUNK: Final = 2_000
CANCELLED: Final = "cancelled by the operator"
DELETING: Final = "being deleted"


@dataclass(frozen=True, slots=True)
class Dropped:
    """What `drop` did, by address key."""

    cancelled: tuple[str, ...]
    already_ended: tuple[str, ...]
    on_the_way: tuple[str, ...]
    unknown: tuple[str, ...]


async def sweep(database: Database, clock: Clock, rest: Rest) -> int:
    """End what waits in campaigns that are being cancelled or past their deadline; how many messages ended.

    Any process may do it, and several at once: a worker does what a killed `cancel` left.
    """
    now = clock()
    async with database.reading() as tx:
        closing = await tx.all("closing_campaigns", now=now, campaign=None)
    ended = 0
    for campaign, _ in closing:
        count = CHUNK
        while count == CHUNK:
            async with resting(rest):
                count = await _sweep_chunk(database, campaign, now)
            ended += count
    return ended


async def _sweep_chunk(database: Database, campaign: int, now: int) -> int:
    async with database.transaction() as tx:
        # Asked again under the lock: the deadline may have been moved, and another process may have been faster.
        still = await tx.one("closing_campaigns", now=now, campaign=campaign)
        if still is None:
            return 0
        is_cancelling = still[1] == "cancelling"
        rows = await tx.all("waiting_messages", campaign=campaign, limit=CHUNK)
        if is_cancelling:
            await _end_waiting(tx, rows, State.CANCELLED, "its campaign was cancelled", now)
        else:
            await _end_waiting(tx, rows, State.FAILED, "not accepted before the campaign's deadline", now)
        if len(rows) < CHUNK:
            if not is_cancelling:
                await tx.run("finish_if_done", campaign=campaign, now=now)
            elif not await tx.number("sending_of", campaign=campaign):
                await tx.run("end_campaign", campaign=campaign, state="cancelled", reason=CANCELLED, now=now)
    return len(rows)


async def drop(database: Database, clock: Clock, rest: Rest, name: str, keys: Sequence[str]) -> Dropped:
    """Cancel those of the addresses that still wait, and say who was already on the way or had ended."""
    distinct = list(dict.fromkeys(keys))
    found: dict[str, list[str]] = {"waiting": [], "ended": [], "sending": []}
    for start in range(0, len(distinct), CHUNK):
        async with resting(rest), database.transaction() as tx:
            campaign = await find_campaign(tx, name)
            refuse_unless(campaign, ("running", "scheduled", "paused", "finished", "cancelling"), "changed")
            chunk = json.dumps(distinct[start : start + CHUNK])
            rows = await tx.all("messages_by_address", campaign=campaign.id, keys=chunk)
            waiting = []
            for row in rows:
                _, _, state, _, key, due_at = row
                fate = "sending" if state == State.SENDING else "ended" if due_at is None else "waiting"
                found[fate].append(key)
                if fate == "waiting":
                    waiting.append(row[:4])
            now = clock()
            await _end_waiting(tx, waiting, State.CANCELLED, "dropped by the operator", now)
            await tx.run("finish_if_done", campaign=campaign.id, now=now)
    known = {key for keys_ in found.values() for key in keys_}
    unknown = tuple(key for key in distinct if key not in known)
    return Dropped(tuple(found["waiting"]), tuple(found["ended"]), tuple(found["sending"]), unknown)


async def delete(database: Database, clock: Clock, rest: Rest, name: str) -> int:
    """Remove a campaign that has ended, with everything recorded of it; how many messages that were.

    It is `cancelled` from the first moment on, so that nobody adds to it meanwhile. Raises Refused for one that goes on
    and for one that is being loaded. What a load that was killed left goes first, and with it a campaign that was never
    released.
    """
    async with database.reading() as tx:
        await find_campaign(tx, name)
    await remove_dead_load(database, clock, rest, name, "deleting")
    async with database.transaction() as tx:
        if await tx.one("campaign_by_name", name=name) is None:
            return 0
        campaign = await find_campaign(tx, name)
        if campaign.state not in ("finished", "cancelled"):
            raise Refused(
                f"campaign {name} is {campaign.state}; only a finished or cancelled one can be deleted",
                f"`mailer campaign cancel {name}` first.",
            )
        if await tx.one("load_of", campaign=campaign.id) is not None:
            raise Refused(f"another command is loading campaign {name}", "Wait until it has ended.")
        await tx.run("set_campaign_state", campaign=campaign.id, state="cancelled", reason=DELETING)
        await tx.run("close_lanes", campaign=campaign.id)
    deleted, count = 0, CHUNK
    while count:
        async with resting(rest):
            count = await _delete_chunk(database, campaign.id, clock)
        deleted += count
    return deleted


async def _delete_chunk(database: Database, campaign: int, clock: Clock) -> int:
    async with database.transaction() as tx:
        rows = await tx.all("page_of_campaign", campaign=campaign, limit=CHUNK)
        if not rows:
            await tx.run("delete_campaign", campaign=campaign)
            await tx.run("delete_unused_attachments")
            return 0
        tally: Counter[tuple[int, str]] = Counter()
        for _, lane, state, in_doubt in rows:
            tally[lane, state] -= 1
            tally[lane, "in_doubt"] -= in_doubt
        await tx.run("delete_messages", ids=json.dumps([row[0] for row in rows]))
        await settle_tally(tx, tally, clock())
    return len(rows)


async def _end_waiting(tx: Transaction, rows: Sequence[Row], state: State, reason: str, now: int) -> None:
    """End messages that stand in `ready`: (id, lane, state, in_doubt) each."""
    if not rows:
        return
    ids = json.dumps([row[0] for row in rows])
    await tx.run("delete_ready_of_messages", ids=ids)
    await tx.run("end_waiting", ids=ids, state=state, reason=reason)
    tally: Counter[tuple[int, str]] = Counter()
    for _, lane, was, in_doubt in rows:
        tally[lane, was] -= 1
        tally[lane, State.UNCERTAIN if in_doubt else state] += 1
    await settle_tally(tx, tally, now)
