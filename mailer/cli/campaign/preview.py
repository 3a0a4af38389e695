"""`mailer campaign preview`: one message as its recipient would get it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mailer.cli import app, names
from mailer.cli.campaign.options import content_options, recipients_options, sending_options
from mailer.cli.campaign.specimen import specimen_of
from mailer.cli.output import emit, open_output
from mailer.cli.session import Session
from mailer.cli.table import printable

if TYPE_CHECKING:
    from mailer.service.specimen import Specimen


@app.command(
    examples=(
        "mailer campaign preview spring --recipient bob@example.com",
        "mailer campaign preview --subject 'Hello {{ name }}' --text spring.txt --recipients list.csv --output bob.eml",
    ),
    shows=True,
)
@click.argument("name", required=False, type=names.CAMPAIGN)
@content_options
@sending_options
@recipients_options
@click.option("--recipient", metavar="ADDRESS", help="With this recipient's fields; default: the first one's.")
@click.option(
    "--output", metavar="FILE", type=click.Path(path_type=Path), help="Write the whole message (.eml); - is stdout."
)
def command(session: Session, name: str | None, recipient: str | None, output: Path | None, **given: Any) -> None:
    """Show one message as its recipient would get it, of a campaign or of the options of `queue`.

    Nothing is stored and nothing is sent.
    """
    from mailer.clocks import wall_clock

    specimen = specimen_of(session, name, recipient, given)
    if output is not None:
        composed = specimen.compose(wall_clock())
        with open_output(output, binary=True) as file:
            file.writelines(composed.chunks)
        session.note(f"The message to {specimen.address} has {composed.size_bytes:,} bytes.")
        return
    _show(session, specimen, specimen.compose(wall_clock()).size_bytes)


def _show(session: Session, specimen: Specimen, size_bytes: int) -> None:
    content, rendered = specimen.draft.content, specimen.render()
    attachments = [part.name for part in content.attachments]
    if session.format != "table":
        emit(
            session,
            {
                "address": specimen.address,
                "from": content.sender,
                "to": rendered.to,
                "subject": rendered.subject,
                "text": rendered.text,
                "html": rendered.html,
                "attachments": attachments,
                "inline": [part.name for part in content.inline],
                "size_bytes": size_bytes,
            },
        )
        return
    for title, value in (("From", content.sender), ("To", rendered.to), ("Subject", rendered.subject)):
        click.echo(f"{title}: {printable(value)}")
    if attachments:
        click.echo(f"Attached: {printable(', '.join(attachments))}")
    click.echo()
    for line in (rendered.text or "").splitlines():
        click.echo(printable(line))
    with_html = " with an HTML part" if rendered.html else ""
    session.note(f"{size_bytes:,} bytes{with_html}; --output FILE writes the message as it would be sent.")
