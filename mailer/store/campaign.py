"""One campaign: its row, and how it is found by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mailer.core.message import OnUncertain
from mailer.core.nearest import nearest
from mailer.errors import NotFound, Refused
from mailer.store.sqlite import Row, Transaction


@dataclass(frozen=True, slots=True)
class Campaign:
    """A row of `campaign`."""

    id: int
    name: str
    kind: str
    state: str
    version: int
    settings: str
    route_id: int
    priority: int
    on_uncertain: OnUncertain
    start_at_us: int | None
    expires_at_us: int | None
    reason: str
    created_at_us: int
    started_at_us: int | None
    finished_at_us: int | None

    @classmethod
    def of(cls, row: Row) -> Campaign:
        """From a row of `campaign_by_name`."""
        values = list(row)
        values[8] = OnUncertain(row[8])
        return cls(*values)


async def find_campaign(tx: Transaction, name: str) -> Campaign:
    """The campaign called `name`. Raises NotFound, with near names in the hint."""
    row = await tx.one("campaign_by_name", name=name)
    if row is None:
        known = [known[0] for known in await tx.all("campaign_names", limit=1_000)]
        near = nearest(name, known)
        raise NotFound(
            f"there is no campaign called {name}",
            f"Did you mean {near}?" if near else "`mailer campaign list` shows all of them.",
        )
    return Campaign.of(row)


def refuse_unless(campaign: Campaign, states: Sequence[str], what: str) -> None:
    """Raise Refused unless the campaign is in one of `states`; `what` is the participle of what was asked for."""
    if campaign.state not in states:
        hint = f"`mailer campaign show {campaign.name}` tells more."
        if campaign.state == "loading":
            hint = (
                "If its loader was killed, run the same `mailer campaign queue` again, or remove it with "
                f"`mailer campaign delete {campaign.name}`."
            )
        raise Refused(f"campaign {campaign.name} is {campaign.state}; it cannot be {what}", hint)
