"""Campaigns: what an operator does to one that exists.

What touches many messages runs in short transactions with a rest between them; what has to take effect at once
(pause, resume, cancel) is one update of the campaign and its lanes.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mailer.core.clock import Clock
from mailer.core.message import OnUncertain, State
from mailer.errors import NotFound, Refused
from mailer.store.exchange import settle_tally
from mailer.store.sqlite import Database, Row, Transaction

if TYPE_CHECKING:
    from mailer.store.loading import Snapshot

# Messages in one transaction: about 30 ms of write lock here.
CHUNK: Final = 2_000
# Categories that a retry leaves alone unless told otherwise: the address itself is wrong, and trying again costs
# reputation with the receiver.
ADDRESS_IS_WRONG: Final = frozenset({"no-such-user", "bad-domain"})


@dataclass(frozen=True, slots=True)
class Campaign:
    """A row of `campaign`."""

    id: int
    name: str
    kind: str
    state: str
    version: int
    settings: str
    route_id: int
    priority: int
    on_uncertain: OnUncertain
    start_at_us: int | None
    expires_at_us: int | None
    reason: str
    created_at_us: int
    started_at_us: int | None
    finished_at_us: int | None

    @classmethod
    def of(cls, row: Row) -> Campaign:
        """From a row of `campaign_by_name`."""
        return cls(*row[:8], OnUncertain(row[8]), *row[9:])


@dataclass(frozen=True, slots=True)
class Dropped:
    """What `drop` did, by address key."""

    cancelled: tuple[str, ...]
    already_ended: tuple[str, ...]
    on_the_way: tuple[str, ...]
    unknown: tuple[str, ...]


async def find_campaign(tx: Transaction, name: str) -> Campaign:
    """The campaign called `name`. Raises NotFound, with near names in the hint."""
    row = await tx.one("campaign_by_name", name=name)
    if row is None:
        from mailer.core.nearest import nearest

        known = [known[0] for known in await tx.all("campaign_names", limit=1_000)]
        near = nearest(name, known)
        raise NotFound(
            f"there is no campaign called {name}",
            f"Did you mean {near}?" if near else "`mailer campaign list` shows all of them.",
        )
    return Campaign.of(row)


class Campaigns:
    """What an operator does to campaigns."""

    def __init__(self, database: Database, clock: Clock, rest: Callable[[float], Awaitable[None]]) -> None:
        self._database = database
        self._clock = clock
        self._rest = rest

    async def find(self, name: str) -> Campaign:
        """The campaign called `name`; NotFound if there is none."""
        async with self._database.reading() as tx:
            return await find_campaign(tx, name)

    async def find_or_none(self, name: str) -> Campaign | None:
        """The campaign called `name`, or None."""
        async with self._database.reading() as tx:
            row = await tx.one("campaign_by_name", name=name)
        return Campaign.of(row) if row else None

    async def content(self, campaign_id: int, version: int) -> tuple[str, str, dict[str, bytes]]:
        """A content version: its digest, its JSON body, and its attachments by digest."""
        async with self._database.reading() as tx:
            row = await tx.one("content_of", campaign=campaign_id, version=version)
            blobs = await tx.all("attachments_of", campaign=campaign_id, version=version)
        if row is None:
            raise NotFound(f"campaign {campaign_id} has no content version {version}", "Run `mailer db check`.")
        return row[0], row[1], {digest: bytes(data) for digest, data in blobs}

    async def pause(self, name: str, reason: str = "paused by the operator") -> None:
        """Claim nothing more of it; what workers hold and have not begun comes back. Harmless twice."""
        async with self._database.transaction() as tx:
            campaign = await find_campaign(tx, name)
            if campaign.state == "paused":
                return
            _refuse_unless(campaign, ("running", "scheduled"), "paused")
            await tx.run("set_campaign_state", campaign=campaign.id, state="paused", reason=reason)
            await tx.run("close_lanes", campaign=campaign.id)

    async def resume(self, name: str) -> str:
        """Go on with a paused campaign; its state from now on. Harmless when it runs already."""
        now = self._clock()
        async with self._database.transaction() as tx:
            campaign = await find_campaign(tx, name)
            if campaign.state in ("running", "scheduled"):
                return campaign.state
            _refuse_unless(campaign, ("paused",), "resumed")
            if campaign.start_at_us is not None and campaign.start_at_us > now:
                await tx.run("set_campaign_state", campaign=campaign.id, state="scheduled", reason="")
                return "scheduled"
            await self._run(tx, campaign.id, now)
            return "running"

    async def start_due(self) -> list[str]:
        """Start the scheduled campaigns whose time has come; their names."""
        now = self._clock()
        async with self._database.reading() as tx:
            due = await tx.all("due_campaigns", now=now)
        if not due:
            return []
        async with self._database.transaction() as tx:
            due = await tx.all("due_campaigns", now=now)
            for campaign, _ in due:
                await self._run(tx, campaign, now)
        return [name for _, name in due]

    async def _run(self, tx: Transaction, campaign: int, now: int) -> None:
        await tx.run("set_campaign_state", campaign=campaign, state="running", reason="")
        await tx.run("open_lanes", campaign=campaign)
        await tx.run("finish_if_done", campaign=campaign, now=now)

    async def cancel(self, name: str) -> None:
        """Take effect at once: nothing more of it is claimed. `sweep` then ends what waits. Harmless twice."""
        now = self._clock()
        async with self._database.transaction() as tx:
            campaign = await find_campaign(tx, name)
            if campaign.state in ("cancelling", "cancelled"):
                return
            _refuse_unless(campaign, ("running", "scheduled", "paused"), "cancelled")
            await tx.run(
                "end_campaign", campaign=campaign.id, state="cancelling", reason="cancelled by the operator", now=None
            )
            await tx.run("close_lanes", campaign=campaign.id)
        await self.sweep(now)

    async def sweep(self, now: int | None = None) -> int:
        """End what waits in campaigns that are being cancelled or past their deadline; how many messages ended.

        In short transactions. Any process may do it, and several at once: a worker does what a killed `cancel` left.
        """
        now = self._clock() if now is None else now
        async with self._database.reading() as tx:
            closing = await tx.all("closing_campaigns", now=now)
        ended = 0
        for campaign, state, _ in closing:
            while True:
                began = time.monotonic()
                count = await self._sweep_chunk(campaign, state, now)
                ended += count
                if count < CHUNK:
                    break
                await self._rest((time.monotonic() - began) / 2)
        return ended

    async def _sweep_chunk(self, campaign: int, state: str, now: int) -> int:
        cancelling = state == "cancelling"
        reason = "its campaign was cancelled" if cancelling else "not accepted before the campaign's deadline"
        final = State.CANCELLED if cancelling else State.FAILED
        async with self._database.transaction() as tx:
            rows = await tx.all("waiting_messages", campaign=campaign, limit=CHUNK)
            await _end_waiting(tx, [row[:4] for row in rows], final, reason, now)
            if len(rows) < CHUNK:
                if not cancelling:
                    await tx.run("finish_if_done", campaign=campaign, now=now)
                elif not await _one_number(tx, "sending_of", campaign=campaign):
                    await tx.run(
                        "end_campaign", campaign=campaign, state="cancelled", reason="cancelled by the operator", now=now
                    )
        return len(rows)

    async def drop(self, name: str, keys: Sequence[str]) -> Dropped:
        """Cancel those of the addresses that still wait, and say who was already on the way or had ended."""
        now = self._clock()
        campaign = await self.find(name)
        found: dict[str, list[str]] = {"cancelled": [], "ended": [], "sending": []}
        for start in range(0, len(keys), CHUNK):
            began = time.monotonic()
            async with self._database.transaction() as tx:
                chunk = json.dumps(list(dict.fromkeys(keys[start : start + CHUNK])))
                rows = await tx.all("messages_by_address", campaign=campaign.id, keys=chunk)
                waiting = []
                for row in rows:
                    if row[5] is not None and row[2] != State.SENDING:
                        waiting.append(row[:4])
                        found["cancelled"].append(row[4])
                    else:
                        found["sending" if row[2] == State.SENDING else "ended"].append(row[4])
                await _end_waiting(tx, waiting, State.CANCELLED, "dropped by the operator", now)
                await tx.run("finish_if_done", campaign=campaign.id, now=now)
            await self._rest((time.monotonic() - began) / 2)
        known = {key for keys_ in found.values() for key in keys_}
        unknown = tuple(key for key in dict.fromkeys(keys) if key not in known)
        return Dropped(tuple(found["cancelled"]), tuple(found["ended"]), tuple(found["sending"]), unknown)

    async def edit(self, name: str, new: Snapshot) -> int:
        """Give what has not been attempted yet a new content version, and the campaign new settings; the version."""
        from mailer.store.loading import insert_content, route_of, weight_of

        now = self._clock()
        for digest, data in new.blobs.items():
            async with self._database.transaction() as tx:
                await tx.run("insert_attachment", digest=digest, data=data)
        async with self._database.transaction() as tx:
            campaign = await find_campaign(tx, name)
            _refuse_unless(campaign, ("running", "scheduled", "paused", "finished"), "edited")
            current = await tx.one("content_of", campaign=campaign.id, version=campaign.version)
            version = campaign.version
            if current is None or current[0] != new.digest:
                version += 1
                await insert_content(tx, campaign.id, version, new, now)
            route_id = await route_of(tx, new)
            await tx.run(
                "update_campaign",
                campaign=campaign.id,
                version=version,
                settings=new.settings,
                route_id=route_id,
                priority=new.priority,
                on_uncertain=new.on_uncertain,
                start_at=new.start_at_us,
                expires_at=new.expires_at_us,
            )
            await tx.run("update_lanes", campaign=campaign.id, route_id=route_id, weight=weight_of(new.priority))
            if campaign.state == "scheduled" and (new.start_at_us is None or new.start_at_us <= now):
                await self._run(tx, campaign.id, now)
        return version

    async def retryable(
        self, name: str, *, state: State, category: str | None = None, include_permanent: bool = False
    ) -> list[int]:
        """The messages that `retry` would queue again: ended in `state`, with that category if one is given."""
        campaign = await self.find(name)
        found: list[int] = []
        after = ""
        while True:
            async with self._database.reading() as tx:
                rows = await tx.all("messages_after", campaign=campaign.id, after=after, limit=CHUNK)
            for message, _, its_state, _, _, due_at, its_category in rows:
                if its_state != state or due_at is not None:
                    continue
                if category is not None and its_category != category:
                    continue
                if category is None and its_category in ADDRESS_IS_WRONG and not include_permanent:
                    continue
                found.append(message)
            if len(rows) < CHUNK:
                return found
            after = rows[-1][4]

    async def retry(self, name: str, messages: Sequence[int], state: State) -> int:
        """Queue again those of `messages` that still are in `state`; how many were."""
        now = self._clock()
        queued = 0
        for start in range(0, len(messages), CHUNK):
            began = time.monotonic()
            async with self._database.transaction() as tx:
                campaign = await find_campaign(tx, name)
                _refuse_unless(campaign, ("running", "scheduled", "paused", "finished"), "retried")
                ids = json.dumps(list(messages[start : start + CHUNK]))
                rows = await tx.all("requeue", ids=ids, now=now, state=state)
                tally: Counter[tuple[int, str]] = Counter()
                for _, lane in rows:
                    tally[lane, state] -= 1
                    tally[lane, State.UNCERTAIN if state is State.UNCERTAIN else State.QUEUED] += 1
                await tx.run("insert_ready", ids=json.dumps([row[0] for row in rows]))
                await settle_tally(tx, tally, now)
                await tx.run("wake_waiting", rows=json.dumps([[lane, now] for lane in {row[1] for row in rows}]))
                if campaign.state == "finished" and rows:
                    await tx.run("reopen_campaign", campaign=campaign.id, state="running")
                queued += len(rows)
            await self._rest((time.monotonic() - began) / 2)
        return queued

    async def delete(self, name: str) -> int:
        """Remove a campaign that has ended, with everything recorded of it; how many messages that were."""
        campaign = await self.find(name)
        if campaign.state not in ("finished", "cancelled"):
            raise Refused(
                f"campaign {name} is {campaign.state}; only a finished or cancelled one can be deleted",
                f"`mailer campaign cancel {name}` first.",
            )
        deleted = 0
        while True:
            began = time.monotonic()
            async with self._database.transaction() as tx:
                rows = await tx.all("page_of_campaign", campaign=campaign.id, limit=CHUNK)
                if not rows:
                    await tx.run("delete_campaign", campaign=campaign.id)
                    await tx.run("delete_unused_attachments")
                    return deleted
                tally: Counter[tuple[int, str]] = Counter()
                for _, lane, state, in_doubt in rows:
                    tally[lane, state] -= 1
                    tally[lane, "in_doubt"] -= in_doubt
                await tx.run("delete_messages", ids=json.dumps([row[0] for row in rows]))
                await settle_tally(tx, tally, self._clock())
            deleted += len(rows)
            await self._rest((time.monotonic() - began) / 2)


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


async def _one_number(tx: Transaction, query: str, /, **values: object) -> int:
    row = await tx.one(query, **values)
    return int(row[0]) if row else 0


def _refuse_unless(campaign: Campaign, states: Sequence[str], what: str) -> None:
    if campaign.state not in states:
        raise Refused(
            f"campaign {campaign.name} is {campaign.state}; it cannot be {what}",
            f"`mailer campaign show {campaign.name}` tells more.",
        )
