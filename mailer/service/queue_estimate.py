"""When a campaign will be through, from what its relays may carry. A pure function over plain numbers.

A relay carries at most its `rate`, at most its connections allow, and at most `daily_limit` in any 24 hours, of which
some is used already. Nobody knows what a relay's connections will do before they have been tried; `PER_CONNECTION` is
what one carries through a server some 50 ms away, so that a relay without limits of its own has an estimate too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from mailer.core.clock import DAY_US, SECOND_US

__all__ = ["Capacity", "Estimate", "estimate_finish", "share_of_others"]

# Messages a second over one connection: five round trips of 50 ms, which a server seldom beats on first contact.
PER_CONNECTION: Final = 4.0
# Beyond this "when" says nothing but "never": the limits and the list do not go together.
LONGEST_US: Final = 3_650 * DAY_US


@dataclass(frozen=True, slots=True)
class Capacity:
    """What one relay may carry."""

    name: str
    rate_per_second: float | None
    """From its `rate`; None where it has none."""
    connections: int
    daily_limit: int | None
    used_today: int = 0
    """Of the daily limit, in the last 24 hours."""

    @property
    def speed(self) -> float:
        """Messages a second while the daily limit is not reached."""
        by_connections = self.connections * PER_CONNECTION
        return by_connections if self.rate_per_second is None else min(by_connections, self.rate_per_second)

    def carried(self, in_us: int) -> float:
        """Messages that it may have carried after so many microseconds."""
        if self.daily_limit is None:
            return self.speed * in_us / SECOND_US
        days, rest_us = divmod(in_us, DAY_US)
        whole_day = min(float(self.daily_limit), self.speed * DAY_US / SECOND_US)
        now_left = max(self.daily_limit - self.used_today, 0)
        today = min(float(now_left), self.speed * (rest_us if days == 0 else DAY_US) / SECOND_US)
        if days == 0:
            return today
        return today + (days - 1) * whole_day + min(float(self.daily_limit), self.speed * rest_us / SECOND_US)


@dataclass(frozen=True, slots=True)
class Estimate:
    """What is to be expected."""

    finish_at_us: int | None
    """None: nothing to send, no relay, or not within ten years."""
    by_relay: Mapping[str, int]
    """How many of the messages each relay will carry, about; their sum is the number of messages."""


def estimate_finish(count: int, relays: Sequence[Capacity], *, start_at_us: int, others: int = 0) -> Estimate:
    """When `count` messages are through if they start at `start_at_us` and `others` take turns with them."""
    if count <= 0 or not relays:
        return Estimate(None, {})
    work = count + others
    low, high = 0, LONGEST_US
    if sum(relay.carried(high) for relay in relays) < work:
        return Estimate(None, _shares(count, [relay.carried(high) for relay in relays], relays))
    # What has been carried only grows with time: halve the interval in which it reaches the work.
    while high - low > SECOND_US // 10:
        middle = (low + high) // 2
        low, high = (low, middle) if sum(relay.carried(middle) for relay in relays) >= work else (middle, high)
    return Estimate(start_at_us + high, _shares(count, [relay.carried(high) for relay in relays], relays))


def share_of_others(count: int, weight: float, others: Sequence[tuple[int, float]]) -> int:
    """How many messages of other campaigns, (messages to do, weight) each, go out before the last of ours.

    Lanes take turns by weight, so while ours sends `count` another of weight w sends `count * w / weight`, if it has
    that many.
    """
    return sum(min(to_do, round(count * its_weight / weight)) for to_do, its_weight in others)


def _shares(count: int, carried: Sequence[float], relays: Sequence[Capacity]) -> dict[str, int]:
    """`count` split in proportion to what each carried; the remainders go to the largest fractions."""
    total = sum(carried)
    if total <= 0:
        return {}
    exact = [count * part / total for part in carried]
    shares = [int(part) for part in exact]
    order = sorted(range(len(exact)), key=lambda i: exact[i] - shares[i], reverse=True)
    for i in order[: count - sum(shares)]:
        shares[i] += 1
    return {relay.name: share for relay, share in zip(relays, shares, strict=True)}
