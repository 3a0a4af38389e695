"""`mailer relay`: the servers that take our mail, as configured and as they answer."""

from __future__ import annotations

from mailer.cli import app

command = app.group(
    "The servers that take our mail: settings, state, and trying one out.",
    examples=("mailer relay list", "mailer relay check qq --transcript"),
    commands={"list": "mailer.cli.relay.listing", "check": "mailer.cli.relay.check"},
)
