"""What `--dry-run` of `queue` shows."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from mailer.cli.output import Column, emit, rfc3339
from mailer.cli.table import printable, render

if TYPE_CHECKING:
    from mailer.cli.session import Session
    from mailer.service.queue_rehearsal import Rehearsal

__all__ = ["show_rehearsal"]


def show_rehearsal(session: Session, done: Rehearsal, zone: str) -> None:
    """Counts, sizes and problems."""
    if session.format == "table":
        _show_table(session, done, zone)
        return
    emit(
        session,
        {
            "campaign": done.campaign,
            "rows": done.rows,
            "would_add": done.would_add,
            "already": done.already,
            "duplicates": done.duplicates,
            "suppressed": done.suppressed,
            "bad": done.bad,
            "by_destination": dict(done.by_destination),
            "by_relay": dict(done.estimate.by_relay),
            "smallest_bytes": done.smallest_bytes,
            "largest_bytes": done.largest_bytes,
            "estimated_finish_at": rfc3339(done.estimate.finish_at_us),
            "problems": [{"row": bad.row, "text": bad.text, "reason": bad.reason} for bad in done.problems],
            "more_problems": done.bad - len(done.problems),
        },
    )


def _show_table(session: Session, done: Rehearsal, zone: str) -> None:
    from mailer.service.queue_rows import describe
    from mailer.service.queue_when import in_zone

    finish = done.estimate.finish_at_us
    pairs: list[tuple[str, Any]] = [
        ("campaign", done.campaign),
        ("rows", done.rows),
        ("would add", done.would_add),
        ("already there", done.already),
        ("duplicates", done.duplicates),
        ("suppressed", done.suppressed),
        ("bad", done.bad),
        *((f"to {group}", count) for group, count in done.by_destination.items()),
        *((f"by relay {relay}, about", count) for relay, count in done.estimate.by_relay.items()),
        ("smallest message", _bytes(done.smallest_bytes)),
        ("largest message", _bytes(done.largest_bytes)),
        ("estimated finish", None if finish is None else in_zone(finish, zone)),
    ]
    rows = [{"key": key, "value": value} for key, value in pairs]
    columns = (Column("key", ""), Column("value", "", colours={}))
    click.echo(render(rows, columns, colour=session.has_colour(sys.stdout), width=None), nl=False)
    if done.problems:
        click.echo("\nProblems:")
        for bad in done.problems:
            click.echo(f"  {printable(describe(bad))}")
        if done.bad > len(done.problems):
            click.echo(f"  … and {done.bad - len(done.problems):,} more")
    click.echo("\nNothing was changed.")


def _bytes(size: int | None) -> str | None:
    return None if size is None else f"{size:,} bytes"
