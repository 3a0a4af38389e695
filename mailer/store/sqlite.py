"""The driver for SQLite: a connection, transactions, and its errors turned into sentences.

Rules:
1. Autocommit outside `transaction()`; writers start with BEGIN IMMEDIATE, so that a lock is waited for at the start
   and never in the middle.
2. A transaction that is cancelled or breaks leaves its connection closed, never reused: what the thread was doing at
   that moment is unknown, and closing rolls back.
3. One transaction at a time on a connection; tasks wait for one another in order.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiosqlite

from mailer.errors import StoreError
from mailer.store.queries import queries

Row = tuple[Any, ...]

# How long a writer waits for another program's lock. Ours are held for at most 50 ms; a backup tool's may be longer.
LOCK_WAIT_S: Final = 5.0
# JSON, RETURNING, UPDATE FROM and STRICT tables: 3.37 (2021-11).
OLDEST_SQLITE: Final = (3, 37, 0)


class Transaction:
    """What may be done inside a transaction: run named queries."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection

    async def all(self, query: str, /, **values: object) -> list[Row]:
        """Every row of the named query; also the way to run one with RETURNING."""
        return list(await self._connection.execute_fetchall(queries()[query], values))  # type: ignore[arg-type]

    async def one(self, query: str, /, **values: object) -> Row | None:
        """The first row of the named query, or None."""
        rows = await self.all(query, **values)
        return rows[0] if rows else None

    async def run(self, query: str, /, **values: object) -> int:
        """Run the named statement; how many rows it changed."""
        cursor = await self._connection.execute(queries()[query], values)  # type: ignore[arg-type]
        return cursor.rowcount

    async def statement(self, sql: str) -> None:
        """Run one statement that has no name: a migration's."""
        await self._connection.execute(sql)

    async def many(self, query: str, rows: Sequence[Mapping[str, object] | Sequence[object]]) -> int:
        """Run the named statement for each of `rows`; how many rows were changed in all."""
        cursor = await self._connection.executemany(queries()[query], rows)  # type: ignore[arg-type]
        return cursor.rowcount


class Database:
    """One SQLite file. Opened with `Database.open`, closed with `close`."""

    def __init__(self, path: Path, synchronous: str) -> None:
        self.path = path
        self._synchronous = synchronous
        self._connection: aiosqlite.Connection | None = None
        self._lock = asyncio.Lock()

    @classmethod
    async def open(cls, path: Path, *, create: bool, synchronous: str = "full") -> Database:
        """Open the file; with `create`, make an empty one where there is none.

        Raises StoreError when the file is missing, is no database, or cannot be read.
        """
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            raise StoreError(
                f"this Python comes with SQLite {sqlite3.sqlite_version}; mailer needs 3.37 or later",
                "Use a newer Python or a newer libsqlite3.",
            )
        if not create and not path.exists():
            raise StoreError(
                f"no database at {path}", "`mailer campaign queue` creates one; or set [database] url in config.toml."
            )
        database = cls(path, synchronous)
        await database._connect(create=create)
        return database

    async def _connect(self, *, create: bool) -> aiosqlite.Connection:
        # `mode=rw` so that a database that vanished is an error and not an empty new one.
        uri = f"{self.path.absolute().as_uri()}?mode={'rwc' if create else 'rw'}"
        with _translated(self.path):
            connection = await aiosqlite.connect(uri, uri=True, isolation_level=None, timeout=LOCK_WAIT_S)
            try:
                await connection.executescript(
                    "PRAGMA foreign_keys = ON;"
                    f"PRAGMA synchronous = {self._synchronous};"
                    "PRAGMA journal_size_limit = 67108864;"
                    "PRAGMA cache_size = -16384;"
                )
                if create:
                    await connection.execute_fetchall("PRAGMA journal_mode = WAL")
                else:
                    await connection.execute_fetchall("SELECT count(*) FROM sqlite_schema")
            except BaseException:
                await connection.close()
                raise
        self._connection = connection
        return connection

    async def close(self) -> None:
        """Close the connection. Harmless twice."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    def _abandon(self) -> None:
        """Let the connection's thread finish what it does, roll back and end, without waiting for it."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.stop()

    async def _open_connection(self) -> aiosqlite.Connection:
        return self._connection or await self._connect(create=False)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """Write: everything inside is committed together, and on the disk when this ends without an error."""
        async with self._lock:
            connection = await self._open_connection()
            with _translated(self.path):
                try:
                    await connection.execute("BEGIN IMMEDIATE")
                    yield Transaction(connection)
                    await connection.execute("COMMIT")
                except Exception:
                    await self._roll_back(connection)
                    raise
                except BaseException:
                    self._abandon()
                    raise

    async def _roll_back(self, connection: aiosqlite.Connection) -> None:
        try:
            if connection.in_transaction:
                await connection.execute("ROLLBACK")
        except sqlite3.Error:
            self._abandon()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Transaction]:
        """Read: all queries inside see the same state of the database."""
        async with self._lock:
            connection = await self._open_connection()
            with _translated(self.path):
                try:
                    await connection.execute("BEGIN")
                    yield Transaction(connection)
                    await connection.execute("COMMIT")
                except Exception:
                    await self._roll_back(connection)
                    raise
                except BaseException:
                    self._abandon()
                    raise

    async def pragma(self, name: str) -> Any:
        """The first value of `PRAGMA name`."""
        async with self._lock:
            connection = await self._open_connection()
            with _translated(self.path):
                rows = list(await connection.execute_fetchall(f"PRAGMA {name}"))
        return rows[0][0] if rows else None

    async def back_up(self, target: Path) -> None:
        """Copy the database, as of now, to a new file. One step: in several it would begin anew at each write."""
        async with self._lock:
            connection = await self._open_connection()
            with _translated(self.path):
                async with aiosqlite.connect(target) as copy:
                    await connection.backup(copy, pages=-1)


class _translated:  # noqa: N801 - reads as a word: `with _translated(path)`
    """Turns sqlite3's errors into StoreError: a sentence, a hint, and whether waiting can help."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, sqlite3.Error):
            raise translate(error, self.path) from error


def translate(error: sqlite3.Error, path: Path) -> StoreError:
    """What a person should read for an error of SQLite's, by its primary result code."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    sentence, hint, can_wait = _ERRORS.get(code, ("the database at {path} answered: {error}", "", False))
    return StoreError(sentence.format(path=path, error=error), hint.format(path=path), can_wait=can_wait)


_ERRORS: Final[Mapping[int, tuple[str, str, bool]]] = {
    sqlite3.SQLITE_BUSY: (
        "the database at {path} is locked by another program",
        "Find it with `fuser {path}`; mailer itself never holds the lock for long.",
        True,
    ),
    sqlite3.SQLITE_LOCKED: ("the database at {path} is locked by another program", "", True),
    sqlite3.SQLITE_READONLY: (
        "the database at {path} cannot be written",
        "Check the permissions of the file and of its folder: SQLite writes {path}-wal beside it.",
        False,
    ),
    sqlite3.SQLITE_FULL: ("no space left for the database at {path}", "Free some space on that disk.", True),
    sqlite3.SQLITE_CANTOPEN: (
        "the database at {path} cannot be opened",
        "Check that the folder exists and that this user may write in it.",
        False,
    ),
    sqlite3.SQLITE_NOTADB: (
        "{path} is not a mailer database",
        "Check [database] url; this file is something else.",
        False,
    ),
    sqlite3.SQLITE_CORRUPT: (
        "the database at {path} is damaged",
        "Stop all workers, keep a copy of the file, and restore a backup (`mailer db backup` makes them).",
        False,
    ),
    sqlite3.SQLITE_IOERR: (
        "the disk that holds {path} answered with an error: {error}",
        "Look at the system log; nothing is sent while outcomes cannot be recorded.",
        True,
    ),
}
