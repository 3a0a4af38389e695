"""What store tests share: a clock that is told the time, a campaign to load, and a worker that plays its relay."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

from mailer.core.clock import DAY_US, HOUR_US, MINUTE_US, SECOND_US
from mailer.core.message import Claimed, Ending, OnUncertain, Outcome, Phase, Result
from mailer.core.outcome import settle
from mailer.core.reply import Reply
from mailer.core.retry import RetryPolicy
from mailer.store import Exchange, Exchanger, NewRow, Snapshot, Store, Want
from mailer.store.sqlite import Database

START_US = 1_800_000_000 * SECOND_US
LEASE_US = 60 * SECOND_US
RETRY = RetryPolicy(first_us=5 * MINUTE_US, factor=2.0, longest_us=4 * HOUR_US, give_up_after_us=2 * DAY_US)

ACCEPTED = Reply(250, "2.0.0", "queued as 1234")
GREYLISTED = Reply(450, "4.7.1", "greylisted, try later")
NO_SUCH_USER = Reply(550, "5.1.1", "no such user")
WRONG_PASSWORD = Reply(535, "5.7.8", "authentication failed")


class Clock:
    """Stands still until it is moved."""

    def __init__(self, now_us: int = START_US) -> None:
        self.now_us = now_us

    def __call__(self) -> int:
        return self.now_us

    def forward(self, us: int) -> None:
        """Let time pass."""
        self.now_us += us


async def no_rest(seconds: float) -> None:
    """A bulk writer's rest, without waiting."""


async def open_store(path: Path, clock: Clock, *, create: bool = True) -> Store:
    """A store that reads `clock` and does not rest."""
    return await Store.open(path, create=create, synchronous="off", clock=clock, rest=no_rest)


def snapshot(subject: str = "News", **changes: Any) -> Snapshot:
    """What an operator queued."""
    body = f'{{"subject": "{subject}"}}'
    ready = Snapshot(
        body=body,
        digest=sha256(body.encode()).hexdigest(),
        blobs={},
        settings='{"today": "2027-01-15"}',
        author="news@example.com",
        envelope_from="bounce@example.com",
        relays=(),
        priority=0,
        on_uncertain=OnUncertain.RESEND,
        start_at_us=None,
        expires_at_us=None,
    )
    return replace(ready, **changes)


def recipients(count: int, *, first: int = 0, destination: str = "other", domain: str = "example.org") -> list[NewRow]:
    """`count` recipients with addresses of their own."""
    return [
        NewRow(f"User{n}@{domain}", f"user{n}@{domain}", destination, f'{{"name": "User {n}"}}')
        for n in range(first, first + count)
    ]


async def queue(
    store: Store, name: str, rows: Sequence[NewRow], new: Snapshot | None = None, *, hold: bool = False
) -> int:
    """Load and release a campaign; its id."""
    load = await store.begin_load(name, loader="test", new=new or snapshot())
    await load.add(rows)
    await load.release(hold=hold)
    return load.campaign_id


async def register(store: Store, incarnation: str = "0" * 32) -> Exchanger:
    """A live worker."""
    return await store.workers.register(
        incarnation=incarnation,
        host="here",
        pid=1,
        boot_id="boot",
        processes=1,
        slots=4,
        state_dir="/nowhere",
        lease_us=LEASE_US,
    )


def want(places: int, relay: str = "qq", **limits: Any) -> Want:
    """What a relay that carries anything can take."""
    return Want(relay, places, lambda _: True, **limits)


def answered(reply: Reply, phase: Phase = Phase.END_OF_DATA) -> Result:
    """A try that a reply decided."""
    return Result(Ending.ANSWERED, phase=phase, reply=reply, relay="qq", started_at_us=START_US, duration_us=1_000)


SENT = answered(ACCEPTED)
PUT_OFF = answered(GREYLISTED, Phase.RCPT)
REFUSED = answered(NO_SUCH_USER, Phase.RCPT)
RELAY_STOPPED = answered(WRONG_PASSWORD, Phase.AUTH)
UNKNOWN = Result(Ending.UNKNOWN, phase=Phase.END_OF_DATA, relay="qq", started_at_us=START_US)
LOST = Result(Ending.LOST, phase=Phase.DATA, relay="qq", started_at_us=START_US)
UNTOUCHED = Result(Ending.UNTOUCHED)


def settled(claimed: Claimed, result: Result, clock: Clock) -> Outcome:
    """What becomes of a claim, by the rules that workers use."""
    return settle(claimed, result, RETRY, clock(), Random(claimed.claim))


def all_settled(claims: Iterable[Claimed], result: Result, clock: Clock) -> list[Outcome]:
    """The same for many that met the same."""
    return [settled(claimed, result, clock) for claimed in claims]


async def claim(exchanger: Exchanger, places: int, **options: Any) -> tuple[Claimed, ...]:
    """Claim without recording anything."""
    return (await exchanger.exchange([], [want(places)], **options)).messages


async def send_all(exchanger: Exchanger, clock: Clock, result: Result = SENT) -> int:
    """Claim and settle until nothing is due; how many."""
    count = 0
    outcomes: list[Outcome] = []
    while True:
        answer: Exchange = await exchanger.exchange(outcomes, [want(50)])
        if not answer.messages:
            return count
        outcomes = all_settled(answer.messages, result, clock)
        count += len(outcomes)


async def tampered(store: Store, *sql: str) -> None:
    """Break the database by hand."""
    database = await Database.open(store.path, create=False)
    try:
        async with database.transaction() as tx:
            for statement in sql:
                await tx.statement(statement)
    finally:
        await database.close()


async def states(store: Store, name: str) -> dict[str, int]:
    """How many messages of a campaign are in each state, without the empty ones."""
    status = await store.reading.status(name)
    return {str(state): count for state, count in status.campaigns[0].counts.items() if count}


async def campaign_state(store: Store, name: str) -> str:
    """The state of a campaign."""
    return (await store.campaigns.find(name)).state
