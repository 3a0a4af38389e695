"""`mailer campaign retry`: messages that ended badly, queued again."""

from __future__ import annotations

from typing import Final

import click

from mailer.cli import app, names
from mailer.cli.campaign.said import say
from mailer.cli.message import checked_category
from mailer.cli.output import confirm
from mailer.cli.session import Session
from mailer.errors import UsageError

# More than this at once is asked about: to try the wrong thousand again costs reputation that is not won back.
ASKED_ABOVE: Final = 1_000


@app.command(
    examples=(
        "mailer campaign retry spring --failed",
        "mailer campaign retry spring --category mailbox-full --dry-run",
    ),
    shows=True,
)
@click.argument("name", type=names.CAMPAIGN)
@click.option("--failed", is_flag=True, help="Those that failed.")
@click.option("--uncertain", is_flag=True, help="Those of which nobody knows whether the relay took them.")
@click.option("--category", metavar="CATEGORY", help="Failed ones whose last reply has this category.")
@click.option("--include-permanent", is_flag=True, help="Also those whose address the server called wrong.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Say how many would be queued again, change nothing.")
async def command(
    session: Session,
    name: str,
    failed: bool,
    uncertain: bool,
    category: str | None,
    include_permanent: bool,
    yes: bool,
    dry_run: bool,
) -> None:
    """Queue messages again that ended badly.

    Addresses that the server called wrong (no-such-user, bad-domain) are left alone unless their category is named or
    --include-permanent is given. A finished campaign runs again.
    """
    from mailer.core.message import State

    if failed and uncertain:
        raise UsageError("--failed and --uncertain name two kinds of messages; give one.")
    if not (failed or uncertain or category):
        raise UsageError("it is not said what to try again.", "Add --failed, --uncertain or --category CATEGORY.")
    if category is not None:
        checked_category(category, of_success=False)
    state = State.UNCERTAIN if uncertain else State.FAILED
    async with session.store() as store:
        chosen = await store.campaigns.retryable(
            name, state=state, category=category, include_permanent=include_permanent
        )
        left = 0
        if category is None and not include_permanent:
            everyone = await store.campaigns.retryable(name, state=state, include_permanent=True)
            left = len(everyone) - len(chosen)
        if left:
            session.note(
                f"{left:,} are left alone: the server called their address wrong. --include-permanent takes them too."
            )
        if dry_run:
            say(
                session,
                f"This would queue {len(chosen):,} {state} messages of campaign {name} again. Nothing was changed.",
                {"campaign": name, "would_queue": len(chosen), "left_alone": left},
            )
            return
        if len(chosen) > ASKED_ABOVE:
            confirm(session, f"send {len(chosen):,} {state} messages of campaign {name} again", yes=yes)
        queued = await store.campaigns.retry(name, chosen, state)
        after = await store.campaigns.find(name)
    say(
        session,
        f"{queued:,} {state} messages of campaign {name} are queued again."
        if queued
        else f"Campaign {name} has no {state} message to try again.",
        {"campaign": name, "state": after.state, "queued": queued, "left_alone": left},
    )
