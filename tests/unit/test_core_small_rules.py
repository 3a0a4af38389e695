"""The small rules: destination groups, durations, near names, cells of a spreadsheet, hidden secrets."""

from __future__ import annotations

import base64
from datetime import timedelta
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.core.address import domain_of
from mailer.core.destination import OTHER, destination_of
from mailer.core.duration import format_duration, parse_duration
from mailer.core.nearest import did_you_mean, nearest
from mailer.core.spreadsheet import disarm, rearm
from mailer.redact import MASK, Redactor

# Destination groups


@pytest.mark.parametrize(
    ("address", "group"),
    [
        ("a@gmail.com", "gmail"),
        ("a@GoogleMail.com", "gmail"),
        ("a@hotmail.com", "outlook"),
        ("a@163.com", "163"),
        ("a@126.com", "163"),
        ("a@qq.com", "qq"),
        ("a@foxmail.com", "qq"),
        ("a@example.com", OTHER),
        ("a@mail.gmail.com", OTHER),
        ("a@notgmail.com", OTHER),
    ],
)
def test_a_domain_belongs_to_its_providers_group_or_to_the_others(address: str, group: str) -> None:
    assert destination_of(domain_of(address)) == group


# Durations


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("30s", timedelta(seconds=30)),
        ("5m", timedelta(minutes=5)),
        ("4h", timedelta(hours=4)),
        ("2d", timedelta(days=2)),
        ("1.5h", timedelta(minutes=90)),
        ("0.1s", timedelta(milliseconds=100)),
        ("0s", timedelta(0)),
        (" 30s ", timedelta(seconds=30)),
    ],
)
def test_a_duration_is_a_number_and_a_unit(text: str, duration: timedelta) -> None:
    assert parse_duration(text) == duration


@pytest.mark.parametrize("text", ["", "30", "s", "-5m", "1h30m", "5 m", "5M", "1e3s", "٣s", ".5s", "5.s", "0.1234567s"])
def test_what_is_no_duration_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match='expected a duration such as "30s", "5m", "4h" or "2d"'):
        parse_duration(text)


def test_a_duration_beyond_what_can_be_reckoned_with_is_refused() -> None:
    with pytest.raises(ValueError, match="999999999d is longer than can be reckoned with"):
        parse_duration("999999999d")


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (timedelta(0), "0s"),
        (timedelta(seconds=90), "90s"),
        (timedelta(seconds=120), "2m"),
        (timedelta(hours=24), "1d"),
        (timedelta(milliseconds=1500), "1.5s"),
    ],
)
def test_a_duration_is_written_in_the_largest_whole_unit(duration: timedelta, text: str) -> None:
    assert format_duration(duration) == text


@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(seconds=999_999_999)))
def test_a_duration_written_and_read_is_the_same(duration: timedelta) -> None:
    assert parse_duration(format_duration(duration)) == duration


# Near names

KNOWN = ("username", "password", "max_connections", "Host")


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("usrname", "username"),
        ("PASSWORD", "password"),
        ("max_conections", "max_connections"),
        ("hsot", "Host"),
        ("colour", None),
        ("", None),
    ],
)
def test_the_nearest_name_is_found_or_none(name: str, near: str | None) -> None:
    assert nearest(name, KNOWN) == near
    assert did_you_mean(name, KNOWN, quote="`") == (f"Did you mean `{near}`?" if near else "")


# Cells of a spreadsheet


@pytest.mark.parametrize("text", ["=1+1", "+86 10", "-1", "@SUM(A1)", "\t=1", "\r=1", "'=1", "''-x"])
def test_a_cell_that_would_run_gets_an_apostrophe(text: str) -> None:
    assert disarm(text) == "'" + text


@pytest.mark.parametrize("text", ["", "a=b", "1", "'", "'a'", "O'Neill", " =1"])
def test_any_other_cell_stays_as_it_is(text: str) -> None:
    assert disarm(text) == text
    assert rearm(text) == text


@given(st.one_of(st.text(), st.from_regex(r"'*[=+\-@\t\r]?.*", fullmatch=True)))
def test_every_cell_disarmed_and_restored_is_the_same(text: str) -> None:
    assert rearm(disarm(text)) == text
    assert disarm(text)[:1] not in tuple("=+-@\t\r")


# Hidden secrets


def test_a_secret_is_hidden_in_every_form_in_which_it_travels() -> None:
    secret = "pa's wörd/\"&"
    redactor = Redactor()
    redactor.add(secret)
    forms = [secret, repr(secret), quote(secret, safe=""), base64.b64encode(secret.encode()).decode()]
    shown = redactor(" | ".join(forms))
    assert not any(form in shown for form in [*forms, repr(secret)[1:-1]])
    assert shown.count(MASK) == len(forms)


def test_a_secret_inside_another_one_does_not_break_it_up() -> None:
    redactor = Redactor()
    redactor.add("hunter2")
    redactor.add("hunter2-and-more")
    assert redactor("it is hunter2-and-more, was hunter2") == "it is ***, was ***"


def test_what_is_too_short_to_be_a_secret_hides_nothing() -> None:
    redactor = Redactor()
    redactor.add("abc")
    redactor.add("")
    assert redactor("abcabc and text") == "abcabc and text"


@given(secret=st.text(min_size=4, max_size=30), before=st.text(), behind=st.text())
def test_no_text_shows_a_secret(secret: str, before: str, behind: str) -> None:
    redactor = Redactor()
    redactor.add(secret)
    shown = redactor(before + secret + behind)
    assert secret not in shown or secret in MASK * 10 or set(secret) & set(MASK)
