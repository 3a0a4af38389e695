"""`mailer campaign edit`: other content or settings for what has not been sent yet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mailer.cli import app, names
from mailer.cli.campaign.options import (
    Stdin,
    content_options,
    ground_of,
    headers_of,
    pairs_of,
    sending_options,
    source_of,
)
from mailer.cli.campaign.said import say
from mailer.cli.output import rfc3339
from mailer.cli.session import Session
from mailer.errors import UsageError

if TYPE_CHECKING:
    from mailer.service.queue_edit import Changes, Edited


@app.command(
    examples=(
        "mailer campaign edit spring --subject 'Spring is here, {{ name }}'",
        "mailer campaign edit spring --text spring.txt --priority 5",
    ),
    shows=True,
)
@click.argument("name", type=names.CAMPAIGN)
@content_options
@sending_options
def command(session: Session, name: str, **given: Any) -> None:
    """Change what a campaign sends to those who have not got it yet, and how.

    What is not named stays; an empty value, as in --reply-to '', takes something away. Each message records the version
    that it was sent with.
    """
    stdin = Stdin(text=given["text"], html=given["html"])
    changes = _changes(given)
    edited = session.run(_edit(session, name, changes, stdin))
    say(
        session,
        _sentence(name, edited, session.loaded.zone),
        {
            "campaign": name,
            "version": edited.version,
            "state": edited.state,
            "changed": list(edited.changed),
            "waiting": edited.waiting,
            "start_at": rfc3339(edited.start_at_us),
            "expires_at": rfc3339(edited.deadline_us),
        },
    )


async def _edit(session: Session, name: str, changes: Changes, stdin: Stdin) -> Edited:
    from mailer.service.queue_edit import edit

    async with session.store() as store:
        return await edit(store, name, changes, ground_of(session), stdin=stdin.read)


def _changes(given: dict[str, Any]) -> Changes:
    from mailer.core.message import OnUncertain
    from mailer.service.queue_edit import Changes

    if all(value in (None, ()) for value in given.values()):
        raise UsageError("nothing is to be changed.", "Name what, e.g. --subject 'Hello {{ name }}'.")

    def several(name: str) -> tuple[str, ...] | None:
        """What was typed; one empty value takes all away."""
        values: tuple[str, ...] = given[name]
        return None if not values else () if values == ("",) else values

    attach, inline, headers, variables = map(several, ("attach", "inline", "headers", "variables"))
    return Changes(
        sender=given["sender"],
        subject=given["subject"],
        text=None if given["text"] is None else source_of(given["text"]) or "",
        html=None if given["html"] is None else source_of(given["html"]) or "",
        attach=None if attach is None else tuple(map(Path, attach)),
        inline=None
        if inline is None
        else tuple((part, Path(path)) for part, path in pairs_of(inline, "--inline", "NAME=FILE")),
        headers=None if headers is None else tuple(headers_of(headers)),
        reply_to=given["reply_to"],
        to_name=given["to_name"],
        variables=None if variables is None else dict(pairs_of(variables, "--set", "KEY=VALUE")),
        list_name=given["list_name"],
        envelope_from=given["envelope_from"],
        relays=several("relays"),
        start_at=given["start_at"],
        expires_at=given["expires_at"],
        expires_in=given["expires_in"],
        priority=given["priority"],
        on_uncertain=OnUncertain(given["on_uncertain"]) if given["on_uncertain"] else None,
    )


def _sentence(name: str, edited: Edited, zone: str) -> str:
    from mailer.service.queue_when import in_zone

    if not edited.changed:
        return f"Campaign {name} is like that already; nothing was changed."
    times = [
        f" {word} {in_zone(at, zone)}."
        for option, word, at in (
            ("start-at", "It starts at", edited.start_at_us),
            ("expires", "Its deadline is", edited.deadline_us),
        )
        if at is not None and any(one.startswith(option) for one in edited.changed)
    ]
    return (
        f"Campaign {name} has version {edited.version} for the {edited.waiting:,} messages that have not ended; "
        f"changed: {', '.join(edited.changed)}.{''.join(times)}"
    )
