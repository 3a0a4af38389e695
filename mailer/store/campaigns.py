"""Campaigns: what an operator does to one that exists.

What has to take effect at once (pause, resume, cancel) is one update of the campaign and its lanes. What touches many
messages runs in short transactions with a rest between them: `ending` and `retrying` have that.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mailer.core.clock import Clock
from mailer.core.message import State
from mailer.errors import NotFound
from mailer.store import ending, retrying
from mailer.store.campaign import Campaign, find_campaign, refuse_unless
from mailer.store.content import Snapshot, insert_content, put_attachments, route_of, weight_of
from mailer.store.exchange import JOIN
from mailer.store.rest import Rest
from mailer.store.sqlite import Database, Transaction


@dataclass(frozen=True, slots=True)
class StoredContent:
    """A content version of a campaign, with what else is needed to make messages of it."""

    name: str
    """The campaign's."""
    kind: str
    digest: str
    body: str
    """Canonical JSON; opaque here."""
    settings: str
    """What the operator asked for besides the content, JSON; opaque here."""
    author: str
    envelope_from: str
    relays: tuple[str, ...]
    """The relays that the operator named; empty: any."""
    blobs: Mapping[str, bytes]
    """Attachments by their SHA-256."""


class Campaigns:
    """What an operator does to campaigns."""

    def __init__(self, database: Database, clock: Clock, rest: Rest) -> None:
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

    async def content(self, campaign_id: int, version: int) -> StoredContent:
        """A content version with its attachments. Raises NotFound."""
        async with self._database.reading() as tx:
            row = await tx.one("content_of", campaign=campaign_id, version=version)
            blobs = await tx.all("attachments_of", campaign=campaign_id, version=version)
        if row is None:
            raise NotFound(f"campaign {campaign_id} has no content version {version}", "Run `mailer db check`.")
        name, kind, digest, body, settings, author, envelope_from, relays = row
        attachments = {attachment: bytes(data) for attachment, data in blobs}
        return StoredContent(
            name, kind, digest, body, settings, author, envelope_from, tuple(json.loads(relays)), attachments
        )

    async def pause(self, name: str, reason: str = "paused by the operator") -> None:
        """Claim nothing more of it; what workers hold and have not begun comes back. Harmless twice."""
        async with self._database.transaction() as tx:
            campaign = await find_campaign(tx, name)
            if campaign.state == "paused":
                return
            refuse_unless(campaign, ("running", "scheduled"), "paused")
            await tx.run("set_campaign_state", campaign=campaign.id, state="paused", reason=reason)
            await tx.run("close_lanes", campaign=campaign.id)

    async def resume(self, name: str) -> str:
        """Go on with a paused campaign; its state from now on. Harmless when it runs already."""
        now = self._clock()
        async with self._database.transaction() as tx:
            campaign = await find_campaign(tx, name)
            if campaign.state in ("running", "scheduled"):
                return campaign.state
            refuse_unless(campaign, ("paused",), "resumed")
            if campaign.start_at_us is not None and campaign.start_at_us > now:
                await tx.run("set_campaign_state", campaign=campaign.id, state="scheduled", reason="")
                return "scheduled"
            return await self._run(tx, campaign.id, now)

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

    async def _run(self, tx: Transaction, campaign: int, now: int) -> str:
        """Open it; its state from now on, for it may have nothing left to do."""
        await tx.run("set_campaign_state", campaign=campaign, state="running", reason="")
        await tx.run("open_lanes", campaign=campaign, join=JOIN)
        return "finished" if await tx.run("finish_if_done", campaign=campaign, now=now) else "running"

    async def cancel(self, name: str) -> None:
        """Take effect at once: nothing more of it is claimed. `sweep` then ends what waits. Harmless twice."""
        async with self._database.transaction() as tx:
            campaign = await find_campaign(tx, name)
            if campaign.state in ("cancelling", "cancelled"):
                return
            refuse_unless(campaign, ("running", "scheduled", "paused"), "cancelled")
            await tx.run(
                "end_campaign", campaign=campaign.id, state="cancelling", reason="cancelled by the operator", now=None
            )
            await tx.run("close_lanes", campaign=campaign.id)
        await self.sweep()

    async def sweep(self) -> int:
        """End what waits in campaigns that are being cancelled or past their deadline; how many messages ended."""
        return await ending.sweep(self._database, self._clock, self._rest)

    async def waiting(self, name: str) -> int:
        """How many messages a cancellation would end now: those that wait for their turn or for the next attempt."""
        async with self._database.reading() as tx:
            return await tx.number("count_waiting", campaign=(await find_campaign(tx, name)).id)

    async def drop(self, name: str, keys: Sequence[str]) -> ending.Dropped:
        """Cancel those of the addresses that still wait, and say who was already on the way or had ended."""
        return await ending.drop(self._database, self._clock, self._rest, name, keys)

    async def delete(self, name: str) -> int:
        """Remove a campaign that has ended, with everything recorded of it; how many messages that were."""
        return await ending.delete(self._database, self._clock, self._rest, name)

    async def retryable(
        self, name: str, *, state: State, category: str | None = None, include_permanent: bool = False
    ) -> list[int]:
        """The messages that `retry` would queue again: ended in `state`, with that category if one is given."""
        return await retrying.retryable(self._database, name, state, category, include_permanent=include_permanent)

    async def retry(self, name: str, messages: Sequence[int], state: State) -> int:
        """Queue again those of `messages` that still are in `state`; how many were."""
        return await retrying.retry(self._database, self._clock, self._rest, name, messages, state)

    async def edit(self, name: str, new: Snapshot) -> int:
        """Give what has not been attempted yet a new content version, and the campaign new settings; the version."""
        now = self._clock()
        await put_attachments(self._database, new.blobs)
        async with self._database.transaction() as tx:
            campaign = await find_campaign(tx, name)
            refuse_unless(campaign, ("running", "scheduled", "paused", "finished"), "edited")
            current = await tx.one("content_of", campaign=campaign.id, version=campaign.version)
            version = campaign.version
            if current is None or current[2] != new.digest:
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
