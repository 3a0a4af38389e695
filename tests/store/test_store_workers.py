"""Workers: registering, ending, and settling what a dead one had in hand, with a real flight file."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from support.store import (
    ACCEPTED,
    NO_SUCH_USER,
    RETRY,
    SENT,
    START_US,
    Clock,
    campaign_state,
    claim,
    queue,
    recipients,
    register,
    send_all,
    settled,
    snapshot,
    states,
    want,
)

from mailer.core.clock import DAY_US, HOUR_US, SECOND_US
from mailer.core.message import Claimed, Ending, OnUncertain, Outcome, Phase, State
from mailer.core.outcome import settle
from mailer.core.progress import Step
from mailer.store import RelayReport, Store
from mailer.store.flight import FlightRecorder
from mailer.store.flight_adopt import DeadFlight, adopt
from mailer.store.flight_record import Identity
from mailer.store.flight_recovery import claims_in_work, result_of

NAME = "ab" * 16
BOOT = "boot"


class Victim:
    """A worker that has a flight file and will die."""

    def __init__(self, store: Store, clock: Clock, directory: Path) -> None:
        self.identity = Identity(NAME, BOOT, store.store_id)
        self.recorder = FlightRecorder.create(directory, self.identity, slots=16, clock=clock)
        self.path = self.recorder.path

    def die(self) -> DeadFlight:
        """The kernel lets go of the lock; somebody adopts the file."""
        self.recorder.close(unlink=False)
        flight = adopt(self.path)
        assert isinstance(flight, DeadFlight)
        return flight


async def recover(
    store: Store, clock: Clock, worker: int, flight: DeadFlight | None, expected: Identity
) -> tuple[Counter[State], dict[int, int]]:
    """What a living worker does; with the deaths that each message has seen."""
    deaths_of: dict[int, int] = {}

    def judge(claimed: Claimed, claimed_at_us: int, deaths: int) -> Outcome:
        deaths_of[claimed.message_id] = deaths
        result = result_of(flight, expected, claimed.claim, relay=claimed.relay, claimed_at_us=claimed_at_us)
        return settle(claimed, result, RETRY, clock(), Random(1))

    return await store.workers.recover(worker, claims_in_work(flight, expected), judge), deaths_of


async def test_each_message_of_a_dead_worker_is_settled_by_what_its_flight_file_says(
    store: Store, clock: Clock, tmp_path: Path
) -> None:
    victim = Victim(store, clock, tmp_path / "flight")
    worker = await register(store, NAME)
    await queue(store, "news", recipients(6))
    claims = await claim(worker, 6)
    accepted, refused, ended, on_wire, composing, _ = claims
    for one in claims[:5]:
        victim.recorder.begin(one.claim, one.message_id)
    clock.forward(SECOND_US)
    for one in (accepted, refused, ended, on_wire):
        victim.recorder.note(one.claim, Step.ON_WIRE)
    for one in (accepted, ended):
        victim.recorder.note(one.claim, Step.END_BEGUN)
    victim.recorder.note(accepted.claim, Step.ANSWERED, phase=Phase.END_OF_DATA, reply=ACCEPTED)
    victim.recorder.note(refused.claim, Step.ANSWERED, phase=Phase.RCPT, reply=NO_SUCH_USER)

    with victim.die() as flight:
        counts, deaths = await recover(store, clock, worker.worker_id, flight, victim.identity)
        flight.unlink()
    assert counts == {State.SENT: 1, State.FAILED: 1, State.UNCERTAIN: 1, State.QUEUED: 3}
    assert await states(store, "news") == {"sent": 1, "failed": 1, "uncertain": 1, "queued": 3}
    assert deaths == {
        accepted.message_id: 0, refused.message_id: 0, ended.message_id: 1, on_wire.message_id: 1,
        composing.message_id: 1, claims[5].message_id: 0,
    }  # fmt: skip
    (attempt,) = (await store.reading.message(accepted.message_id)).attempts
    assert (attempt.code, attempt.text, attempt.phase) == (250, ACCEPTED.text, Phase.END_OF_DATA)
    assert (attempt.started_at_us, attempt.duration_us) == (START_US, SECOND_US)
    assert attempt.note == "the worker died; its flight recorder had the answer"
    assert await store.workers.live() == []
    assert not victim.path.exists()


async def test_without_a_flight_file_everything_in_hand_is_in_doubt(store: Store, clock: Clock) -> None:
    worker = await register(store, NAME)
    await queue(store, "news", recipients(2), snapshot(on_uncertain=OnUncertain.HOLD))
    clock.forward(SECOND_US)
    messages = await claim(worker, 2)
    clock.forward(HOUR_US)
    counts, _ = await recover(store, clock, worker.worker_id, None, Identity(NAME, BOOT, store.store_id))
    assert counts == {State.UNCERTAIN: 2}
    assert await campaign_state(store, "news") == "finished"
    found = await store.reading.message(messages[0].message_id)
    assert found.in_doubt
    assert found.attempts[0].started_at_us == START_US + SECOND_US
    assert "flight recorder is missing" in found.attempts[0].note


async def test_whoever_recovers_second_finds_nothing_to_do(store: Store, clock: Clock) -> None:
    worker = await register(store, NAME)
    await queue(store, "news", recipients(2))
    await claim(worker, 2)
    expected = Identity(NAME, BOOT, store.store_id)
    assert (await recover(store, clock, worker.worker_id, None, expected))[0] == {State.UNCERTAIN: 2}
    assert (await recover(store, clock, worker.worker_id, None, expected))[0] == {}


async def test_a_recovery_that_breaks_in_the_middle_has_changed_nothing(store: Store, clock: Clock) -> None:
    worker = await register(store, NAME)
    await queue(store, "news", recipients(2))
    await claim(worker, 2)

    def breaks(claimed: Claimed, claimed_at_us: int, deaths: int) -> Outcome:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await store.workers.recover(worker.worker_id, [], breaks)
    assert [live.in_hand for live in await store.workers.live()] == [2]
    assert await states(store, "news") == {"sending": 2}


async def test_deaths_with_a_message_in_work_add_up_over_workers(store: Store, clock: Clock) -> None:
    await queue(store, "news", recipients(1))
    seen = []
    for digit in "abc":
        worker = await register(store, digit * 32)
        (message,) = await claim(worker, 1)

        def judge(claimed: Claimed, claimed_at_us: int, deaths: int) -> Outcome:
            seen.append(deaths)
            note = replace(SENT, ending=Ending.UNFIT, reply=None, note="three workers died of it")
            return settled(claimed, note if deaths == 3 else replace(SENT, ending=Ending.UNTOUCHED), clock)

        await store.workers.recover(worker.worker_id, {message.claim, 77}, judge)
    assert seen == [1, 2, 3]
    assert await states(store, "news") == {"failed": 1}


async def test_a_death_is_charged_to_claims_in_work_and_not_to_older_ones_of_the_same_message(
    store: Store, clock: Clock, tmp_path: Path
) -> None:
    victim = Victim(store, clock, tmp_path / "flight")
    worker = await register(store, NAME)
    await queue(store, "news", recipients(1))
    (message,) = await claim(worker, 1)
    victim.recorder.begin(message.claim, message.message_id)
    back = settled(message, replace(SENT, ending=Ending.UNTOUCHED), clock)
    (again,) = (await worker.exchange([back], [want(1)])).messages  # and dies before it begins with it
    assert again.message_id == message.message_id
    with victim.die() as flight:
        counts, deaths = await recover(store, clock, worker.worker_id, flight, victim.identity)
    assert (counts, deaths) == ({State.QUEUED: 1}, {message.message_id: 0})


async def test_a_worker_that_leaves_must_hold_nothing(store: Store, clock: Clock) -> None:
    worker = await register(store)
    await queue(store, "news", recipients(1))
    (message,) = await claim(worker, 1)
    with pytest.raises(ValueError, match="still holds 1 messages"):
        await store.workers.end(worker.worker_id)
    await worker.exchange([settled(message, SENT, clock)], [])
    await store.workers.end(worker.worker_id)
    assert await store.workers.live() == []


async def test_what_workers_say_of_a_relay_is_shown_as_the_worst_of_it_and_forgotten_when_they_leave(
    store: Store, clock: Clock
) -> None:
    one, two = await register(store, "a" * 32), await register(store, "b" * 32)
    await store.workers.report_relays(one.worker_id, [RelayReport("qq", "ready", "", None, 2)])
    await store.workers.report_relays(
        two.worker_id,
        [RelayReport("qq", "paused", "421 too many", clock() + 5, 1), RelayReport("163", "ready", "", None, 0)],
    )
    relays = {relay.name: relay for relay in (await store.reading.status()).relays}
    assert (relays["qq"].state, relays["qq"].reason, relays["qq"].connections) == ("paused", "421 too many", 3)
    assert relays["qq"].paused_until_us == clock() + 5
    await store.workers.end(two.worker_id)
    relays = {relay.name: relay for relay in (await store.reading.status()).relays}
    assert set(relays) == {"qq"}
    assert (relays["qq"].state, relays["qq"].connections) == ("ready", 2)


async def test_traffic_that_nothing_reads_any_more_is_forgotten(store: Store, clock: Clock) -> None:
    worker = await register(store)
    await queue(store, "news", recipients(1))
    await send_all(worker, clock)
    await store.workers.forget_traffic()
    assert [relay.sent_24h for relay in (await store.reading.status()).relays] == [1]
    clock.forward(DAY_US + 2 * HOUR_US)
    await store.workers.forget_traffic()
    assert (await store.reading.status()).relays == ()
