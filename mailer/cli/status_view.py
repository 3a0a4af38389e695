"""A status as a JSON document, as tables for people, and as single lines for a log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from mailer.cli.figures import duration_words, eta_seconds, is_ended, per_cent, relays_of, waiting
from mailer.cli.known import Known
from mailer.cli.output import rfc3339
from mailer.cli.table import Column, printable, render
from mailer.core.clock import SECOND_US
from mailer.core.message import State
from mailer.store import CampaignStatus, Status

__all__ = ["CAMPAIGN_COLUMNS", "document", "line", "speed_words", "tables"]

# Ended campaigns that the table still shows. Older ones are history: `campaign list` has them.
MOST_ENDED: Final = 20
# Below this width of the terminal what passes quickly is left out, so that a row stays on one line.
ALL_COLUMNS: Final = 100
# States that most campaigns never see: a column only where somebody is in it.
SELDOM: Final = (State.UNCERTAIN, State.SUPPRESSED, State.CANCELLED, State.BOUNCED)

CAMPAIGN_COLUMNS: Final = (
    Column("name"),
    Column("state"),
    *(Column(str(key), right=True) for key in ("total", *State, "in_doubt", "rate_per_second", "eta_seconds")),
    *(Column(key) for key in ("started_at", "finished_at", "reason")),
)
"""Columns of `--format csv`."""


def document(status: Status, known: Known, trouble: Sequence[str]) -> dict[str, Any]:
    """What `mailer status --json` prints; docs/json/status.schema.json describes it."""
    return {
        "at": rfc3339(status.at_us),
        "campaigns": [_campaign(campaign) for campaign in status.campaigns],
        "relays": [
            {
                "name": relay.name,
                "state": relay.state,
                "connections": relay.connections,
                "rate_per_second": round(relay.rate_per_second, 3),
                "paused_until": rfc3339(relay.paused_until_us),
                "reason": relay.reason or None,
                "sent_24h": relay.sent_24h,
                "daily_limit": known.daily_limits.get(relay.name),
            }
            for relay in relays_of(status, known)
        ],
        "workers": [
            {
                "id": str(worker.id),
                "host": worker.host,
                "pid": worker.pid,
                "processes": worker.processes,
                "heartbeat_at": rfc3339(worker.heartbeat_at_us),
                "slots": worker.slots,
            }
            for worker in status.workers
        ],
        "trouble": list(trouble),
    }


def _campaign(campaign: CampaignStatus) -> dict[str, Any]:
    eta = eta_seconds(campaign)
    return {
        "name": campaign.name,
        "state": campaign.state,
        "total": campaign.total,
        **{str(state): campaign.counts[state] for state in State},
        "in_doubt": campaign.in_doubt,
        "rate_per_second": round(campaign.rate_per_second, 3),
        "eta_seconds": None if eta is None else round(eta, 1),
        "started_at": rfc3339(campaign.started_at_us),
        "finished_at": rfc3339(campaign.finished_at_us),
        "reason": campaign.reason or None,
    }


def tables(
    status: Status, known: Known, trouble: Sequence[str], *, now_us: int, colour: bool, width: int | None
) -> str:
    """Trouble, campaigns, relays and workers, one under the other."""
    parts = ["".join(f"{_marked(sentence, colour=colour)}\n" for sentence in trouble)] if trouble else []
    shown, left_out = _worth_showing(status.campaigns)
    if shown:
        more = f"… and {left_out:,} that ended earlier: `mailer campaign list` shows all.\n" if left_out else ""
        parts.append(_campaigns(shown, colour=colour, width=width) + more)
    else:
        parts.append("No campaign yet: `mailer campaign queue` makes one.\n")
    if relays := _relays(status, known, now_us):
        parts.append(render(*relays, colour=colour, width=width))
    if status.workers:
        parts.append(render(*_workers(status, now_us), colour=colour, width=width))
    return "\n".join(parts)


def line(campaign: CampaignStatus) -> str:
    """One campaign on one line, for where no table can be redrawn."""
    parts = [f"{campaign.counts[State.SENT]:,} of {campaign.total:,} sent"]
    told = (State.DEFERRED, State.FAILED, *SELDOM)
    parts += [f"{campaign.counts[state]:,} {state}" for state in told if campaign.counts[state]]
    if campaign.in_doubt:
        parts.append(f"{campaign.in_doubt:,} in doubt")
    if not is_ended(campaign):
        if speed := speed_words(campaign.rate_per_second):
            parts.append(speed)
        if left := duration_words(eta_seconds(campaign)):
            parts.append(f"{left} left")
    return f"{printable(campaign.name)}: {campaign.state}, {', '.join(parts)}"


def speed_words(rate_per_second: float) -> str | None:
    """`112/s`, `3.2/s`, `40/min`; None for none at all."""
    if rate_per_second <= 0:
        return None
    if rate_per_second < 1:
        return f"{rate_per_second * 60:,.3g}/min"
    return f"{rate_per_second:,.0f}/s" if rate_per_second >= 10 else f"{rate_per_second:,.1f}/s"


def _marked(sentence: str, *, colour: bool) -> str:
    return f"\x1b[1;31m!\x1b[0m {sentence}" if colour else f"! {sentence}"


def _worth_showing(campaigns: Sequence[CampaignStatus]) -> tuple[list[CampaignStatus], int]:
    """All that go on and the latest of those that ended, in their order; how many are left out."""
    ended = [campaign for campaign in campaigns if is_ended(campaign)]
    kept = {campaign.id for campaign in ended[-MOST_ENDED:]}
    shown = [campaign for campaign in campaigns if not is_ended(campaign) or campaign.id in kept]
    return shown, len(campaigns) - len(shown)


def _campaigns(campaigns: Sequence[CampaignStatus], *, colour: bool, width: int | None) -> str:
    seldom = [state for state in SELDOM if any(campaign.counts[state] for campaign in campaigns)]
    has_doubt = any(campaign.in_doubt for campaign in campaigns)
    has_reason = any(_why(campaign) for campaign in campaigns)
    is_narrow = width is not None and width < ALL_COLUMNS
    columns = [
        Column("campaign", may_shrink=True),
        Column("state"),
        Column("total", right=True),
        Column("done", "", right=True),
        Column("sent", right=True),
        Column("queued", right=True),
        *([] if is_narrow else [Column("sending", right=True)]),
        Column("deferred", right=True),
        *(Column(str(state), right=True) for state in (State.FAILED, *seldom)),
        *([Column("in_doubt", right=True)] if has_doubt else []),
        *([] if is_narrow else [Column("rate", right=True)]),
        Column("left", "TIME LEFT", right=True),
        *([Column("reason", may_shrink=True)] if has_reason else []),
    ]
    rows = [
        {
            "campaign": campaign.name,
            "state": campaign.state,
            "total": campaign.total,
            "done": f"{per_cent(campaign)} %",
            **{str(state): campaign.counts[state] for state in State},
            "in_doubt": campaign.in_doubt,
            "rate": speed_words(campaign.rate_per_second),
            "left": None if is_ended(campaign) else _left(campaign),
            "reason": _why(campaign),
        }
        for campaign in campaigns
    ]
    return render(rows, columns, colour=colour, width=width)


def _why(campaign: CampaignStatus) -> str:
    """Why nothing of it is sent now, where that is not plain from its state."""
    if campaign.state == "scheduled":
        return f"starts at {rfc3339(campaign.start_at_us)}"
    if campaign.state == "loading":
        return "sends nothing before `mailer campaign queue` has ended; if that was killed, type it again"
    return campaign.reason


def _left(campaign: CampaignStatus) -> str | None:
    return duration_words(eta_seconds(campaign)) if waiting(campaign) else None


def _relays(status: Status, known: Known, now_us: int) -> tuple[list[Mapping[str, Any]], list[Column]] | None:
    relays = relays_of(status, known)
    if not relays:
        return None
    has_limit = any(known.daily_limits.get(relay.name) for relay in relays)
    has_reason = any(relay.reason for relay in relays)
    columns = [
        Column("relay", may_shrink=True),
        Column("state"),
        Column("connections", right=True),
        Column("rate", right=True),
        Column("sent_24h", "SENT 24 H", right=True),
        *([Column("limit", "LIMIT", right=True)] if has_limit else []),
        *([Column("reason", may_shrink=True)] if has_reason else []),
    ]
    rows: list[Mapping[str, Any]] = [
        {
            "relay": relay.name,
            "state": relay.state,
            "connections": relay.connections,
            "rate": speed_words(relay.rate_per_second),
            "sent_24h": relay.sent_24h,
            "limit": known.daily_limits.get(relay.name),
            "reason": _reason(relay.reason, relay.paused_until_us, now_us),
        }
        for relay in relays
    ]
    return rows, columns


def _reason(reason: str, paused_until_us: int | None, now_us: int) -> str:
    if paused_until_us is None or paused_until_us <= now_us:
        return reason
    return f"for {duration_words((paused_until_us - now_us) / SECOND_US)}: {reason}"


def _workers(status: Status, now_us: int) -> tuple[list[Mapping[str, Any]], list[Column]]:
    columns = [
        Column("worker"),
        Column("host", may_shrink=True),
        Column("pid"),
        Column("slots", right=True),
        Column("in_hand", right=True),
        Column("heard", "LAST HEARD"),
    ]
    rows: list[Mapping[str, Any]] = [
        {
            "worker": str(worker.id),
            "host": worker.host,
            "pid": str(worker.pid),
            "slots": worker.slots,
            "in_hand": worker.in_hand,
            "heard": f"{duration_words((now_us - worker.heartbeat_at_us) / SECOND_US)} ago",
        }
        for worker in status.workers
    ]
    return rows, columns
