"""One message on its way: what its flight file says when the worker ends before the outcome is recorded."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from random import Random

import pytest
from support.store import RETRY, Clock

from mailer.content import Content, Occasion, compile_content
from mailer.core.message import Claimed, Ending, OnUncertain, Outcome, Phase, Result, State
from mailer.core.progress import Step
from mailer.service.contents import Usable
from mailer.service.delivery import Surroundings, WorkerDelivery
from mailer.store.flight import FlightRecorder
from mailer.store.flight_adopt import DeadFlight, adopt
from mailer.store.flight_record import Identity
from mailer.store.flight_recovery import claims_in_work, result_of

ME = Identity("0123456789abcdef" * 2, "boot-1", "store-1")
CLAIMED = Claimed(
    claim=7, message_id=70, campaign_id=1, lane_id=1, relay="qq", version=1, address="ann@example.org", fields="{}",
    attempts=0, refusals=0, losses=0, first_refused_at_us=None, in_doubt=False, waited_as=State.QUEUED, due_at_us=5,
    expires_at_us=None, on_uncertain=OnUncertain.HOLD,
)  # fmt: skip


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[FlightRecorder]:
    recorder = FlightRecorder.create(tmp_path, ME, slots=4, clock=Clock())
    yield recorder
    recorder.close(unlink=True)


def delivery_of(recorder: FlightRecorder, outcomes: list[Outcome]) -> WorkerDelivery:
    content = Content(sender="News <news@example.com>", subject="Hello", text="Hello\n")
    compiled = compile_content(content, {}, Occasion("spring", date(2027, 1, 15)))
    shared = Surroundings(
        recorder=recorder, store_id="store-1", retry=RETRY, clock=Clock(), random=Random(1), may_end=lambda: True,
        done=lambda _delivery, outcome, _result: outcomes.append(outcome),
    )  # fmt: skip
    return WorkerDelivery(CLAIMED, Usable(compiled, "news@example.com", "example.com"), shared)


def adopted(recorder: FlightRecorder) -> DeadFlight:
    """What whoever comes next reads: the worker ended without recording anything."""
    recorder.close(unlink=False)
    flight = adopt(recorder.path)
    assert isinstance(flight, DeadFlight)
    return flight


@pytest.mark.parametrize("last", [Step.COMPOSING, Step.ON_WIRE, Step.END_BEGUN])
def test_a_message_taken_back_untouched_is_neither_in_doubt_nor_charged_with_the_end_of_its_worker(
    recorder: FlightRecorder, last: Step
) -> None:
    # A worker that is fenced takes back what is on the wire in order: it was not killed by these messages. The end of
    # data is noted before the lease is looked at, so the note may stand there although nothing was written.
    outcomes: list[Outcome] = []
    delivery = delivery_of(recorder, outcomes)
    delivery.compose()
    for step in (Step.ON_WIRE, Step.END_BEGUN):
        if step <= last:
            delivery.note(step)
    delivery.finish(Result(Ending.UNTOUCHED, relay="qq", note="stopped before its end of data"))
    assert [outcome.state for outcome in outcomes] == [State.QUEUED]
    with adopted(recorder) as flight:
        assert not flight.is_damaged
        assert result_of(flight, ME, 7, relay="qq", claimed_at_us=5).ending is Ending.UNTOUCHED
        assert not claims_in_work(flight, ME)


def test_a_message_that_was_lost_is_charged_with_the_end_of_its_worker(recorder: FlightRecorder) -> None:
    # What raises in composing ends as a loss, and ends the worker: it must not be tried for ever.
    delivery = delivery_of(recorder, [])
    delivery.compose()
    delivery.finish(Result(Ending.LOST, phase=Phase.MAIL, relay="qq", note="internal error: MemoryError"))
    with adopted(recorder) as flight:
        assert result_of(flight, ME, 7, relay="qq", claimed_at_us=5).ending is Ending.UNTOUCHED
        assert claims_in_work(flight, ME) == {7}


def test_a_message_whose_end_of_data_met_no_answer_stays_in_doubt(recorder: FlightRecorder) -> None:
    delivery = delivery_of(recorder, [])
    delivery.compose()
    delivery.note(Step.ON_WIRE)
    delivery.note(Step.END_BEGUN)
    delivery.finish(Result(Ending.UNKNOWN, phase=Phase.END_OF_DATA, relay="qq"))
    with adopted(recorder) as flight:
        assert result_of(flight, ME, 7, relay="qq", claimed_at_us=5).ending is Ending.UNKNOWN
