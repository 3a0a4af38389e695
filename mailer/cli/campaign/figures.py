"""A campaign in figures and words, for `list` and `show`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mailer.cli.output import rfc3339

if TYPE_CHECKING:
    from mailer.store import CampaignStatus

__all__ = ["figures"]


def figures(status: CampaignStatus) -> dict[str, Any]:
    """What `list` and `show` have in common, as it stands in JSON."""
    return {
        "name": status.name,
        "state": status.state,
        "total": status.total,
        **{state.value: count for state, count in status.counts.items()},
        "in_doubt": status.in_doubt,
        "version": status.version,
        "priority": status.priority,
        "on_uncertain": status.on_uncertain.value,
        "start_at": rfc3339(status.start_at_us),
        "expires_at": rfc3339(status.expires_at_us),
        "created_at": rfc3339(status.created_at_us),
        "started_at": rfc3339(status.started_at_us),
        "finished_at": rfc3339(status.finished_at_us),
        "reason": status.reason,
    }
