"""Instants as an operator types them: zones, offsets, and what a clock change makes of a wall time."""

from __future__ import annotations

import pytest

from mailer.core.clock import HOUR_US
from mailer.errors import UsageError
from mailer.service.queue_when import date_in_zone, in_zone, parse_duration_us, parse_instant


@pytest.mark.parametrize(
    ("text", "zone", "understood"),
    [
        ("2026-11-24T08:00", "Asia/Shanghai", "2026-11-24T08:00:00+08:00"),
        ("2026-11-24 08:00", "Asia/Shanghai", "2026-11-24T08:00:00+08:00"),
        ("2026-11-24", "Asia/Shanghai", "2026-11-24T00:00:00+08:00"),
        ("2026-11-24T08:00:30", "UTC", "2026-11-24T08:00:30+00:00"),
        ("2026-11-24T08:00:00.250", "UTC", "2026-11-24T08:00:00.250+00:00"),
        ("2026-11-24T08:00+08:00", "UTC", "2026-11-24T00:00:00+00:00"),
        ("2026-11-24T08:00+0530", "UTC", "2026-11-24T02:30:00+00:00"),
        ("2026-11-24T08:00Z", "Europe/Berlin", "2026-11-24T09:00:00+01:00"),
    ],
)
def test_a_time_is_in_the_zone_unless_it_carries_an_offset(text: str, zone: str, understood: str) -> None:
    assert in_zone(parse_instant(text, zone, option="--start-at"), zone) == understood


@pytest.mark.parametrize("wall", ["2026-03-29T02:00", "2026-03-29T02:30", "2026-03-29T02:59:59"])
def test_a_time_that_a_clock_change_skips_is_the_first_instant_after_it(wall: str) -> None:
    at = parse_instant(wall, "Europe/Berlin", option="--start-at")
    assert in_zone(at, "Europe/Berlin") == "2026-03-29T03:00:00+02:00"


def test_half_an_hour_can_be_skipped_too() -> None:
    at = parse_instant("2026-10-04T02:10", "Australia/Lord_Howe", option="--start-at")
    assert in_zone(at, "Australia/Lord_Howe") == "2026-10-04T02:30:00+11:00"


def test_a_whole_day_can_be_skipped_too() -> None:
    """Samoa moved across the date line and had no 30 December 2011."""
    at = parse_instant("2011-12-30T12:00", "Pacific/Apia", option="--start-at")
    assert in_zone(at, "Pacific/Apia") == "2011-12-31T00:00:00+14:00"


def test_a_time_that_occurs_twice_is_the_first_of_the_two() -> None:
    at = parse_instant("2026-10-25T02:30", "Europe/Berlin", option="--start-at")
    assert in_zone(at, "Europe/Berlin") == "2026-10-25T02:30:00+02:00"
    assert in_zone(at + HOUR_US, "Europe/Berlin") == "2026-10-25T02:30:00+01:00"


@pytest.mark.parametrize(
    "text", ["tomorrow", "08:00", "2026-13-01T08:00", "2026-02-30", "2026-11-24T25:00", "24.11.2026", ""]
)
def test_what_is_no_time_is_refused_with_the_option_and_the_form(text: str) -> None:
    with pytest.raises(UsageError, match="--start-at") as caught:
        parse_instant(text, "UTC", option="--start-at")
    assert "2026-11-24T08:00" in caught.value.hint


def test_a_length_is_microseconds() -> None:
    assert parse_duration_us("12h", option="--expires-in") == 12 * HOUR_US


@pytest.mark.parametrize("text", ["12", "soon", "0s", "-1h"])
def test_what_is_no_length_is_refused_with_the_option(text: str) -> None:
    with pytest.raises(UsageError, match="--expires-in"):
        parse_duration_us(text, option="--expires-in")


def test_today_is_the_date_in_the_zone_and_not_in_utc() -> None:
    at = parse_instant("2026-11-24T23:30Z", "UTC", option="--start-at")
    assert date_in_zone(at, "Asia/Shanghai").isoformat() == "2026-11-25"
    assert date_in_zone(at, "America/New_York").isoformat() == "2026-11-24"
