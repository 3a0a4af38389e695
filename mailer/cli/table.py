"""A plain table of text: no lines, columns two blanks apart, aligned for wide characters, cut to the terminal.

Not rich's: importing that costs 35 ms, and `mailer status` has 300 for everything.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

__all__ = ["Column", "printable", "render", "width_of"]

UNKNOWN: Final = "–"
CUT: Final = "…"
NARROWEST: Final = 8  # a column is not cut below this: less says nothing

# ANSI colours for words that mean the same everywhere.
COLOURS: Final[Mapping[str, str]] = {
    "sent": "32",
    "ready": "32",
    "running": "32",
    "finished": "32",
    "deferred": "33",
    "uncertain": "35",
    "paused": "33",
    "failed": "31",
    "stopped": "31",
    "bounced": "31",
}


@dataclass(frozen=True, slots=True)
class Column:
    """A field of the rows, and how it is shown in a table. `key` is also the name of the csv column."""

    key: str
    title: str | None = None
    """Head of the column; the key if it is None."""
    right: bool = False
    """Aligned to the right: numbers."""
    in_table: bool = True
    """False: in csv only, where there is room."""
    may_shrink: bool = False
    """Cut first when the table is wider than the terminal."""
    colours: Mapping[str, str] = field(default_factory=lambda: COLOURS)


def render(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column], *, colour: bool, width: int | None) -> str:
    """The table with its head, each line ended by a newline. `width` is the terminal's; None cuts no cell."""
    shown = [column for column in columns if column.in_table]
    head = [column.key.upper().replace("_", " ") if column.title is None else column.title for column in shown]
    cells = [[_cell(row.get(column.key)) for column in shown] for row in rows]
    lines = [*([head] if any(head) else []), *cells]
    widths = [max((width_of(line[i]) for line in lines), default=0) for i in range(len(shown))]
    if width is not None:
        widths = _fit(widths, shown, width)
    out: list[str] = []
    for number, line in enumerate(lines):
        is_head = any(head) and number == 0
        parts = []
        for i, (text, column) in enumerate(zip(line, shown, strict=True)):
            text = _cut(text, widths[i])
            pad = " " * (widths[i] - width_of(text))
            styled = _styled(text, "1" if is_head else column.colours.get(text)) if colour else text
            parts.append(pad + styled if column.right else styled + pad)
        out.append("  ".join(parts).rstrip() + "\n")
    return "".join(out)


def width_of(text: str) -> int:
    """Terminal cells that `text` takes: two for wide East Asian characters, none for combining ones (UAX #11)."""
    if text.isascii():
        return len(text)
    return sum(_char_width(char) for char in text)


def printable(text: str) -> str:
    """`text` on one line, without what could move the cursor or change colours: a server's words are not trusted."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else " " if char in "\r\n\t" else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    # Format characters such as the zero width joiner belong to emoji and scripts; the bidirectional ones may mislead.
    if unicodedata.category(char) == "Cf" and not "\u202a" <= char <= "\u202e" and not "\u2066" <= char <= "\u2069":
        return char
    return char.encode("unicode_escape").decode("ascii") if not unicodedata.category(char).startswith("Z") else " "


def _char_width(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _cell(value: Any) -> str:
    match value:
        case None:
            return UNKNOWN
        case str():
            return printable(value)
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
        case list() | tuple():
            return printable(", ".join(str(item) for item in value)) or UNKNOWN
        case Mapping():
            return printable(json.dumps(dict(value), ensure_ascii=False))
        case _:
            return printable(str(value))


def _fit(widths: list[int], columns: Sequence[Column], room: int) -> list[int]:
    """Take what is too much from the shrinkable columns, the widest first."""
    widths = list(widths)
    excess = sum(widths) + 2 * (len(widths) - 1) - room
    shrinkable = [i for i, column in enumerate(columns) if column.may_shrink]
    while excess > 0 and shrinkable:
        widest = max(shrinkable, key=lambda i: widths[i])
        if widths[widest] <= NARROWEST:
            break
        widths[widest] -= 1
        excess -= 1
    return widths


def _cut(text: str, width: int) -> str:
    if width_of(text) <= width:
        return text
    kept, used = [], 0
    for char in text:
        used += _char_width(char)
        if used > width - 1:
            break
        kept.append(char)
    return "".join(kept) + CUT


def _styled(text: str, code: str | None) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if code else text
