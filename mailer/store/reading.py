"""What the showing commands read: status, messages with their attempts, exports."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from mailer.core.clock import DAY_US, MINUTE_US, SECOND_US, Clock
from mailer.core.message import Attempt, OnUncertain, Phase, State
from mailer.core.replies import Category
from mailer.errors import NotFound
from mailer.store.campaign import find_campaign
from mailer.store.sqlite import Database, Row, Transaction
from mailer.store.workers import Worker

PAGE: Final = 2_000
# The rate on the screen is an average over this long: short enough to follow, long enough not to flicker.
RATE_OVER_US: Final = 30 * SECOND_US
# The states of messages that most lists are full of; the others have an index.
_PLAIN: Final = frozenset({State.QUEUED, State.SENDING, State.SENT})
_FIRST_REFUSAL: Final = 400


@dataclass(frozen=True, slots=True)
class CampaignStatus:
    """A campaign with its counts."""

    id: int
    name: str
    kind: str
    state: str
    reason: str
    created_at_us: int
    started_at_us: int | None
    finished_at_us: int | None
    start_at_us: int | None
    expires_at_us: int | None
    priority: int
    version: int
    on_uncertain: OnUncertain
    counts: Mapping[State, int]
    in_doubt: int
    rate_per_second: float

    @property
    def total(self) -> int:
        """Distinct addresses: the sum of all states."""
        return sum(self.counts.values())

    @property
    def to_do(self) -> int:
        """Messages that have not ended."""
        return self.counts[State.QUEUED] + self.counts[State.DEFERRED] + self.counts[State.SENDING]


@dataclass(frozen=True, slots=True)
class RelayStatus:
    """A relay over all live workers."""

    name: str
    state: str
    reason: str
    paused_until_us: int | None
    connections: int
    rate_per_second: float
    sent_24h: int
    claimed_24h: int


@dataclass(frozen=True, slots=True)
class Status:
    """Everything `mailer status` shows, at one instant."""

    at_us: int
    campaigns: tuple[CampaignStatus, ...]
    relays: tuple[RelayStatus, ...]
    workers: tuple[Worker, ...]


@dataclass(frozen=True, slots=True)
class MessageSummary:
    """A message with its last attempt."""

    id: int
    campaign: str
    address: str
    state: State
    due_at_us: int | None
    attempts: int
    code: int | None
    enhanced: str | None
    category: str | None
    text: str
    relay: str | None


@dataclass(frozen=True, slots=True)
class MessageDetail:
    """A message with every attempt."""

    summary: MessageSummary
    campaign_id: int
    version: int
    in_doubt: bool
    fields: str
    reason: str
    attempts: tuple[Attempt, ...]


@dataclass(frozen=True, slots=True)
class ExportRow:
    """A line of an export."""

    message_id: int
    address: str
    state: State
    code: int | None
    enhanced: str | None
    category: str | None
    text: str
    relay: str | None
    attempts: int
    first_attempt_at_us: int | None
    last_attempt_at_us: int | None
    fields: str
    reason: str


class Reading:
    """Queries that change nothing."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def status(self, name: str | None = None) -> Status:
        """Campaigns (all, or the one called `name`), relays and live workers, all of the same instant."""
        now = self._clock()
        async with self._database.reading() as tx:
            only = (await find_campaign(tx, name)).id if name is not None else None
            counts: dict[int, dict[State, int]] = {}
            in_doubt: dict[int, int] = {}
            for campaign, state, count in await tx.all("status_tallies", campaign=only):
                if state == "in_doubt":
                    in_doubt[campaign] = count
                else:
                    counts.setdefault(campaign, dict.fromkeys(State, 0))[State(state)] = count
            recent: dict[int, int] = dict(await tx.all("status_campaign_traffic", since=now - RATE_OVER_US))
            campaigns = []
            for *row, on_uncertain in await tx.all("status_campaigns", name=name):
                campaign, state, started_at = row[0], row[3], row[6]
                rate = _rate(recent.get(campaign, 0), started_at, now) if state in ("running", "cancelling") else 0.0
                its_counts = counts.get(campaign, dict.fromkeys(State, 0))
                values = [*row, OnUncertain(on_uncertain), its_counts, in_doubt.get(campaign, 0), rate]
                campaigns.append(CampaignStatus(*values))
            relays = await self._relays(tx, now)
            workers = [Worker(*row) for row in await tx.all("live_workers")]
        return Status(now, tuple(campaigns), tuple(relays), tuple(workers))

    async def _relays(self, tx: Transaction, now: int) -> list[RelayStatus]:
        recent_since = (now // MINUTE_US - 1) * MINUTE_US
        traffic = {
            row[0]: row[1:] for row in await tx.all("status_relay_traffic", since=now - DAY_US, recent=recent_since)
        }
        said: dict[str, list[Row]] = {}
        for row in await tx.all("status_relays"):
            said.setdefault(row[0], []).append(row)
        relays = []
        for name in sorted(said.keys() | traffic.keys()):
            rows = said.get(name, [])
            # The worst word of any worker counts: stopped, then paused, then ready.
            worst = min(rows, key=lambda row: ("stopped", "paused", "ready").index(row[1]), default=None)
            recent, sent, claimed = traffic.get(name, (0, 0, 0))
            relays.append(
                RelayStatus(
                    name=name,
                    state=worst[1] if worst else "idle",
                    reason=worst[2] if worst else "",
                    paused_until_us=worst[3] if worst else None,
                    connections=sum(row[4] for row in rows),
                    rate_per_second=recent * SECOND_US / (now - recent_since),
                    sent_24h=sent,
                    claimed_24h=claimed,
                )
            )
        return relays

    async def messages(
        self,
        *,
        limit: int,
        after: int | None = None,
        address_key: str | None = None,
        campaign: str | None = None,
        states: Sequence[State] = (),
        category: str | None = None,
        relay: str | None = None,
        code: int | None = None,
        since_us: int | None = None,
    ) -> list[MessageSummary]:
        """Messages that match everything given, newest first, at most `limit`, older than message `after`."""
        async with self._database.reading() as tx:
            values = {
                "limit": limit,
                "after": after,
                "campaign": (await find_campaign(tx, campaign)).id if campaign is not None else None,
                "states": json.dumps(list(states)) if states else None,
                "category": category,
                "relay": relay,
                "code": code,
                "since": since_us,
            }
            if address_key is not None:
                rows = await tx.all("list_messages_of_address", key=address_key, **values)
            elif _asks_for_trouble(states, category, code):
                rows = await tx.all("list_troubled_messages", **values)
            else:
                rows = await tx.all("list_messages", **values)
        return [_summary(row) for row in rows]

    async def message(self, message_id: int) -> MessageDetail:
        """One message with every attempt. Raises NotFound."""
        async with self._database.reading() as tx:
            row = await tx.one("show_message", message=message_id)
            attempts = await tx.all("attempts_of", message=message_id)
        if row is None:
            raise NotFound(f"there is no message {message_id}", "`mailer message list` shows ids.")
        return MessageDetail(
            _summary(row[:11]),
            campaign_id=row[11],
            version=row[12],
            in_doubt=bool(row[13]),
            fields=row[14],
            reason=row[15],
            attempts=tuple(
                Attempt(
                    n=a[0], started_at_us=a[1], relay=a[2], phase=Phase(a[3]) if a[3] else None, code=a[4],
                    enhanced=a[5], text=a[6], category=a[7], duration_us=a[8], tls=a[9], note=a[10],
                )
                for a in attempts
            ),
        )  # fmt: skip

    async def export(self, campaign_id: int, states: Sequence[State] = ()) -> AsyncIterator[ExportRow]:
        """Every message of a campaign in order of address, page by page: no reader stays open for long."""
        after = ""
        while True:
            async with self._database.reading() as tx:
                rows = await tx.all("export_page", campaign=campaign_id, after=after, limit=PAGE)
            for row in rows:
                state = State(row[3])
                if not states or state in states:
                    yield ExportRow(row[1], row[2], state, *row[4:])
            if len(rows) < PAGE:
                return
            after = rows[-1][0]

    async def recipient(self, campaign_id: int, address_key: str | None = None) -> tuple[str, str] | None:
        """Address and fields (JSON) of the first recipient, or of the one with that address."""
        async with self._database.reading() as tx:
            row = await tx.one("first_recipient", campaign=campaign_id, key=address_key)
        return (row[0], row[1]) if row else None

    async def campaign_names(self) -> list[str]:
        """Names, newest first, for completion."""
        async with self._database.reading() as tx:
            return [row[0] for row in await tx.all("campaign_names", limit=1_000)]


def _asks_for_trouble(states: Sequence[State], category: str | None, code: int | None) -> bool:
    """Whether nothing that is sent, or that has never been tried, can match."""
    if states and not _PLAIN.intersection(states):
        return True
    return (code is not None and code >= _FIRST_REFUSAL) or category not in (None, Category.ACCEPTED)


def _rate(ended: int, started_at_us: int | None, now: int) -> float:
    if not ended or started_at_us is None:
        return 0.0
    # Buckets are 10 s wide: the first one counted began up to 10 s before the window.
    over_us = min(RATE_OVER_US + 5 * SECOND_US, max(now - started_at_us, SECOND_US))
    return ended * SECOND_US / over_us


def _summary(row: Row) -> MessageSummary:
    return MessageSummary(row[0], row[1], row[2], State(row[3]), *row[4:11])
