"""What the demo's server does with whom: a fixed rule over the number in an address, so that every run is the same.

every 40th       550 5.1.1 at RCPT, for good: no such user
every 100th      554 5.7.1 at the end of data, for good: refused for what is in it
every 50th       452 4.2.2 at RCPT twice, then taken: the mailbox was full
every 8th        450 4.2.0 at RCPT once, then taken: greylisted
everybody else   taken at once
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

__all__ = ["Fate", "fate_of", "number_in"]


@dataclass(frozen=True, slots=True)
class Treatment:
    """A refusal, where in the conversation it comes, and how often."""

    reply: str
    at_end: bool = False
    """At the end of data instead of at RCPT."""
    times: int | None = None
    """None: always."""


class Fate(Enum):
    """What happens to the messages for one recipient."""

    TAKEN = None
    GREYLISTED = Treatment("450 4.2.0 Greylisted, please come back in a moment", times=1)
    MAILBOX_FULL = Treatment("452 4.2.2 The mailbox is full", times=2)
    NO_SUCH_USER = Treatment("550 5.1.1 There is no such user here")
    REFUSED = Treatment("554 5.7.1 Refused: this recipient wants no such mail", at_end=True)

    def refusal(self, earlier: int, *, at_end: bool) -> str | None:
        """The refusal for somebody who was refused so often before, or None if there is none at this point."""
        treatment = self.value
        if treatment is None or treatment.at_end != at_end:
            return None
        return treatment.reply if treatment.times is None or earlier < treatment.times else None


# (every so many, beginning with, what happens), the first that fits.
_RULE: Final = (
    (40, 7, Fate.NO_SUCH_USER),
    (100, 13, Fate.REFUSED),
    (50, 29, Fate.MAILBOX_FULL),
    (8, 3, Fate.GREYLISTED),
)


def fate_of(number: int) -> Fate:
    """What happens to recipient `number`."""
    return next((fate for every, first, fate in _RULE if number % every == first), Fate.TAKEN)


def number_in(address: str) -> int:
    """The number in an address: what follows the last dot before the `@`, 0 where that is none."""
    digits = address.rpartition("@")[0].rpartition(".")[2]
    return int(digits) if digits.isascii() and digits.isdigit() else 0
