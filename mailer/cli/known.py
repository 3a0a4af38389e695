"""The few things of the configuration that a status needs: where the database is, and the relays with their limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mailer.cli.session import Session
    from mailer.config import Config

__all__ = ["Known", "known_to"]


@dataclass(frozen=True, slots=True)
class Known:
    """What is configured."""

    database: Path
    """The SQLite file, absolute."""
    daily_limits: Mapping[str, int | None]
    """Every configured relay in the order of the file, with its `daily_limit`."""
    lock_wait_s: float = 5.0
    """How long another program's lock on the database is waited for."""

    @classmethod
    def of(cls, config: Config) -> Known:
        """From a whole configuration."""
        return cls(
            config.database.path,
            {relay.name: relay.daily_limit for relay in config.relays},
            config.database.lock_wait.total_seconds(),
        )


def known_to(session: Session) -> Known:
    """What this run's configuration says; without checking it anew if it has not changed. Raises ConfigError."""
    from mailer.cli.checked_config import recall, remember

    kept = recall(session.environ, session.config_file)
    if kept is not None:
        known, warnings = kept
        for warning in warnings:
            session.warn(f"mailer: warning: {warning}")
        return known
    loaded = session.loaded
    known = Known.of(loaded.config)
    remember(session.environ, session.config_file, loaded.file, known, loaded.warnings)
    return known
