"""`mailer db stats`: how large the database is, and what in it is old."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mailer.core.clock import Clock
from mailer.store.sqlite import Database


@dataclass(frozen=True, slots=True)
class Stats:
    """The database at one instant."""

    at_us: int
    version: int
    """Number of the last migration."""
    file_bytes: int
    wal_bytes: int
    """Size of the file `-wal` beside it: grows while a reader keeps an old state open."""
    free_pages: int
    """Pages that a deletion left behind; new rows take them again."""
    page_bytes: int
    rows: Mapping[str, int]
    """By what they are; attempts are those recorded of messages that still exist."""
    oldest_due_us: int | None
    """Since when the message that has waited longest is due, or None."""


async def stats(database: Database, clock: Clock) -> Stats:
    """Sizes and counts; cheap however many messages there are, but for the attempts, which are counted."""
    free, page_bytes, version = [
        int(await database.pragma(name)) for name in ("freelist_count", "page_size", "user_version")
    ]
    async with database.reading() as tx:
        rows: dict[str, int] = dict(await tx.all("row_counts"))
        oldest = await tx.one("oldest_due")
    return Stats(
        at_us=clock(),
        version=version,
        file_bytes=_size(database.path),
        wal_bytes=_size(database.path.with_name(database.path.name + "-wal")),
        free_pages=free,
        page_bytes=page_bytes,
        rows=rows,
        oldest_due_us=oldest[0] if oldest else None,
    )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
