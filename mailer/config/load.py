"""Finding, reading and checking a configuration, and remembering where each value came from.

The order, later ones winning: defaults in the model, a relay's preset, the file, the environment.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from mailer.config.complaint import complain
from mailer.config.model import Config, suggested_variable
from mailer.config.overrides import apply_environment
from mailer.config.presets import preset, preset_names
from mailer.config.values import Place
from mailer.config.zone import machine_zone
from mailer.errors import ConfigError

__all__ = ["Loaded", "find_file", "load"]

FILE_NAME: Final = "config.toml"


@dataclass(frozen=True)
class Loaded:
    """A configuration and how it came about."""

    config: Config
    file: Path | None
    """The file that was read, or None if there is none and all values are defaults."""
    sources: Mapping[str, str]
    """Key (`worker.lease`, `relay.qq.host`) → `config.toml`, `preset qq`, `environment MAILER_…`. Not here: default."""
    zone: str
    """The time zone in force: `[defaults] zone`, else the machine's."""
    warnings: tuple[str, ...] = field(default=())


def find_file(environ: Mapping[str, str], *, file: Path | None = None, cwd: Path | None = None) -> Path | None:
    """The configuration file in force, or None if there is none at all.

    `file` (from --config), else $MAILER_CONFIG, else ./config.toml, else $XDG_CONFIG_HOME/mailer/config.toml, else
    /etc/mailer/config.toml. Raises ConfigError if one that was named does not exist.
    """
    cwd = cwd or Path.cwd()
    named = file or (Path(environ["MAILER_CONFIG"]) if environ.get("MAILER_CONFIG") else None)
    if named is not None:
        if not (cwd / named).exists():
            how = "--config" if file else "$MAILER_CONFIG"
            raise ConfigError(f"there is no configuration at {named} ({how}).", "`mailer init` writes one.")
        return named
    home = environ.get("XDG_CONFIG_HOME") or (f"{environ['HOME']}/.config" if environ.get("HOME") else "")
    usual = [Path(FILE_NAME), *([Path(home, "mailer", FILE_NAME)] if home else []), Path("/etc/mailer", FILE_NAME)]
    return next((path for path in usual if (cwd / path).exists()), None)


def load(
    environ: Mapping[str, str],
    *,
    file: Path | None = None,
    on_secret: Callable[[str], None] = lambda _secret: None,
    cwd: Path | None = None,
) -> Loaded:
    """Read the configuration in force. Raises ConfigError with file, key and what was expected.

    Without any file the defaults hold and no relay is known. `on_secret` is told every secret when it is resolved, so
    that it can be kept out of logs. `cwd` is what a relative `file`, or a path in the environment, is relative to.
    """
    cwd = cwd or Path.cwd()
    found = find_file(environ, file=file, cwd=cwd)
    raw = _read(cwd / found, str(found)) if found else {}
    shown = str(found) if found else "the defaults"
    sources = dict.fromkeys(_keys(raw), shown)
    place = Place(folder=(cwd / found).parent if found else cwd, environ=environ, on_secret=on_secret)
    from_environment = apply_environment(raw, environ, place, cwd)
    sources |= {key: f"environment {variable}" for key, variable in from_environment.items()}
    for key, name in _apply_presets(raw).items():
        sources.setdefault(key, f"preset {name}")
    try:
        config = Config.model_validate(raw, context=place)
    except ValidationError as error:
        # Without its cause: pydantic's error keeps the values, and one of them may be a password.
        raise complain(error, raw, shown, from_environment) from None
    return Loaded(
        config=config,
        file=found,
        sources=sources,
        zone=config.defaults.zone or machine_zone(environ),
        warnings=tuple(_warnings(config, shown)),
    )


def _read(path: Path, shown: str) -> dict[str, Any]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{shown} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError(f"{shown}, line {line}: this is not UTF-8 text.", "Save the file as UTF-8.") from None
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        what, where = _toml_complaint(str(error), text)
        raise ConfigError(f"{shown}, {where}: {what}.", _toml_hint(text, where)) from None


_AT: Final = re.compile(r"(.*) \(at (line \d+, column \d+|end of document)\)", re.DOTALL)


def _toml_complaint(text: str, document: str) -> tuple[str, str]:
    """The parser's words with a small first letter, and the line it names."""
    found = _AT.fullmatch(text)
    what, where = (found[1], found[2]) if found else (text, "")
    if not where.startswith("line"):
        where = f"line {document.count(chr(10)) + 1}"
    return what[:1].lower() + what[1:], where


def _toml_hint(document: str, where: str) -> str:
    """The usual slip: a text without quotes. The line itself is not shown, it may hold a password."""
    number = int(where.split()[1].rstrip(","))
    lines = document.splitlines()
    line = lines[number - 1] if number <= len(lines) else ""
    if re.match(r"\s*[\w-]+\s*=\s*[^\s\"'\[{\d]", line) and not re.match(r"\s*[\w-]+\s*=\s*(true|false)\b", line):
        return 'Texts stand in quotes: key = "value".'
    return "The form of the file is TOML; `mailer init` writes an example."


def _keys(raw: Mapping[str, Any]) -> list[str]:
    """The dotted keys that stand in the file, relays by name."""
    keys = []
    for section, content in raw.items():
        if isinstance(content, Mapping):
            keys += [f"{section}.{key}" for key in content]
        elif section == "relay" and isinstance(content, list):
            for relay in content:
                if isinstance(relay, Mapping):
                    keys += [f"relay.{relay.get('name')}.{key}" for key in relay]
    return keys


def _apply_presets(raw: dict[str, Any]) -> dict[str, str]:
    """Fill into each relay what its preset says and it does not; the keys filled in, with the preset's name."""
    filled = {}
    relays = raw.get("relay")
    for relay in relays if isinstance(relays, list) else []:
        name = relay.get("preset") if isinstance(relay, dict) else None
        if not isinstance(name, str) or name not in preset_names():
            continue  # the model says what is wrong with it
        values = dict(preset(name).values)
        if "tls" in relay or "port" in relay:
            # They belong together: a port of one's own is not the preset's TLS, nor the other way round.
            values.pop("tls", None)
            values.pop("port", None)
        for key, value in values.items():
            if key not in relay:
                relay[key] = value
                filled[f"relay.{relay.get('name')}.{key}"] = name
    return filled


def _warnings(config: Config, shown: str) -> list[str]:
    return [
        f'{shown}, relay "{relay.name}": the password is written in the file. '
        f'Safer: password = {{ env = "{suggested_variable(relay.name)}" }}'
        for relay in config.relays
        if relay.password is not None and relay.password.form == "literal"
    ]
