"""The life of a message is the table MOVES: what is in it happens, everything else is refused."""

from __future__ import annotations

from typing import Final

import pytest

from mailer.core.message import MOVES, Event, State, move
from mailer.core.progress import Step

# Written out a second time on purpose: a change of the life of a message has to be meant.
LEGAL: Final = {
    (State.QUEUED, Event.CLAIMED): State.SENDING,
    (State.QUEUED, Event.CANCELLED): State.CANCELLED,
    (State.QUEUED, Event.REFUSED): State.FAILED,
    (State.SENDING, Event.ACCEPTED): State.SENT,
    (State.SENDING, Event.REFUSED): State.FAILED,
    (State.SENDING, Event.PUT_OFF): State.DEFERRED,
    (State.SENDING, Event.IN_DOUBT): State.UNCERTAIN,
    (State.SENDING, Event.RELEASED): State.QUEUED,
    (State.SENDING, Event.SUPPRESSED): State.SUPPRESSED,
    (State.SENT, Event.RETURNED): State.BOUNCED,
    (State.DEFERRED, Event.CLAIMED): State.SENDING,
    (State.DEFERRED, Event.CANCELLED): State.CANCELLED,
    (State.DEFERRED, Event.REFUSED): State.FAILED,
    (State.FAILED, Event.RETRIED): State.QUEUED,
    (State.UNCERTAIN, Event.CLAIMED): State.SENDING,
    (State.UNCERTAIN, Event.RETRIED): State.UNCERTAIN,
    (State.UNCERTAIN, Event.ACCEPTED): State.SENT,
    (State.UNCERTAIN, Event.REFUSED): State.FAILED,
    (State.UNCERTAIN, Event.PUT_OFF): State.DEFERRED,
    (State.SUPPRESSED, Event.RETRIED): State.QUEUED,
}


@pytest.mark.parametrize("event", Event, ids=lambda event: event.name.lower())
@pytest.mark.parametrize("state", State)
def test_a_move_is_in_the_table_or_is_refused(state: State, event: Event) -> None:
    if (state, event) in LEGAL:
        assert move(state, event) is LEGAL[state, event]
    else:
        with pytest.raises(ValueError, match=f"a message that is {state} cannot be {event}"):
            move(state, event)


def test_every_state_has_a_row() -> None:
    assert set(MOVES) == set(State)


def test_every_state_can_be_reached_from_queued() -> None:
    reached, frontier = {State.QUEUED}, [State.QUEUED]
    while frontier:
        for after in MOVES[frontier.pop()].values():
            if after not in reached:
                reached.add(after)
                frontier.append(after)
    # Someone on the suppression list when queued starts there; the same state is reached from sending.
    assert reached == set(State)


def test_only_a_claim_leads_to_sending() -> None:
    assert {event for row in MOVES.values() for event, after in row.items() if after is State.SENDING} == {
        Event.CLAIMED
    }


def test_the_numbers_of_the_steps_are_kept_on_disk_and_never_change() -> None:
    assert {step.name: step.value for step in Step} == {"COMPOSING": 1, "ON_WIRE": 2, "END_BEGUN": 3, "ANSWERED": 4}
