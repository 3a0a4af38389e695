"""When a relay may be used: what failures and successes come to, and how many connections are opened."""

from __future__ import annotations

from random import Random

import pytest

from mailer.core.clock import SECOND_US
from mailer.core.message import Phase
from mailer.smtp.breaker import LONGEST_PAUSE_S, Breaker
from mailer.smtp.relay import connections_to_open
from mailer.smtp.trouble import RelayFailure

REFUSED = RelayFailure("refused.", phase=Phase.CONNECT, is_permanent=False)
WRONG_PASSWORD = RelayFailure("wrong password.", phase=Phase.AUTH, is_permanent=True)


def test_a_permanent_failure_stops_it_for_good() -> None:
    breaker = Breaker(Random(1))
    assert breaker.failed(WRONG_PASSWORD, 0) == 0
    assert (breaker.state, breaker.reason, breaker.paused_until_us) == ("stopped", "wrong password.", None)
    breaker.failed(REFUSED, 0)
    breaker.pause_is_over()
    breaker.worked()
    assert (breaker.state, breaker.reason) == ("stopped", "wrong password.")


def test_pauses_double_from_a_second_to_five_minutes_and_jitter() -> None:
    breaker = Breaker(Random(1))
    pauses = []
    for _ in range(30):
        pauses.append(breaker.failed(REFUSED, 0))
        assert breaker.paused_until_us == round(pauses[-1] * SECOND_US)
        breaker.pause_is_over()
    for n, pause in enumerate(pauses):
        meant = min(LONGEST_PAUSE_S, 2.0**n)
        assert 0.75 * meant <= pause <= 1.25 * meant
    assert len(set(pauses)) == len(pauses)


def test_connections_that_fail_together_are_one_failure() -> None:
    breaker = Breaker(Random(1))
    assert breaker.failed(REFUSED, 0) > 0
    assert breaker.failed(REFUSED, 0) == 0
    breaker.pause_is_over()
    assert breaker.failed(REFUSED, 0) < 2.6


def test_only_an_answered_message_starts_the_waits_again() -> None:
    breaker = Breaker(Random(1))
    for _ in range(4):
        breaker.failed(REFUSED, 0)
        breaker.pause_is_over()
    breaker.logged_in()
    assert breaker.is_on_trial
    assert breaker.reason == "refused."
    breaker.worked()
    assert not breaker.is_on_trial
    assert breaker.reason == ""
    assert breaker.failed(REFUSED, 0) < 1.26


def test_what_was_on_its_way_when_it_failed_says_nothing_about_the_relay() -> None:
    breaker = Breaker(Random(1))
    breaker.failed(REFUSED, 0)
    breaker.worked()
    assert (breaker.state, breaker.is_on_trial) == ("paused", True)


def test_at_the_start_a_login_ends_the_trial() -> None:
    breaker = Breaker(Random(1))
    assert breaker.is_on_trial
    breaker.logged_in()
    assert not breaker.is_on_trial


@pytest.mark.parametrize(
    ("waiting", "opening", "established", "limit", "is_on_trial", "count"),
    [
        (0, 0, 0, 4, False, 0),
        (1, 0, 0, 4, False, 1),
        (9, 0, 0, 4, False, 4),
        (9, 1, 0, 4, False, 3),
        (9, 1, 3, 4, False, 0),
        (2, 2, 0, 4, False, 0),
        (9, 0, 6, 4, False, 0),
        (9, 0, 0, 4, True, 1),
        (9, 1, 0, 4, True, 0),
        (9, 0, 1, 4, True, 0),
        (9, 0, 0, 0, True, 0),
    ],
)
def test_opens_as_many_connections_as_there_is_work_and_leave(
    waiting: int, opening: int, established: int, limit: int, is_on_trial: bool, count: int
) -> None:
    got = connections_to_open(
        waiting=waiting, opening=opening, established=established, limit=limit, is_on_trial=is_on_trial
    )
    assert got == count
