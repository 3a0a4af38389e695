"""The driver for SQLite: a connection and its transactions.

Rules:
1. Autocommit outside `transaction()`; writers start with BEGIN IMMEDIATE, so that a lock is waited for at the start
   and never in the middle.
2. A transaction that is cancelled leaves its connection closed, never reused: what the thread was doing at that moment
   is unknown, and closing rolls back. The cancelled task waits for that, so that no thread outlives its event loop.
3. One transaction at a time on a connection; tasks wait for one another in order.
4. What is done thousands of times a minute runs in one visit to the connection's thread (`in_one_visit`): each hop
   there and back costs about as much as the statement itself.
5. The file under the connection is still the file: before each transaction the path is compared with what was opened,
   for a database that was deleted or replaced under a running worker would take what nobody ever reads again.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import aiosqlite

from mailer.errors import StoreError
from mailer.store.disk_trouble import disk_trouble
from mailer.store.queries import queries
from mailer.store.sqlite_trouble import translated

Row = tuple[Any, ...]
T = TypeVar("T")

# How long another program's lock is waited for. Ours are held for at most 50 ms; a backup tool's may be longer.
LOCK_WAIT_S: Final = 5.0
# JSON, RETURNING, UPDATE FROM and STRICT tables: 3.37 (2021-11).
OLDEST_SQLITE: Final = (3, 37, 0)


class Transaction:
    """What may be done inside a transaction: run named queries."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection

    async def all(self, query: str, /, **values: object) -> list[Row]:
        """Every row of the named query; also the way to run one with RETURNING."""
        rows: Iterable[Any] = await self._connection.execute_fetchall(queries()[query], values)
        return list(rows)

    async def one(self, query: str, /, **values: object) -> Row | None:
        """The first row of the named query, or None."""
        rows = await self.all(query, **values)
        return rows[0] if rows else None

    async def run(self, query: str, /, **values: object) -> int:
        """Run the named statement; how many rows it changed."""
        cursor = await self._connection.execute(queries()[query], values)
        return cursor.rowcount

    async def number(self, query: str, /, **values: object) -> int:
        """The one number that the named query answers with. Raises ValueError if there is none."""
        row = await self.one(query, **values)
        if row is None:
            raise ValueError(f"{query} returned no row")
        return int(row[0])

    async def statement(self, sql: str) -> None:
        """Run one statement that has no name: a migration's."""
        await self._connection.execute(sql)

    async def many(self, query: str, rows: Sequence[Mapping[str, object] | Sequence[object]]) -> int:
        """Run the named statement for each of `rows`; how many rows were changed in all."""
        cursor = await self._connection.executemany(queries()[query], rows)
        return cursor.rowcount


class _AtHome(Transaction):
    """The same, on the connection's own thread: nothing is waited for."""

    def __init__(self, raw: sqlite3.Connection) -> None:
        self._raw = raw

    async def all(self, query: str, /, **values: object) -> list[Row]:
        return self._raw.execute(queries()[query], values).fetchall()

    async def run(self, query: str, /, **values: object) -> int:
        return self._raw.execute(queries()[query], values).rowcount

    async def statement(self, sql: str) -> None:
        self._raw.execute(sql)

    async def many(self, query: str, rows: Sequence[Mapping[str, object] | Sequence[object]]) -> int:
        return self._raw.executemany(queries()[query], rows).rowcount


class _Connection(aiosqlite.Connection):
    """aiosqlite's, which has this for its own use: several statements in one visit to the thread."""

    async def visit(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` on the thread. When it is cancelled, it goes on to its end, and that is waited for."""
        try:
            return cast("T", await self._execute(work, self._conn))  # type: ignore[no-untyped-call] # see above
        except asyncio.CancelledError:
            await self._execute(_nothing)  # type: ignore[no-untyped-call] # see above
            raise


class Database:
    """One SQLite file. Opened with `Database.open`, closed with `close`."""

    def __init__(self, path: Path, synchronous: str, lock_wait_s: float) -> None:
        self.path = path
        self._synchronous = synchronous
        self._lock_wait_s = lock_wait_s
        self._connection: _Connection | None = None
        self._file: tuple[int, int] | None = None
        """Device and inode of what was opened."""
        self._lock = asyncio.Lock()

    @classmethod
    async def open(
        cls, path: Path, *, create: bool, synchronous: str = "full", lock_wait_s: float = LOCK_WAIT_S
    ) -> Database:
        """Open the file; with `create`, make an empty one where there is none.

        Raises StoreError when the file is missing, is no database, or cannot be read.
        """
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            raise StoreError(
                f"this Python comes with SQLite {sqlite3.sqlite_version}; mailer needs 3.37 or later",
                "Use a newer Python or a newer libsqlite3.",
            )
        if not create and _identity(path) is None:
            raise StoreError(
                f"no database at {path}", "`mailer campaign queue` creates one; or set [database] url in config.toml."
            )
        database = cls(path, synchronous, lock_wait_s)
        await database._connect(create=create)
        return database

    async def _connect(self, *, create: bool) -> _Connection:
        # `mode=rw` so that a database that vanished is an error and not an empty new one.
        uri = f"{self.path.absolute().as_uri()}?mode={'rwc' if create else 'rw'}"
        with translated(self.path):
            if create:
                _make_private(self.path)
            connection = await _open_file(uri, uri=True, isolation_level=None, timeout=self._lock_wait_s)
            try:
                await connection.executescript(
                    "PRAGMA foreign_keys = ON;"
                    f"PRAGMA synchronous = {self._synchronous};"
                    "PRAGMA journal_size_limit = 67108864;"
                    "PRAGMA cache_size = -16384;"
                )
                await connection.execute_fetchall("SELECT count(*) FROM sqlite_schema")  # reads the file's head
            except BaseException:
                await connection.close()
                raise
        self._connection, self._file = connection, _identity(self.path)
        return connection

    async def close(self) -> None:
        """Close the connection. Harmless twice."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def _abandon(self) -> None:
        """Let the connection's thread finish the statement it is at, roll back and end; wait for that."""
        connection, self._connection = self._connection, None
        if connection is not None and (ended := connection.stop()) is not None:
            await ended

    async def _open_connection(self) -> _Connection:
        if self._connection is None:
            return await self._connect(create=False)
        if _identity(self.path) != self._file:
            raise StoreError(
                f"the database at {self.path} was removed or replaced while it was in use",
                "Put the file back, or stop all mailer processes and start them again with the right one.",
            )
        return self._connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """Write: everything inside is committed together, and on the disk when this ends without an error."""
        async with self._begun("BEGIN IMMEDIATE") as tx:
            yield tx

    async def _roll_back(self, connection: aiosqlite.Connection) -> None:
        try:
            if connection.in_transaction:
                await connection.execute("ROLLBACK")
        except sqlite3.Error:
            await self._abandon()

    async def in_one_visit(self, body: Callable[[Transaction], Coroutine[Any, Any, T]]) -> T:
        """Write, as in `transaction`, all of `body` in one visit to the connection's thread; what it returns.

        `body` waits for nothing but its transaction, and uses nothing that another thread changes meanwhile. After a
        cancellation it has either been committed or has changed nothing.
        """
        async with self._lock:
            connection = await self._open_connection()
            with translated(self.path):
                return await connection.visit(partial(_transact, body))

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Transaction]:
        """Read: all queries inside see the same state of the database."""
        async with self._begun("BEGIN") as tx:
            yield tx

    @asynccontextmanager
    async def _begun(self, begin: str) -> AsyncIterator[Transaction]:
        async with self._lock:
            connection = await self._open_connection()
            with translated(self.path):
                try:
                    await connection.execute(begin)
                    yield Transaction(connection)
                    await connection.execute("COMMIT")
                except Exception:
                    await self._roll_back(connection)
                    raise
                except BaseException:
                    await self._abandon()
                    raise

    async def pragma(self, name: str) -> Any:
        """The first value of `PRAGMA name`."""
        async with self._lock:
            connection = await self._open_connection()
            with translated(self.path):
                rows = list(await connection.execute_fetchall(f"PRAGMA {name}"))
        return rows[0][0] if rows else None

    async def back_up(self, target: Path) -> None:
        """Copy the database, as of now, to the new file `target`: whole, or not at all.

        One step: in several it would begin anew at each write. Raises StoreError if `target` exists or cannot be made.
        """
        if _identity(target) is not None:
            raise StoreError(f"{target} exists already", "Give the backup a name of its own; nothing is overwritten.")
        unfinished = target.with_name(f".{target.name}.unfinished")
        async with self._lock:
            connection = await self._open_connection()
            try:
                with translated(target):
                    _make_private(unfinished)
                    copy = await _open_file(unfinished)
                    try:
                        await connection.backup(copy, pages=-1)
                    finally:
                        await copy.close()
                _name_for_ever(unfinished, target)
            finally:
                unfinished.unlink(missing_ok=True)


def _transact(body: Callable[[Transaction], Coroutine[Any, Any, T]], raw: sqlite3.Connection) -> T:
    raw.execute("BEGIN IMMEDIATE")
    try:
        result = _finished(body(_AtHome(raw)))
        raw.execute("COMMIT")
    except BaseException:
        if raw.in_transaction:  # a full disk has rolled back already
            raw.execute("ROLLBACK")
        raise
    return result


def _finished(body: Coroutine[Any, Any, T]) -> T:
    """What a coroutine returns that has nothing to wait for: one step is all it takes."""
    try:
        body.send(None)
    except StopIteration as done:
        return cast("T", done.value)
    body.close()
    raise RuntimeError("a transaction waited for something else")


def _nothing() -> None:
    """Done when everything before it is."""


async def _open_file(path: str | Path, **options: Any) -> _Connection:
    """A connection to a file that could be opened; the thread of one that could not would outlive its event loop."""
    opened = await asyncio.to_thread(partial(sqlite3.connect, path, check_same_thread=False, **options))
    connection = _Connection(lambda: opened, iter_chunk_size=64)
    await connection
    return connection


def _make_private(path: Path) -> None:
    """Make an empty file where there is none, for its owner's group at most: addresses are people's own business.

    SQLite would make it readable for everybody. It gives its own files beside it the same mode.
    """
    with suppress(OSError):  # there already, or a folder that cannot be written to: SQLite says so in its own words
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640))


def _identity(path: Path) -> tuple[int, int] | None:
    """Device and inode of what lies at `path`, or None. Never opens it: closing would drop SQLite's locks."""
    try:
        there = path.stat()
    except OSError:
        return None
    return there.st_dev, there.st_ino


def _name_for_ever(source: Path, target: Path) -> None:
    """Rename, so that a power cut does not undo it."""
    try:
        source.rename(target)
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise disk_trouble("The backup cannot be made", target, error) from error
