"""Every value in force and where it came from, for `mailer config show`. Secrets are ***."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from mailer.config.load import Loaded
from mailer.config.model import SECTIONS, Section
from mailer.config.secrets import Secret
from mailer.config.values import Rate
from mailer.core.duration import format_duration
from mailer.redact import MASK

__all__ = ["Setting", "settings"]


@dataclass(frozen=True, slots=True)
class Setting:
    """One key."""

    key: str
    """`worker.lease`, `relay.qq.host`."""
    value: Any
    """As it would stand in the file: text, number, true or false, list; None where there is none."""
    source: str
    """`default`, `preset qq`, the file, `environment MAILER_…`; for a secret also where it is kept."""


def settings(loaded: Loaded) -> Iterator[Setting]:
    """All keys in the order of the example file, then those of each relay."""
    config = loaded.config
    for name in SECTIONS:
        yield from _section(loaded, name, getattr(config, name))
    for relay in config.relays:
        yield from _section(loaded, f"relay.{relay.name}", relay)


def _section(loaded: Loaded, prefix: str, section: Section) -> Iterator[Setting]:
    for name, info in type(section).model_fields.items():
        key = f"{prefix}.{info.alias or name}"
        value = getattr(section, name)
        source = loaded.sources.get(key, "default")
        if isinstance(value, Secret):
            # An override from the environment names its variable already.
            kept = "" if source.startswith("environment") else f", {value}"
            yield Setting(key, MASK, f"{source}{kept}")
            continue
        if value is None:
            value, source = _in_force(loaded, key, source)
        yield Setting(key, _plain(value), source)


def _in_force(loaded: Loaded, key: str, source: str) -> tuple[Any, str]:
    """What holds where a key is not set but something follows from others."""
    match key:
        case "defaults.zone":
            return loaded.zone, "this machine"
        case "worker.state_dir":
            return loaded.config.state_dir, "beside the database"
    return None, source


def _plain(value: Any) -> Any:
    match value:
        case timedelta():
            return format_duration(value)
        case Path() | Rate():
            return str(value)
        case tuple():
            return list(value)
    return value
