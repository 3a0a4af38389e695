"""`mailer campaign show`: one campaign with its settings, its content and its counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mailer.cli import app, names
from mailer.cli.campaign.figures import figures
from mailer.cli.output import emit
from mailer.cli.session import Session

if TYPE_CHECKING:
    from mailer.content import Content
    from mailer.service.queue_settings import Settings
    from mailer.store import CampaignStatus


@app.command(examples=("mailer campaign show spring", "mailer campaign show spring --json"), shows=True)
@click.argument("name", type=names.CAMPAIGN)
async def command(session: Session, name: str) -> None:
    """Show what a campaign is made of, how it is sent, and how far it is."""
    from mailer.content import Content
    from mailer.service.queue_settings import Settings

    async with session.store() as store:
        campaign = await store.campaigns.find(name)
        stored = await store.campaigns.content(campaign.id, campaign.version)
        status = (await store.reading.status(name)).campaigns[0]
    content, settings = Content.from_json(stored.body), Settings.from_json(campaign.settings)
    if session.format == "table":
        emit(session, _in_words(status, content, settings, stored.digest))
        return
    emit(
        session,
        figures(status)
        | {
            "digest": stored.digest,
            "from": content.sender,
            "envelope_from": settings.envelope_from,
            "subject": content.subject,
            "text": content.text,
            "html": content.html,
            "reply_to": content.reply_to,
            "to_name": content.to_name,
            "headers": [list(header) for header in content.headers],
            "set": dict(content.variables),
            "list": content.list_name,
            "attachments": [_part(part) for part in content.attachments],
            "inline": [_part(part) for part in content.inline],
            "relays": list(settings.relays),
            "zone": settings.zone,
            "today": settings.today.isoformat(),
        },
    )


def _part(part: Any) -> dict[str, Any]:
    return {"name": part.name, "mime_type": part.mime_type, "size_bytes": part.size_bytes, "digest": part.digest}


def _in_words(status: CampaignStatus, content: Content, settings: Settings, digest: str) -> dict[str, Any]:
    from mailer.core.message import OnUncertain
    from mailer.service.queue_when import in_zone

    def at(instant: int | None, otherwise: str) -> str:
        return otherwise if instant is None else in_zone(instant, settings.zone)

    wait = "sent again" if settings.on_uncertain is OnUncertain.RESEND else "held for you to decide"
    counts = ", ".join(f"{count:,} {state}" for state, count in status.counts.items() if count)
    shown: dict[str, Any] = {
        "campaign": status.name,
        "state": f"{status.state}: {status.reason}" if status.reason else status.state,
        "recipients": f"{status.total:,}" + (f" ({counts})" if counts else ""),
        "in doubt": status.in_doubt or None,
        "from": content.sender,
        "envelope from": None if settings.envelope_from in content.sender else settings.envelope_from or "<>",
        "reply to": content.reply_to,
        "subject": content.subject,
        "content": _kinds(content),
        "version": f"{status.version}, digest {digest[:12]}",
        "headers": "; ".join(f"{name}: {value}" for name, value in content.headers) or None,
        "set": ", ".join(f"{key}={value}" for key, value in content.variables.items()) or None,
        "list": content.list_name,
        "relays": ", ".join(settings.relays) or "any that may carry it",
        "priority": f"{settings.priority} (-10 to 10, higher first)",
        "in doubt, a message is": wait,
        "starts": at(status.start_at_us, "at once"),
        "deadline": at(status.expires_at_us, "none"),
        "queued at": at(status.created_at_us, ""),
        "started at": at(status.started_at_us, "not yet"),
        "finished at": at(status.finished_at_us, "not yet"),
    }
    return {key: value for key, value in shown.items() if value is not None}


def _kinds(content: Content) -> str:
    kinds = [word for word, part in (("text", content.text), ("HTML", content.html)) if part is not None]
    if content.inline:
        kinds.append("pictures " + ", ".join(part.name for part in content.inline))
    kinds += [f"{part.name} ({part.size_bytes:,} bytes)" for part in content.attachments]
    return ", ".join(kinds)
