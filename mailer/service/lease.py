"""A worker fences itself: it ends no message unless it is sure that nobody has taken it for dead.

A worker's claims may be given to others once its lease has lapsed. The worker must therefore stop *before* that, by its
own clocks, in the very step that would write an end of data: a process that was stopped for a minute and wakes up
cannot be trusted to run anything else first.
"""

from __future__ import annotations

from typing import Final

from mailer.core.clock import Clock

# The owner's own limit, as a share of the lease: 45 s of 60. The rest is for clocks that disagree and for bytes that
# are written in the last moment and still have to arrive.
OWN_SHARE: Final = 0.75
# How often a lease is renewed, as a share of it: every 5 s of 60.
RENEWAL_SHARE: Final = 1 / 12


class Lease:
    """How long this worker may go on without an answered exchange. Not yet begun: `has_margin` is False."""

    def __init__(self, lease_us: int, *, wall: Clock, boot: Clock) -> None:
        self.lease_us = lease_us
        self.renewal_us = round(lease_us * RENEWAL_SHARE)
        self._wall = wall
        self._boot = boot
        self._limit_us = round(lease_us * OWN_SHARE)
        self._renewed: tuple[int, int] | None = None

    def now(self) -> tuple[int, int]:
        """Both clocks, to be kept before an exchange is begun and given to `renew` when it has been answered."""
        return self._wall(), self._boot()

    def renew(self, begun_at: tuple[int, int]) -> None:
        """The exchange that was begun at `begun_at` has committed: the lease runs from then."""
        self._renewed = begun_at

    @property
    def is_begun(self) -> bool:
        """Whether an exchange has ever been answered."""
        return self._renewed is not None

    def age_us(self) -> int:
        """How long ago the last answered exchange was begun; a whole lease if there was none yet."""
        if self._renewed is None:
            return self.lease_us
        wall, boot = self._renewed
        # A wall clock that was set back says nothing; the other one still counts.
        return max(self._wall() - wall, self._boot() - boot)

    def has_margin(self) -> bool:
        """Whether a message may still be ended now, by the clock that has advanced more."""
        return self._renewed is not None and self.age_us() < self._limit_us
