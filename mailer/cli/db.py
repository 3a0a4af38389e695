"""`mailer db …`: bring the database up to date, check it, back it up, see how large it is."""

from __future__ import annotations

from pathlib import Path

import click

from mailer.cli import app
from mailer.cli.output import Column, emit
from mailer.cli.session import Session
from mailer.errors import InputError, Refused

FINDINGS_LEFT = 1  # exit code of a check that found something


@app.command(examples=("mailer db upgrade", "mailer db upgrade --json"), shows=True)
async def upgrade(session: Session) -> None:
    """Bring the database up to date with this program, after a backup beside it.

    Stop all workers first. A database that is up to date is left alone.
    """
    from mailer.store import upgrade as upgrade_store

    path = session.config.database.path
    backup = _beside(path)
    applied = await upgrade_store(path, backup=backup, lock_wait_s=session.config.database.lock_wait.total_seconds())
    document = {"database": str(path), "applied": applied, "backup": str(backup) if applied else None}
    if session.format != "table":
        emit(session, document)
    elif not applied:
        click.echo(f"{path} is up to date.")
    else:
        click.echo(f"Backed up to {backup}.")
        for step in applied:
            click.echo(f"Applied {step}.")


@app.command(examples=("mailer db check", "mailer db check --json"), shows=True)
async def check(session: Session) -> int:
    """Check the file and every rule that its rows must keep; exit code 1 if something is wrong.

    Changes nothing, and may run beside workers.
    """
    from mailer.cli.progress import progress

    async with session.store() as store:
        with progress(session, "Checking"):
            findings = await store.check()
        path = store.path
    rows = [{"rule": finding.rule, "row": finding.row, "what": finding.what} for finding in findings]
    if session.format == "table" and not rows:
        click.echo(f"{path}: nothing is wrong.")
    else:
        columns = (Column("rule"), Column("row"), Column("what", may_shrink=True))
        emit(session, {"database": str(path), "ok": not rows, "findings": rows}, rows=rows, columns=columns)
    return FINDINGS_LEFT if rows else 0


@app.command(
    examples=("mailer db backup /var/backups/mailer.db", 'mailer db backup "mailer-$(date +%F).db"'), shows=True
)
@click.argument("file", type=click.Path(path_type=Path))
def backup(session: Session, file: Path) -> None:
    """Write a copy of the database, as of now, to FILE.

    May run beside workers. Nothing is overwritten. To restore a copy, stop all workers and put it in the place of the
    database, without the -wal and -shm files that may lie there.
    """
    if file.is_symlink() or file.exists():
        raise Refused(f"{file} exists already.", "Give the backup a name of its own; nothing is overwritten.")
    if not file.parent.is_dir():
        raise InputError(f"cannot write {file}: there is no folder {file.parent}.", "Make it, or name another file.")
    path = session.run(_copy(session, file))
    size_bytes = file.stat().st_size
    if session.format == "table":
        click.echo(f"Backed up {path} to {file} ({size_bytes:,} bytes).")
    else:
        emit(session, {"database": str(path), "backup": str(file.absolute()), "size_bytes": size_bytes})


async def _copy(session: Session, file: Path) -> Path:
    from mailer.cli.progress import progress

    async with session.store() as store:
        with progress(session, "Backing up"):
            await store.back_up(file)
        return store.path


@app.command(examples=("mailer db stats", "mailer db stats --json"), shows=True)
async def show_stats(session: Session) -> None:
    """Show how large the database is, in bytes and in rows, and since when its oldest due message waits."""
    from mailer.cli.output import rfc3339

    async with session.store() as store:
        stats = await store.stats()
        path = store.path
    document = {
        "at": rfc3339(stats.at_us),
        "database": str(path),
        "version": stats.version,
        "size_bytes": stats.file_bytes,
        "wal_bytes": stats.wal_bytes,
        "free_bytes": stats.free_pages * stats.page_bytes,
        "oldest_due_at": rfc3339(stats.oldest_due_us),
    }
    if session.format == "table":
        in_rows = {f"{name} (rows)": count for name, count in stats.rows.items()}
        shown = [{"key": key.replace("_", " "), "value": value} for key, value in (document | in_rows).items()]
        emit(session, {}, rows=shown, columns=(Column("key", ""), Column("value", "")))
    else:
        emit(session, document | {"rows": dict(stats.rows)})


def _beside(path: Path) -> Path:
    """A name for the backup that nobody has yet: `mailer.db.before-upgrade-20261124T080000Z`."""
    from datetime import UTC, datetime

    return path.with_name(f"{path.name}.before-upgrade-{datetime.now(UTC):%Y%m%dT%H%M%SZ}")


command = app.group(
    "Look after the database: upgrade, check, back up.",
    examples=("mailer db check", "mailer db backup mailer-copy.db"),
    commands={
        "upgrade": "mailer.cli.db:upgrade",
        "check": "mailer.cli.db:check",
        "backup": "mailer.cli.db:backup",
        "stats": "mailer.cli.db:show_stats",
    },
)
