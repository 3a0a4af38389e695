"""What holds for all tests: what was left out is said at the end, or is a failure where nothing may be left out."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest
from support.servers import STRICT, is_strict

# Where the tests were started in the background Ctrl-C is ignored, and programs that they start would ignore it, too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header() -> str:
    """One line above the run: whether a missing server is a failure."""
    return f"missing servers: {'a failure' if is_strict(os.environ) else f'skipped ({STRICT}=1 makes that a failure)'}"


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Below the run: each reason for which something was skipped, once, with what to do about it."""
    reasons: dict[str, int] = {}
    for report in terminalreporter.stats.get("skipped", []):
        if isinstance(report.longrepr, tuple):
            reason = str(report.longrepr[2]).removeprefix("Skipped: ")
            reasons[reason] = reasons.get(reason, 0) + 1
    if reasons:
        terminalreporter.section("not tested here")
        for reason, count in sorted(reasons.items()):
            terminalreporter.write_line(f"{count:4}  {reason}")
