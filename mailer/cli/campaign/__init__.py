"""`mailer campaign`: making campaigns, changing them, looking at them."""

from __future__ import annotations

from mailer.cli import app

command = app.group(
    "Queue campaigns, change them, and see who got them.",
    examples=(
        "mailer campaign queue spring --from news@example.com --subject 'Hello {{ name }}' --text spring.txt "
        "--recipients list.csv",
        "mailer campaign show spring",
    ),
    commands={
        "queue": "mailer.cli.campaign.queue",
        "add": "mailer.cli.campaign.add",
        "drop": "mailer.cli.campaign.drop",
        "edit": "mailer.cli.campaign.edit",
        "list": "mailer.cli.campaign.listing",
        "show": "mailer.cli.campaign.show",
        "pause": "mailer.cli.campaign.pause:pause",
        "resume": "mailer.cli.campaign.pause:resume",
        "cancel": "mailer.cli.campaign.cancel",
        "delete": "mailer.cli.campaign.delete",
        "retry": "mailer.cli.campaign.retry",
        "preview": "mailer.cli.campaign.preview",
        "test": "mailer.cli.campaign.trial",
        "export": "mailer.cli.campaign.export",
    },
)
