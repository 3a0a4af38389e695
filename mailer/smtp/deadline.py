"""One deadline for one connection: moved many times a message, and a timer behind it that rarely fires."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Timer(Protocol):
    """One call that is to come."""

    def cancel(self) -> None:
        """It is not to come after all."""


class Timers(Protocol):
    """What is needed of an event loop; tests hand in time of their own."""

    def time(self) -> float:
        """Seconds on a clock that only goes forward."""

    def call_later(self, delay: float, callback: Callable[[], None], /) -> Timer:
        """Call `callback` in `delay` seconds."""


class Deadline:
    """Calls `expired` when it passes.

    Moving it later touches no timer: the one that is set looks, when it fires, how much is left and sets itself again.
    """

    __slots__ = ("_at", "_due", "_expired", "_handle", "_timers")

    def __init__(self, timers: Timers, expired: Callable[[], None]) -> None:
        self._timers = timers
        self._expired = expired
        self._at = 0.0
        self._due = 0.0
        self._handle: Timer | None = None

    def move(self, seconds: float) -> None:
        """It passes in `seconds` from now."""
        self._at = self._timers.time() + seconds
        if self._handle is None or self._due > self._at:
            self._set(seconds)

    def cancel(self) -> None:
        """It never passes."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _set(self, seconds: float) -> None:
        self.cancel()
        self._due = self._at
        self._handle = self._timers.call_later(seconds, self._fired)

    def _fired(self) -> None:
        self._handle = None
        left = self._at - self._timers.time()
        if left > 0:
            self._set(left)
        else:
            self._expired()
