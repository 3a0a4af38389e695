"""How a run against the demo's server has to end."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mailer.demo.fates import fate_of


@dataclass(frozen=True, slots=True)
class Forecast:
    """How a run has to end."""

    sent: int
    failed: int
    attempts: int


def forecast(numbers: Iterable[int]) -> Forecast:
    """What becomes of the recipients with these numbers if every rule is kept."""
    sent = failed = attempts = 0
    for number in numbers:
        treatment = fate_of(number).value
        if treatment is not None and treatment.times is None:
            failed += 1
            attempts += 1
        else:
            sent += 1
            attempts += 1 + (treatment.times or 0 if treatment is not None else 0)
    return Forecast(sent, failed, attempts)
