"""What an operator asked of a campaign besides its content, in the form in which it is kept and compared.

The same command typed twice must give the same settings, or its second run would be refused as another campaign. So
what is kept is what was asked for: `--expires-in 12h` stays twelve hours and is not turned into an instant that is
another one on each run. `today`, the one thing that changes by itself, is kept for the templates and never compared.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from datetime import date
from typing import Any, Final, Self

from mailer.core.message import OnUncertain
from mailer.errors import StoreError

__all__ = ["HIGHEST_PRIORITY", "Settings"]

HIGHEST_PRIORITY: Final = 10


@dataclass(frozen=True, slots=True)
class Settings:
    """How a campaign is sent. Instants are microseconds since the epoch."""

    envelope_from: str
    """Address of MAIL FROM; empty for the null sender."""
    relays: tuple[str, ...]
    """Names in the order given; empty: any that may carry it."""
    start_at_us: int | None
    expires_at_us: int | None
    """A deadline that was given as an instant."""
    expires_in_us: int | None
    """A deadline that was given as a length of time, counted from the start."""
    priority: int
    on_uncertain: OnUncertain
    zone: str
    """IANA name: where the operator's clock stands."""
    today: date
    """The date of queueing in that zone."""

    def deadline_us(self, queued_at_us: int) -> int | None:
        """The instant by which messages must be accepted, for a campaign queued at that time."""
        if self.expires_in_us is None:
            return self.expires_at_us
        return max(queued_at_us, self.start_at_us or 0) + self.expires_in_us

    def to_json(self) -> str:
        """Canonical JSON."""
        known: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        known["today"] = self.today.isoformat()
        return json.dumps(known, ensure_ascii=False, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The settings that a campaign was stored with. Raises StoreError for what this class did not write."""
        try:
            known = json.loads(text)
            known["relays"] = tuple(known["relays"])
            known["on_uncertain"] = OnUncertain(known["on_uncertain"])
            known["today"] = date.fromisoformat(known["today"])
            return cls(**known)
        except (ValueError, TypeError, KeyError) as error:
            raise StoreError("the settings of a campaign cannot be read.", "Run `mailer db check`.") from error
