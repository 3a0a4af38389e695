"""What a relay has taught us about its own announcements: an extension that it did not do is left alone for a day."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final, Literal

from mailer.core.clock import SECOND_US, Clock

Extension = Literal["PIPELINING", "CHUNKING"]

# An announcement is configuration: it does not change from one connection to the next, but may be mended some day.
DISTRUST_US: Final = 24 * 60 * 60 * SECOND_US

# A connection can be lost for many reasons. Only of an extension that has never worked is it taken as a sign, and then
# the second one in a row counts.
SIGNS_NEEDED: Final = 2


class Trust:
    """One relay's extensions as this process has come to know them."""

    __slots__ = ("_clock", "_on_distrust", "_proven", "_signs", "_trier", "_until_us", "_worked")

    def __init__(self, clock: Clock, on_distrust: Callable[[str], None] = lambda _: None) -> None:
        """`on_distrust` is told in a sentence what will not be used any more, and why."""
        self._clock = clock
        self._on_distrust = on_distrust
        self._until_us: dict[Extension, int] = {}
        self._proven: set[Extension] = set()
        self._signs: Counter[Extension] = Counter()
        self._trier: object = None
        self._worked: set[Extension] = set()

    def has(self, extension: Extension) -> bool:
        """Whether the announcement is believed."""
        return self._clock() >= self._until_us.get(extension, 0)

    def is_proven(self, extension: Extension) -> bool:
        """Whether the relay has been seen to do it."""
        return extension in self._proven

    def has_worked(self, extension: Extension) -> bool:
        """Whether it has gone well at least once."""
        return extension in self._worked

    def may_go_ahead(self, connection: object) -> bool:
        """Whether `connection` may begin a message before the end of the one in front is answered.

        Until that has worked once only one at a time may: if the server stumbles over it, one message is in doubt.
        """
        if "PIPELINING" in self._proven:
            return True
        if self._trier is None:
            self._trier = connection
        return self._trier is connection

    def leave(self, connection: object) -> None:
        """`connection` tries nothing any more."""
        if self._trier is connection:
            self._trier = None

    def prove(self, extension: Extension) -> None:
        """The relay did what it had announced."""
        self._proven.add(extension)
        self.worked(extension)

    def doubt(self, extension: Extension, why: str) -> None:
        """Something went wrong that would go wrong if it did not do it."""
        self._signs[extension] += 1
        if self._signs[extension] >= SIGNS_NEEDED:
            self.lose(extension, why)

    def worked(self, extension: Extension) -> None:
        """Nothing went wrong this time."""
        self._worked.add(extension)
        self._signs.pop(extension, None)

    def lose(self, extension: Extension, why: str) -> None:
        """It did not do it: `why` is how that showed."""
        if not self.has(extension):
            return
        self._proven.discard(extension)
        self._worked.discard(extension)
        self._signs.pop(extension, None)
        self._until_us[extension] = self._clock() + DISTRUST_US
        self._on_distrust(f"it announces {extension} and does not do it ({why}); not used for a day")
