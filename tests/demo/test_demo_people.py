"""The demo's recipients and what its server does with whom: fixed, and fit to be shown."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

from support.forecast import Forecast, forecast

from mailer.core.address import address_key, domain_of
from mailer.demo.account import DIFFICULT
from mailer.demo.fates import Fate, fate_of, number_in
from mailer.demo.people import COUNT, people, write_recipients

# RFC 2606 and RFC 6761: they belong to nobody.
RESERVED = (".example", "example.com", "example.org", "example.net")


def test_there_are_2000_people_with_addresses_of_their_own_at_domains_that_belong_to_nobody() -> None:
    keys = [address_key(one.address) for one in people()]
    assert len(set(keys)) == COUNT == 2_000
    assert all(domain_of(key).endswith(RESERVED) for key in keys)


def test_names_are_in_several_scripts() -> None:
    languages = Counter(one.language for one in people())
    assert languages["zh"] > 500
    assert languages["en"] > 500
    assert all(not one.name.isascii() for one in people() if one.language == "zh")


def test_the_number_in_an_address_is_that_of_the_person() -> None:
    assert all(number_in(one.address) == one.number for one in people())
    assert number_in("nobody@example.com") == 0


def test_the_list_is_the_file_an_operator_would_have(tmp_path: Path) -> None:
    write_recipients(tmp_path / "list.csv", 3)
    with (tmp_path / "list.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["address"] for row in rows] == [one.address for one in people(3)]
    assert list(rows[0]) == ["address", "name", "city", "language", "order"]


def test_some_are_refused_for_a_while_and_some_for_good() -> None:
    fates = Counter(fate_of(one.number) for one in people())
    assert fates[Fate.NO_SUCH_USER] == 50
    assert min(fates[fate] for fate in Fate) >= 20
    assert fates[Fate.TAKEN] > COUNT / 2


def test_a_refusal_for_a_while_ends_after_its_number_of_times() -> None:
    full = Fate.MAILBOX_FULL
    assert [full.refusal(earlier, at_end=False) is None for earlier in range(4)] == [False, False, True, True]
    assert full.refusal(0, at_end=True) is None


def test_a_refusal_for_good_never_ends() -> None:
    assert Fate.NO_SUCH_USER.refusal(99, at_end=False) is not None
    assert Fate.REFUSED.refusal(99, at_end=True) is not None
    assert Fate.REFUSED.refusal(0, at_end=False) is None
    assert Fate.TAKEN.refusal(0, at_end=False) is None


def test_the_forecast_counts_every_try() -> None:
    # 7: no such user. 3: greylisted once. 29: mailbox full twice. 1: taken.
    assert forecast([7, 3, 29, 1]) == Forecast(sent=3, failed=1, attempts=1 + 2 + 3 + 1)


def test_the_one_whose_story_is_told_has_a_chinese_name_and_was_refused_twice() -> None:
    assert fate_of(DIFFICULT.number) is Fate.MAILBOX_FULL
    assert DIFFICULT.language == "zh"
