"""What tells two campaigns apart, in the operator's own words: `subject`, `attachment report.pdf`, `header X-Kind`.

`queue` on a name that exists adds recipients only where nothing here differs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from typing import TypeVar

from mailer.content import Content, Part
from mailer.service.queue_settings import Settings

__all__ = ["content_differences", "setting_differences"]

V = TypeVar("V")


def content_differences(old: Content, new: Content) -> list[str]:
    """The names of what differs between two contents, in the order in which a command line states them."""
    plain = [
        ("from", old.sender, new.sender),
        ("subject", old.subject, new.subject),
        ("text", old.text, new.text),
        ("html", old.html, new.html),
        ("reply-to", old.reply_to, new.reply_to),
        ("to-name", old.to_name, new.to_name),
        ("list", old.list_name, new.list_name),
    ]
    return [
        *(name for name, before, after in plain if before != after),
        *_in_either("header", _grouped(old.headers), _grouped(new.headers)),
        *_in_either("set", old.variables, new.variables),
        *_in_either("attachment", _parts(old.attachments), _parts(new.attachments)),
        *_in_either("inline", _parts(old.inline), _parts(new.inline)),
        *_order(old, new),
    ]


def setting_differences(old: Settings, new: Settings) -> list[str]:
    """The same for settings. `today` changes by itself and is no difference; nor is where the operator's clock stands:
    what was asked for in another zone differs by its instant."""
    plain = [
        ("envelope-from", old.envelope_from, new.envelope_from),
        ("relay", old.relays, new.relays),
        ("start-at", old.start_at_us, new.start_at_us),
        ("expires-at", old.expires_at_us, new.expires_at_us),
        ("expires-in", old.expires_in_us, new.expires_in_us),
        ("priority", old.priority, new.priority),
        ("on-uncertain", old.on_uncertain, new.on_uncertain),
    ]
    return [name for name, before, after in plain if before != after]


def _in_either(word: str, old: Mapping[str, V], new: Mapping[str, V]) -> list[str]:
    return [f"{word} {name}" for name in dict.fromkeys([*old, *new]) if old.get(name) != new.get(name)]


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    """Header values by name; a name may occur twice."""
    found: dict[str, tuple[str, ...]] = {}
    for name, value in pairs:
        found[name] = (*found.get(name, ()), value)
    return found


def _parts(parts: Iterable[Part]) -> dict[str, tuple[Part, ...]]:
    found: dict[str, tuple[Part, ...]] = {}
    for part in parts:
        found[part.name] = (*found.get(part.name, ()), part)
    return found


def _order(old: Content, new: Content) -> list[str]:
    """Where only the order differs, which nothing above sees although the messages would not be the same."""
    same: list[tuple[str, tuple[Hashable, ...], tuple[Hashable, ...]]] = [
        ("order of the headers", old.headers, new.headers),
        ("order of the attachments", old.attachments, new.attachments),
        ("order of the inline parts", old.inline, new.inline),
    ]
    return [
        name for name, old_ones, new_ones in same if old_ones != new_ones and Counter(old_ones) == Counter(new_ones)
    ]
