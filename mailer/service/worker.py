"""The crank: what has come of the last messages goes to the store, what it hands out goes to the relays.

Theory of operation
- One loop, `_crank`: gather outcomes, exchange, hand over, wait for something to do. It alone talks to the store about
  messages, so there is one exchange at a time and no lock.
- Sending goes on while an exchange waits for the disk. Outcomes that come meanwhile go into the next one; while there
  is work in hand they may gather for a few milliseconds, so commits group themselves.
- A worker that cannot record stops sending by itself: its hand fills up, its lease runs out, its recorder refuses.
- One object is one incarnation. Whoever was fenced starts over as a new one; its flight file tells the rest.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import TYPE_CHECKING, Final

import structlog

from mailer.core.clock import SECOND_US, Clock
from mailer.core.message import Claimed, Ending, Outcome, Result
from mailer.core.outcome import settle
from mailer.errors import NotFound, StoreError
from mailer.service.contents import Contents, Unusable, Usable
from mailer.service.delivery import Surroundings, WorkerDelivery
from mailer.service.hand import Hand, Room
from mailer.service.lease import Lease
from mailer.service.outcome_log import log_outcome
from mailer.service.terms import Line, Run, Terms
from mailer.smtp import Delivery, RelayPool
from mailer.store import Exchange, Exchanger, Fenced, RelayReport, Route, Store, Want

if TYPE_CHECKING:
    from mailer.store.flight import FlightRecorder

log = structlog.get_logger("worker")

# How long outcomes may gather while there is other work in hand: commits get larger, and nobody waits for them.
GATHER_S: Final = 0.005
# How often an idle worker looks whether somebody has queued something. A message is to start within 100 ms of that.
LOOK_S: Final = 0.05
# The longest pause between two attempts to reach a database that is locked or full.
LONGEST_TRY_S: Final = 1.0


class Worker:
    """One incarnation, from its registration to its last exchange."""

    def __init__(
        self,
        store: Store,
        exchanger: Exchanger,
        recorder: FlightRecorder,
        lease: Lease,
        lines: Sequence[Line],
        terms: Terms,
        *,
        stop: asyncio.Event,
        run: Run,
        clock: Clock,
        random: Random,
        on_trouble: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_trouble` is called whenever the database cannot be reached for a while."""
        self._store = store
        self._exchanger = exchanger
        self._recorder = recorder
        self._lease = lease
        self._lines = {line.pool.name: line for line in lines}
        self._terms = terms
        self._stop = stop
        self._run = run
        self._clock = clock
        self._on_trouble = on_trouble
        self._hand = Hand((Room(line.pool.name, line.places, line.weight) for line in lines), most=terms.most_in_hand)
        self._contents = Contents(store)
        self._shared = Surroundings(
            recorder=recorder,
            store_id=store.store_id,
            retry=terms.retry,
            clock=clock,
            random=random,
            may_end=self._may_end,
            done=self._done,
        )
        self._ended: list[tuple[Claimed, Outcome]] = []
        """What came of messages since the last exchange."""
        self._wake = asyncio.Event()
        self._may_be_more = True
        """The store may have something that is due and was not handed out."""
        self._next_due_us: int | None = None
        self._seen_version: int | None = None
        self._is_late = False
        """Half of `stop_within` is over: no message is ended any more."""
        self.is_idle = asyncio.Event()
        """Set while nothing is in hand, and nothing that is due could be taken."""

    # What the pools and others tell

    def look_again(self) -> None:
        """Something changed outside: a relay came back, a campaign was started."""
        self._may_be_more = True
        self._wake.set()

    def reports(self) -> list[RelayReport]:
        """What this worker says of its relays."""
        return [
            RelayReport(pool.name, pool.state, pool.reason, pool.paused_until_us, pool.connections)
            for pool in self._pools()
        ]

    @property
    def in_hand(self) -> int:
        """Messages claimed and not yet recorded."""
        return self._hand.count

    def route(self, route_id: int) -> Route | None:
        """A route that the store has told of, or None."""
        return self._exchanger.route(route_id)

    def _pools(self) -> list[RelayPool]:
        return [line.pool for line in self._lines.values()]

    def _may_end(self) -> bool:
        return not self._is_late and self._lease.has_margin()

    def _done(self, delivery: WorkerDelivery, outcome: Outcome, result: Result) -> None:
        self._end(delivery.claimed, outcome, result)

    def _end(self, claimed: Claimed, outcome: Outcome, result: Result) -> None:
        self._ended.append((claimed, outcome))
        if result.ending is Ending.UNKNOWN and self._stop.is_set():
            self._run.unanswered += 1
        log_outcome(claimed, outcome, result)
        self._wake.set()

    # The loop

    async def run(self) -> None:
        """Work until `stop` is set and everything in hand is recorded.

        Raises Fenced when this incarnation must end, and StoreError when the database is not usable and waiting does
        not help; in both cases the flight file has what was not recorded.
        """
        async with asyncio.TaskGroup() as group:
            for pool in self._pools():
                group.create_task(pool.run(), name=f"relay {pool.name}")
            stopper = group.create_task(self._stop_in_time(), name="stop in time")
            try:
                await self._crank()
            finally:
                stopper.cancel()
                self._is_late = True  # whatever happens from here on, nothing more is ended
                for pool in self._pools():
                    pool.abandon_bodies()
                await asyncio.gather(*(pool.close() for pool in self._pools()))

    async def _crank(self) -> None:
        while True:
            self._take_back()
            if self._needs_exchange():
                await self._turn()
            if self._stop.is_set() and not self._hand.count:
                return
            if self._lease_is_lost():
                raise _too_long()
            await self._something_to_do()

    def _needs_exchange(self) -> bool:
        return bool(self._ended) or self._is_due_for_renewal() or self._wants_more()

    def _wants_more(self) -> bool:
        return self._may_be_more and any(self._places(()).values())

    def _is_due_for_renewal(self) -> bool:
        return self._lease.age_us() >= self._lease.renewal_us

    def _lease_is_lost(self) -> bool:
        return self._lease.is_begun and not self._lease.has_margin()

    def _places(self, leaving: Iterable[Claimed]) -> dict[str, int]:
        if self._stop.is_set() or self._recorder.failure is not None:
            return {}
        is_open = [pool.name for pool in self._pools() if pool.state == "ready"]
        return dict(self._hand.places(leaving, is_open))

    async def _turn(self) -> None:
        """One exchange, with all that has come in."""
        if self._recorder.failure is not None:
            self._resume_recorder()
        batch, self._ended = self._ended, []
        leaving = [claimed for claimed, _ in batch]
        places = self._places(leaving)
        wants = [
            Want(name, free, self._lines[name].carries, self._lines[name].interval_us, self._lines[name].daily_limit)
            for name, free in places.items()
            if free
        ]
        answer = await self._exchange([outcome for _, outcome in batch], wants)
        self._hand.release(leaving)
        self._recorder.free(claimed.claim for claimed in leaving)
        self._hand.take(answer.messages)
        self._next_due_us = answer.next_due_us
        if wants:
            given = Counter(claimed.relay for claimed in answer.messages)
            self._may_be_more = any(given[want.relay] >= want.places for want in wants)
        await self._hand_over(answer)

    async def _exchange(self, outcomes: Sequence[Outcome], wants: Sequence[Want]) -> Exchange:
        """The exchange, tried until it is answered or the lease has no margin left."""
        pause_s, is_waiting = 0.02, False
        while True:
            begun_at = self._lease.now()
            try:
                answer = await self._exchanger.exchange(
                    outcomes, wants, self._hand.campaigns, only_campaign=self._terms.only_campaign
                )
            except Fenced:
                raise
            except StoreError as error:
                if not error.can_wait or self._is_late:
                    raise
                if self._lease_is_lost():
                    raise _too_long() from error
                self._on_trouble()
                # Said once: a disk that is full over night must not fill the log as well.
                say = log.debug if is_waiting else log.warning
                say("database.waiting", reason=error.message, hint=error.hint)
                is_waiting = True
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, LONGEST_TRY_S)
            else:
                if is_waiting:
                    log.info("database.back")
                self._lease.renew(begun_at)
                self._note_committed()
                return answer

    def _note_committed(self) -> None:
        try:
            self._recorder.committed(self._exchanger.answered_n)
        except StoreError as error:
            log.warning("recorder.failed", reason=error.message, hint=error.hint)

    def _resume_recorder(self) -> None:
        try:
            self._recorder.resume()
        except StoreError as error:
            log.warning("recorder.failed", reason=error.message, hint=error.hint)
        else:
            log.info("recorder.resumed")
            self._may_be_more = True

    async def _hand_over(self, answer: Exchange) -> None:
        for claimed in answer.messages:
            if claimed.campaign_id in answer.withdrawn or self._stop.is_set():
                self._give_back(claimed)
                continue
            content = await self._content_of(claimed)
            if isinstance(content, Usable):
                self._lines[claimed.relay].pool.submit(WorkerDelivery(claimed, content, self._shared))
            elif content is None:
                self._give_back(claimed)
            else:
                self._settle(claimed, Result(Ending.UNFIT, note=content.reason, started_at_us=self._clock()))
        if answer.withdrawn:
            self._withdraw(lambda claimed: claimed.campaign_id in answer.withdrawn)

    async def _content_of(self, claimed: Claimed) -> Usable | Unusable | None:
        """What it is composed from; None if the database cannot say now."""
        try:
            return await self._contents.get(claimed.campaign_id, claimed.version)
        except NotFound as error:
            return Unusable(error.message)
        except StoreError as error:
            if not error.can_wait:
                raise
            log.warning("database.waiting", reason=error.message, hint=error.hint)
            return None

    def _take_back(self) -> None:
        """What waits for a relay that takes nothing now goes back to its lane: another one may carry it."""
        closed = {pool.name for pool in self._pools() if pool.state != "ready"}
        if self._stop.is_set() or self._recorder.failure is not None:
            self._withdraw(lambda _: True)
        elif closed:
            self._withdraw(lambda claimed: claimed.relay in closed)

    def _withdraw(self, unwanted: Callable[[Claimed], bool]) -> None:
        for pool in self._pools():
            for delivery in pool.withdraw(lambda one: unwanted(_ours(one).claimed)):
                self._give_back(_ours(delivery).claimed)

    def _give_back(self, claimed: Claimed) -> None:
        self._settle(claimed, Result(Ending.UNTOUCHED))

    def _settle(self, claimed: Claimed, result: Result) -> None:
        shared = self._shared
        self._end(claimed, settle(claimed, result, shared.retry, self._clock(), shared.random), result)

    async def _something_to_do(self) -> None:
        """Wait until there is a reason for another exchange."""
        has_work = any(pool.waiting for pool in self._pools())
        if self._ended:
            if has_work:
                await asyncio.sleep(GATHER_S)
            return
        if self._wants_more():
            return
        self._wake.clear()
        # There may be more, but nobody who takes it: a worker whose every relay has stopped is idle, too.
        if not self._hand.count:
            self.is_idle.set()
        looks = any(self._places(()).values())
        try:
            async with asyncio.timeout(self._patience_s(looks=looks)):
                await self._wake.wait()
        except TimeoutError:
            if looks and await self._has_news():
                self._may_be_more = True
        if self._wants_more() or self._ended:
            self.is_idle.clear()

    def _patience_s(self, *, looks: bool) -> float:
        until_renewal = max(0, self._lease.renewal_us - self._lease.age_us()) / SECOND_US
        return min(until_renewal, LOOK_S) if looks else until_renewal

    async def _has_news(self) -> bool:
        if self._next_due_us is not None and self._clock() >= self._next_due_us:
            self._next_due_us = None
            return True
        try:
            version = await self._store.data_version()
        except StoreError as error:
            if not error.can_wait:
                raise
            return False
        seen, self._seen_version = self._seen_version, version
        return version != seen  # the first look is news, too: something may have come since the exchange before it

    async def _stop_in_time(self) -> None:
        """The steps of a stop: begin nothing, then end nothing, then wait for nothing."""
        await self._stop.wait()
        self._wake.set()
        for pool in self._pools():
            pool.stop_starting()
        await asyncio.sleep(self._terms.stop_within_s / 2)
        self._is_late = True
        for pool in self._pools():
            pool.abandon_bodies()
        await asyncio.sleep(self._terms.stop_within_s / 2)
        await asyncio.gather(*(pool.close() for pool in self._pools()))


def _too_long() -> Fenced:
    return Fenced("the database could not be reached for too long; this worker starts over", "")


def _ours(delivery: Delivery) -> WorkerDelivery:
    if not isinstance(delivery, WorkerDelivery):
        raise TypeError("a pool gave back a delivery that no worker had submitted")
    return delivery
