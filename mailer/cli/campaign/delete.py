"""`mailer campaign delete`: a campaign that has ended, and everything recorded of it."""

from __future__ import annotations

import click

from mailer.cli import app, names
from mailer.cli.campaign.said import say
from mailer.cli.output import confirm
from mailer.cli.session import Session


@app.command(examples=("mailer campaign delete spring", "mailer campaign delete spring --yes"), shows=True)
@click.argument("name", type=names.CAMPAIGN)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Say what would be deleted, change nothing.")
async def command(session: Session, name: str, yes: bool, dry_run: bool) -> None:
    """Remove a finished or cancelled campaign with all that is recorded of it."""
    async with session.store() as store:
        status = (await store.reading.status(name)).campaigns[0]
        ended = status.state in ("finished", "cancelled")
        if dry_run and ended:
            say(
                session,
                f"This would delete campaign {name} with {status.total:,} messages. Nothing was changed.",
                {"campaign": name, "would_delete": status.total},
            )
            return
        if ended:  # otherwise the store refuses, and there is nothing to ask
            confirm(session, f"delete campaign {name} with {status.total:,} messages and all their replies", yes=yes)
        deleted = await store.campaigns.delete(name)
    say(
        session,
        f"Campaign {name} is deleted, with {deleted:,} messages.",
        {"campaign": name, "deleted": deleted},
    )
