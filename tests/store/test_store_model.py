"""The whole store against a small model: whatever operators, workers and deaths do in whatever order, both agree.

The model knows the rules in the plainest form: a message is waiting, in a hand, or at its end. It does not know lanes,
tallies or transactions. It cannot say which of several messages a claim takes; it says how many, and that each was free
to be taken. After every step the counts and states of all campaigns are compared and `check` must find nothing.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support.store import (
    LOST,
    PUT_OFF,
    REFUSED,
    RELAY_STOPPED,
    SENT,
    UNKNOWN,
    UNTOUCHED,
    Clock,
    open_store,
    register,
    settled,
    snapshot,
    want,
)

from mailer.core.clock import HOUR_US, MINUTE_US, SECOND_US
from mailer.core.message import Claimed, Ending, OnUncertain, Outcome, Phase, Result, State
from mailer.errors import Refused
from mailer.store import Exchanger, Fenced, Load, NewRow, Store
from mailer.store.loading import SILENT_US

T = TypeVar("T")

RESULTS = [SENT, PUT_OFF, REFUSED, RELAY_STOPPED, UNKNOWN, LOST, UNTOUCHED, Result(Ending.EXPIRED, note="too late")]
NAMES = ["a", "b", "c"]
GOES_ON = ("running", "scheduled", "paused")
results = st.sampled_from(RESULTS)
names = st.sampled_from(NAMES)
people = st.lists(st.integers(0, 11), max_size=6)


@dataclass
class Message:
    """One recipient as the model sees it."""

    key: str
    state: State
    due_at_us: int | None
    """While it waits; None in a hand and at its end."""
    version: int | None = None
    attempts: int = 0
    in_doubt: bool = False
    attempted: list[int | None] = field(default_factory=list)
    """Codes of its attempts."""


@dataclass
class Modelled:
    """One campaign as the model sees it."""

    id: int
    state: str
    version: int
    start_at_us: int | None
    expires_at_us: int | None
    messages: dict[str, Message] = field(default_factory=dict)

    @property
    def waiting(self) -> list[Message]:
        return [m for m in self.messages.values() if m.due_at_us is not None]

    @property
    def is_sending(self) -> bool:
        return any(m.state is State.SENDING for m in self.messages.values())

    def finish_if_done(self) -> None:
        if self.state == "running" and not self.waiting and not self.is_sending:
            self.state = "finished"


@dataclass
class Hand:
    """A worker, what it knows to be in its hands, and what it has not heard an answer about."""

    exchanger: Exchanger
    is_live: bool = True
    held: dict[int, Claimed] = field(default_factory=dict)
    unanswered: list[Outcome] = field(default_factory=list)
    unheard: int = 0
    """Claims that were made and whose answer was lost."""


class Queue(RuleBasedStateMachine):
    """Everything that can happen to a queue."""

    @initialize()
    def open(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.loop = asyncio.new_event_loop()
        self.clock = Clock()
        self.store: Store = self.run(open_store(self.folder / "mailer.db", self.clock))
        self.campaigns: dict[str, Modelled] = {}
        self.loads: dict[str, tuple[Load, list[NewRow]]] = {}
        self.workers: list[Hand] = []
        self.claims: dict[tuple[int, int], Message] = {}
        """What is in hand, by (worker, claim number)."""
        self.subject = 0
        self.start_worker()
        self.queue("a", [0, 1, 2, 3], None, None, 0, OnUncertain.RESEND, hold=False)

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.run(self.store.close())
            self.loop.close()
            shutil.rmtree(self.folder)

    def run(self, what: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(what)

    # Loading

    @rule(
        name=names,
        rows=people,
        start_in=st.sampled_from([None, None, None, -HOUR_US, HOUR_US]),
        expires_in=st.sampled_from([None, None, None, 2 * HOUR_US]),
        priority=st.sampled_from([-10, 0, 10]),
        policy=st.sampled_from(OnUncertain),
        hold=st.sampled_from([False, False, False, True]),
    )
    def queue(
        self,
        name: str,
        rows: list[int],
        start_in: int | None,
        expires_in: int | None,
        priority: int,
        policy: OnUncertain,
        hold: bool,
    ) -> None:
        if name not in self.loads:
            self.begin_load(name, rows, start_in, expires_in, priority, policy)
        if name in self.loads:
            self.end_load(name, "hold" if hold else "release")

    @rule(
        name=names,
        rows=people,
        policy=st.sampled_from(OnUncertain),
    )
    def begin_in_parts(self, name: str, rows: list[int], policy: OnUncertain) -> None:
        self.begin_load(name, rows, None, None, 0, policy)

    def begin_load(
        self,
        name: str,
        rows: list[int],
        start_in: int | None,
        expires_in: int | None,
        priority: int,
        policy: OnUncertain,
    ) -> None:
        if name in self.loads:
            return
        model = self.campaigns.get(name)
        start_at, expires_at = (None if span is None else self.clock() + span for span in (start_in, expires_in))
        new = snapshot(
            start_at_us=start_at, expires_at_us=expires_at, priority=priority, on_uncertain=policy, blobs={"aa": b"1"}
        )
        if model is not None and model.state in ("cancelling", "cancelled"):
            self.refused(self.store.begin_load(name, loader="x", new=new))
            return
        load = self.run(self.store.begin_load(name, loader="x", new=new))
        if model is None:
            self.campaigns[name] = Modelled(load.campaign_id, "loading", 1, start_at, expires_at)
        self.loads[name] = (load, [])
        self.add(name, rows)

    def add(self, name: str, rows: list[int]) -> None:
        load, loaded = self.loads[name]
        new = [NewRow(f"U{n}@x.org", f"u{n}@x.org", ("other", "gmail")[n % 2], '{"n": 1}') for n in rows]
        self.run(load.add(new))
        there = self.campaigns[name].messages.keys()
        before = {row.key for row in loaded}
        fresh = list({row.key: row for row in new if row.key not in there and row.key not in before}.values())
        loaded += fresh
        assert load.added == len(loaded)

    @precondition(lambda self: self.loads)
    @rule(data=st.data(), rows=people, how=st.sampled_from(["add", "release", "hold", "remove", "kill"]))
    def go_on_loading(self, data: st.DataObject, rows: list[int], how: str) -> None:
        name = data.draw(st.sampled_from(sorted(self.loads)))
        self.add(name, rows)
        if how != "add":
            self.end_load(name, how)

    def end_load(self, name: str, how: str) -> None:
        load, loaded = self.loads[name]
        model = self.campaigns[name]
        if how in ("release", "hold") and model.state in ("cancelling", "cancelled"):
            self.refused(load.release(hold=how == "hold"))
            how = "remove"
        if how == "kill" and len(self.loads) > 1:
            return  # the time until it is noticed would be too long for the others
        if how == "kill":  # and somebody notices later, by the same command
            self.clock.forward(SILENT_US)
            del self.loads[name]
            if model.state in ("cancelling", "cancelled"):
                self.refused(self.store.begin_load(name, loader="y", new=snapshot()))
                return
            again = self.run(self.store.begin_load(name, loader="y", new=snapshot()))
            if model.state == "loading":
                self.campaigns[name] = Modelled(again.campaign_id, "loading", 1, None, None)
            self.loads[name] = (again, [])
            return
        del self.loads[name]
        if how == "remove":
            self.run(load.remove())
            if model.state == "loading":
                del self.campaigns[name]
            return
        for row in loaded:
            found = self.run(self.store.reading.messages(limit=9, address_key=row.key, campaign=name))
            model.messages[row.key] = Message(row.key, State.QUEUED, found[0].due_at_us)
        if model.state == "loading":
            later = model.start_at_us is not None and model.start_at_us > self.clock()
            model.state = "paused" if how == "hold" else "scheduled" if later else "running"
        elif model.state == "finished" and loaded:
            model.state = "running"
        model.finish_if_done()
        assert self.run(load.release(hold=how == "hold")) == model.state

    # Workers

    @precondition(lambda self: sum(hand.is_live for hand in self.workers) < 3)
    @rule()
    def start_worker(self) -> None:
        self.workers.append(Hand(self.run(register(self.store, f"{len(self.workers):032x}"))))

    @precondition(lambda self: any(hand.is_live for hand in self.workers))
    @rule(data=st.data(), places=st.integers(0, 12))
    def exchange(self, data: st.DataObject, places: int) -> None:
        self.one_exchange(data, places, answer_is_lost=False)

    @precondition(lambda self: any(hand.is_live for hand in self.workers))
    @rule(data=st.data(), places=st.integers(0, 12))
    def exchange_without_an_answer(self, data: st.DataObject, places: int) -> None:
        self.one_exchange(data, places, answer_is_lost=True)

    @precondition(lambda self: any(hand.held for hand in self.workers))
    @rule(data=st.data())
    def settle_everything(self, data: st.DataObject) -> None:
        hand = data.draw(st.sampled_from([hand for hand in self.workers if hand.held]))
        if hand.is_live and not hand.unanswered:
            result = data.draw(results)
            hand.unanswered = [settled(claimed, result, self.clock) for claimed in hand.held.values()]
            self.one_exchange(data, 0, answer_is_lost=False, hand=hand)

    def one_exchange(self, data: st.DataObject, places: int, *, answer_is_lost: bool, hand: Hand | None = None) -> None:
        hand = hand or data.draw(st.sampled_from([hand for hand in self.workers if hand.is_live]))
        assert hand is not None
        number = hand.exchanger.worker_id
        if not hand.unanswered:
            for claimed in list(hand.held.values()):
                if data.draw(st.booleans()):
                    hand.unanswered.append(settled(claimed, data.draw(results), self.clock))
        for outcome in hand.unanswered:
            self.apply(number, outcome)
        free = self.free()
        expected = min(max(0, places - hand.unheard), len(free)) + hand.unheard
        known = (hand.exchanger.answered_n, hand.exchanger._seen_claim)
        in_hand = {claimed.campaign_id for claimed in hand.held.values()}
        answer = self.run(hand.exchanger.exchange(hand.unanswered, [want(places)], in_hand))
        assert len(answer.messages) == expected
        for claimed in answer.messages:
            self.take(number, claimed)
        if answer_is_lost:
            hand.exchanger.answered_n, hand.exchanger._seen_claim = known
            hand.unheard = len(answer.messages)
            return
        touched = in_hand | {claimed.campaign_id for claimed in answer.messages}
        assert answer.withdrawn == {m.id for m in self.campaigns.values() if m.id in touched and m.state != "running"}
        for outcome in hand.unanswered:
            hand.held.pop(outcome.claim, None)
        hand.held.update({claimed.claim: claimed for claimed in answer.messages})
        hand.unanswered, hand.unheard = [], 0

    def free(self) -> set[int]:
        return {
            id(message)
            for model in self.campaigns.values()
            if model.state == "running"
            for message in model.waiting
            if message.due_at_us is not None and message.due_at_us <= self.clock()
        }

    def take(self, worker: int, claimed: Claimed) -> None:
        if (worker, claimed.claim) in self.claims:
            return  # handed out again, after a lost answer
        (model,) = (m for m in self.campaigns.values() if m.id == claimed.campaign_id)
        message = model.messages[claimed.address.lower()]
        assert id(message) in self.free()
        assert claimed.waited_as is message.state
        assert claimed.version == (message.version or model.version)
        assert (claimed.attempts, claimed.in_doubt) == (message.attempts, message.in_doubt)
        assert claimed.due_at_us == message.due_at_us
        message.state, message.due_at_us = State.SENDING, None
        self.claims[worker, claimed.claim] = message

    def apply(self, worker: int, outcome: Outcome) -> None:
        message = self.claims.pop((worker, outcome.claim), None)
        if message is None:
            return
        message.state, message.due_at_us = outcome.state, outcome.due_at_us
        message.in_doubt = outcome.in_doubt
        if outcome.attempt is not None:
            message.attempts += 1
            message.version = outcome.version
            message.attempted.append(outcome.attempt.code)
        for model in self.campaigns.values():
            if model.id == outcome.campaign_id:
                model.finish_if_done()

    @precondition(lambda self: any(hand.is_live for hand in self.workers))
    @rule(data=st.data())
    def kill_and_recover(self, data: st.DataObject) -> None:
        hand = data.draw(st.sampled_from([hand for hand in self.workers if hand.is_live]))
        number = hand.exchanger.worker_id
        hand.is_live = False
        said = {n: data.draw(results) for worker, n in sorted(self.claims) if worker == number}
        judged: list[Outcome] = []

        def judge(claimed: Claimed, claimed_at_us: int, deaths: int) -> Outcome:
            judged.append(settled(claimed, said[claimed.claim], self.clock))
            return judged[-1]

        counts = self.run(self.store.workers.recover(number, said, judge))
        assert counts == Counter(outcome.state for outcome in judged)
        assert sorted(outcome.claim for outcome in judged) == sorted(said)
        for outcome in judged:
            self.apply(number, outcome)
        assert self.run(self.store.workers.recover(number, said, judge)) == Counter()

    @precondition(lambda self: any(not hand.is_live for hand in self.workers))
    @rule(data=st.data(), result=results)
    def the_dead_wake_up(self, data: st.DataObject, result: Result) -> None:
        hand = data.draw(st.sampled_from([hand for hand in self.workers if not hand.is_live]))
        late = [settled(claimed, result, self.clock) for claimed in hand.held.values()]
        try:
            self.run(hand.exchanger.exchange(late, [want(5)]))
        except Fenced:
            return
        raise AssertionError("a worker that was taken for dead exchanged")

    # Operators

    @precondition(lambda self: self.campaigns)
    @rule(
        data=st.data(),
        what=st.sampled_from(["pause", "resume", "cancel", "drop", "edit", "retry", "retry", "delete"]),
    )
    def operate(self, data: st.DataObject, what: str) -> None:
        name = data.draw(st.sampled_from(sorted(self.campaigns)))
        model = self.campaigns[name]
        if what == "drop":
            self.drop(name, model, data.draw(people))
        elif what == "edit":
            self.edit(name, model, data.draw(st.sampled_from([-10, 0, 10])), data.draw(st.booleans()))
        elif what == "retry":
            state = data.draw(st.sampled_from([State.FAILED, State.UNCERTAIN]))
            self.retry(name, model, state, data.draw(st.booleans()))
        else:
            getattr(self, what)(name, model)

    def pause(self, name: str, model: Modelled) -> None:
        if model.state in GOES_ON:
            self.run(self.store.campaigns.pause(name))
            model.state = "paused"
        else:
            self.refused(self.store.campaigns.pause(name))

    def resume(self, name: str, model: Modelled) -> None:
        if model.state not in GOES_ON:
            self.refused(self.store.campaigns.resume(name))
            return
        if model.state == "paused":
            later = model.start_at_us is not None and model.start_at_us > self.clock()
            model.state = "scheduled" if later else "running"
            model.finish_if_done()
        assert self.run(self.store.campaigns.resume(name)) == model.state

    def cancel(self, name: str, model: Modelled) -> None:
        if model.state in GOES_ON:
            model.state = "cancelling"
            self.model_sweep()
            self.run(self.store.campaigns.cancel(name))
        elif model.state not in ("cancelling", "cancelled"):
            self.refused(self.store.campaigns.cancel(name))

    @rule()
    def chores(self) -> None:
        for model in self.campaigns.values():
            if model.state == "scheduled" and (model.start_at_us or 0) <= self.clock():
                model.state = "running"
                model.finish_if_done()
        self.run(self.store.campaigns.start_due())
        self.model_sweep()
        self.run(self.store.campaigns.sweep())

    def model_sweep(self) -> None:
        for model in self.campaigns.values():
            if model.state == "cancelling":
                self.model_end(model.waiting, State.CANCELLED)
                model.state = "cancelling" if model.is_sending else "cancelled"
            elif model.state in GOES_ON and model.expires_at_us is not None and model.expires_at_us <= self.clock():
                self.model_end(model.waiting, State.FAILED)
                model.finish_if_done()

    def model_end(self, messages: list[Message], state: State) -> None:
        for message in messages:
            message.state, message.due_at_us = (State.UNCERTAIN if message.in_doubt else state), None

    def drop(self, name: str, model: Modelled, who: list[int]) -> None:
        if name in self.loads:
            return
        keys = [f"u{n}@x.org" for n in who]
        if model.state == "cancelled":
            if keys:
                self.refused(self.store.campaigns.drop(name, keys))
            return
        found = [model.messages[key] for key in dict.fromkeys(keys) if key in model.messages]
        waiting = [m for m in found if m.due_at_us is not None]
        dropped = self.run(self.store.campaigns.drop(name, keys))
        assert sorted(dropped.cancelled) == sorted(m.key for m in waiting)
        assert sorted(dropped.on_the_way) == sorted(m.key for m in found if m.state is State.SENDING)
        assert set(dropped.unknown) == set(keys) - model.messages.keys()
        self.model_end(waiting, State.CANCELLED)
        model.finish_if_done()

    def edit(self, name: str, model: Modelled, priority: int, is_new: bool) -> None:
        self.subject += is_new
        new = snapshot(
            f"subject {self.subject}",
            priority=priority,
            start_at_us=model.start_at_us,
            expires_at_us=model.expires_at_us,
        )
        if model.state in ("loading", "cancelling", "cancelled"):
            self.refused(self.store.campaigns.edit(name, new))
            return
        version = self.run(self.store.campaigns.edit(name, new))
        assert version in (model.version, model.version + 1)
        model.version = version
        if model.state == "scheduled" and (model.start_at_us or 0) <= self.clock():
            model.state = "running"
            model.finish_if_done()

    def retry(self, name: str, model: Modelled, state: State, permanent: bool) -> None:
        if name in self.loads:
            return
        ids = self.run(self.store.campaigns.retryable(name, state=state, include_permanent=permanent))
        ended = [m for m in model.messages.values() if m.state is state and m.due_at_us is None]
        if not permanent:
            ended = [m for m in ended if not (m.attempted and m.attempted[-1] == 550)]
        assert len(ids) == len(ended)
        if model.state not in (*GOES_ON, "finished"):
            if ids:
                self.refused(self.store.campaigns.retry(name, ids, state))
            return
        assert self.run(self.store.campaigns.retry(name, ids, state)) == len(ended)
        for message in ended:
            message.state = State.UNCERTAIN if message.in_doubt else State.QUEUED
            message.due_at_us = self.clock()
        if ended and model.state == "finished":
            model.state = "running"

    def delete(self, name: str, model: Modelled) -> None:
        if name in self.loads or model.state not in ("finished", "cancelled"):
            self.refused(self.store.campaigns.delete(name))
            return
        assert self.run(self.store.campaigns.delete(name)) == len(model.messages)
        del self.campaigns[name]

    @precondition(lambda self: not self.loads)
    @rule(span=st.sampled_from([SECOND_US, 8 * MINUTE_US, HOUR_US, 50 * HOUR_US]))
    def time_passes(self, span: int) -> None:
        self.clock.forward(span)

    def refused(self, what: Coroutine[Any, Any, object]) -> None:
        try:
            self.run(what)
        except Refused:
            return
        raise AssertionError("this should have been refused")

    # What must hold after every step

    @invariant()
    def both_agree(self) -> None:
        if not hasattr(self, "store"):
            return
        assert self.run(self.store.check()) == []
        status = self.run(self.store.reading.status())
        assert {c.name: c.state for c in status.campaigns} == {n: m.state for n, m in self.campaigns.items()}
        for campaign in status.campaigns:
            model = self.campaigns[campaign.name]
            if campaign.name in self.loads:
                continue  # its counts hold what is being loaded
            counts = Counter(message.state for message in model.messages.values())
            assert {state: n for state, n in campaign.counts.items() if n} == dict(counts)
            assert campaign.in_doubt == sum(message.in_doubt for message in model.messages.values())
            assert self.run(self.store.campaigns.waiting(campaign.name)) == len(model.waiting)


# The answer to a message that is refused for good decides whether a plain retry takes it.
assert REFUSED.reply is not None and REFUSED.reply.code == 550 and REFUSED.phase is Phase.RCPT

TestQueue = Queue.TestCase
TestQueue.settings = settings(
    max_examples=80,
    stateful_step_count=40,
    deadline=None,  # a disk may be slow
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
