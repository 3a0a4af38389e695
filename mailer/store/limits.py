"""What a relay's `rate` and `daily_limit` allow, reserved in the transaction that claims.

That makes both exact over all workers of one database. The rate is a GCRA: the row of a relay holds the instant at
which the next message is allowed. The day is counted in buckets of a minute; a message that comes back untouched gives
its place in the day back, but not its instant, which has passed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mailer.core.clock import DAY_US, MINUTE_US, SECOND_US
from mailer.store.sqlite import Transaction

if TYPE_CHECKING:
    from mailer.store.exchange import Want

# How much unused `rate` may be made up for. Exchanges are milliseconds apart, so a second is room enough; more would
# be a burst after a pause.
CATCH_UP_US: Final = SECOND_US


@dataclass(frozen=True, slots=True)
class Allowance:
    """What the limits of one relay allow at one instant."""

    places: int
    next_us: Callable[[int], int | None]
    """When they will allow one more, after so many have been taken now; None if they are not what is in the way."""


async def allowance(tx: Transaction, want: Want, places: int, now: int) -> Allowance:
    """How many of `places` messages the limits of the relay allow now."""
    asked = places
    next_at = 0
    if want.interval_us and places > 0:
        next_at = await _next_at(tx, want, now)
        places = min(places, max(0, (now - next_at) // want.interval_us + 1))
    day_at: int | None = None
    if want.daily_limit is not None and places > 0:
        since = (now - DAY_US) // MINUTE_US * MINUTE_US
        until = now + DAY_US  # what stands beyond it was counted under a clock that has been set right since
        left = want.daily_limit - await tx.number("relay_claimed_since", relay=want.relay, since=since, until=until)
        if left < places:
            places = max(0, left)
            oldest = await tx.one("oldest_relay_traffic", relay=want.relay, since=since, until=until)
            # The whole bucket must be over a day old, and `since` is rounded down to one.
            day_at = (oldest[0] if oldest and oldest[0] else now) + DAY_US + MINUTE_US

    def next_us(taken: int) -> int | None:
        if taken < places or asked <= taken:
            return None
        pace_at = next_at + taken * want.interval_us if want.interval_us else None
        return max((at for at in (pace_at, day_at) if at is not None), default=None)

    return Allowance(places, next_us)


async def reserve(tx: Transaction, want: Want, taken: int, now: int) -> None:
    """`taken` messages are claimed for the relay now."""
    if want.interval_us:
        next_at = await _next_at(tx, want, now) + taken * want.interval_us
        await tx.run("set_relay_next_at", relay=want.relay, next_at=next_at)
    await tx.run("add_relay_traffic", rows=json.dumps([[want.relay, now // MINUTE_US * MINUTE_US, taken, 0]]))


async def _next_at(tx: Transaction, want: Want, now: int) -> int:
    row = await tx.one("relay_next_at", relay=want.relay)
    next_at: int = row[0] if row else now
    if next_at > now + want.interval_us:
        next_at = now  # never more than one message ahead, so the clock was set back, or the rate raised
    return max(next_at, now - CATCH_UP_US)
