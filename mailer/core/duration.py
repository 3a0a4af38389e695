"""Durations as people write them: `30s 5m 4h 2d`."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

# Added to a time in microseconds it stays within the 64 bits of a database's integers.
LONGEST: Final = timedelta(days=36_525)

_FORM: Final = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)([smhd])", re.ASCII)
_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def parse_duration(text: str) -> timedelta:
    """The duration that `text` names. Raises ValueError with what was expected."""
    found = _FORM.fullmatch(text.strip())
    if found is None:
        raise ValueError('expected a duration such as "30s", "5m", "4h" or "2d"')
    number, unit = found.groups()
    # Through microseconds as whole numbers where possible: 0.1 is no exact float, "0.1s" is exactly 100,000 of them.
    duration = timedelta(microseconds=round(float(number) * 1_000_000) * _SECONDS[unit])
    if duration > LONGEST:
        raise ValueError(f"{text.strip()} is longer than can be reckoned with")
    return duration


def format_duration(duration: timedelta) -> str:
    """`duration` in the largest unit that gives a whole number: 90 s is `90s`, 120 s is `2m`."""
    microseconds = duration // timedelta(microseconds=1)
    for unit in ("d", "h", "m", "s"):
        length = _SECONDS[unit] * 1_000_000
        if microseconds % length == 0 and (microseconds or unit == "s"):
            return f"{microseconds // length}{unit}"
    return f"{microseconds / 1_000_000:f}".rstrip("0") + "s"
