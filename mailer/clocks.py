"""The two clocks of this machine. Whoever starts something takes one from here; what is started is handed it."""

from __future__ import annotations

import time
from typing import Final

# CLOCK_BOOTTIME goes on while the machine sleeps, which a lease must notice; where a system lacks it, the monotonic
# clock is the nearest.
_SINCE_BOOT: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def wall_clock() -> int:
    """Microseconds since the epoch, UTC. May jump."""
    return time.time_ns() // 1_000


def boot_clock() -> int:
    """Microseconds since the machine started, its sleep included. Never goes back."""
    return time.clock_gettime_ns(_SINCE_BOOT) // 1_000
