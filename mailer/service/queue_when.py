"""Instants as an operator types them: in the campaign's zone unless they carry an offset.

Clock changes: a time that a change skips means the first instant after the gap; one that occurs twice means the first
of the two. The answer is repeated with its offset (`in_zone`), so that the operator sees what was understood.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from mailer.core.clock import SECOND_US
from mailer.core.duration import parse_duration
from mailer.errors import UsageError

__all__ = ["date_in_zone", "in_zone", "parse_duration_us", "parse_instant"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
# RFC 3339, with what people leave out: the seconds, the time of day (midnight), the offset, the T.
_FORM: Final = re.compile(
    r"(\d{4}-\d{2}-\d{2})(?:[Tt ](\d{2}:\d{2}(?::\d{2}(?:\.\d{1,6})?)?)\s*([Zz]|[+-]\d{2}:?\d{2})?)?", re.ASCII
)
_HINT: Final = 'Times are like "2026-11-24T08:00" (in the configured zone) or "2026-11-24T08:00+08:00".'


def parse_instant(text: str, zone: str, *, option: str) -> int:
    """Microseconds since the epoch for `text`. Raises UsageError that names `option`."""
    found = _FORM.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"{option}: {text!r} is no time.", _HINT)
    day, clock, offset = found.groups()
    try:
        if offset:
            offset = "+00:00" if offset in "Zz" else offset
            return _micros(datetime.fromisoformat(f"{day}T{clock}{offset}"))
        return _micros(_first_instant(datetime.fromisoformat(f"{day}T{clock or '00:00'}"), ZoneInfo(zone)))
    except (ValueError, OverflowError) as error:
        raise UsageError(f"{option}: there is no time {text!r}: {error}.", _HINT) from None


def parse_duration_us(text: str, *, option: str) -> int:
    """Microseconds for `12h`. Raises UsageError that names `option`; a length of nothing is refused as well."""
    try:
        length = parse_duration(text) // _MICROSECOND
    except ValueError as error:
        raise UsageError(f"{option}: {text!r}: {error}.") from None
    if length < SECOND_US:
        raise UsageError(f"{option}: {text!r} is less than a second.")
    return length


def in_zone(at_us: int, zone: str) -> str:
    """`2026-11-24T08:00:00+08:00`: the instant as clocks in `zone` show it, with its offset."""
    at = (_EPOCH + timedelta(microseconds=at_us)).astimezone(ZoneInfo(zone))
    return at.isoformat(timespec="milliseconds" if at.microsecond else "seconds")


def date_in_zone(at_us: int, zone: str) -> date:
    """The date that it is in `zone` at that instant."""
    return (_EPOCH + timedelta(microseconds=at_us)).astimezone(ZoneInfo(zone)).date()


def _first_instant(wall: datetime, zone: ZoneInfo) -> datetime:
    """The instant at which clocks in `zone` first show `wall` or, where a change skips it, anything later."""
    at = wall.replace(tzinfo=zone, fold=0)
    before, after = at.utcoffset(), at.replace(fold=1).utcoffset()
    if before is None or after is None or before >= after:
        return at  # unambiguous, or twice: fold 0 is the first
    # In a gap: fold 0 reckons with the offset before it, which gives an instant behind the change, and fold 1 one
    # before it (PEP 495). The change lies between the two, on a whole second.
    low, high = int(at.replace(fold=1).timestamp()), int(at.timestamp())
    while high - low > 1:
        middle = (low + high) // 2
        is_before = datetime.fromtimestamp(middle, zone).utcoffset() == before
        low, high = (middle, high) if is_before else (low, middle)
    return datetime.fromtimestamp(high, UTC)


def _micros(at: datetime) -> int:
    return (at.astimezone(UTC) - _EPOCH) // _MICROSECOND
