"""A database from its creation over upgrades to a copy: what is refused, and that nothing is half done."""

from __future__ import annotations

import asyncio
import sqlite3
from importlib.resources import files
from pathlib import Path

import pytest
from support.store import Clock, open_store, queue, recipients, states

from mailer.errors import StoreError
from mailer.store import Store, migrate, upgrade
from mailer.store.migrate import APPLICATION_ID, Migration, migrations, statements


def schema_of(path: Path) -> dict[str, str]:
    """Every table and index with its SQL, without comments and layout."""
    with sqlite3.connect(path) as raw:
        rows = raw.execute("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL").fetchall()
    raw.close()
    return {name: " ".join(line.split("--")[0].strip() for line in sql.splitlines()).strip() for name, sql in rows}


async def test_the_schema_for_readers_is_what_the_migrations_build(store: Store, tmp_path: Path) -> None:
    written = tmp_path / "written.db"
    with sqlite3.connect(written) as raw:
        raw.executescript(files("mailer").joinpath("migrations", "schema", "sqlite.sql").read_text("utf-8"))
    raw.close()
    assert schema_of(store.path) == schema_of(written)


async def test_a_new_database_is_made_whole_with_an_identity_of_its_own(tmp_path: Path, clock: Clock) -> None:
    async with await open_store(tmp_path / "a.db", clock) as one, await open_store(tmp_path / "b.db", clock) as two:
        assert len(one.store_id) == 32
        assert one.store_id != two.store_id
        first = one.store_id
    async with await open_store(tmp_path / "a.db", clock, create=False) as again:
        assert again.store_id == first
        assert await again._database.pragma("journal_mode") == "wal"
        assert await again._database.pragma("synchronous") == 0
        assert await again._database.pragma("foreign_keys") == 1


async def test_many_that_create_the_same_database_at_once_agree(tmp_path: Path, clock: Clock) -> None:
    stores = await asyncio.gather(*(open_store(tmp_path / "a.db", clock) for _ in range(8)))
    assert len({store.store_id for store in stores}) == 1
    for store in stores:
        await store.close()


async def test_a_creation_that_was_killed_before_the_first_table_is_taken_up_again(
    tmp_path: Path, clock: Clock
) -> None:
    path = tmp_path / "a.db"
    with sqlite3.connect(path) as raw:
        raw.execute("PRAGMA journal_mode = WAL")
    raw.close()
    assert path.stat().st_size > 0
    with pytest.raises(StoreError, match="the file is empty"):
        await open_store(path, clock, create=False)
    async with await open_store(path, clock) as store:
        await queue(store, "news", recipients(1))


@pytest.fixture
def one_more(monkeypatch: pytest.MonkeyPatch) -> Migration:
    """A program that knows one more step."""
    step = Migration(
        len(migrations()) + 1, "more", "CREATE TABLE more (id INTEGER PRIMARY KEY) STRICT;\nCREATE TABLE b (x);\n"
    )
    known = (*migrations(), step)
    monkeypatch.setattr(migrate, "migrations", lambda: known)
    return step


async def test_an_old_database_is_refused_and_upgraded_only_when_asked_after_a_backup(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    path, backup = tmp_path / "a.db", tmp_path / "a.backup"
    async with await open_store(path, clock) as store:
        await queue(store, "news", recipients(3))
    request.getfixturevalue("one_more")
    for create in (True, False):
        with pytest.raises(StoreError, match="is of version 1; this program needs 2") as caught:
            await open_store(path, clock, create=create)
        assert "mailer db upgrade" in caught.value.hint
    assert await upgrade(path, backup=backup, clock=clock) == ["0002 more"]
    assert await upgrade(path, backup=tmp_path / "another", clock=clock) == []
    assert not (tmp_path / "another").exists()
    async with await open_store(path, clock, create=False) as store:
        assert await states(store, "news") == {"queued": 3}
    assert "more" not in schema_of(backup)


async def test_a_step_that_breaks_in_the_middle_leaves_the_old_version(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.db"
    async with await open_store(path, clock):
        pass
    before = schema_of(path)
    known = (*migrations(), Migration(2, "bad", "CREATE TABLE more (x);\nCREATE TABLE more (x);\n"))
    monkeypatch.setattr(migrate, "migrations", lambda: known)
    with pytest.raises(StoreError, match="already exists"):
        await upgrade(path, backup=None, clock=clock)
    assert schema_of(path) == before


async def test_a_newer_database_is_never_touched(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "a.db"
    async with await open_store(path, clock) as store:
        await store._database.pragma("user_version = 99")
    for attempt in (open_store(path, clock), open_store(path, clock, create=False), upgrade(path, backup=None)):
        with pytest.raises(StoreError, match="was written by a newer mailer"):
            await attempt


async def test_another_programs_database_is_refused_and_left_as_it_was(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as raw:
        raw.execute("CREATE TABLE theirs (x)")
    raw.close()
    before = path.read_bytes()
    for attempt in (open_store(path, clock), open_store(path, clock, create=False), upgrade(path, backup=None)):
        with pytest.raises(StoreError, match="is not a mailer database"):
            await attempt
    assert path.read_bytes() == before


async def test_an_empty_file_is_not_upgraded(tmp_path: Path) -> None:
    path = tmp_path / "empty.db"
    path.touch()
    with pytest.raises(StoreError, match="the file is empty"):
        await upgrade(path, backup=None)


async def test_the_file_says_whose_it_is(store: Store) -> None:
    assert await store._database.pragma("application_id") == APPLICATION_ID
    assert await store._database.pragma("user_version") == len(migrations())


def test_a_script_is_cut_where_sqlite_cuts_it() -> None:
    script = "CREATE TABLE a (x TEXT DEFAULT ';');\n-- a comment; with one\nCREATE TABLE b (x);\n"
    assert len(list(statements(script))) == 2
    with pytest.raises(ValueError, match="middle of a statement"):
        list(statements("CREATE TABLE a (x"))


# Backups


async def test_a_backup_is_a_database_as_of_now(store: Store, tmp_path: Path, clock: Clock) -> None:
    await queue(store, "news", recipients(50))
    await store.back_up(tmp_path / "copy.db")
    await queue(store, "later", recipients(5))
    async with await open_store(tmp_path / "copy.db", clock, create=False) as copy:
        assert copy.store_id == store.store_id
        assert await states(copy, "news") == {"queued": 50}
        assert await copy.campaigns.find_or_none("later") is None
        assert await copy.check() == []


async def test_a_backup_overwrites_nothing(store: Store, tmp_path: Path) -> None:
    target = tmp_path / "copy.db"
    target.write_text("mine")
    with pytest.raises(StoreError, match="exists already"):
        await store.back_up(target)
    assert target.read_text() == "mine"


async def test_a_backup_that_cannot_be_made_names_its_own_path_and_leaves_nothing(store: Store, tmp_path: Path) -> None:
    target = tmp_path / "missing" / "copy.db"
    with pytest.raises(StoreError) as caught:
        await store.back_up(target)
    assert str(target) in caught.value.message
    await queue(store, "news", recipients(1))  # the store goes on
