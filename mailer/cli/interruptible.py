"""Waiting for what somebody types, so that Ctrl-C ends it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["interruptible"]


@contextmanager
def interruptible() -> Iterator[None]:
    """Within the block Ctrl-C raises KeyboardInterrupt at once.

    asyncio takes Ctrl-C as a wish to cancel the coroutine, which a coroutine that waits for the keyboard never hears.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
