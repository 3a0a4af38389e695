"""How many messages have ended, and how many of them badly: read before and after a command that sends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from mailer.core.message import State
from mailer.store import Store

_ENDED = (State.SENT, State.FAILED, State.UNCERTAIN, State.BOUNCED)
_BADLY = (State.FAILED, State.UNCERTAIN)


@dataclass(frozen=True, slots=True)
class BadEndings:
    """Counts over all campaigns at one instant."""

    bad: int
    total: int

    @classmethod
    async def read(cls, store: Store, name: str | None = None) -> Self:
        """Of all campaigns, or of the one called `name`."""
        campaigns = (await store.reading.status(name)).campaigns
        return cls(
            bad=sum(campaign.counts[state] for campaign in campaigns for state in _BADLY),
            total=sum(campaign.counts[state] for campaign in campaigns for state in _ENDED),
        )

    def since(self, before: BadEndings) -> tuple[int, int]:
        """Bad and all endings since `before`; a campaign deleted meanwhile counts for nothing."""
        return max(0, self.bad - before.bad), max(0, self.total - before.total)
