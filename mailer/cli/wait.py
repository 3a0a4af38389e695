"""When `status --wait` is over: what has ended, and what only an operator can move on. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection

from mailer.cli.figures import held, is_ended
from mailer.cli.table import printable
from mailer.core.message import State
from mailer.store import CampaignStatus, Status

__all__ = ["blocked", "is_over"]

Able = Callable[[CampaignStatus], Collection[str]]
"""The names of the relays that may carry a campaign."""


def is_over(status: Status, waited_for: Collection[int], able: Able) -> bool:
    """Whether each of the campaigns that are waited for (by id) has ended or is blocked."""
    return all(
        is_ended(campaign) or why_blocked(campaign, status, able) is not None
        for campaign in status.campaigns
        if campaign.id in waited_for
    )


def blocked(status: Status, waited_for: Collection[int], able: Able) -> list[str]:
    """A sentence for each of those campaigns that only an operator can move on."""
    reasons = [
        (campaign.name, why_blocked(campaign, status, able))
        for campaign in status.campaigns
        if campaign.id in waited_for
    ]
    return [printable(f"{name}: {reason}") for name, reason in reasons if reason is not None]


def why_blocked(campaign: CampaignStatus, status: Status, able: Able) -> str | None:
    """Why nothing more happens in `campaign` by itself; None if something may, or if it has ended well."""
    if is_ended(campaign):
        kept = held(campaign)
        return f"{kept:,} uncertain and held, until an operator decides" if kept else None
    if campaign.counts[State.SENDING]:
        return None  # what is in a worker's hands comes to an end of its own
    if campaign.state == "paused":
        return f"{campaign.to_do:,} left, paused" + (f": {campaign.reason}" if campaign.reason else "")
    if campaign.state != "running":
        return None
    relays = able(campaign)
    if not relays:
        return f"{campaign.to_do:,} left, no configured relay may carry it"
    said = {relay.name: relay for relay in status.relays}
    if all(name in said and said[name].state == "stopped" for name in relays):
        why = "; ".join(f"relay {name} is stopped: {said[name].reason}" for name in relays)
        return f"{campaign.to_do:,} left, {why}"
    return None
