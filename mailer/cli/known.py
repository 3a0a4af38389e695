"""The few things of the configuration that a status needs: where the database is, and the relays with their limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mailer.config import Config

__all__ = ["Known"]


@dataclass(frozen=True, slots=True)
class Known:
    """What is configured."""

    database: Path
    """The SQLite file, absolute."""
    daily_limits: Mapping[str, int | None]
    """Every configured relay in the order of the file, with its `daily_limit`."""

    @classmethod
    def of(cls, config: Config) -> Known:
        """From a whole configuration."""
        return cls(
            config.database.path,
            {relay.name: relay.daily_limit for relay in config.relays},
        )
