"""The kinds of values that a configuration holds: durations, rates, paths, names."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, ValidationInfo

from mailer.core.address import BadAddress, parse_mailbox
from mailer.core.duration import LONGEST, format_duration, parse_duration

__all__ = [
    "Address",
    "Duration",
    "FilePath",
    "Host",
    "Name",
    "Place",
    "Rate",
    "RateValue",
    "WrongValueError",
    "duration_within",
    "place_of",
]


class WrongValueError(ValueError):
    """A value that cannot be used, or several that do not go together. The text says what was expected."""

    def __init__(self, text: str, hint: str = "") -> None:
        super().__init__(text)
        self.hint = hint


@dataclass(frozen=True)
class Place:
    """Where a configuration stands: what its relative paths and its secrets refer to."""

    folder: Path
    """Absolute. Relative paths in the file are relative to it."""
    environ: Mapping[str, str] = field(repr=False)
    on_secret: Callable[[str], None] = field(repr=False)
    """Told every secret that is resolved, so that it can be kept out of logs."""

    def path(self, text: str) -> Path:
        """The absolute path that `text` names; `~` is the home folder."""
        if text == "~" or text.startswith("~/"):
            home = self.environ.get("HOME")
            if not home:
                raise WrongValueError(f"{text} needs $HOME, which is not set")
            text = home + text[1:]
        return self.folder / text


def place_of(info: ValidationInfo) -> Place:
    """The place that the validation was started with."""
    if not isinstance(info.context, Place):
        raise TypeError("a configuration is validated with its Place as context")
    return info.context


@dataclass(frozen=True, slots=True)
class Rate:
    """So many in a second, minute, hour or day."""

    count: int
    per: timedelta

    @property
    def per_second(self) -> float:
        return self.count / self.per.total_seconds()

    def __str__(self) -> str:
        return f"{self.count}/{_UNIT_NAMES[self.per]}"


_UNITS: Final = {
    "second": timedelta(seconds=1),
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
}
_UNIT_NAMES: Final = {length: name for name, length in _UNITS.items()}
_RATE: Final = re.compile(r"(\d{1,9})\s*/\s*(second|minute|hour|day)", re.ASCII)

# Letters of any script, digits and `. _ -`; `/` is kept for runs of digests and `send`.
_NAME: Final = re.compile(r"[\w.\-]{1,100}")
_HOST: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.\-]*[A-Za-z0-9])?\.?|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*", re.ASCII)


def _duration(value: Any) -> Any:
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str):
        raise WrongValueError('expected a duration in quotes, such as "30s", "5m", "4h" or "2d"')
    return parse_duration(value)


def _rate(value: Any) -> Any:
    if isinstance(value, Rate):
        return value
    found = _RATE.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None or int(found[1]) == 0:
        raise WrongValueError('expected a rate such as "10/second", "40/minute", "500/hour" or "2000/day"')
    return Rate(int(found[1]), _UNITS[found[2]])


def _path(value: Any, info: ValidationInfo) -> Any:
    """Absolute; an empty text means none."""
    if isinstance(value, Path):
        value = str(value)
    if not isinstance(value, str):
        raise WrongValueError('expected a path in quotes, such as "error.log"')
    if "\0" in value:
        raise WrongValueError("a path cannot hold a null character")
    return place_of(info).path(value) if value else None


def _name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise WrongValueError("expected 1 to 100 letters, digits, `.`, `_` or `-`")
    return value


def _host(value: str) -> str:
    bare = value[1:-1] if value.startswith("[") and value.endswith("]") else value
    if not _HOST.fullmatch(bare) or len(bare) > 253:
        raise WrongValueError(
            'expected a host name such as "smtp.example.com" or an IP address',
            "No scheme, no path; the port has a key of its own: port = 587." if re.search(r"[:/]", bare) else "",
        )
    return bare


def _address(value: str) -> str:
    try:
        parse_mailbox(value)
    except BadAddress as error:
        raise WrongValueError(f'"{value}" is no address: {error}', "They look like News <news@example.com>.") from error
    return value


def duration_within(*, least: timedelta = timedelta(0), most: timedelta = LONGEST, not_zero: bool = False) -> Any:
    """A check for durations. Not pydantic's own bounds: its errors hold them as Python would write them."""

    def check(duration: timedelta) -> timedelta:
        if duration < least:
            raise WrongValueError(f"expected at least {format_duration(least)}")
        if duration > most:
            raise WrongValueError(f"expected at most {format_duration(most)}")
        if not_zero and not duration:
            raise WrongValueError("expected more than 0s")
        return duration

    return AfterValidator(check)


Duration = Annotated[timedelta, BeforeValidator(_duration)]
RateValue = Annotated[Rate, BeforeValidator(_rate)]
FilePath = Annotated[Path | None, BeforeValidator(_path)]
Name = Annotated[str, AfterValidator(_name)]
Host = Annotated[str, AfterValidator(_host)]
Address = Annotated[str, AfterValidator(_address)]
