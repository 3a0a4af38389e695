"""When `--until-empty` is done: what is still to do, and what only an operator or a later day can move. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mailer.store import Left


@dataclass(frozen=True, slots=True)
class Remainder:
    """What one campaign has left, and why nobody sends it now."""

    campaign: str
    count: int
    reason: str


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is left over all campaigns."""

    has_work: bool
    """Something is in somebody's hands, or can be sent without an operator: a worker that waits will get to it."""
    has_due: bool
    """Some of it is due now, or in somebody's hands."""
    remainders: tuple[Remainder, ...]
    """What stays behind if the worker ends now."""


def outlook(
    left: Sequence[Left],
    stopped: Callable[[int], str | None],
    when: Callable[[int], str],
    *,
    only: int | None = None,
) -> Outlook:
    """Look over what campaigns hold.

    `stopped(route_id)` says why no relay that may carry a route takes anything, or None if one does; `when` writes an
    instant in microseconds for people. With `only` that campaign counts and no other, even while it is closed to all
    but this worker.
    """
    has_work = has_due = False
    remainders: list[Remainder] = []
    for campaign in left:
        waiting = campaign.due + campaign.later
        count = waiting + campaign.sending
        if campaign.state == "loading" or only not in (None, campaign.campaign_id):
            continue  # what is being loaded is not queued before it is released
        if campaign.state in ("paused", "scheduled") and only is None:
            if count:
                remainders.append(Remainder(campaign.name, count, _resting(campaign, when)))
            has_work = has_work or bool(campaign.sending)
            has_due = has_due or bool(campaign.sending)
            continue
        reason = stopped(campaign.route_id) if waiting else None
        if reason is not None:
            remainders.append(Remainder(campaign.name, count, reason))
            has_work = has_work or bool(campaign.sending)
            has_due = has_due or bool(campaign.sending)
            continue
        if count:
            has_work = True
            has_due = has_due or bool(campaign.due or campaign.sending)
            remainders.append(Remainder(campaign.name, count, _going_on(campaign, when)))
    return Outlook(has_work, has_due, tuple(remainders))


def _resting(campaign: Left, when: Callable[[int], str]) -> str:
    if campaign.state == "paused":
        return f"paused: {campaign.reason}" if campaign.reason else "paused"
    return f"scheduled for {when(campaign.next_due_us)}" if campaign.next_due_us else "scheduled"


def _going_on(campaign: Left, when: Callable[[int], str]) -> str:
    if campaign.sending and not campaign.due and not campaign.later:
        return "in the hands of a worker"
    if not campaign.due and campaign.next_due_us is not None:
        return f"deferred until {when(campaign.next_due_us)}"
    return "due now"
