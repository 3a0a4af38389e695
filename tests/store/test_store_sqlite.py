"""SQLite's errors as sentences, and what a broken or cancelled transaction leaves behind."""

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from support.store import Clock, claim, no_rest, open_store, queue, recipients, register, states, want

from mailer.errors import StoreError
from mailer.store import Store
from mailer.store.queries import queries
from mailer.store.sqlite import Database, Transaction


async def test_a_missing_database_is_not_made_by_a_command_that_only_looks(tmp_path: Path, clock: Clock) -> None:
    with pytest.raises(StoreError, match="no database at") as caught:
        await open_store(tmp_path / "none.db", clock, create=False)
    assert str(tmp_path / "none.db") in caught.value.message
    assert not (tmp_path / "none.db").exists()


def modes_in(folder: Path) -> dict[str, int]:
    """The permissions of its files by name."""
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


async def test_a_database_and_its_backup_are_nobodys_business(tmp_path: Path, clock: Clock) -> None:
    before = os.umask(0)
    try:
        async with await open_store(tmp_path / "a.db", clock) as store:
            await queue(store, "news", recipients(1))
            await store.back_up(tmp_path / "b.db")
            modes = modes_in(tmp_path)
    finally:
        os.umask(before)
    assert {"a.db", "a.db-wal", "b.db"} <= modes.keys()
    assert set(modes.values()) == {0o640}


async def test_a_missing_folder_is_said(tmp_path: Path, clock: Clock) -> None:
    with pytest.raises(StoreError, match="cannot be opened") as caught:
        await open_store(tmp_path / "none" / "a.db", clock)
    assert "folder" in caught.value.hint


@pytest.mark.parametrize("content", [b"not a database at all" * 100, b"SQLite format 3\0" + b"\xff" * 4096])
async def test_a_file_that_is_no_database_is_said(tmp_path: Path, clock: Clock, content: bytes) -> None:
    path = tmp_path / "a.db"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"is not a mailer database|is damaged") as caught:
        await open_store(path, clock)
    assert not caught.value.can_wait
    assert path.read_bytes() == content


async def test_a_folder_in_the_place_of_the_database_is_said(tmp_path: Path, clock: Clock) -> None:
    with pytest.raises(StoreError, match="cannot be opened"):
        await open_store(tmp_path, clock)


async def test_a_database_locked_by_another_program_is_said_and_can_be_waited_for(store: Store, clock: Clock) -> None:
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    async with await Store.open(store.path, create=False, lock_wait_s=0.0, clock=clock, rest=no_rest) as late:
        with pytest.raises(StoreError, match="locked by another program") as caught:
            await late.campaigns.pause("news")
        assert caught.value.can_wait
        assert (await late.reading.status()).campaigns == ()  # readers go on
        other.execute("ROLLBACK")
        other.close()
        await queue(late, "news", recipients(1))


async def test_a_full_disk_is_said_and_nothing_is_half_done(broken_store: Store) -> None:
    pages = await broken_store._database.pragma("page_count")
    await broken_store._database.pragma(f"max_page_count = {pages + 2}")
    with pytest.raises(StoreError, match="no space left") as caught:
        await queue(broken_store, "news", recipients(2_000))
    assert caught.value.can_wait
    await broken_store._database.pragma("max_page_count = 1000000")
    assert await broken_store.check() == []
    assert await states(broken_store, "news") == {}


CHILD = """
import asyncio, concurrent.futures.thread, os, sys
from pathlib import Path
from mailer.errors import StoreError
from mailer.store import Store, migrate, queries
queries.queries(); migrate.migrations()  # the installation itself may be readable by its owner alone
if os.geteuid() == 0:
    os.setgid(65534); os.setuid(65534)
async def main():
    try:
        async with await Store.open(Path(sys.argv[1]), create=False) as store:
            print("read", len((await store.reading.status()).campaigns))
            await store.campaigns.pause("news")
    except StoreError as error:
        print(error.message, "|", error.hint)
asyncio.run(main())
"""


async def test_a_database_that_this_user_may_not_write_is_said(clock: Clock) -> None:
    with tempfile.TemporaryDirectory() as made:  # pytest's own folders are closed to all other users
        folder = Path(made)
        path = folder / "mailer.db"
        async with await open_store(path, clock) as store:
            await queue(store, "news", recipients(1))
            said = await asyncio.to_thread(as_a_user_who_may_only_read, path)
    assert said.startswith("read 1\n")
    assert f"the database at {path} cannot be written | Check the permissions" in said


def as_a_user_who_may_only_read(path: Path) -> str:
    for file in path.parent.iterdir():
        file.chmod(0o444)
    path.parent.chmod(0o555)
    try:
        return subprocess.run(
            [sys.executable, "-c", CHILD, str(path)], capture_output=True, text=True, check=True
        ).stdout
    finally:
        path.parent.chmod(0o755)


async def test_a_database_that_was_replaced_under_a_worker_is_noticed(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "a.db"
    async with await open_store(path, clock) as store:
        worker = await register(store)
        path.rename(tmp_path / "moved.db")
        for _ in range(2):
            with pytest.raises(StoreError, match="was removed or replaced while it was in use"):
                await worker.exchange([], [])
        (tmp_path / "moved.db").rename(path)
        await worker.exchange([], [])


async def test_an_error_in_the_middle_of_a_transaction_changes_nothing(store: Store) -> None:
    await queue(store, "news", recipients(1))
    database = store._database
    with pytest.raises(ZeroDivisionError):
        async with database.transaction() as tx:
            await tx.run("set_campaign_state", campaign=1, state="running", reason="touched")
            raise ZeroDivisionError
    assert (await store.campaigns.find("news")).reason == ""


async def test_a_cancelled_exchange_leaves_either_all_or_nothing_and_may_be_repeated(store: Store) -> None:
    worker = await register(store)
    await queue(store, "news", recipients(400))
    got = 0
    for n in range(60):
        task = asyncio.create_task(worker.exchange([], [want(3)]))
        for _ in range(n):
            await asyncio.sleep(0)
        task.cancel()
        try:
            got += len((await task).messages)
        except asyncio.CancelledError:
            assert await store.check() == []
        answer = await worker.exchange([], [want(3)])
        assert len(answer.messages) == 3
        got += 3
    assert await states(store, "news") == {"sending": got, "queued": 400 - got}


async def test_a_cancelled_task_leaves_no_thread_behind(store: Store) -> None:
    begun = asyncio.Event()

    async def never_ends() -> None:
        async with store._database.transaction() as tx:
            await tx.run("set_campaign_state", campaign=1, state="running", reason="touched")
            begun.set()
            await asyncio.Event().wait()

    await queue(store, "news", recipients(1))
    task = asyncio.create_task(never_ends())
    await begun.wait()
    connection = store._database._connection
    assert connection is not None
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.to_thread(connection._thread.join, 10)  # nobody waits for it but this test
    assert not connection._thread.is_alive()
    assert (await store.campaigns.find("news")).reason == ""


async def test_a_visit_that_is_cancelled_goes_on_to_its_end_before_the_task_ends(store: Store) -> None:
    await queue(store, "news", recipients(1))
    begun, go_on, has_ended = threading.Event(), threading.Event(), threading.Event()

    async def slow(tx: Transaction) -> None:
        begun.set()
        assert go_on.wait(10)
        await tx.run("set_campaign_state", campaign=1, state="running", reason="touched")
        has_ended.set()

    task = asyncio.create_task(store._database.in_one_visit(slow))
    await asyncio.to_thread(begun.wait, 10)
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert has_ended.is_set()
    assert (await store.campaigns.find("news")).reason == "touched"


async def test_a_visit_that_breaks_changes_nothing_and_one_that_waits_is_refused(store: Store) -> None:
    await queue(store, "news", recipients(1))

    async def breaks(tx: Transaction) -> None:
        await tx.run("set_campaign_state", campaign=1, state="running", reason="touched")
        raise ZeroDivisionError

    async def waits(tx: Transaction) -> None:
        await tx.run("set_campaign_state", campaign=1, state="running", reason="touched")
        await asyncio.sleep(0)

    with pytest.raises(ZeroDivisionError):
        await store._database.in_one_visit(breaks)
    with pytest.raises(RuntimeError, match="waited for something else"):
        await store._database.in_one_visit(waits)
    assert (await store.campaigns.find("news")).reason == ""


async def test_tasks_that_share_a_connection_wait_for_one_another(store: Store) -> None:
    workers = [await register(store, f"{n:032x}") for n in range(4)]
    await queue(store, "news", recipients(100))
    got = await asyncio.gather(*(claim(worker, 10) for worker in workers for _ in range(2)))
    ids = [message.message_id for messages in got for message in messages]
    assert len(ids) == len(set(ids)) == 80


async def test_a_change_by_another_connection_is_seen_by_the_data_version(store: Store, clock: Clock) -> None:
    before = await store.data_version()
    assert await store.data_version() == before
    async with await open_store(store.path, clock, create=False) as other:
        await queue(other, "news", recipients(1))
    assert await store.data_version() != before


async def test_every_query_can_be_prepared(store: Store) -> None:
    async with store._database.reading() as tx:
        for name, text in queries().items():
            names = dict.fromkeys(_parameters(text))
            sql = f"EXPLAIN {text}" if not text.startswith("PRAGMA") else text
            await tx._connection.execute_fetchall(sql, names or [None] * text.count("?"))
            assert name


def _parameters(text: str) -> set[str]:
    return set(re.findall(r"(?<!:):([a-z_]+)\b", re.sub(r"--.*", "", text)))


async def test_closing_twice_is_harmless(tmp_path: Path) -> None:
    database = await Database.open(tmp_path / "a.db", create=True)
    await database.close()
    await database.close()
