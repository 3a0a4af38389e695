"""docs/standards.md names files that are there, says yes, in part or no, and leaves no standard out that code names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest
from support.cli import ROOT

DOCUMENT: Final = (ROOT / "docs" / "standards.md").read_text("utf-8")
GROUPS: Final = ("The conversation", "Sessions", "Logging in", "The message", "Addresses", "Lists")
# The rooms that speak to a server, or write what is said to it.
ROOMS: Final = ("core", "content", "smtp")


class Row(NamedTuple):
    """One line of a table."""

    standard: str
    held: str
    what: str
    code: str
    test: str


def rows(document: str) -> Iterator[Row]:
    for line in document.splitlines():
        if line.startswith("|") and not line.startswith(("|---", "| RFC |")):
            yield Row(*(cell.strip() for cell in line[1:-1].split("|")))


ROWS: Final = tuple(rows(DOCUMENT))


def files(cell: str) -> list[str]:
    """The files in a cell, which are all that it holds."""
    found = re.findall(r"`([^`]+)`", cell)
    assert cell == ", ".join(f"`{each}`" for each in found)
    return found


def missing(cells: Iterator[str], folder: Path) -> list[str]:
    return [each for cell in cells for each in files(cell) if not (folder / each).is_file()]


def test_each_group_is_a_table() -> None:
    assert tuple(re.findall(r"^## (.+)$", DOCUMENT, re.MULTILINE)) == GROUPS
    for group in GROUPS:
        assert list(rows(DOCUMENT.partition(f"## {group}\n")[2].partition("\n## ")[0])), group


def test_every_file_that_is_named_is_there() -> None:
    assert missing((row.code for row in ROWS), ROOT / "mailer") == []
    assert missing((row.test for row in ROWS), ROOT / "tests") == []


@pytest.mark.parametrize("row", ROWS, ids=[row.standard for row in ROWS])
def test_what_is_held_is_held_somewhere_and_what_is_not_says_why(row: Row) -> None:
    assert row.what
    if row.held == "no":
        assert (row.code, row.test) == ("", "")
        return
    assert row.held in ("yes", "in part")
    assert files(row.code)
    assert all(Path(each).name.startswith("test_") for each in files(row.test))
    assert files(row.test)


def test_no_standard_that_code_names_is_left_out() -> None:
    listed = set(re.findall(r"\b[1-9][0-9]{3}\b", "".join(f"{row.standard} {row.what}\n" for row in ROWS)))
    named: dict[str, str] = {}
    for room in ROOMS:
        for path in (ROOT / "mailer" / room).rglob("*"):
            if path.suffix in (".py", ".toml"):
                for number in re.findall(r"RFC ([0-9]{4})", path.read_text("utf-8")):
                    named.setdefault(number, str(path.relative_to(ROOT)))
    assert named
    assert {number: where for number, where in named.items() if number not in listed} == {}


def test_a_file_that_is_not_there_is_found_out() -> None:
    (row,) = rows(
        "| RFC | held |\n|---|---|\n| 1 | yes | x | `smtp/body.py`, `smtp/nothing.py` | `wire/test_smtp_body.py` |\n"
    )
    assert missing(iter([row.code]), ROOT / "mailer") == ["smtp/nothing.py"]
