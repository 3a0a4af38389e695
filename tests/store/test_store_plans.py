"""Queries that are given a list of addresses look each of them up, however large the campaign is.

Left to itself SQLite goes through all messages of the campaign and searches the list for each: with 100,000 recipients
that made minutes of seconds.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from support.store import Clock, open_store, queue, recipients

from mailer.store.queries import queries


@pytest.mark.parametrize("query", ["repeated_in_load", "messages_by_address"])
async def test_a_list_of_addresses_is_the_outer_loop(tmp_path: Path, query: str) -> None:
    path = tmp_path / "mailer.db"
    async with await open_store(path, Clock()) as store:
        await queue(store, "news", recipients(100))
    values = {"keys": '["user1@example.org"]', "campaign": 1, "after": 1_000, "load": 1}
    with closing(sqlite3.connect(path)) as connection:
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {queries()[query]}", values)]
    assert plan[0].startswith("SCAN key")
    assert "address_key=?" in plan[1]
