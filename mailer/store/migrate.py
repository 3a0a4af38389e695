"""Bringing a database up to date: numbered SQL files, applied in order, each in a transaction of its own.

SQLite keeps the number of the last one in `PRAGMA user_version`, and says whose file it is in `application_id`.
A new file is brought up to date by whoever creates it; an old one only by `mailer db upgrade`, which backs it up first.
`migrations/schema/sqlite.sql` shows the whole for readers; a test compares it with what the steps build.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Final

from mailer.core.clock import Clock
from mailer.errors import StoreError
from mailer.store.sqlite import Database

APPLICATION_ID: Final = 0x6D61696C  # "mail"


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered step."""

    number: int
    name: str
    sql: str


@cache
def migrations() -> tuple[Migration, ...]:
    """All steps for SQLite in order. Raises ValueError when the numbers do not run 1, 2, 3, …"""
    found = []
    for file in files("mailer").joinpath("migrations", "sqlite").iterdir():
        if file.name.endswith(".sql"):
            number, _, name = file.name.removesuffix(".sql").partition("_")
            found.append(Migration(int(number), name, file.read_text(encoding="utf-8")))
    found.sort(key=lambda m: m.number)
    if [m.number for m in found] != list(range(1, len(found) + 1)):
        raise ValueError(f"migrations are numbered {[m.number for m in found]}")
    return tuple(found)


async def version(database: Database) -> int:
    """The number of the last migration applied; 0 for an empty file.

    Raises StoreError when the file belongs to another program.
    """
    number = int(await database.pragma("user_version"))
    application = int(await database.pragma("application_id"))
    if application != APPLICATION_ID and (number or await _has_tables(database)):
        raise StoreError(
            f"{database.path} is not a mailer database", "Check [database] url; this file belongs to another program."
        )
    return number


async def _has_tables(database: Database) -> bool:
    async with database.reading() as tx:
        return await tx.one("any_table") is not None


async def require_current(database: Database) -> None:
    """Raise StoreError, with what to do, unless the database is exactly of this program's version."""
    have, want = await version(database), len(migrations())
    if have == want:
        return
    if have > want:
        raise StoreError(
            f"the database at {database.path} was written by a newer mailer: "
            f"its version is {have}, this program knows {want}",
            "Upgrade mailer; a newer database is never changed by an older program.",
        )
    if have == 0:
        raise empty(database.path)
    raise StoreError(
        f"the database at {database.path} is of version {have}; this program needs {want}",
        "Run `mailer db upgrade`: it makes a backup first.",
    )


def empty(path: Path) -> StoreError:
    """What to say of an empty file: it is no database yet, and only those who create one fill it."""
    return StoreError(f"no database at {path}: the file is empty", "`mailer campaign queue` creates one.")


async def upgrade(database: Database, clock: Clock) -> list[Migration]:
    """Apply what is missing; the steps that were applied now. Safe when several programs try at once."""
    applied = []
    if await version(database) == 0:
        await database.pragma("journal_mode = WAL")  # kept in the file; not possible inside a transaction
    for step in migrations():
        if await version(database) >= step.number:
            continue
        async with database.transaction() as tx:
            # Asked again under the write lock: another program may have been faster.
            row = await tx.one("user_version")
            if row is not None and int(row[0]) >= step.number:
                continue
            for statement in statements(step.sql):
                await tx.statement(statement)
            if step.number == 1:
                await tx.run("insert_store", store_id=secrets.token_hex(16), now=clock())
            await tx.statement(f"PRAGMA user_version = {step.number}")
            await tx.statement(f"PRAGMA application_id = {APPLICATION_ID}")
        applied.append(step)
    return applied


def statements(script: str) -> Iterator[str]:
    """The single statements of a script, as SQLite itself would cut them."""
    pending = ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""
    if pending.strip():
        raise ValueError(f"the script ends in the middle of a statement: {pending.strip()[:60]!r}")
