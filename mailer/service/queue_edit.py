"""Editing: a campaign's content and settings, changed where something new was typed and kept everywhere else.

What has been attempted keeps the version it was sent with. Everybody who still waits must fit the new content, so their
fields are looked up before anything is changed; one who does not fit refuses the edit.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

from mailer.content import Content, ContentFiles, read_content
from mailer.core.address import domain_of
from mailer.core.message import OnUncertain, State
from mailer.errors import InputError, Refused, UsageError
from mailer.service.queue_difference import content_differences, setting_differences
from mailer.service.queue_draft import (
    Draft,
    Ground,
    author_of,
    check_deadline,
    checked_priority,
    edited,
    envelope_address,
    instant,
)
from mailer.service.queue_rows import SHOWN, RowCheck
from mailer.service.queue_settings import Settings
from mailer.service.queue_when import parse_duration_us
from mailer.store import Campaign, Store

__all__ = ["Changes", "Edited", "edit"]

# Whose message may still be made from the new content. What is in hand comes back to its lane if it is not sent.
WAITING: Final = (State.QUEUED, State.DEFERRED, State.SENDING, State.UNCERTAIN)

Source = Path | Literal["-", ""]


@dataclass(frozen=True, slots=True)
class Changes:
    """What was typed. None: leave it as it is; an empty text or tuple: take it away."""

    sender: str | None = None
    subject: str | None = None
    text: Source | None = None
    html: Source | None = None
    attach: tuple[Path, ...] | None = None
    inline: tuple[tuple[str, Path], ...] | None = None
    headers: tuple[tuple[str, str], ...] | None = None
    reply_to: str | None = None
    to_name: str | None = None
    variables: Mapping[str, str] | None = None
    list_name: str | None = None
    envelope_from: str | None = None
    relays: tuple[str, ...] | None = None
    start_at: str | None = None
    expires_at: str | None = None
    expires_in: str | None = None
    priority: int | None = None
    on_uncertain: OnUncertain | None = None


@dataclass(frozen=True, slots=True)
class Edited:
    """What an edit did."""

    version: int
    state: str
    changed: tuple[str, ...]
    """What differs from before, as `queue` would name it."""
    waiting: int
    """Messages that have not come to an end."""
    start_at_us: int | None
    deadline_us: int | None


async def edit(store: Store, name: str, changes: Changes, ground: Ground, *, stdin: Callable[[], bytes]) -> Edited:
    """Change campaign `name`. Raises what `queue` does for a bad draft; InputError if somebody does not fit it."""
    campaign = await store.campaigns.find(name)
    if campaign.state in ("loading", "cancelling", "cancelled"):
        raise Refused(f"campaign {name} is {campaign.state}; it cannot be edited.", "Queue under another name.")
    stored = await store.campaigns.content(campaign.id, campaign.version)
    settings = Settings.from_json(campaign.settings)
    before = Content.from_json(stored.body)
    content, blobs = _changed_content(before, stored.blobs, changes, stdin)
    after = _changed_settings(settings, before, content, changes, ground)
    changed = [*content_differences(before, content), *setting_differences(settings, after)]
    version = campaign.version
    if changed:
        draft = edited(campaign.name, content, blobs, after, ground)
        await _refuse_if_somebody_does_not_fit(store, campaign.id, draft)
        snapshot = replace(draft.snapshot(ground.now_us), expires_at_us=_deadline(campaign, after, changes, ground))
        version = await store.campaigns.edit(name, snapshot)
    campaign = await store.campaigns.find(name)
    counts = (await store.reading.status(name)).campaigns[0]
    return Edited(version, campaign.state, tuple(changed), counts.to_do, campaign.start_at_us, campaign.expires_at_us)


def _changed_content(
    old: Content, old_blobs: Mapping[str, bytes], changes: Changes, stdin: Callable[[], bytes]
) -> tuple[Content, Mapping[str, bytes]]:
    read, new_blobs = _read(old, changes, stdin)
    content = replace(
        old,
        sender=read.sender,
        subject=read.subject,
        text=old.text if changes.text is None else None if changes.text == "" else read.text,
        html=old.html if changes.html is None else None if changes.html == "" else read.html,
        reply_to=read.reply_to,
        to_name=read.to_name,
        headers=read.headers,
        variables=read.variables,
        attachments=old.attachments if changes.attach is None else read.attachments,
        inline=old.inline if changes.inline is None else read.inline,
        list_name=read.list_name,
    )
    if content.text is None and content.html is None:
        raise InputError("nothing would be left to send: neither text nor HTML.")
    known = {**old_blobs, **new_blobs}
    digests = {part.digest for part in (*content.attachments, *content.inline)}
    return content, {digest: known[digest] for digest in digests}


def _read(old: Content, changes: Changes, stdin: Callable[[], bytes]) -> tuple[Content, Mapping[str, bytes]]:
    """What was typed, read and checked by the content room; words that were not typed stand in it as they were."""
    # What is taken away is not there to be shown, or to show something, any more.
    keeps = replace(
        old,
        html=None if changes.html == "" else old.html,
        inline=old.inline if changes.inline is None else (),
    )
    files = ContentFiles(
        sender=old.sender if changes.sender is None else changes.sender,
        subject=old.subject if changes.subject is None else changes.subject,
        text=changes.text or None,
        html=changes.html or None,
        attach=changes.attach or (),
        inline=changes.inline or (),
        headers=old.headers if changes.headers is None else changes.headers,
        reply_to=old.reply_to if changes.reply_to is None else changes.reply_to or None,
        to_name=old.to_name if changes.to_name is None else changes.to_name or None,
        variables=old.variables if changes.variables is None else changes.variables,
        list_name=old.list_name if changes.list_name is None else changes.list_name or None,
        keeps=keeps,
    )
    return read_content(files, stdin)


def _changed_settings(old: Settings, before: Content, after: Content, changes: Changes, ground: Ground) -> Settings:
    changed: dict[str, Any] = {}
    if changes.envelope_from is not None:
        changed["envelope_from"] = envelope_address(changes.envelope_from)
    elif old.envelope_from == author_of(before.sender):
        changed["envelope_from"] = author_of(after.sender)  # it was not set, or set to what it is without
    if changes.relays is not None:
        changed["relays"] = changes.relays
    if changes.start_at is not None:
        changed["start_at_us"] = instant(changes.start_at, ground, "--start-at")
    if changes.expires_at is not None or changes.expires_in is not None:
        # One takes the place of the other.
        changed["expires_at_us"] = instant(changes.expires_at, ground, "--expires-at")
        changed["expires_in_us"] = (
            parse_duration_us(changes.expires_in, option="--expires-in") if changes.expires_in else None
        )
    if changes.priority is not None:
        changed["priority"] = checked_priority(changes.priority)
    if changes.on_uncertain is not None:
        changed["on_uncertain"] = changes.on_uncertain
    settings = replace(old, **changed)
    if "expires_at_us" in changed or "start_at_us" in changed:
        check_deadline(settings, ground)
    return settings


def _deadline(campaign: Campaign, after: Settings, changes: Changes, ground: Ground) -> int | None:
    """When the edited campaign ends. A length that was typed now counts from now: from queueing it might be over."""
    if changes.expires_in or after.expires_in_us is None:
        return after.deadline_us(ground.now_us)
    if changes.start_at is None:
        return campaign.expires_at_us
    deadline = after.deadline_us(campaign.created_at_us)
    if deadline is not None and deadline <= ground.now_us:
        raise UsageError("with that start the deadline lies in the past: nothing would be sent.", "Add --expires-in.")
    return deadline


async def _refuse_if_somebody_does_not_fit(store: Store, campaign_id: int, draft: Draft) -> None:
    check = RowCheck(draft.compiled, domain_of(draft.author))
    misfits: list[str] = []
    count = 0
    async for row in store.reading.export(campaign_id, WAITING):
        problem = check.problem(row.address, json.loads(row.fields), row.fields)
        if problem is not None:
            count += 1
            if len(misfits) < SHOWN:
                misfits.append(f"{row.address}: {problem}.")
    if count:
        more = [f"… and {count - len(misfits):,} more."] if count > len(misfits) else []
        raise InputError(
            f"{count:,} recipients who still wait do not fit the new content. Nothing was changed.",
            "\n".join([*misfits, *more]),
        )
