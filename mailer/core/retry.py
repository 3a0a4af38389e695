"""When a message that was put off is due again."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final

# Each wait is drawn from 80 % to 120 % of its nominal length, so that messages refused together do not come back
# together (a greylisting server would see the same burst again).
JITTER: Final = 0.2


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """`[retry]` of the configuration, in microseconds."""

    first_us: int
    factor: float
    longest_us: int
    give_up_after_us: int


def next_due_us(
    policy: RetryPolicy, refusals: int, first_refused_at_us: int, now_us: int, random: Random
) -> int | None:
    """When attempt number `refusals + 1` is due, or None if the message has grown too old.

    `refusals` counts the charged attempts including the one just made (at least 1). The last wait is cut short so that
    one attempt is made at the very end of `give_up_after` (RFC 5321 section 4.5.4.1 asks for 4 to 5 days; the
    configuration decides).
    """
    end_us = first_refused_at_us + policy.give_up_after_us
    if now_us >= end_us:
        return None
    return min(now_us + wait_us(policy, refusals, random), end_us)


def wait_us(policy: RetryPolicy, refusals: int, random: Random) -> int:
    """How long to wait after the charged attempt number `refusals` (at least 1), with jitter."""
    wait = float(policy.first_us)
    for _ in range(refusals - 1):  # a loop, not a power: `factor ** 10_000` overflows, and the cap ends this early
        if wait >= policy.longest_us:
            break
        wait *= policy.factor
    return int(min(wait, policy.longest_us) * random.uniform(1 - JITTER, 1 + JITTER))
