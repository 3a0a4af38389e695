"""`mailer campaign list`: all campaigns."""

from __future__ import annotations

from typing import Final

from mailer.cli import app
from mailer.cli.campaign.figures import figures
from mailer.cli.output import Column, emit
from mailer.cli.session import Session

COLUMNS: Final = (
    Column("name"),
    Column("state"),
    Column("total", right=True),
    Column("queued", right=True),
    Column("deferred", right=True),
    Column("sending", right=True),
    Column("sent", right=True),
    Column("failed", right=True),
    Column("uncertain", right=True),
    Column("suppressed", right=True, in_table=False),
    Column("cancelled", right=True, in_table=False),
    Column("bounced", right=True, in_table=False),
    Column("in_doubt", right=True, in_table=False),
    Column("version", right=True, in_table=False),
    Column("priority", right=True, in_table=False),
    Column("on_uncertain", in_table=False),
    Column("start_at", in_table=False),
    Column("expires_at", in_table=False),
    Column("created_at", "CREATED"),
    Column("started_at", in_table=False),
    Column("finished_at", in_table=False),
    Column("reason", may_shrink=True),
)


@app.command(examples=("mailer campaign list", "mailer campaign list --format csv"), shows=True)
async def command(session: Session) -> None:
    """Show all campaigns, the oldest first."""
    async with session.store() as store:
        status = await store.reading.status()
    rows = [figures(campaign) for campaign in status.campaigns if campaign.kind == "campaign"]
    if session.format == "table" and not rows:
        session.note("There is no campaign yet; `mailer campaign queue` makes one.")
        return
    emit(session, {"campaigns": rows}, rows=rows, columns=COLUMNS)
