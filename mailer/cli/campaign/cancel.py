"""`mailer campaign cancel`: what waits is never sent."""

from __future__ import annotations

import click

from mailer.cli import app, names
from mailer.cli.campaign.said import say
from mailer.cli.output import confirm
from mailer.cli.session import Session
from mailer.core.message import State


@app.command(examples=("mailer campaign cancel spring", "mailer campaign cancel spring --dry-run"), shows=True)
@click.argument("name", type=names.CAMPAIGN)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Say what would be cancelled, change nothing.")
async def command(session: Session, name: str, yes: bool, dry_run: bool) -> None:
    """End a campaign: what still waits is never sent.

    It takes effect at once. What is on the wire already ends as the relay answers. A cancelled campaign cannot be
    taken up again.
    """
    async with session.store() as store:
        before = (await store.reading.status(name)).campaigns[0]
        waiting = await store.campaigns.waiting(name)
        if dry_run:
            say(
                session,
                f"This would cancel {waiting:,} waiting messages of campaign {name}. Nothing was changed.",
                {"campaign": name, "state": before.state, "would_cancel": waiting},
            )
            return
        if before.state in ("running", "scheduled", "paused"):  # otherwise there is nothing to ask about
            confirm(session, f"cancel {waiting:,} waiting messages of campaign {name}", yes=yes)
        await store.campaigns.cancel(name)
        # What a cancel that was killed has left; the one above ends its own.
        await store.campaigns.sweep()
        after = (await store.reading.status(name)).campaigns[0]
    cancelled = after.counts[State.CANCELLED] - before.counts[State.CANCELLED]
    sending = after.counts[State.SENDING]
    on_the_way = f" {sending:,} are on the wire and end as the relay answers." if sending else ""
    say(
        session,
        f"Campaign {name} is {after.state}; {cancelled:,} messages were cancelled.{on_the_way}",
        {"campaign": name, "state": after.state, "cancelled": cancelled, "on_the_way": sending},
    )
