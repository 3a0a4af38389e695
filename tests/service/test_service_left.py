"""When `worker --until-empty` is done, and what it says of the rest."""

from __future__ import annotations

from mailer.service.left import Outlook, Remainder, outlook
from mailer.store import Left


def left(
    state: str = "running", *, due: int = 0, later: int = 0, sending: int = 0, reason: str = "", route: int = 1
) -> Left:
    return Left(
        campaign_id=7,
        name="spring",
        state=state,
        reason=reason,
        route_id=1,
        due=due,
        later=later,
        sending=sending,
        next_due_us=12 if later else None,
    )


def look(*campaigns: Left, stopped: str | None = None, only: int | None = None) -> Outlook:
    return outlook(campaigns, lambda _: stopped, lambda at: f"t{at}", only=only)


def test_nothing_queued_is_nothing_left() -> None:
    seen = look(left())
    assert (seen.has_work, seen.has_due, seen.remainders) == (False, False, ())


def test_what_is_due_is_work() -> None:
    seen = look(left(due=3))
    assert seen.has_work
    assert seen.has_due


def test_a_retry_is_work_but_not_due() -> None:
    seen = look(left(later=2))
    assert seen.has_work
    assert not seen.has_due
    assert seen.remainders == (Remainder("spring", 2, "deferred until t12"),)


def test_what_another_worker_has_in_hand_is_waited_for() -> None:
    assert look(left(sending=1)).has_due
    assert look(left("paused", sending=1)).has_work, "its outcome is still to be recorded"


def test_a_paused_campaign_is_left_aside_with_its_reason() -> None:
    seen = look(left("paused", due=5, reason="paused by the operator"))
    assert not seen.has_work
    assert seen.remainders == (Remainder("spring", 5, "paused: paused by the operator"),)


def test_what_no_relay_takes_is_left_aside_with_the_relays_reason() -> None:
    seen = look(left(due=5), stopped="relay qq stopped: 535 no")
    assert not seen.has_work
    assert seen.remainders == (Remainder("spring", 5, "relay qq stopped: 535 no"),)


def test_a_load_in_progress_is_nobodys_work_yet() -> None:
    assert not look(left("loading", due=5)).has_work


def test_only_one_campaign_counts_where_one_is_named_even_while_it_is_closed() -> None:
    assert look(left("paused", due=1), only=7).has_due
    assert not look(left("running", due=1), only=8).has_work
