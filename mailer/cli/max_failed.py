"""`--max-failed N|P%`: how many messages may end badly before a command says so with its exit code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import click

from mailer.cli.session import Session
from mailer.errors import ENDED_BADLY

__all__ = ["MAX_FAILED", "MaxFailed"]


@dataclass(frozen=True, slots=True)
class MaxFailed:
    """A bar: so many messages, or so many of every hundred that ended."""

    limit: float
    is_per_cent: bool

    def allowed(self, total: int) -> float:
        """How many of the `total` messages that ended may have ended badly."""
        return total * self.limit / 100 if self.is_per_cent else self.limit

    def judge(self, session: Session, bad: int, total: int) -> int:
        """The exit code for `bad` of `total` endings; if they are too many that is said."""
        if bad <= self.allowed(total):
            return 0
        session.warn(
            f"{bad:,} of {total:,} messages failed or stayed uncertain (`mailer message list --state failed`)."
        )
        return ENDED_BADLY


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
