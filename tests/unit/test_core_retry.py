"""When a message that was put off is due again: growing waits with jitter, a longest one, and an end."""

from __future__ import annotations

from random import Random
from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from mailer.core.clock import DAY_US, HOUR_US, MINUTE_US
from mailer.core.retry import JITTER, RetryPolicy, next_due_us, wait_us

POLICY: Final = RetryPolicy(first_us=5 * MINUTE_US, factor=2.0, longest_us=4 * HOUR_US, give_up_after_us=2 * DAY_US)


class Middle(Random):
    """Draws the middle of what is asked for, so that waits have their nominal length."""

    def uniform(self, a: float, b: float) -> float:
        return (a + b) / 2


def test_waits_double_from_five_minutes_to_four_hours() -> None:
    minutes = [wait_us(POLICY, refusals, Middle()) // MINUTE_US for refusals in range(1, 10)]
    assert minutes == [5, 10, 20, 40, 80, 160, 240, 240, 240]


@given(refusals=st.integers(1, 10_000), seed=st.integers(), factor=st.floats(1, 100))
def test_a_wait_is_within_a_fifth_of_its_nominal_length(refusals: int, seed: int, factor: float) -> None:
    policy = RetryPolicy(POLICY.first_us, factor, POLICY.longest_us, POLICY.give_up_after_us)
    nominal = wait_us(policy, refusals, Middle())
    assert POLICY.first_us <= nominal <= POLICY.longest_us
    assert (1 - JITTER) * nominal - 1 <= wait_us(policy, refusals, Random(seed)) <= (1 + JITTER) * nominal + 1


def test_messages_refused_together_do_not_come_back_together() -> None:
    random = Random(5)
    due = {wait_us(POLICY, 1, random) // 1_000_000 for _ in range(1_000)}
    assert max(due) - min(due) > 100
    assert len(due) > 100


def test_the_last_attempt_is_made_at_the_very_end_of_the_age() -> None:
    first = 1_000
    end = first + POLICY.give_up_after_us
    assert next_due_us(POLICY, 20, first, end - MINUTE_US, Random(1)) == end
    assert next_due_us(POLICY, 20, first, end - 1, Random(1)) == end
    assert next_due_us(POLICY, 20, first, end, Random(1)) is None


@given(now=st.integers(0, 3 * DAY_US), refusals=st.integers(1, 50), seed=st.integers())
def test_what_is_due_again_is_due_later_and_within_the_age(now: int, refusals: int, seed: int) -> None:
    due = next_due_us(POLICY, refusals, 0, now, Random(seed))
    if due is None:
        assert now >= POLICY.give_up_after_us
    else:
        assert now < due <= POLICY.give_up_after_us
