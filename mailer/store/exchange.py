"""The one call between a worker and the store: record what came of the last messages and claim the next.

Theory of operation
- What waits stands in `ready`, what is in hand in `claim`; a message is in exactly one of them, or in neither and
  final. Claiming moves a row from `ready` to `claim`, an outcome moves it on. An outcome whose claim is gone changes
  nothing, so every exchange may be repeated.
- Lanes take turns by stride scheduling: each has a `pass`, the lowest is visited next and moves back by what it was
  given divided by its weight. A lane that slept takes its turn from now on: it has saved up none, and is at most one
  turn behind the first in the line, however much it had been given before it slept.
- Within a lane due retries and new messages are taken one for one.
- An exchange whose answer was lost has claimed nevertheless. The next one hands those messages out first, and they
  take up the places that are asked for: a worker never gets more than it wanted.
- Everything is one transaction: when it returns, a power cut loses none of it (synchronous = full).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mailer.core.clock import Clock
from mailer.core.message import Claimed, OnUncertain, Outcome, State
from mailer.errors import StoreError
from mailer.store.limits import allowance, reserve
from mailer.store.recording import record, settle_tally
from mailer.store.sqlite import Database, Row, Transaction

# A lane is given up to this many messages a turn: fewer would touch a lane, a tally and a compiled campaign for every
# message, more would let one campaign fill the hands of a worker while others wait.
TURN: Final = 8
# What a whole turn of the heaviest lane costs in units of `pass`; large, so that integer division loses nothing.
STRIDE: Final = 1_000_000_000
# How far behind the first in the line a lane may join it, times its weight: one turn.
JOIN: Final = TURN * STRIDE

# Columns of `claimed_messages` behind those of a Claimed.
STARTS_CAMPAIGN: Final = 17
CLAIMED_AT: Final = 18


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
        self._worker = self.worker_id = worker_id
        self._lease_us = lease_us
        self._routes: dict[int, Route] = {}
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
        messages are claimed and no others, even while it is paused and closed to everybody else. After an error or a
        cancellation nobody knows whether it happened: call again with the same outcomes, which is harmless; what was
        claimed then is handed out now. Raises Fenced when this worker may not send any more, StoreError when the
        database is not usable.

        The answer holds at most as many messages a relay as `wants` has places for, those of lost answers included.
        """
        answer, claim_n = await self._database.in_one_visit(
            lambda tx: self._turn(tx, outcomes, wants, in_hand, only_campaign)
        )
        self.answered_n += 1
        self._seen_claim = claim_n
        return answer

    async def _turn(
        self,
        tx: Transaction,
        outcomes: Sequence[Outcome],
        wants: Sequence[Want],
        in_hand: Collection[int],
        only_campaign: int | None,
    ) -> tuple[Exchange, int]:
        """The exchange itself, and the last claim number. Runs on the database's thread."""
        now = self._clock()
        turn = await tx.one("worker_turn", worker=self._worker)
        if turn is None or not self.answered_n <= turn[0] <= self.answered_n + 1:
            raise Fenced(
                "this worker was taken for dead, or the database has gone back in time; it stops sending",
                "Another worker settles what it had in hand. If a backup was restored, see `mailer db check`.",
            )
        counted = turn[1]
        await self._refresh_routes(tx, turn[2])
        tally: Counter[tuple[int, str]] = Counter()
        await record(tx, self._worker, outcomes, now, tally)
        claim_n, next_allowed = await self._claim(tx, wants, counted, now, only_campaign)
        messages = await self._hand_out(tx, tally, now, counted=counted) if claim_n > self._seen_claim else []
        await settle_tally(tx, tally, now)
        withdrawn = await self._withdrawn(tx, {*in_hand, *(m.campaign_id for m in messages)}, only_campaign)
        wake = (
            await tx.one("next_wake")
            if only_campaign is None
            else await tx.one("next_due_after", campaign=only_campaign, now=now)
        )
        await tx.run(
            "end_turn",
            worker=self._worker,
            n=self.answered_n + 1,
            claim_n=claim_n,
            now=now,
            lease_until=now + self._lease_us,
        )
        due = [t for t in (wake[0] if wake else None, next_allowed) if t is not None]
        return Exchange(tuple(messages), withdrawn, min(due) if due else None), claim_n

    def route(self, route_id: int) -> Route | None:
        """A route by its number, or None if no exchange has met it yet."""
        return self._routes.get(route_id)

    async def _refresh_routes(self, tx: Transaction, newest: int | None) -> None:
        known = max(self._routes, default=0)
        if newest is not None and newest > known:
            for row in await tx.all("routes", after=known):
                self._routes[row[0]] = Route(row[0], row[1], row[2], tuple(json.loads(row[3])))

    async def _claim(
        self, tx: Transaction, wants: Sequence[Want], claim_n: int, now: int, only_campaign: int | None
    ) -> tuple[int, int | None]:
        """Claim for each relay in turn. Returns the last claim number and when a limit will allow more."""
        held: dict[str, int] = {}
        if claim_n > self._seen_claim:
            held = dict(await tx.all("count_claims", worker=self._worker, after=self._seen_claim))
        if only_campaign is None and any(want.places > 0 for want in wants):
            await tx.run("wake_lanes", now=now, join=JOIN)
        next_allowed: int | None = None
        for want in wants:
            places = want.places - held.get(want.relay, 0)
            if places <= 0:
                continue
            allowed = await allowance(tx, want, places, now)
            taken = await self._claim_for(tx, want, allowed.places, claim_n, now, only_campaign)
            if taken:
                await reserve(tx, want, taken, now)
            claim_n += taken
            at = allowed.next_us(taken)
            if at is not None:
                next_allowed = at if next_allowed is None else min(next_allowed, at)
        return claim_n, next_allowed

    async def _claim_for(
        self, tx: Transaction, want: Want, places: int, claim_n: int, now: int, only_campaign: int | None
    ) -> int:
        """Claim up to `places` messages for one relay, numbered from `claim_n + 1`; how many."""
        routes = json.dumps([route.id for route in self._routes.values() if want.carries(route)])
        exhausted: set[int] = set()
        taken = 0
        while taken < places:
            picked, visits = await self._pick(tx, routes, places - taken, exhausted, now, only_campaign)
            if not visits:
                break
            await tx.run("turn_lanes", rows=json.dumps(visits))
            if picked:
                numbered = [[claim_n + taken + i, message] for i, (_, _, _, message) in enumerate(picked, 1)]
                await tx.run("delete_ready", rows=json.dumps(picked))
                await tx.run("insert_claims", worker=self._worker, relay=want.relay, now=now, rows=json.dumps(numbered))
                await tx.run("mark_sending", ids=json.dumps([message for _, message in numbered]))
                taken += len(picked)
        return taken

    async def _pick(
        self,
        tx: Transaction,
        routes: str,
        places: int,
        exhausted: set[int],
        now: int,
        only_campaign: int | None,
    ) -> tuple[list[tuple[int, int, int, int]], list[tuple[int, int, bool]]]:
        """Visit the next lanes: what they give (lane, retry, due, message), and each (lane, advance, is exhausted).

        No visits when there are no more lanes. A lane that has given all that is due is not visited again.
        """
        lanes = max(1, places // TURN)
        passed_over = json.dumps(list(exhausted))
        if only_campaign is None:
            rows = await tx.all("pick_lanes", routes=routes, lanes=lanes, exhausted=passed_over)
        else:
            rows = await tx.all(
                "pick_lanes_of", campaign=only_campaign, routes=routes, lanes=lanes, exhausted=passed_over
            )
        if not rows:
            return [], []
        weights: dict[int, int] = dict(rows)
        share = -(-places // len(rows))
        picked: list[tuple[int, int, int, int]] = []
        visits: list[tuple[int, int, bool]] = []
        found = await tx.all("pick_messages", lanes=json.dumps(list(weights)), now=now, share=share)
        for lane, new_json, retries_json in found:
            new, retries = json.loads(new_json), json.loads(retries_json)
            given = _one_for_one(new, retries, min(share, places - len(picked)))
            picked += [(lane, retry, due, message) for retry, due, message in given]
            is_exhausted = len(given) == len(new) + len(retries) and len(new) < share and len(retries) < share
            if is_exhausted:
                exhausted.add(lane)
            visits.append((lane, STRIDE * len(given) // weights[lane], is_exhausted))
        return picked, visits

    async def _hand_out(
        self, tx: Transaction, tally: Counter[tuple[int, str]], now: int, *, counted: int
    ) -> list[Claimed]:
        """What was claimed since the last answered exchange; campaigns whose first message is among it have started.

        Claims up to `counted` were made, and counted, by an exchange whose answer was lost.
        """
        rows = await tx.all("claimed_messages", worker=self._worker, after=self._seen_claim)
        messages = [claimed_of(row) for row in rows]
        for claimed in messages:
            if claimed.claim > counted:
                tally[claimed.lane_id, claimed.waited_as] -= 1
                tally[claimed.lane_id, State.SENDING] += 1
        starting = {row[2] for row in rows if row[STARTS_CAMPAIGN]}
        if starting:
            await tx.run("start_campaigns", now=now, ids=json.dumps(sorted(starting)))
        return messages

    async def _withdrawn(self, tx: Transaction, campaigns: set[int], only_campaign: int | None) -> frozenset[int]:
        if not campaigns:
            return frozenset()
        rows = await tx.all("withdrawn_campaigns", ids=json.dumps(sorted(campaigns)), only=only_campaign)
        return frozenset(row[0] for row in rows)


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
