"""pydantic's errors, said so that a person knows which line to change: file, key, what was expected.

No value of a secret's key is ever quoted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from mailer.config.model import Config, Relay, Section
from mailer.config.values import WrongValueError
from mailer.core.nearest import did_you_mean, nearest
from mailer.errors import ConfigError

__all__ = ["complain"]

SHOWN_AT_MOST: Final = 60  # characters of a wrong value that are quoted back

_EXPECTED: Final[Mapping[str, str]] = {
    "string_type": "expected a text in quotes",
    "int_type": "expected a whole number",
    "float_type": "expected a number",
    "bool_type": "expected true or false, without quotes",
    "list_type": 'expected a list, such as ["a", "b"]',
    "tuple_type": 'expected a list, such as ["a", "b"]',
}


def complain(
    error: ValidationError, raw: Mapping[str, Any], shown: str, from_environment: Mapping[str, str]
) -> ConfigError:
    """One sentence for the first thing that is wrong; the hint has what to do, then what else is wrong."""
    said = [_say(details, raw, shown, from_environment) for details in error.errors(include_url=False)]
    sentence, hint = said[0]
    more = [f"Also: {other}" for other, _ in said[1:]]
    return ConfigError(sentence, "\n".join(([hint] if hint else []) + more))


def _say(
    details: ErrorDetails, raw: Mapping[str, Any], shown: str, from_environment: Mapping[str, str]
) -> tuple[str, str]:
    section, key, dotted = _where(details["loc"], raw)
    variable = from_environment.get(dotted)
    place = f"environment, {variable}" if variable else ", ".join(filter(None, (shown, section)))
    if details["type"] == "extra_forbidden":
        return _unknown(place, key, details["loc"])
    if details["type"] in ("model_type", "dict_type"):
        return f"{place}: expected a section of its own, written {f'[{key}]' if key else section}.", ""
    if section == "[relay]":
        return f"{shown}: relays are a list.", "Write [[relay]], with two brackets, above the keys of each relay."
    expected, hint = _expected(details)
    if key and not variable:
        place = f"{place} {key}" if section.startswith("[") else f"{place}, {key}"
    got = _quoted(details.get("input")) if key and key != "password" and "missing" not in details["type"] else ""
    wrong = isinstance(_cause(details), WrongValueError)
    said_already = wrong and not expected.startswith("expected")
    ending = f", not {got}" if got and not said_already else ""
    return f"{place}: {expected.rstrip('.')}{ending}.", hint


def _where(loc: tuple[int | str, ...], raw: Mapping[str, Any]) -> tuple[str, str, str]:
    """Section as a person calls it, key, and the dotted key under which its source is known."""
    if not loc:
        return "", "", ""
    if loc[0] == "relay":
        if len(loc) == 1 or not isinstance(loc[1], int):
            return "[relay]", "", "relay"
        relay = raw["relay"][loc[1]]
        name = relay.get("name") if isinstance(relay, Mapping) else None
        called = f'relay "{name}"' if isinstance(name, str) else f"relay number {loc[1] + 1}"
        key = str(loc[2]) if len(loc) > 2 else ""
        return called, key, f"relay.{name}.{key}"
    key = str(loc[1]) if len(loc) > 1 else ""
    return f"[{loc[0]}]", key, f"{loc[0]}.{key}"


def _unknown(place: str, key: str, loc: tuple[int | str, ...]) -> tuple[str, str]:
    if len(loc) == 1:
        known = _known_keys(Config)
        place = place.rpartition(", ")[0]
        near = nearest(str(loc[0]), known)
        return f"{place}: there is no section [{loc[0]}].", f"Did you mean [{near}]?" if near else _list(known)
    model = Relay if loc[0] == "relay" else Config.model_fields[str(loc[0])].annotation
    known = _known_keys(model) if isinstance(model, type) and issubclass(model, Section) else []
    return f"{place}: there is no key `{key}`.", did_you_mean(key, known, quote="`") or _list(known)


def _known_keys(model: type[Section]) -> list[str]:
    return [info.alias or name for name, info in model.model_fields.items()]


def _list(known: list[str]) -> str:
    return f"Known: {', '.join(known)}."


def _expected(details: ErrorDetails) -> tuple[str, str]:
    context = details.get("ctx", {})
    cause = _cause(details)
    if isinstance(cause, WrongValueError):
        return str(cause), cause.hint
    if cause is not None:
        return str(cause), ""
    match details["type"]:
        case "missing":
            return "is missing", ""
        case "literal_error":
            return f"expected {context['expected']}".replace("'", '"'), ""
        case "greater_than_equal":
            return f"expected at least {context['ge']}", ""
        case "less_than_equal":
            return f"expected at most {context['le']}", ""
    return _EXPECTED.get(details["type"], details["msg"].lower()), ""


def _cause(details: ErrorDetails) -> BaseException | None:
    cause = details.get("ctx", {}).get("error")
    return cause if isinstance(cause, BaseException) else None


def _quoted(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return f'"{value[:SHOWN_AT_MOST]}…"' if len(value) > SHOWN_AT_MOST else f'"{value}"'
        case int() | float():
            return str(value)
    return ""
