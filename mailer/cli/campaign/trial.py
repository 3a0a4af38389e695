"""`mailer campaign test`: one message, sent for real, to yourself."""

from __future__ import annotations

from typing import Any

import click

from mailer.cli import app, names
from mailer.cli.campaign.options import content_options, recipients_options, sending_options
from mailer.cli.campaign.specimen import specimen_of
from mailer.cli.output import emit
from mailer.cli.session import Session
from mailer.cli.table import printable
from mailer.errors import InputError


@app.command(
    examples=(
        "mailer campaign test spring --to me@example.com",
        "mailer campaign test --subject 'Hello {{ name }}' --text spring.txt --recipients list.csv --to me@example.com",
    ),
    shows=True,
)
@click.argument("name", required=False, type=names.CAMPAIGN)
@content_options
@sending_options
@recipients_options
@click.option("--to", metavar="ADDRESS", required=True, help="Who gets it.")
@click.option("--recipient", metavar="ADDRESS", help="With this recipient's fields; default: the first one's.")
def command(session: Session, name: str | None, to: str, recipient: str | None, **given: Any) -> None:
    """Send one message now, marked `[test]`, through the campaign's own relay, and show the answer.

    It counts in no tally and no recipient of the campaign gets it.
    """
    from random import Random

    from mailer.clocks import wall_clock
    from mailer.core.address import BadAddress, wire_address
    from mailer.core.message import Envelope
    from mailer.service.trial import send_trial

    try:
        recipient_on_wire = wire_address(to)
    except BadAddress as error:
        raise InputError(f"--to {to!r} is no address: {error}.") from None
    specimen = specimen_of(session, name, recipient, given)
    draft = specimen.draft
    relay = draft.carriers[0]
    sender = draft.settings.envelope_from
    envelope = Envelope(wire_address(sender) if sender else "", recipient_on_wire)
    composed = specimen.compose(wall_clock(), to=to)
    result = session.run(send_trial(relay, envelope, composed, clock=wall_clock, random=Random()))  # noqa: S311 - jitter
    reply = result.reply
    code, enhanced, text = (reply.code, reply.enhanced, reply.text) if reply else (None, None, "")
    if session.format == "table":
        words = " ".join(part for part in (str(code), enhanced, " ".join(text.split())) if part)
        click.echo(f"{printable(to)}: {printable(words)}")
        session.note(f"Sent through {relay.name}, with the fields of {specimen.address}.")
        return
    emit(
        session,
        {
            "to": to,
            "recipient": specimen.address,
            "relay": relay.name,
            "code": code,
            "enhanced": enhanced,
            "text": text,
            "milliseconds": result.duration_us // 1_000,
            "tls": result.tls,
        },
    )
