"""How a line of the log looks: what every event begins with, as JSON for programs, in words for people.

A form makes text of an event; `log.py` redacts that text and writes it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

__all__ = ["PREPARED", "Form", "console_form", "json_form"]

Form = Callable[[EventDict], str]
"""An event as text, which may span several lines."""

# structlog has methods that are other names for the same.
_SAME_LEVEL: Final = {"warn": "warning", "exception": "error", "critical": "error", "fatal": "error"}
# Written as they are; everything else in an event is a field, which the renderer quotes where that is needed.
_TEXTS: Final = ("event", "exception")


def _stamp(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Put first what every line begins with: when, how bad, who, what."""
    at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    name = event.pop("logger", None) or getattr(logger, "name", "")
    head = {"at": at, "level": _SAME_LEVEL.get(method, method), **({"logger": name} if name else {})}
    return {**head, "event": event.pop("event", ""), **event}


# The traceback as text, without the values of local variables: those may be messages, addresses, passwords.
PREPARED: Final[Sequence[Processor]] = (_stamp, structlog.processors.format_exc_info)


def json_form() -> Form:
    """One document a line."""
    render = structlog.processors.JSONRenderer(ensure_ascii=False, default=str)

    def form(event: EventDict) -> str:
        return str(render(None, "", dict(event)))

    return form


def console_form(*, colour: bool) -> Form:
    """For people: the time, the level, the event and its fields, then a traceback where there is one."""
    render = structlog.dev.ConsoleRenderer(
        colors=colour,
        force_colors=colour,
        timestamp_key="at",
        sort_keys=False,
        exception_formatter=structlog.dev.plain_traceback,
    )

    def form(event: EventDict) -> str:
        return str(render(None, "", {key: _harmless(key, value) for key, value in event.items()}))

    return form


def _harmless(key: str, value: Any) -> Any:
    """A value without what could move the cursor or change colours: servers' words stand in events."""
    if not isinstance(value, str) or value.isprintable():
        return value
    if key not in _TEXTS:
        return _Quoted(value)
    return "".join(
        char if char.isprintable() or char in "\n\t" else char.encode("unicode_escape").decode() for char in value
    )


class _Quoted:
    """A text that the renderer shows as Python would."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return repr(self._text)
