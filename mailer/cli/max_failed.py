"""`--max-failed N|P%`: how many messages may end badly before a command exits with 5."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import click

__all__ = ["MAX_FAILED", "MaxFailed"]


@dataclass(frozen=True, slots=True)
class MaxFailed:
    """A bar: so many messages, or so many of every hundred that ended."""

    limit: float
    is_per_cent: bool

    def allowed(self, total: int) -> float:
        """How many of the `total` messages that ended may have ended badly."""
        return total * self.limit / 100 if self.is_per_cent else self.limit


class _MaxFailed(click.ParamType[MaxFailed]):
    name = "N|P%"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> MaxFailed:
        if isinstance(value, MaxFailed):
            return value
        given = str(value).strip()
        number = given.removesuffix("%")
        is_per_cent = number != given
        try:
            limit = float(number) if is_per_cent else int(number)
        except ValueError:
            limit = -1
        # Written so that nan, which compares with nothing, is refused as well.
        if not 0 <= limit <= (100 if is_per_cent else 10**12):
            self.fail(f"{value!r} is neither a number of messages nor a percentage such as 2%.", param, ctx)
        return MaxFailed(limit, is_per_cent)


MAX_FAILED: Final = _MaxFailed()
