"""What a worker works with and by, fixed for one incarnation: its relays, its rules, and what it counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mailer.core.retry import RetryPolicy
from mailer.smtp import RelayPool
from mailer.store import Route

__all__ = ["Line", "Run", "Terms"]


@dataclass(frozen=True)
class Line:
    """One relay as the worker sees it: its pool, and what its limits and senders allow."""

    pool: RelayPool
    places: int
    """Messages it may have in hand: twice its slots."""
    weight: int
    carries: Callable[[Route], bool]
    interval_us: int
    daily_limit: int | None


@dataclass(frozen=True)
class Terms:
    """What a worker works by."""

    retry: RetryPolicy
    stop_within_s: float
    most_in_hand: int
    only_campaign: int | None = None
    """Send this campaign alone, even while its lanes are closed to all others."""


@dataclass
class Run:
    """What is counted over all incarnations of one run."""

    unanswered: int = 0
    """Messages whose end of data had no answer when the worker left."""
