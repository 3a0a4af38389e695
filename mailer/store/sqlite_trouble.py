"""SQLite's errors turned into sentences: what happened, what to do, and whether waiting can help."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from mailer.errors import StoreError


class translated:  # noqa: N801 - reads as a word: `with translated(path)`
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
