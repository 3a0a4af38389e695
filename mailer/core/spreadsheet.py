"""Cells that a spreadsheet would run as a formula, made harmless and restored.

A cell that begins with `=`, `+`, `-`, `@`, a tab or a carriage return is run by common spreadsheet programs when the
file is opened (OWASP, "CSV Injection"). A leading apostrophe stops that. A cell that already looks disarmed gets one
more apostrophe, so that `rearm(disarm(text)) == text` for every text.
"""

from __future__ import annotations

import re
from typing import Final

_RUNS_AS_FORMULA: Final = re.compile(r"'*[=+\-@\t\r]")
_DISARMED: Final = re.compile(r"'+[=+\-@\t\r]")


def disarm(text: str) -> str:
    """`text` with a leading apostrophe if a spreadsheet would run it."""
    return "'" + text if _RUNS_AS_FORMULA.match(text) else text


def rearm(text: str) -> str:
    """Take back what `disarm` did."""
    return text[1:] if _DISARMED.match(text) else text
