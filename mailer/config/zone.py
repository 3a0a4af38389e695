"""The time zone in which a time without offset is meant."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from zoneinfo import ZoneInfo, available_timezones

from mailer.core.nearest import did_you_mean

__all__ = ["is_zone", "machine_zone", "zone_hint"]


def is_zone(name: str) -> bool:
    """Whether `name` is a zone of the IANA database."""
    try:
        ZoneInfo(name)
    except (LookupError, ValueError, OSError):  # unknown; a path or control characters; a folder such as "Asia"
        return False
    return True


def zone_hint(name: str) -> str:
    """What was probably meant by a zone that does not exist."""
    return did_you_mean(name, available_timezones(), quote='"') or 'Names are like "Asia/Shanghai" or "Europe/Berlin".'


def machine_zone(environ: Mapping[str, str], root: Path = Path("/")) -> str:
    """The name of this machine's zone: $TZ, then /etc/localtime, then /etc/timezone; "UTC" where none says."""
    return _from_tz(environ) or _from_link(root / "etc/localtime") or _from_text(root / "etc/timezone") or "UTC"


def _from_tz(environ: Mapping[str, str]) -> str | None:
    # POSIX allows rules in TZ ("CET-1CEST"); only names can be kept with a schedule.
    name = environ.get("TZ", "").removeprefix(":")
    return name if name and is_zone(name) else None


def _from_link(path: Path) -> str | None:
    try:
        target = path.resolve(strict=True).as_posix() if path.is_symlink() else ""
    except OSError:
        return None
    _, found, name = target.partition("zoneinfo/")
    return name if found and is_zone(name) else None


def _from_text(path: Path) -> str | None:
    try:
        name = path.read_text("utf-8").strip()
    except (OSError, ValueError):
        return None
    return name if name and is_zone(name) else None
