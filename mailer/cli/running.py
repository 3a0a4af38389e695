"""What the commands that send have in common: the log, and how they write an instant."""

from __future__ import annotations

import sys
from collections.abc import Callable
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
    from mailer.core.clock import SECOND_US
    from mailer.service.queue_when import in_zone

    zone = session.loaded.zone
    return lambda at_us: in_zone(at_us // SECOND_US * SECOND_US, zone)
