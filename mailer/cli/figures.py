"""What is reckoned from a status: how far a campaign is, when it will be through, what the relays carry. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from mailer.cli.known import Known
from mailer.core.message import OnUncertain, State
from mailer.store import CampaignStatus, RelayStatus, Status, Worker

__all__ = ["duration_words", "eta_seconds", "held", "is_ended", "live", "per_cent", "relays_of", "waiting"]

ENDED: Final = frozenset({"finished", "cancelled"})


def is_ended(campaign: CampaignStatus) -> bool:
    """Nothing more happens in it unless an operator acts."""
    return campaign.state in ENDED


def waiting(campaign: CampaignStatus) -> int:
    """Messages that have not come to an end, those that will be sent again because they are uncertain among them."""
    if is_ended(campaign):
        return 0
    again = campaign.counts[State.UNCERTAIN] if campaign.on_uncertain is OnUncertain.RESEND else 0
    return campaign.to_do + again


def held(campaign: CampaignStatus) -> int:
    """Uncertain messages that wait for an operator's word."""
    return campaign.counts[State.UNCERTAIN] if campaign.on_uncertain is OnUncertain.HOLD else 0


def per_cent(campaign: CampaignStatus) -> int:
    """How much of it has come to an end; 100 only when all has."""
    total = campaign.total
    return 100 if not total else 100 * (total - waiting(campaign)) // total


def eta_seconds(campaign: CampaignStatus) -> float | None:
    """How long it will still take at the present rate, or None where nobody can say.

    With nothing but deferred messages left the rate says nothing: they are sent when their time comes.
    """
    if campaign.state != "running" or campaign.rate_per_second <= 0:
        return None
    if not campaign.counts[State.QUEUED] + campaign.counts[State.SENDING]:
        return None
    return waiting(campaign) / campaign.rate_per_second


def relays_of(status: Status, known: Known) -> list[RelayStatus]:
    """The configured relays in the order of the file, `idle` where no worker has one; then others that were in use."""
    reported = {relay.name: relay for relay in status.relays}
    configured = [reported.get(name, _idle(name)) for name in known.daily_limits]
    return configured + [relay for relay in status.relays if relay.name not in known.daily_limits]


def _idle(name: str) -> RelayStatus:
    return RelayStatus(name, "idle", "", None, connections=0, rate_per_second=0.0, sent_24h=0, claimed_24h=0)


def live(workers: Sequence[Worker], now_us: int) -> list[Worker]:
    """The workers that have given a sign of life within their lease."""
    return [worker for worker in workers if worker.lease_until_us >= now_us]


def duration_words(seconds: float | None) -> str | None:
    """`8 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`; None for None."""
    if seconds is None:
        return None
    whole = max(0, round(seconds))
    for size, unit, smaller_size, smaller in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // smaller_size
            return f"{whole // size} {unit} {rest} {smaller}" if rest else f"{whole // size} {unit}"
    return f"{whole} s"
