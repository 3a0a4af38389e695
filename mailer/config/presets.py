"""What is known of common providers: `presets.toml`, read when a relay names one."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

from mailer.core.nearest import did_you_mean

__all__ = ["Preset", "preset", "preset_names"]

# Keys of a preset that are keys of a relay; all others are words for people.
_RELAY_KEYS: Final = ("host", "port", "tls", "auth", "max_connections", "rate", "daily_limit")


@dataclass(frozen=True)
class Preset:
    """One provider."""

    name: str
    title: str
    personal: bool
    """A mailbox of one person: it carries its own address unless others are listed."""
    values: Mapping[str, Any]
    """Keys of a relay as they would stand in config.toml."""
    host_is: str
    username_is: str
    password_is: str
    note: str
    source: str


@cache
def _all() -> Mapping[str, Preset]:
    text = files("mailer.config").joinpath("presets.toml").read_text("utf-8")
    return {name: _preset(name, entry) for name, entry in tomllib.loads(text).items()}


def _preset(name: str, entry: Mapping[str, Any]) -> Preset:
    return Preset(
        name=name,
        title=entry["title"],
        personal=entry["personal"],
        values={key: entry[key] for key in _RELAY_KEYS if key in entry},
        host_is=entry.get("host_is", ""),
        username_is=entry["username_is"],
        password_is=entry["password_is"],
        note=entry["note"],
        source=entry["source"],
    )


def preset_names() -> tuple[str, ...]:
    """The names of all presets, in the order in which `mailer init` offers them."""
    return tuple(_all())


def preset(name: str) -> Preset:
    """The preset of that name. Raises LookupError with a hint."""
    found = _all().get(name)
    if found is None:
        raise LookupError(did_you_mean(name, preset_names(), quote='"') or f"Known: {', '.join(preset_names())}.")
    return found
