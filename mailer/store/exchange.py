"""The one call between a worker and the store: record what came of the last messages and claim the next.

Theory of operation
- What waits stands in `ready`, what is in hand in `claim`; a message is in exactly one of them, or in neither and
  final. Claiming moves a row from `ready` to `claim`, an outcome moves it on. An outcome whose claim is gone changes
  nothing, so every exchange may be repeated.
- Lanes take turns by stride scheduling: each has a `pass`, the lowest is visited next and moves back by what it was
  given divided by its weight. A lane that slept takes its turn from now on and has saved up none.
- Within a lane due retries and new messages are taken one for one.
- `rate` and `daily_limit` of a relay are reserved in the same transaction that claims, which makes them exact
  across all workers of one database; a message that comes back untouched gives its place in the day back.
- Everything is one transaction: when it returns, a power cut loses none of it (synchronous = full).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mailer.core.clock import DAY_US, MINUTE_US, SECOND_US, Clock
from mailer.core.message import Claimed, OnUncertain, Outcome, State
from mailer.errors import StoreError
from mailer.store.sqlite import Database, Row, Transaction

# A lane is given up to this many messages a turn: fewer would touch a lane, a tally and a compiled campaign for every
# message, more would let one campaign fill the hands of a worker while others wait.
TURN: Final = 8
# What a whole turn of the heaviest lane costs in units of `pass`; large, so that integer division loses nothing.
STRIDE: Final = 1_000_000_000
CAMPAIGN_BUCKET_US: Final = 10 * SECOND_US
# How much unused `rate` may be made up for. Exchanges are milliseconds apart, so a second is room enough; more would
# be a burst after a pause.
CATCH_UP_US: Final = SECOND_US


class Fenced(StoreError):
    """This worker's row is gone, ended, or older than what it remembers: it must send nothing more."""

    code = "fenced"


@dataclass(frozen=True, slots=True)
class Route:
    """Who a campaign's messages are from, and the relays its operator named (empty: any that may carry them)."""

    id: int
    author: str
    envelope_from: str
    relays: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Want:
    """What one relay can take now."""

    relay: str
    places: int
    carries: Callable[[Route], bool]
    interval_us: int = 0
    """Least time between two messages under its `rate`; 0 without one."""
    daily_limit: int | None = None


@dataclass(frozen=True, slots=True)
class Exchange:
    """The answer of the store."""

    messages: tuple[Claimed, ...]
    withdrawn: frozenset[int]
    """Campaigns among those in hand that are not running any more: drop what is not yet on the wire."""
    next_due_us: int | None
    """When there may be more to claim although nothing new is queued; None if not before something changes."""


class Exchanger:
    """The exchanges of one worker incarnation. Not to be shared: each instance counts its own."""

    def __init__(self, database: Database, clock: Clock, worker_id: int, lease_us: int) -> None:
        self._database = database
        self._clock = clock
        self._worker = worker_id
        self._lease_us = lease_us
        self._routes: list[Route] = []
        self.answered_n = 0
        self._seen_claim = 0

    async def exchange(
        self,
        outcomes: Sequence[Outcome],
        wants: Sequence[Want],
        in_hand: Collection[int] = (),
        *,
        only_campaign: int | None = None,
    ) -> Exchange:
        """Record outcomes, claim the next messages and name the campaigns to drop, in one transaction.

        `in_hand` are the campaigns of which the worker still holds messages. With `only_campaign`, that campaign's
        messages are claimed and no others, even while its lanes are closed. After an error or a cancellation nobody
        knows whether it happened: call again with the same outcomes, which is harmless; what was claimed then is
        handed out now. Raises Fenced when this worker may not send any more, StoreError when the database is not
        usable.
        """
        now = self._clock()
        async with self._database.transaction() as tx:
            turn = await tx.one("worker_turn", worker=self._worker)
            if turn is None or not self.answered_n <= turn[0] <= self.answered_n + 1:
                raise Fenced(
                    "this worker was taken for dead, or the database has gone back in time; it stops sending",
                    "Another worker settles what it had in hand. If a backup was restored, see `mailer db check`.",
                )
            await self._refresh_routes(tx, turn[2])
            tally: Counter[tuple[int, str]] = Counter()
            await record(tx, self._worker, outcomes, now, tally)
            claim_n, next_allowed = await self._claim(tx, wants, turn[1], now, only_campaign)
            messages, starting = await self._handed_out(tx, tally, already_counted=turn[1])
            if starting:
                await tx.run("start_campaigns", now=now, ids=json.dumps(sorted(starting)))
            await settle_tally(tx, tally, now)
            withdrawn = await tx.all("withdrawn_campaigns", ids=json.dumps(sorted(in_hand))) if in_hand else []
            wake = await tx.one("next_wake")
            await tx.run(
                "end_turn",
                worker=self._worker,
                n=self.answered_n + 1,
                claim_n=claim_n,
                now=now,
                lease_until=now + self._lease_us,
            )
        self.answered_n += 1
        self._seen_claim = claim_n
        due = [t for t in (wake[0] if wake else None, next_allowed) if t is not None]
        return Exchange(
            tuple(messages),
            frozenset(row[0] for row in withdrawn) - {only_campaign},
            min(due) if due else None,
        )

    async def _refresh_routes(self, tx: Transaction, newest: int | None) -> None:
        known = self._routes[-1].id if self._routes else 0
        if newest is not None and newest > known:
            rows = await tx.all("routes", after=known)
            self._routes += [Route(row[0], row[1], row[2], tuple(json.loads(row[3]))) for row in rows]

    async def _claim(
        self, tx: Transaction, wants: Sequence[Want], claim_n: int, now: int, only_campaign: int | None
    ) -> tuple[int, int | None]:
        """Claim for each relay in turn. Returns the last claim number and when a limit will allow more."""
        next_allowed: int | None = None
        if any(want.places > 0 for want in wants) and only_campaign is None:
            await tx.run("wake_lanes", now=now)
        for want in wants:
            routes = json.dumps([route.id for route in self._routes if want.carries(route)])
            places, pace_at, day_at = await _allowance(tx, want, now)
            taken = 0
            visits: dict[int, list[Any]] = {}
            while taken < places:
                picked = await self._pick(tx, routes, places - taken, visits, now, only_campaign)
                if picked is None:
                    break
                if not picked:
                    continue
                numbered = [[claim_n + i, message] for i, (_, _, _, message) in enumerate(picked, 1)]
                await tx.run("delete_ready", rows=json.dumps(picked))
                await tx.run("insert_claims", worker=self._worker, relay=want.relay, now=now, rows=json.dumps(numbered))
                await tx.run("mark_sending", ids=json.dumps([message for _, _, _, message in picked]))
                claim_n += len(picked)
                taken += len(picked)
            if visits:
                await tx.run("turn_lanes", rows=json.dumps(list(visits.values())))
            if taken:
                await _reserve(tx, want, taken, now)
            if taken >= places and want.places > taken:
                # A limit and not the lack of work ended this: say when it will allow more.
                candidates = [t for t in (pace_at(taken), day_at) if t is not None and t > now]
                if candidates:
                    next_allowed = min(candidates) if next_allowed is None else min(next_allowed, *candidates)
        return claim_n, next_allowed

    async def _pick(
        self,
        tx: Transaction,
        routes: str,
        places: int,
        visits: dict[int, list[Any]],
        now: int,
        only_campaign: int | None,
    ) -> list[tuple[int, int, int, int]] | None:
        """Visit the next lanes: (lane, retry, due, message) of what they give; None when there are no more lanes."""
        lanes = max(1, places // TURN)
        visited = json.dumps(list(visits))
        if only_campaign is None:
            rows = await tx.all("pick_lanes", routes=routes, lanes=lanes, visited=visited)
        else:
            rows = await tx.all("pick_lanes_of", campaign=only_campaign, lanes=lanes, visited=visited)
        if not rows:
            return None
        weights = dict(rows)
        share = -(-places // len(rows))
        picked: list[tuple[int, int, int, int]] = []
        found = await tx.all("pick_messages", lanes=json.dumps(list(weights)), now=now, share=share)
        for lane, new_json, retries_json in found:
            new, retries = json.loads(new_json), json.loads(retries_json)
            given = _one_for_one(new, retries, min(share, places - len(picked)))
            picked += [(lane, retry, due, message) for retry, due, message in given]
            advance = STRIDE * len(given) // weights[lane]
            exhausted = len(given) == len(new) + len(retries) and len(new) < share and len(retries) < share
            visits[lane] = [lane, advance, exhausted]
        return picked

    async def _handed_out(
        self, tx: Transaction, tally: Counter[tuple[int, str]], *, already_counted: int
    ) -> tuple[list[Claimed], set[int]]:
        """What was claimed since the last answered exchange, and the campaigns that start with it.

        Claims up to `already_counted` were made, and counted, by an exchange whose answer was lost.
        """
        messages, starting = [], set()
        for row in await tx.all("claimed_messages", worker=self._worker, after=self._seen_claim):
            claimed = claimed_of(row)
            messages.append(claimed)
            if row[-1]:
                starting.add(claimed.campaign_id)
        for claimed in messages:
            if claimed.claim > already_counted:
                tally[claimed.lane_id, claimed.waited_as] -= 1
                tally[claimed.lane_id, State.SENDING] += 1
        return messages, starting


def claimed_of(row: Row) -> Claimed:
    """A row of `claimed_messages` as the data that rules work with."""
    return Claimed(
        claim=row[0],
        message_id=row[1],
        campaign_id=row[2],
        lane_id=row[3],
        relay=row[4],
        version=row[5],
        address=row[6],
        fields=row[7],
        attempts=row[8],
        refusals=row[9],
        losses=row[10],
        first_refused_at_us=row[11],
        in_doubt=bool(row[12]),
        waited_as=State(row[13]),
        due_at_us=row[14],
        expires_at_us=row[15],
        on_uncertain=OnUncertain(row[16]),
    )


async def record(
    tx: Transaction, worker_id: int, outcomes: Iterable[Outcome], now: int, tally: Counter[tuple[int, str]]
) -> int:
    """Apply the outcomes whose claims are open; how many were. Counts go to `tally`, for `settle_tally`."""
    by_claim = {outcome.claim: outcome for outcome in outcomes}
    if not by_claim:
        return 0
    closed = await tx.all("close_claims", worker=worker_id, claims=json.dumps(list(by_claim)))
    attempts, changes, waiting, back = [], [], [], {}
    ended: Counter[int] = Counter()
    traffic: dict[tuple[str, int], list[int]] = {}
    for claim, relay, waited_as, claimed_at in closed:
        outcome = by_claim[claim]
        attempt = outcome.attempt
        if attempt is not None:
            attempts.append([
                outcome.message_id, attempt.n, attempt.started_at_us, attempt.duration_us, attempt.relay, attempt.phase,
                attempt.code, attempt.enhanced, attempt.text, attempt.category, attempt.tls, attempt.note, claim,
            ])  # fmt: skip
            ended[outcome.campaign_id] += 1
        changes.append([
            outcome.message_id, outcome.state, outcome.due_at_us, outcome.reason, outcome.refusals, outcome.losses,
            outcome.first_refused_at_us, int(outcome.in_doubt), int(attempt is not None), outcome.version,
        ])  # fmt: skip
        tally[outcome.lane_id, State.SENDING] -= 1
        tally[outcome.lane_id, outcome.state] += 1
        if outcome.newly_in_doubt:
            tally[outcome.lane_id, "in_doubt"] += 1
        if outcome.due_at_us is not None:
            waiting.append(outcome.message_id)
            back[outcome.lane_id] = min(outcome.due_at_us, back.get(outcome.lane_id, outcome.due_at_us))
        if attempt is None:
            traffic.setdefault((relay, claimed_at // MINUTE_US * MINUTE_US), [0, 0])[0] -= 1
        elif outcome.state is State.SENT:
            traffic.setdefault((relay, now // MINUTE_US * MINUTE_US), [0, 0])[1] += 1
    if attempts:
        await tx.run("insert_attempts", worker=worker_id, rows=json.dumps(attempts))
    if changes:
        await tx.run("apply_outcomes", rows=json.dumps(changes))
    if waiting:
        await tx.run("insert_ready", ids=json.dumps(waiting))
        await tx.run("wake_waiting", rows=json.dumps(list(back.items())))
    if ended:
        at = now // CAMPAIGN_BUCKET_US * CAMPAIGN_BUCKET_US
        await tx.run("add_campaign_traffic", at=at, rows=json.dumps(list(ended.items())))
    if traffic:
        rows = [[relay, at, *counts] for (relay, at), counts in traffic.items()]
        await tx.run("add_relay_traffic", rows=json.dumps(rows))
    return len(closed)


async def settle_tally(tx: Transaction, tally: Counter[tuple[int, str]], now: int) -> None:
    """Add `tally` to the counts, and finish the campaigns in which nothing waits or is being sent any more."""
    rows = [[lane, state, count] for (lane, state), count in tally.items() if count]
    if not rows:
        return
    counts = await tx.all("add_tally", rows=json.dumps(rows))
    quiet = [lane for lane, state, count in counts if state == State.SENDING and count == 0]
    if quiet:
        await tx.all("finish_campaigns", lanes=json.dumps(quiet), now=now)


def _one_for_one(new: list[Any], retries: list[Any], places: int) -> list[tuple[int, int, int]]:
    """Alternate between new messages and due retries; the rest from whichever is left. (retry, due, message)"""
    given: list[tuple[int, int, int]] = []
    a, b = iter(new), iter(retries)
    while len(given) < places:
        before = len(given)
        for retry, queue in ((1, b), (0, a)):
            if len(given) < places and (head := next(queue, None)) is not None:
                given.append((retry, head[1], head[0]))
        if len(given) == before:
            break
    return given


async def _allowance(
    tx: Transaction, want: Want, now: int
) -> tuple[int, Callable[[int], int | None], int | None]:
    """How many messages the relay's limits allow now; when the rate, and when the day, will allow the next."""
    places = want.places
    next_at = 0
    if want.interval_us and places > 0:
        row = await tx.one("relay_next_at", relay=want.relay)
        next_at = max(row[0] if row else now, now - CATCH_UP_US)
        places = min(places, max(0, (now - next_at) // want.interval_us + 1))
    day_at: int | None = None
    if want.daily_limit is not None and places > 0:
        since = (now - DAY_US) // MINUTE_US * MINUTE_US
        used = await tx.one("relay_claimed_since", relay=want.relay, since=since)
        left = want.daily_limit - (used[0] if used else 0)
        if left < places:
            places = max(0, left)
            oldest = await tx.one("oldest_relay_traffic", relay=want.relay, since=since)
            day_at = (oldest[0] if oldest and oldest[0] else now) + DAY_US + 2 * MINUTE_US

    def pace_at(taken: int) -> int | None:
        return next_at + taken * want.interval_us if want.interval_us else None

    return places, pace_at, day_at


async def _reserve(tx: Transaction, want: Want, taken: int, now: int) -> None:
    if want.interval_us:
        row = await tx.one("relay_next_at", relay=want.relay)
        next_at = max(row[0] if row else now, now - CATCH_UP_US) + taken * want.interval_us
        await tx.run("set_relay_next_at", relay=want.relay, next_at=next_at)
    await tx.run("add_relay_traffic", rows=json.dumps([[want.relay, now // MINUTE_US * MINUTE_US, taken, 0]]))
