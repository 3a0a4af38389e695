"""Keys given in the environment: `MAILER_WORKER__LEASE=30s`, relays by name: `MAILER_RELAY__QQ__PASSWORD=…`.

The name is the section and the key in capitals, two underscores between them. In a relay's name everything but ASCII
letters and digits is an underscore. Values are written without quotes; a list is separated by commas. A path is
relative to the current folder, for that is where it is typed. A variable that names no key is an error, like an unknown
key in the file: what somebody meant to set must not be lost in silence.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

from mailer.config.model import SECTIONS, SQLITE, Config, Relay, Section
from mailer.config.secrets import Secret
from mailer.config.values import Place
from mailer.core.nearest import did_you_mean, nearest
from mailer.errors import ConfigError

__all__ = ["apply_environment"]

PREFIX: Final = "MAILER_"


def apply_environment(raw: dict[str, Any], environ: Mapping[str, str], place: Place, cwd: Path) -> dict[str, str]:
    """Write what the environment sets into `raw`; the dotted keys that were set, with their variables.

    Raises ConfigError for a variable that names no section, relay or key.
    """
    applied: dict[str, str] = {}
    for variable in sorted(environ):
        if not variable.startswith(PREFIX) or "__" not in variable:
            continue
        section, _, rest = variable.removeprefix(PREFIX).partition("__")
        model: type[Section]
        if section == "RELAY":
            relay, key = _find_relay(raw, variable, rest)
            shown, table, model = f"relay.{relay.get('name')}", relay, Relay
        else:
            name = _find(section, SECTIONS, variable, "section")
            shown, model = name, typing.cast(type[Section], Config.model_fields[name].annotation)
            key = rest
            table = raw.setdefault(name, {})
            if not isinstance(table, dict):
                continue  # the model says what is wrong with it
        fields = {info.alias or field: info.annotation for field, info in model.model_fields.items()}
        known = _find(key, fields, variable, "key")
        table[known] = _value(environ[variable], fields[known], variable, f"{shown}.{known}", place, cwd)
        applied[f"{shown}.{known}"] = variable
    return applied


def variable_part(name: str) -> str:
    """A name as it stands in a variable: capitals, digits, underscores."""
    return "".join(char if char.isascii() and char.isalnum() else "_" for char in name.upper())


def _find(given: str, known: typing.Iterable[str], variable: str, kind: str) -> str:
    names = {variable_part(name): name for name in known}
    if given not in names:
        near = nearest(given, names)
        hint = f"Did you mean {variable.replace(f'_{given}', f'_{near}')}?" if near else ""
        raise ConfigError(
            f"environment, {variable}: there is no {kind} `{given.lower()}`.",
            hint or f"Known: {', '.join(names.values())}.",
        )
    return names[given]


def _find_relay(raw: dict[str, Any], variable: str, rest: str) -> tuple[dict[str, Any], str]:
    """The relay that `NAME__KEY` speaks of, and the key. A relay's name may hold two underscores itself."""
    relays = raw.get("relay")
    listed = [relay for relay in relays if isinstance(relay, dict)] if isinstance(relays, list) else []
    named = [(variable_part(str(relay.get("name", ""))), relay) for relay in listed]
    matching = [(part, relay) for part, relay in named if rest.startswith(part + "__")]
    if not matching:
        given = rest.rpartition("__")[0]
        names = [str(relay.get("name", "")) for relay in listed]
        raise ConfigError(
            f"environment, {variable}: there is no relay `{given.lower()}`.",
            did_you_mean(given, names, quote='"') or (f"Configured: {', '.join(names)}." if names else ""),
        )
    if len(matching) > 1:
        names = [str(relay.get("name")) for _, relay in matching]
        raise ConfigError(
            f"environment, {variable}: it could mean any of the relays {', '.join(names)}.", "Rename one of them."
        )
    part, relay = matching[0]
    return relay, rest.removeprefix(part + "__")


def _value(text: str, annotation: Any, variable: str, key: str, place: Place, cwd: Path) -> Any:
    """`text` as the value that would stand in the file. What cannot be converted is left for the model to refuse."""
    kinds = _kinds(annotation)
    if Secret in kinds:
        return Secret("env", variable, place)
    if key == "database.url" and text.startswith(SQLITE):
        return f"{SQLITE}{cwd / text.removeprefix(SQLITE)}"
    if Path in kinds:
        return str(cwd / text) if text and not text.startswith("~") else text
    if tuple in kinds:
        return [part.strip() for part in text.split(",") if part.strip()]
    if bool in kinds:
        return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}.get(text.lower(), text)
    for number in (int, float):
        if number in kinds:
            try:
                return number(text)
            except ValueError:
                return text
    return text


def _kinds(annotation: Any) -> set[Any]:
    """The plain types that a value of this annotation may have."""
    origin = typing.get_origin(annotation)
    if origin is Annotated:
        return _kinds(typing.get_args(annotation)[0])
    if origin in (typing.Union, types.UnionType):
        return set().union(*(_kinds(part) for part in typing.get_args(annotation)))
    return {origin or annotation}
