"""Workers as the store knows them: who lives, what they say of their relays, and what the dead had in hand."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from mailer.core.clock import DAY_US, HOUR_US, MINUTE_US, Clock
from mailer.core.message import Claimed, Outcome, State
from mailer.store.exchange import CLAIMED_AT, Exchanger, claimed_of
from mailer.store.recording import record, settle_tally
from mailer.store.sqlite import Database


@dataclass(frozen=True, slots=True)
class Worker:
    """A live row of `worker`."""

    id: int
    incarnation: str
    host: str
    pid: int
    boot_id: str
    processes: int
    slots: int
    state_dir: str
    started_at_us: int
    heartbeat_at_us: int
    lease_until_us: int
    exchange_n: int
    in_hand: int


@dataclass(frozen=True, slots=True)
class Left:
    """What a campaign that has not ended still holds."""

    campaign_id: int
    name: str
    state: str
    reason: str
    route_id: int
    due: int
    later: int
    sending: int
    next_due_us: int | None


@dataclass(frozen=True, slots=True)
class RelayReport:
    """What a worker says of one of its relays."""

    relay: str
    state: str
    reason: str
    paused_until_us: int | None
    connections: int


class Workers:
    """Registering, ending and recovering workers."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def register(
        self,
        *,
        incarnation: str,
        host: str,
        pid: int,
        boot_id: str,
        processes: int,
        slots: int,
        state_dir: str,
        lease_us: int,
    ) -> Exchanger:
        """Enter a new incarnation, whose flight file exists and is locked already, and open its exchanges."""
        now = self._clock()
        async with self._database.transaction() as tx:
            row = await tx.one(
                "register_worker",
                incarnation=incarnation,
                host=host,
                pid=pid,
                boot_id=boot_id,
                processes=processes,
                slots=slots,
                state_dir=state_dir,
                now=now,
                lease_until=now + lease_us,
            )
            if row is None:
                raise ValueError("register_worker returned no row")
        return Exchanger(self._database, self._clock, int(row[0]), lease_us)

    async def live(self) -> list[Worker]:
        """Every worker that has not ended and was not declared dead."""
        async with self._database.reading() as tx:
            return [Worker(*row) for row in await tx.all("live_workers")]

    async def end(self, worker_id: int) -> None:
        """The worker has nothing in hand any more and leaves. Raises ValueError if it still holds claims."""
        async with self._database.transaction() as tx:
            rows = await tx.all("claimed_messages", worker=worker_id, after=0)
            if rows:
                raise ValueError(f"worker {worker_id} still holds {len(rows)} messages")
            await tx.run("forget_relay_states", worker=worker_id)
            await tx.run("end_worker", worker=worker_id, state="ended")

    async def recover(
        self, worker_id: int, in_work: Collection[int], settle: Callable[[Claimed, int, int], Outcome]
    ) -> Counter[State]:
        """Declare a worker dead and settle everything it had in hand; how many messages went to which state.

        The caller has judged it dead: it holds the lock of the worker's flight file, or that file is gone and the lease
        has lapsed. `in_work` are the claims that the worker had begun and not finished, see
        `flight_recovery.claims_in_work`; `settle` makes an outcome of a claim, the time at which it was claimed and the
        number of workers that died with that message in work, this one included. The claims are read in the transaction
        that settles them, and the worker is live until it commits: whoever comes second finds nothing to do.
        """
        now = self._clock()
        result: Counter[State] = Counter()
        async with self._database.transaction() as tx:
            if not await tx.run("end_worker", worker=worker_id, state="dead"):
                return result
            rows = await tx.all("claimed_messages", worker=worker_id, after=0)
            begun = set(in_work)
            fatal = [row[1] for row in rows if row[0] in begun]
            deaths: dict[int, int] = dict(await tx.all("count_death", ids=json.dumps(fatal)))
            outcomes = [settle(claimed_of(row), row[CLAIMED_AT], deaths.get(row[1], 0)) for row in rows]
            tally: Counter[tuple[int, str]] = Counter()
            await record(tx, worker_id, outcomes, now, tally)
            await settle_tally(tx, tally, now)
            await tx.run("forget_relay_states", worker=worker_id)
        result.update(outcome.state for outcome in outcomes)
        return result

    async def report_relays(self, worker_id: int, reports: Sequence[RelayReport]) -> None:
        """Keep what the worker says of its relays, for the status table."""
        now = self._clock()
        async with self._database.transaction() as tx:
            for report in reports:
                await tx.run(
                    "set_relay_state",
                    worker=worker_id,
                    relay=report.relay,
                    state=report.state,
                    reason=report.reason,
                    paused_until=report.paused_until_us,
                    connections=report.connections,
                    now=now,
                )

    async def left(self) -> list[Left]:
        """What every campaign that has not ended still holds."""
        async with self._database.reading() as tx:
            return [Left(*row) for row in await tx.all("work_left", now=self._clock())]

    async def forget_traffic(self) -> None:
        """Remove the traffic counts that nothing reads any more."""
        now = self._clock()
        async with self._database.transaction() as tx:
            await tx.run("forget_campaign_traffic", before=now - 15 * MINUTE_US)
            await tx.run("forget_relay_traffic", before=now - DAY_US - HOUR_US)
