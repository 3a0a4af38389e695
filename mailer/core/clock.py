"""Time is handed in: a clock is a function that gives microseconds since the epoch, UTC."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

Clock = Callable[[], int]

SECOND_US: Final = 1_000_000
MINUTE_US: Final = 60 * SECOND_US
HOUR_US: Final = 60 * MINUTE_US
DAY_US: Final = 24 * HOUR_US
