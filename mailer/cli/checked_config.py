"""What `mailer status` needs of the configuration, kept from the last time that this very file was checked.

Checking a configuration takes 140 ms here, nearly all of it for importing pydantic and building the model: half of what
`mailer status` may take. The few things a status needs are therefore kept in `$XDG_CACHE_HOME/mailer` when a check has
passed, and used while nothing that was checked has changed.

Rule 1. Only a configuration that passed is kept. A wrong one is checked, and refused, every time.
Rule 2. "Unchanged" is decided as git does for its index: device, inode, size, mtime and ctime of every file that might
        be the configuration, those that do not exist among them. A file changed less than `RACY_NS` before it was read
        is not kept: a second change of the same size could have the same times.
Rule 3. With any `MAILER_SECTION__KEY` in the environment nothing is kept or used. Nothing kept is secret.
Rule 4. Whatever is odd about the kept file means that there is none; the configuration is then checked as usual.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from mailer import __version__
from mailer.cli.known import Known

__all__ = ["recall", "remember"]

# The slowest clock a file system has for its times: two seconds (FAT). ext4 ticks every 4 ms.
RACY_NS: Final = 2_000_000_000
# Configurations kept, the latest first. Few people have more than two or three.
MOST: Final = 16

Kept = tuple[Known, tuple[str, ...]]
"""What is known, and the warnings that belong to the configuration."""


def recall(environ: Mapping[str, str], file: Path | None) -> Kept | None:
    """What was kept of the configuration in force, or None if it has to be checked. Never raises."""
    place = _place(environ)
    if place is None:
        return None
    entry = next((entry for entry in _read(place) if _is(entry, environ, file)), None)
    try:
        if entry is None or entry["files"] != _signatures(_candidates(environ, file)):
            return None
        limits = {str(name): None if limit is None else int(limit) for name, limit in entry["relays"]}
        return Known(Path(entry["database"]), limits, float(entry["lock_wait_s"])), tuple(map(str, entry["warnings"]))
    except (KeyError, TypeError, ValueError, OSError):
        return None


def remember(
    environ: Mapping[str, str], file: Path | None, read: Path | None, known: Known, warnings: tuple[str, ...]
) -> None:
    """Keep what was found when the configuration `read` passed its check. Silent where it cannot be kept."""
    place = _place(environ)
    candidates = _candidates(environ, file)
    try:
        if place is None or next((path for path in candidates if path.exists()), None) != _absolute(read):
            return
        signatures = _signatures(candidates)
        newest = max((max(one[3], one[4]) for one in signatures if one is not None), default=0)
        if newest > time.time_ns() - RACY_NS:
            return
        entry = {
            **_key(environ, file),
            "files": signatures,
            "database": str(known.database),
            "lock_wait_s": known.lock_wait_s,
            "relays": list(known.daily_limits.items()),
            "warnings": list(warnings),
        }
        others = [one for one in _read(place) if not _is(one, environ, file)]
        _write(place, [entry, *others[: MOST - 1]])
    except (OSError, ValueError):
        return


def _key(environ: Mapping[str, str], file: Path | None) -> dict[str, Any]:
    """Everything but the files that decides which configuration is in force and what it means."""
    return {
        "version": f"{__version__} {sys.version}",
        "folder": str(Path.cwd()),
        "named": None if file is None else str(file),
        "environment": [environ.get(name) for name in ("MAILER_CONFIG", "XDG_CONFIG_HOME", "HOME")],
    }


def _is(entry: Any, environ: Mapping[str, str], file: Path | None) -> bool:
    return isinstance(entry, dict) and all(entry.get(name) == value for name, value in _key(environ, file).items())


def _candidates(environ: Mapping[str, str], file: Path | None) -> list[Path]:
    """Where mailer.config.find_file looks, in its order. `remember` compares, so that the two cannot drift apart."""
    named = file or (Path(environ["MAILER_CONFIG"]) if environ.get("MAILER_CONFIG") else None)
    if named is not None:
        return [Path.cwd() / named]
    home = environ.get("XDG_CONFIG_HOME") or (f"{environ['HOME']}/.config" if environ.get("HOME") else "")
    usual = [Path("config.toml"), *([Path(home, "mailer", "config.toml")] if home else [])]
    return [Path.cwd() / path for path in (*usual, Path("/etc/mailer/config.toml"))]


def _absolute(path: Path | None) -> Path | None:
    return None if path is None else Path.cwd() / path


def _signatures(paths: list[Path]) -> list[list[int] | None]:
    found: list[list[int] | None] = []
    for path in paths:
        try:
            at = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            found.append(None)
        else:
            found.append([at.st_dev, at.st_ino, at.st_size, at.st_mtime_ns, at.st_ctime_ns])
    return found


def _place(environ: Mapping[str, str]) -> Path | None:
    """The kept file, or None where nothing is to be kept."""
    if any(name.startswith("MAILER_") and "__" in name for name in environ):
        return None
    base = environ.get("XDG_CACHE_HOME") or (f"{environ['HOME']}/.cache" if environ.get("HOME") else "")
    return Path(base, "mailer", "checked-config.json") if base.startswith("/") else None


def _read(place: Path) -> list[Any]:
    try:
        with place.open("rb") as file:
            # Somebody else's file could point us to another database.
            kept = json.load(file) if os.fstat(file.fileno()).st_uid == os.geteuid() else []
    except (OSError, ValueError):
        return []
    return kept if isinstance(kept, list) else []


def _write(place: Path, entries: list[Any]) -> None:
    """Whole or not at all. Not in a home that is another user's, as it is under sudo: they could not remove it."""
    owner = next(folder for folder in place.parents if folder.exists())
    if owner.stat().st_uid != os.geteuid():
        return
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = place.with_name(f".{place.name}.{os.getpid()}")
    try:
        beside.write_text(json.dumps(entries), "utf-8")
        beside.replace(place)
    finally:
        beside.unlink(missing_ok=True)
