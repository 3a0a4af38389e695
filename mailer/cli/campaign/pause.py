"""`mailer campaign pause` and `resume`: stop sending for a while, go on."""

from __future__ import annotations

import click

from mailer.cli import app, names
from mailer.cli.campaign.said import say
from mailer.cli.session import Session


@app.command(examples=("mailer campaign pause spring", "mailer campaign pause spring --json"), shows=True)
@click.argument("name", type=names.CAMPAIGN)
async def pause(session: Session, name: str) -> None:
    """Send nothing more of a campaign until it is resumed.

    What is on the wire already goes out. Harmless twice.
    """
    async with session.store() as store:
        await store.campaigns.pause(name)
        state = (await store.campaigns.find(name)).state
    say(session, f"Campaign {name} is paused.", {"campaign": name, "state": state})


@app.command(examples=("mailer campaign resume spring", "mailer campaign resume spring --json"), shows=True)
@click.argument("name", type=names.CAMPAIGN)
async def resume(session: Session, name: str) -> None:
    """Go on with a paused or held campaign.

    One whose start lies ahead waits for it. Harmless when it runs already.
    """
    from mailer.service.queue_when import in_zone

    async with session.store() as store:
        await store.campaigns.resume(name)
        campaign = await store.campaigns.find(name)
    sentence = f"Campaign {name} is {campaign.state}."
    if campaign.state == "scheduled" and campaign.start_at_us is not None:
        sentence = f"Campaign {name} starts at {in_zone(campaign.start_at_us, session.loaded.zone)}."
    say(session, sentence, {"campaign": name, "state": campaign.state})
