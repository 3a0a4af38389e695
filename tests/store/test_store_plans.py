"""How SQLite runs the queries: none that a worker or a status waits for reads a large table from end to end."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.store import queue, recipients

import mailer.store
from mailer.store import Store
from mailer.store.queries import queries

LARGE = ("message", "ready", "attempt", "tally")
# Those that look at everything on purpose, or at all that a filter leaves.
WHOLE = {
    "list_messages",  # newest first, and ends at its limit
    "list_troubled_messages",  # by its own index
    "ready_new_messages",  # from :after on
    "tally_new_messages",
    "status_tallies",  # a handful of rows a lane
    "row_counts",
}


def may_scan(name: str) -> bool:
    return name in WHOLE or name.startswith(("check_", "integrity", "foreign_keys"))


@pytest.mark.parametrize("name", [name for name in queries() if not may_scan(name)])
async def test_a_query_finds_its_rows_by_an_index(store: Store, name: str) -> None:
    text = queries()[name]
    if text.startswith("PRAGMA"):
        return
    await queue(store, "news", recipients(20))
    names = re.findall(r"(?<!:):([a-z_]+)\b", re.sub(r"--.*", "", text))
    values: object = dict.fromkeys(names) if names else [None] * text.count("?")
    async with store._database.reading() as tx:
        plan = await tx._connection.execute_fetchall(f"EXPLAIN QUERY PLAN {text}", values)
    steps = [str(row[3]) for row in plan]
    assert not [step for step in steps if re.match(rf"SCAN ({'|'.join(LARGE)})\b", step)], steps


async def test_trouble_is_listed_by_its_own_index(store: Store) -> None:
    async with store._database.reading() as tx:
        text = queries()["list_troubled_messages"]
        names = dict.fromkeys(re.findall(r"(?<!:):([a-z_]+)\b", text))
        plan = await tx._connection.execute_fetchall(f"EXPLAIN QUERY PLAN {text}", names)
    assert "message_troubled" in str([row[3] for row in plan])


def test_every_query_is_asked_by_somebody() -> None:
    code = "".join(path.read_text("utf-8") for path in Path(mailer.store.__file__).parent.glob("*.py"))
    assert [name for name in queries() if f'"{name}"' not in code] == []
