"""Queueing recipients so that a load is all or nothing, however it ends.

A load writes its rows in short transactions into lanes of its own, which are closed: nobody can claim from them. One
short transaction at the end opens them. A load that is refused, interrupted or killed therefore leaves rows that are
never sent; the next load into the same campaign removes them first. A load gives a sign of life with every
transaction; one that has been silent for `SILENT_US` is dead, and finds out by itself should it wake up again, for
its row is gone. One load a campaign at a time.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from mailer.core.clock import SECOND_US, Clock
from mailer.errors import Refused
from mailer.store.campaign import Campaign, find_campaign
from mailer.store.content import Snapshot, insert_content, put_attachments, route_of, weight_of
from mailer.store.rest import Rest, resting
from mailer.store.sqlite import Database, Transaction

# Rows in a transaction: about 20 ms of write lock here; it shrinks where the disk is slower.
CHUNK: Final = 2_000
# No transaction of ours holds the write lock for longer (p99); the chunk shrinks when one did.
LONGEST_LOCK_S: Final = 0.05
SILENT_US: Final = 10 * SECOND_US


@dataclass(frozen=True, slots=True)
class NewRow:
    """A checked recipient."""

    address: str
    key: str
    destination: str
    fields: str
    """JSON object."""


class Load:
    """A load in progress. End it with `release` or `remove`."""

    def __init__(
        self, database: Database, clock: Clock, rest: Rest, campaign: Campaign, load_id: int, owner: str
    ) -> None:
        self._database = database
        self._clock = clock
        self._rest = rest
        self._campaign = campaign
        self._id = load_id
        self._owner = owner
        self._lanes: dict[str, int] = {}
        self._chunk = CHUNK
        self.added = 0
        self.already = 0
        self.duplicates = 0

    @property
    def campaign_id(self) -> int:
        """The campaign that is loaded."""
        return self._campaign.id

    async def add(self, rows: Sequence[NewRow]) -> None:
        """Write `rows`; an address that stands there already is counted and left as it is.

        Raises Refused when another command has taken this campaign over.
        """
        done = 0
        while done < len(rows):
            chunk = rows[done : done + self._chunk]  # its size changes on the way
            done += len(chunk)
            began = time.monotonic()
            await self._add_chunk(chunk)
            took = time.monotonic() - began
            if took > LONGEST_LOCK_S and self._chunk > 100:
                self._chunk //= 2
            elif took < LONGEST_LOCK_S / 3:
                self._chunk = min(2 * self._chunk, CHUNK)  # one slow write must not slow the rest of a long list
            await self._rest(took / 2)

    async def _add_chunk(self, rows: Sequence[NewRow]) -> None:
        distinct: dict[str, NewRow] = {}
        for row in rows:
            distinct.setdefault(row.key, row)
        now = self._clock()
        async with self._database.transaction() as tx:
            await self._still_ours(tx, now)
            after = await tx.number("last_message_id")
            await self._make_lanes(tx, {row.destination for row in distinct.values()} - self._lanes.keys())
            added = await tx.many(
                "insert_message",
                [
                    (self._campaign.id, self._lanes[row.destination], row.address, row.key, row.fields, now)
                    for row in distinct.values()
                ],
            )
            repeated = 0
            if added:
                await tx.run("ready_new_messages", after=after)
                await tx.run("tally_new_messages", after=after)
            if added < len(distinct):
                keys = json.dumps(list(distinct))
                repeated = await tx.number(
                    "repeated_in_load", keys=keys, campaign=self._campaign.id, after=after, load=self._id
                )
        self.added += added
        self.already += len(distinct) - added - repeated
        self.duplicates += len(rows) - len(distinct) + repeated

    async def _make_lanes(self, tx: Transaction, destinations: set[str]) -> None:
        if not destinations:
            return
        campaign = await find_campaign(tx, self._campaign.name)  # it may have been edited since the load began
        for destination in sorted(destinations):
            self._lanes[destination] = await tx.number(
                "insert_lane",
                campaign=campaign.id,
                load=self._id,
                destination=destination,
                route_id=campaign.route_id,
                weight=weight_of(campaign.priority),
            )

    async def _still_ours(self, tx: Transaction, now: int) -> None:
        if not await tx.run("load_heartbeat", load=self._id, owner=self._owner, now=now):
            raise Refused(
                f"another command took over loading campaign {self._campaign.name}",
                "Nothing of this load is sent. Run the command again when the other one has ended.",
            )

    async def release(self, *, hold: bool, reason: str = "held when it was queued") -> str:
        """Open the lanes in one short transaction; the campaign's state from now on.

        With `hold` a new campaign is `paused` and says `reason`, until somebody resumes it; one that existed goes on as
        it was. Raises Refused when it was cancelled meanwhile, or when another command has taken this load over: then
        nothing of it is ever sent, and `remove` takes it back.
        """
        now = self._clock()
        async with self._database.transaction() as tx:
            await self._still_ours(tx, now)
            campaign = await find_campaign(tx, self._campaign.name)
            state = campaign.state
            if state == "loading":
                later = campaign.start_at_us is not None and campaign.start_at_us > now
                state = "paused" if hold else "scheduled" if later else "running"
                await tx.run("set_campaign_state", campaign=campaign.id, state=state, reason=reason if hold else "")
            elif state == "finished" and self.added:
                state = "running"
                await tx.run("reopen_campaign", campaign=campaign.id, state=state)
            elif state in ("cancelling", "cancelled"):
                raise Refused(f"campaign {campaign.name} was cancelled meanwhile", "Queue it under another name.")
            await tx.run("delete_empty_lanes", campaign=campaign.id, load=self._id)
            await tx.run("delete_load", load=self._id)
            if state == "running":
                await tx.run("release_lanes", campaign=campaign.id, load=self._id)
                if await tx.run("finish_if_done", campaign=campaign.id, now=now):
                    state = "finished"
        return state

    async def give_up(self) -> None:
        """Leave what was written to whoever loads next, and spare them the wait: the load counts as dead at once."""
        async with self._database.transaction() as tx:
            await self._still_ours(tx, 0)

    async def remove(self) -> None:
        """Take everything back that this load wrote, and the campaign too if it has never been released."""
        after: int | None = 0
        while after is not None:
            async with resting(self._rest):
                after = await self._remove_chunk(after)
        async with self._database.transaction() as tx:
            await self._still_ours(tx, self._clock())
            await tx.run("delete_lanes_of_load", campaign=self._campaign.id, load=self._id)
            await tx.run("delete_load", load=self._id)
            if (await find_campaign(tx, self._campaign.name)).state == "loading":
                await tx.run("delete_campaign", campaign=self._campaign.id)
                await tx.run("delete_unused_attachments")

    async def _remove_chunk(self, after: int) -> int | None:
        async with self._database.transaction() as tx:
            await self._still_ours(tx, self._clock())
            rows = await tx.all("messages_of_load", after=after, campaign=self._campaign.id, load=self._id, limit=CHUNK)
            ids = json.dumps([row[0] for row in rows])
            await tx.run("delete_ready_of_messages", ids=ids)
            await tx.run("delete_messages", ids=ids)
        return int(rows[-1][0]) if rows else None


async def begin_load(
    database: Database,
    clock: Clock,
    rest: Rest,
    name: str,
    *,
    loader: str,
    new: Snapshot | None,
    kind: str = "campaign",
) -> Load:
    """Start loading into campaign `name`, which `new` creates if it does not exist.

    What a dead load left in the campaign is removed first. Raises Refused while another load is alive or when the
    campaign takes no recipients, NotFound when it does not exist and `new` is None.
    """
    await remove_dead_load(database, clock, rest, name, loader)
    now = clock()
    owner = secrets.token_hex(8)
    if new is not None:
        await put_attachments(database, new.blobs)
    async with database.transaction() as tx:
        if new is not None and await tx.one("campaign_by_name", name=name) is None:
            await _create(tx, name, kind, new, now)
        campaign = await find_campaign(tx, name)
        if campaign.state in ("cancelling", "cancelled"):
            raise Refused(
                f"campaign {name} is {campaign.state}; it takes no recipients", "Queue them under another name."
            )
        if await tx.one("load_of", campaign=campaign.id) is not None:
            raise Refused(f"another command is loading campaign {name}", "Wait until it has ended.")
        load_id = await tx.number("insert_load", campaign=campaign.id, owner=owner, loader=loader, now=now)
    return Load(database, clock, rest, campaign, load_id, owner)


async def _create(tx: Transaction, name: str, kind: str, new: Snapshot, now: int) -> None:
    route_id = await route_of(tx, new)
    campaign = await tx.number(
        "insert_campaign",
        name=name,
        kind=kind,
        settings=new.settings,
        route_id=route_id,
        priority=new.priority,
        on_uncertain=new.on_uncertain,
        start_at=new.start_at_us,
        expires_at=new.expires_at_us,
        now=now,
    )
    await insert_content(tx, campaign, 1, new, now)


async def remove_dead_load(database: Database, clock: Clock, rest: Rest, name: str, loader: str) -> None:
    """Remove what a dead load left in campaign `name`. Raises Refused while the load gives signs of life."""
    now = clock()
    async with database.transaction() as tx:
        row = await tx.one("campaign_by_name", name=name)
        load = await tx.one("load_of", campaign=row[0]) if row else None
        if row is None or load is None:
            return
        load_id, _, other, heartbeat_at = load
        silent_us = now - heartbeat_at
        # A sign of life from the future was given by a clock that has been set back since: it says nothing.
        if 0 <= silent_us < SILENT_US:
            wait_s = -(-(SILENT_US - silent_us) // SECOND_US)
            raise Refused(
                f"campaign {name} is being loaded by {other}",
                f"Wait until it has ended; if it was killed, run this again in {wait_s} s.",
            )
        owner = secrets.token_hex(8)
        await tx.run("take_over_load", load=load_id, owner=owner, loader=loader, now=now)
    await Load(database, clock, rest, Campaign.of(row), load_id, owner).remove()
