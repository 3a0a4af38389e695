"""Whether a relay may be used now: what its failures and successes come to. Pure: time and chance are handed in.

- A permanent failure stops it for the rest of this process: somebody has to act, and start the worker again.
- A temporary one pauses it: 1 s, doubling to 5 min, with jitter so that many workers do not come back at once. Then
  one connection tries. It has succeeded when a message on it was answered; only that starts the waits from 1 s again.
- At the start it is on trial, too: a wrong password is tried once, not once for every connection allowed.
"""

from __future__ import annotations

from random import Random
from typing import Final, Literal

from mailer.core.clock import SECOND_US
from mailer.smtp.trouble import RelayFailure

RelayState = Literal["ready", "paused", "stopped"]

FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 300.0


class Backoff:
    """How long to wait after each of several failures in a row."""

    __slots__ = ("_random", "failures")

    def __init__(self, random: Random) -> None:
        self._random = random
        self.failures = 0

    def next_s(self) -> float:
        """One more failure; the seconds to wait after it."""
        # 2.0 ** 9 s is beyond the longest pause; the exponent is bounded so that a long night does not overflow it.
        seconds = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(self.failures, 9))
        self.failures += 1
        return seconds * self._random.uniform(0.75, 1.25)

    def reset(self) -> None:
        """It worked."""
        self.failures = 0


class Breaker:
    """State of one relay, as this process sees it."""

    __slots__ = ("_backoff", "is_on_trial", "paused_until_us", "reason", "state")

    def __init__(self, random: Random) -> None:
        self._backoff = Backoff(random)
        self.state: RelayState = "ready"
        self.reason = ""
        """Why it is not ready, or was not; empty once it has worked."""
        self.paused_until_us: int | None = None
        self.is_on_trial = True
        """Only one connection at a time."""

    def failed(self, failure: RelayFailure, now_us: int) -> float:
        """Returns the seconds to pause, 0 if there is nothing to wait for: it is stopped, or paused already."""
        self.is_on_trial = True
        if self.state == "stopped":
            return 0.0
        if failure.is_permanent:
            self.state, self.reason, self.paused_until_us = "stopped", failure.message, None
            return 0.0
        self.reason = failure.message
        if self.state == "paused":
            return 0.0  # several connections that fail together are one failure
        seconds = self._backoff.next_s()
        self.state = "paused"
        self.paused_until_us = now_us + round(seconds * SECOND_US)
        return seconds

    def pause_is_over(self) -> None:
        """Ready again, on trial."""
        if self.state == "paused":
            self.state, self.paused_until_us = "ready", None

    def logged_in(self) -> None:
        """A connection is open. At the start that allows more of them; after a failure an answered message does."""
        if not self._backoff.failures:
            self.is_on_trial = False

    def worked(self) -> None:
        """A message was answered, and not with something about the relay."""
        if self.state != "ready":
            return  # it was on its way when the relay failed, and says nothing about what came after
        self._backoff.reset()
        self.is_on_trial = False
        self.reason = ""
