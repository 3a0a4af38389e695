"""What a worker is asked to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from mailer.smtp import Transcript

__all__ = ["Job", "Share"]


@dataclass(frozen=True, slots=True)
class Share:
    """This process is number `index` of `of`: it opens its share of each relay's connections."""

    index: int = 0
    of: int = 1

    def connections(self, total: int) -> int:
        """Its part of `total`; all parts together are `total`."""
        return total // self.of + (1 if self.index < total % self.of else 0)


@dataclass(frozen=True)
class Job:
    """What a worker is asked to do."""

    until_empty: bool = False
    wait: bool = True
    """With `until_empty`: wait for what is due later."""
    only_campaign: int | None = None
    share: Share = field(default_factory=Share)
    transcript: Callable[[], Transcript] | None = None
    """Makes the transcript of each connection. With one there is a single connection, so that it can be read."""
