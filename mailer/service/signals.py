"""Signals: the first SIGTERM or Ctrl-C asks for a clean stop, the second ends the process at once.

Ending at once is safe: the flight recorder has what the database has not, and whoever comes next settles it.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import structlog

log = structlog.get_logger("worker")

STOPPING: Final = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def stop_on_signals(
    stop: Callable[[signal.Signals], None],
    hang_up: Callable[[], None],
    *,
    leave: Callable[[signal.Signals], None] = lambda _: None,
) -> Iterator[None]:
    """While the block runs, `stop` is called for the first SIGTERM or SIGINT, `hang_up` for each SIGHUP.

    A second one of the former ends the process with 128 + its number, without any clean-up but `leave`.
    """
    loop = asyncio.get_running_loop()
    seen: list[signal.Signals] = []

    def handle(number: signal.Signals) -> None:
        if seen:
            leave(number)
            os._exit(128 + number)
        seen.append(number)
        log.info("worker.stopping", signal=number.name, hint="again to leave at once")
        stop(number)

    for number in STOPPING:
        loop.add_signal_handler(number, handle, number)
    loop.add_signal_handler(signal.SIGHUP, hang_up)
    try:
        yield
    finally:
        for number in (*STOPPING, signal.SIGHUP):
            loop.remove_signal_handler(number)


async def end_of_pipe(fd: int) -> None:
    """Return when the writing end of the pipe `fd` is closed: the process that held it is gone."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(fd, ended.set)  # nothing is ever written into it: readable means ended
    try:
        await ended.wait()
    finally:
        loop.remove_reader(fd)
