"""The recipients of the sample campaign: made up, always the same ones, in several scripts."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["COUNT", "Person", "people", "write_recipients"]

COUNT: Final = 2_000

# Reserved for examples, so that not even a misdirected copy of the list could reach anybody (RFC 2606, RFC 6761).
DOMAINS: Final = ("example.com", "example.org", "example.net", "mail.example", "例子.example")

# (first name, last name, as they stand in an address, language)
_FIRST: Final = (
    ("Anna", "anna", "en"), ("芳", "fang", "zh"), ("José", "jose", "en"), ("伟", "wei", "zh"), ("Zoë", "zoe", "en"),
    ("秀英", "xiuying", "zh"), ("Björn", "bjorn", "en"), ("建国", "jianguo", "zh"), ("Olga", "olga", "en"),
    ("丽", "li", "zh"), ("Mehmet", "mehmet", "en"), ("静", "jing", "zh"), ("Aoife", "aoife", "en"),
)  # fmt: skip
_LAST_EN: Final = (("Keller", "keller"), ("O'Brien", "obrien"), ("Núñez", "nunez"), ("Smith", "smith"),
                   ("Öztürk", "ozturk"), ("van der Berg", "vanderberg"), ("Dvořák", "dvorak"))  # fmt: skip
_LAST_ZH: Final = (("王", "wang"), ("李", "li"), ("张", "zhang"), ("欧阳", "ouyang"), ("陈", "chen"))
_CITIES: Final = (
    ("Berlin", "柏林"),
    ("Shanghai", "上海"),
    ("Dublin", "都柏林"),
    ("Chengdu", "成都"),
    ("Bogotá", "波哥大"),
)


@dataclass(frozen=True, slots=True)
class Person:
    """One row of the list."""

    number: int
    address: str
    name: str
    city: str
    language: str
    order: str


def people(count: int = COUNT) -> Iterator[Person]:
    """The first `count` of them, numbered from 1."""
    for number in range(1, count + 1):
        first, first_latin, language = _FIRST[number % len(_FIRST)]
        is_chinese = language == "zh"
        lasts = _LAST_ZH if is_chinese else _LAST_EN
        last, last_latin = lasts[number // len(_FIRST) % len(lasts)]
        city = _CITIES[number // 7 % len(_CITIES)][is_chinese]
        yield Person(
            number=number,
            address=f"{first_latin}.{last_latin}.{number:04}@{DOMAINS[number % len(DOMAINS)]}",
            name=f"{last}{first}" if is_chinese else f"{first} {last}",
            city=city,
            language=language,
            order=f"S-{100_000 + number * 37}",
        )


def write_recipients(path: Path, count: int = COUNT) -> None:
    """The list as a CSV file, such as an operator would have."""
    with path.open("x", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("address", "name", "city", "language", "order"))
        writer.writerows((one.address, one.name, one.city, one.language, one.order) for one in people(count))
