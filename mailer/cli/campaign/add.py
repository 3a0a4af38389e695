"""`mailer campaign add`: more recipients for a campaign that exists."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mailer.cli import app, names
from mailer.cli.campaign.answer import bad_rows_to, interruptible, show_queued
from mailer.cli.campaign.options import ground_of, recipients_options
from mailer.cli.campaign.recipients import open_recipients
from mailer.cli.progress import progress
from mailer.cli.session import Session
from mailer.errors import UsageError

if TYPE_CHECKING:
    from mailer.content import RecipientFile
    from mailer.service.queueing import Queued


@app.command(
    examples=(
        "mailer campaign add spring --recipients more.csv",
        "mailer campaign add spring --recipients - < more.csv",
    ),
    shows=True,
)
@click.argument("name", type=names.CAMPAIGN)
@recipients_options
@click.option(
    "--skip-bad",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Add the rows that can be used; write the others and why to FILE.",
)
def command(
    session: Session,
    name: str,
    recipients: str | None,
    encoding: str | None,
    address_column: str | None,
    skip_bad: Path | None,
) -> None:
    """Add recipients to a campaign; who stands in it already is left alone.

    A finished campaign runs again; a cancelled one takes nobody.
    """
    if recipients is None:
        raise UsageError("--recipients is missing.", "Add --recipients FILE, or - for standard input.")
    with (
        interruptible(session),
        open_recipients(session, recipients, encoding=encoding, address_column=address_column) as rows,
    ):
        queued = session.run(_add(session, name, rows, skip_bad))
    show_queued(session, queued, session.loaded.zone, bad_file=skip_bad)


async def _add(session: Session, name: str, rows: RecipientFile, skip_bad: Path | None) -> Queued:
    from mailer.clocks import wall_clock
    from mailer.service.queue_draft import draft_from_store
    from mailer.service.queueing import add_recipients

    async with session.store() as store:
        campaign = await store.campaigns.find(name)
        stored = await store.campaigns.content(campaign.id, campaign.version)
        draft = draft_from_store(campaign, stored, ground_of(session))
        with (
            progress(session, f"Adding to {name}", total=rows.size_bytes, unit="bytes") as bar,
            bad_rows_to(skip_bad) as on_bad,
        ):
            return await add_recipients(
                draft,
                rows,
                store,
                clock=wall_clock,
                on_bad=on_bad,
                on_progress=lambda: bar.update(rows.read_bytes),
            )
