"""The commented example: the text of config.toml at the top level, and filling values into it.

The text is edited, not generated, so that what an operator finds in the file is what the documentation shows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Final

__all__ = ["example", "fill_in"]

# Where the remark behind a value begins, so that remarks stand below one another.
REMARKS_AT: Final = 41

_SECTION: Final = re.compile(r"\[\[?([\w-]+)\]\]?")
_KEY: Final = re.compile(
    r'(?P<off># )?(?P<key>[a-z_]+) = (?P<value>"(?:[^"\\]|\\.)*"|[^"#]*(?:"[^"]*"[^"#]*)*?)\s*(?P<remark>#.*)?'
)

Value = str | int | tuple[str, ...] | Mapping[str, str] | None


def example() -> str:
    """The example as it is shipped."""
    return files("mailer").joinpath("config.example.toml").read_text("utf-8")


def fill_in(text: str, values: Mapping[tuple[str, str], Value]) -> str:
    """`text` with the given values, by section and key; a key whose value is None is commented out.

    All other lines, and the remarks behind the values, stay as they are. Raises LookupError for a key without a line.
    """
    left = dict(values)
    section = ""
    lines = []
    for line in text.splitlines():
        head = _SECTION.match(line)
        section = head[1] if head else section
        found = _KEY.fullmatch(line)
        place = (section, found["key"]) if found else None
        if found and place in left:
            line = _line(found, left.pop(place))
        lines.append(line)
    if left:
        raise LookupError(f"the example has no line for {next(iter(left))}")
    return "\n".join(lines) + "\n"


def _line(found: re.Match[str], value: Value) -> str:
    code = f"# {found['key']} = {found['value'].strip()}" if value is None else f"{found['key']} = {_toml(value)}"
    return f"{code:<{REMARKS_AT}}{found['remark']}" if found["remark"] else code


def _toml(value: str | int | tuple[str, ...] | Mapping[str, str]) -> str:
    match value:
        case Mapping():
            return "{ " + ", ".join(f"{key} = {_toml(part)}" for key, part in value.items()) + " }"
        case tuple():
            return "[" + ", ".join(map(_toml, value)) + "]"
        case str():
            # Every escape of JSON is one of TOML (TOML 1.0, Strings); DEL is the one character that JSON leaves alone.
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case _:
            return str(value)
