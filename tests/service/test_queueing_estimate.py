"""When a campaign will be through, from the limits of its relays."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.core.clock import DAY_US, HOUR_US, MINUTE_US, SECOND_US
from mailer.service.queue_estimate import (
    LONGEST_US,
    PER_CONNECTION,
    Capacity,
    estimate_finish,
    share_of_others,
)

START = 1_800_000_000 * SECOND_US


def relay(
    name: str = "qq",
    *,
    rate: float | None = None,
    connections: int = 100,
    daily_limit: int | None = None,
    used_today: int = 0,
) -> Capacity:
    return Capacity(name, rate, connections, daily_limit, used_today)


def seconds_for(count: int, *relays: Capacity, others: int = 0) -> float:
    finish = estimate_finish(count, relays, start_at_us=START, others=others).finish_at_us
    assert finish is not None
    return (finish - START) / SECOND_US


def test_a_rate_decides_where_there_is_one() -> None:
    assert seconds_for(400, relay(rate=40 / 60)) == pytest.approx(600, abs=1)


def test_without_a_rate_the_connections_decide() -> None:
    assert seconds_for(1_000, relay(connections=5)) == pytest.approx(1_000 / (5 * PER_CONNECTION), abs=1)


def test_a_rate_that_the_connections_cannot_reach_does_not_count() -> None:
    assert seconds_for(1_000, relay(rate=1_000.0, connections=5)) == pytest.approx(1_000 / (5 * PER_CONNECTION), abs=1)


def test_two_relays_work_side_by_side() -> None:
    assert seconds_for(900, relay("a", rate=1.0), relay("b", rate=2.0)) == pytest.approx(300, abs=1)


def test_each_relay_carries_in_proportion_and_together_all() -> None:
    estimate = estimate_finish(901, [relay("a", rate=1.0), relay("b", rate=2.0)], start_at_us=START)
    assert estimate.by_relay == {"a": 300, "b": 601}


def test_a_daily_limit_leaves_the_rest_to_the_following_days() -> None:
    slow = relay(rate=1.0, daily_limit=500)
    assert seconds_for(500, slow) == pytest.approx(500, abs=1)
    assert seconds_for(501, slow) == pytest.approx(86_400 + 1, abs=1)
    assert seconds_for(1_700, slow) == pytest.approx(3 * 86_400 + 200, abs=1)


def test_what_was_sent_today_is_taken_from_todays_limit() -> None:
    assert seconds_for(200, relay(rate=1.0, daily_limit=500, used_today=400)) == pytest.approx(86_400 + 100, abs=1)


def test_a_limit_that_is_used_up_and_more_leaves_nothing_today() -> None:
    assert seconds_for(10, relay(rate=1.0, daily_limit=500, used_today=900)) == pytest.approx(86_400 + 10, abs=1)


def test_others_take_their_turns_meanwhile() -> None:
    assert seconds_for(100, relay(rate=1.0), others=100) == pytest.approx(200, abs=1)


def test_nothing_to_send_and_nobody_to_send_it_have_no_finish() -> None:
    assert estimate_finish(0, [relay(rate=1.0)], start_at_us=START).finish_at_us is None
    assert estimate_finish(5, [], start_at_us=START).finish_at_us is None


def test_what_takes_more_than_ten_years_has_no_finish() -> None:
    assert estimate_finish(1_000_000, [relay(daily_limit=1)], start_at_us=START).finish_at_us is None


def test_another_campaign_sends_as_much_as_ours_in_the_same_time_but_no_more_than_it_has() -> None:
    assert share_of_others(100, 1.0, [(1_000, 1.0), (30, 1.0)]) == 130


def test_a_heavier_campaign_sends_more_in_the_same_time() -> None:
    assert share_of_others(100, 1.0, [(1_000, 3.0)]) == 300


RELAYS = st.lists(
    st.builds(
        Capacity,
        name=st.sampled_from(["a", "b", "c"]),
        rate_per_second=st.none() | st.floats(0.01, 500),
        connections=st.integers(1, 200),
        daily_limit=st.none() | st.integers(1, 100_000),
        used_today=st.integers(0, 200_000),
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda one: one.name,
)


@given(RELAYS, st.integers(1, 100_000), st.integers(0, 100_000))
def test_the_finish_is_when_the_relays_have_carried_all_and_not_long_before(
    relays: list[Capacity], count: int, others: int
) -> None:
    estimate = estimate_finish(count, relays, start_at_us=0, others=others)
    if estimate.finish_at_us is None:
        assert sum(one.carried(LONGEST_US) for one in relays) < count + others
        return
    assert sum(one.carried(estimate.finish_at_us) for one in relays) >= count + others
    assert sum(one.carried(max(estimate.finish_at_us - SECOND_US, 0)) for one in relays) < count + others
    assert sum(estimate.by_relay.values()) == count


@given(RELAYS, st.lists(st.integers(0, 30 * DAY_US), min_size=2, max_size=10))
def test_a_relay_never_carries_less_as_time_goes_on(relays: list[Capacity], instants: list[int]) -> None:
    for one in relays:
        carried = [one.carried(at) for at in sorted(instants)]
        assert all(later >= earlier - 1e-6 for earlier, later in itertools.pairwise(carried))


def test_a_day_is_a_day() -> None:
    full = relay(rate=1.0, daily_limit=3_600)
    assert [full.carried(at) for at in (HOUR_US, 2 * HOUR_US, DAY_US, DAY_US + MINUTE_US)] == [
        3_600,
        3_600,
        3_600,
        3_660,
    ]
