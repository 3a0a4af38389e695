"""What the log says of a message: nothing of one that was sent, a line of every other."""

from __future__ import annotations

from typing import Final

import structlog

from mailer.core.message import Claimed, Ending, Outcome, Result, State

__all__ = ["log_outcome"]

log = structlog.get_logger("worker")

_LEVELS: Final = {State.FAILED: "info", State.UNCERTAIN: "warning", State.DEFERRED: "info"}


def log_outcome(claimed: Claimed, outcome: Outcome, result: Result) -> None:
    """Log what has become of `claimed`."""
    if outcome.state is State.SENT:
        return  # a line for each of a million would say nothing that the database does not
    if result.ending is Ending.UNTOUCHED:
        log.debug("message.returned", message=claimed.message_id, relay=claimed.relay, note=result.note)
        return
    attempt = outcome.attempt
    getattr(log, _LEVELS.get(outcome.state, "info"))(
        f"message.{outcome.state}",
        message=claimed.message_id,
        relay=claimed.relay,
        phase=attempt.phase if attempt else None,
        code=attempt.code if attempt else None,
        text=(attempt.text or attempt.note) if attempt else outcome.reason,
        reason=outcome.reason or None,
    )
