"""What the commands that send have in common: the log, and how they write an instant."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mailer.cli.session import Session

if TYPE_CHECKING:
    from mailer.service.log import LogFiles

__all__ = ["set_up_log", "when_in_zone"]


def set_up_log(session: Session, *, quiet: bool = False) -> LogFiles:
    """The log as configured. `quiet`: stderr gets errors alone, for a command that shows its result itself."""
    from mailer.core import replies
    from mailer.service import log

    replies.load()  # 30 ms that would otherwise hold up the event loop at the first reply
    return log.set_up_log(
        session.config.log,
        redactor=session.redactor,
        verbosity=-1 if quiet and not session.verbosity else session.verbosity,
        colour=session.has_colour(sys.stderr),
    )


def when_in_zone(session: Session) -> Callable[[int], str]:
    """Writes an instant as an operator reads it: in the zone in force, with its offset."""
    from zoneinfo import ZoneInfo

    zone = ZoneInfo(session.loaded.zone)

    def when(at_us: int) -> str:
        return datetime.fromtimestamp(at_us / 1_000_000, UTC).astimezone(zone).isoformat(timespec="seconds")

    return when
