"""`mailer campaign queue`: a campaign and its recipients, queued."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mailer.cli import app
from mailer.cli.campaign.answer import bad_rows_to, interruptible, show_queued, tell_warnings
from mailer.cli.campaign.options import (
    Stdin,
    content_options,
    files_of,
    ground_of,
    recipients_options,
    sending_options,
    wishes_of,
)
from mailer.cli.campaign.recipients import open_recipients
from mailer.cli.campaign.rehearsal import show_rehearsal
from mailer.cli.progress import progress
from mailer.cli.session import Session
from mailer.errors import UsageError

if TYPE_CHECKING:
    from mailer.content import RecipientFile
    from mailer.service.queue_draft import Draft
    from mailer.service.queue_rehearsal import Rehearsal


@app.command(
    examples=(
        "mailer campaign queue spring --from 'News <news@example.com>' --subject 'Hello {{ name }}' --text spring.txt "
        "--recipients list.csv",
        "mailer campaign queue spring --subject Hello --html spring.html --recipients list.csv "
        "--start-at 2030-03-01T08:00 --expires-in 2d --dry-run",
    ),
    shows=True,
)
@click.argument("name")
@content_options
@sending_options
@recipients_options
@click.option("--hold", is_flag=True, help="Queue it paused; `mailer campaign resume` starts it.")
@click.option(
    "--skip-bad",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Queue the rows that can be used; write the others and why to FILE.",
)
@click.option("--dry-run", is_flag=True, help="Render every row, show what would happen, change nothing.")
def command(
    session: Session,
    name: str,
    recipients: str | None,
    encoding: str | None,
    address_column: str | None,
    hold: bool,
    skip_bad: Path | None,
    dry_run: bool,
    **given: Any,
) -> int:
    """Queue a campaign to the recipients in a file.

    The same command again adds nobody; with a longer list it adds the new ones. A NAME that exists with other content
    or settings is refused. A row that cannot be used refuses the whole file.
    """
    from mailer.service.queue_draft import check_name, draft_from_files

    check_name(name)
    if recipients is None:
        raise UsageError("--recipients is missing.", "Add --recipients FILE, or - for standard input.")
    stdin = Stdin(text=given["text"], html=given["html"], recipients=recipients)
    ground = ground_of(session)
    draft = draft_from_files(name, files_of(session, given), wishes_of(given), ground, stdin=stdin.read)
    for relay in draft.idle:
        session.warn(f'mailer: warning: relay "{relay}" may not carry {draft.author} and will not be used.')
    if draft.settings.start_at_us is not None and draft.settings.start_at_us < ground.now_us:
        session.warn("mailer: warning: --start-at lies in the past: nothing is waited for.")
    with (
        interruptible(session),
        open_recipients(session, recipients, encoding=encoding, address_column=address_column) as rows,
    ):
        if dry_run:
            rehearsal = session.run(_rehearse(session, draft, rows, ground.now_us, hold=hold))
            show_rehearsal(session, rehearsal, ground.zone)
            _warn(session, rehearsal.estimate, rehearsal.deadline_us, draft, ground.now_us)
            return 1 if rehearsal.bad else 0
        queued = session.run(_queue(session, draft, rows, hold=hold, skip_bad=skip_bad))
    show_queued(session, queued, ground.zone, bad_file=skip_bad)
    _warn(session, queued.estimate, queued.deadline_us, draft, ground.now_us)
    return 0


async def _queue(session: Session, draft: Draft, rows: RecipientFile, *, hold: bool, skip_bad: Path | None) -> Any:
    from mailer.clocks import wall_clock
    from mailer.service.queueing import queue

    with (
        progress(session, f"Queueing {draft.name}", total=rows.size_bytes, unit="bytes") as bar,
        bad_rows_to(skip_bad) as on_bad,
    ):
        return await queue(
            draft,
            rows,
            lambda: session.store(create=True),
            clock=wall_clock,
            hold=hold,
            on_bad=on_bad,
            on_progress=lambda: bar.update(rows.read_bytes),
        )


async def _rehearse(session: Session, draft: Draft, rows: RecipientFile, now_us: int, *, hold: bool) -> Rehearsal:
    from contextlib import AsyncExitStack

    from mailer.service.queue_rehearsal import rehearse

    async with AsyncExitStack() as stack:
        # Nothing is made here: without a database nobody is queued yet.
        exists = session.config.database.path.exists()
        store = await stack.enter_async_context(session.store()) if exists else None
        bar = stack.enter_context(progress(session, f"Rendering {draft.name}", total=rows.size_bytes, unit="bytes"))
        return await rehearse(
            draft, rows, store, now_us=now_us, hold=hold, on_progress=lambda: bar.update(rows.read_bytes)
        )


def _warn(session: Session, estimate: Any, deadline_us: int | None, draft: Draft, now_us: int) -> None:
    from mailer.service.queueing import warnings

    start_at_us = max(now_us, draft.settings.start_at_us or 0)
    tell_warnings(session, warnings(estimate, deadline_us, start_at_us, draft.settings.zone))
