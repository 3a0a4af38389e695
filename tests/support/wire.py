"""What the tests of the wire share: messages that remember their end, pools that end, time that is moved."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

import uvloop

from mailer.core.message import Composed, Envelope, Result
from mailer.core.progress import Step
from mailer.smtp import RelayPool, RelaySettings, Timeouts

BODY = b"Subject: hello\r\n\r\nHello\r\n.\r\n..dots\r\n"
ENVELOPE = Envelope("a@sender.example", "b@recipient.example")

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}

# Scripts that are over say no good-bye, and no test waits for one.
IMPATIENT = Timeouts(quit=0.01)

# Only a test that hangs gets there.
PATIENCE_S = 20.0


def run_on(name: str, main: Coroutine[Any, Any, Any]) -> Any:
    """Run `main` on an event loop of that kind; nothing may be left running in it."""
    troubles: list[dict[str, Any]] = []
    with asyncio.Runner(loop_factory=LOOPS[name]) as runner:
        runner.get_loop().set_exception_handler(lambda _, context: troubles.append(context))

        async def guarded() -> Any:
            async with asyncio.timeout(PATIENCE_S):
                result = await main
            assert asyncio.all_tasks() == {asyncio.current_task()}
            return result

        result = runner.run(guarded())
    assert not troubles, troubles
    return result


@dataclass(eq=False)
class Parcel:
    """A Delivery that remembers everything."""

    envelope: Envelope = ENVELOPE
    chunks: tuple[bytes, ...] = (BODY,)
    on_note: Callable[[Step], None] = lambda _: None
    ends: Callable[[], bool] = lambda: True
    on_compose: Callable[[], None] = lambda: None
    on_finish: Callable[[Parcel], None] = lambda _: None
    steps: list[Step] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)
    finished: asyncio.Event = field(default_factory=asyncio.Event)

    def compose(self) -> Composed:
        self.on_compose()
        return Composed(self.chunks, sum(map(len, self.chunks)))

    def note(self, step: Step) -> None:
        self.on_note(step)
        self.steps.append(step)

    def may_end(self) -> bool:
        return self.ends()

    def finish(self, result: Result) -> None:
        self.results.append(result)
        self.finished.set()
        self.on_finish(self)

    @property
    def result(self) -> Result:
        """What came of it; there must be exactly one result."""
        (result,) = self.results
        return result

    @property
    def brief(self) -> str:
        """The result in a few words, such as `answered end-of-data 250`."""
        result = self.result
        parts = [result.ending, result.phase, str(result.reply.code) if result.reply else None]
        return " ".join(part for part in parts if part)


class Pauses:
    """A `sleep` that returns when the test says so, and remembers for how long it was asked to wait."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self.is_asked = asyncio.Event()
        self._over: asyncio.Queue[None] = asyncio.Queue()

    async def __call__(self, seconds: float) -> None:
        self.asked.append(seconds)
        self.is_asked.set()
        await self._over.get()

    def end(self) -> None:
        """Let the oldest sleeper wake up."""
        self.is_asked.clear()
        self._over.put_nowait(None)


@dataclass(eq=False)
class HandTimer:
    """A call that comes when its time is reached by hand."""

    at: float
    callback: Callable[[], None]
    is_cancelled: bool = False

    def cancel(self) -> None:
        self.is_cancelled = True


class HandTimers:
    """A clock and timers that move by hand."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._timers: list[HandTimer] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[[], None], /) -> HandTimer:
        timer = HandTimer(self.now + delay, callback)
        self._timers.append(timer)
        return timer

    def advance(self, seconds: float) -> None:
        """Let so much time pass; what is due meanwhile is called in order."""
        until = self.now + seconds
        while True:
            self._timers = [timer for timer in self._timers if not timer.is_cancelled]
            due = min(self._timers, key=lambda timer: timer.at, default=None)
            if due is None or due.at > until:
                break
            self._timers.remove(due)
            self.now = max(self.now, due.at)
            due.callback()
        self.now = until


def settings_for(port: int, **others: Any) -> RelaySettings:
    """A relay on this machine: plain text, no login, unless said otherwise."""
    values: dict[str, Any] = {"name": "r", "host": "127.0.0.1", "port": port, "tls": "none", "auth": "none"}
    patience_s = others.get("connect_timeout_s", PATIENCE_S)
    return RelaySettings(**(values | {"connect_timeout_s": patience_s, "greeting_timeout_s": patience_s} | others))


async def secret() -> str:
    """The password of all tests."""
    return "hunter22-geheim"


def now_us() -> int:
    """The wall clock."""
    return time.time_ns() // 1000


@asynccontextmanager
async def running_pool(
    settings: RelaySettings,
    *,
    sleep: Any = asyncio.sleep,
    timeouts: Timeouts | None = None,
    timers: Any = None,
    **others: Any,
) -> AsyncIterator[RelayPool]:
    """A pool that runs, closed at the end."""
    pool = RelayPool(
        settings, clock=now_us, random=Random(1), sleep=sleep, timeouts=timeouts or IMPATIENT, timers=timers, **others
    )
    task = asyncio.ensure_future(pool.run())
    try:
        yield pool
    finally:
        await pool.close()
        await task


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until it holds. For what has no event of its own; `run_on` bounds it."""
    while not condition():  # noqa: ASYNC110 - there is nothing to wait for but the loop itself
        await asyncio.sleep(0)


async def finished(*parcels: Parcel) -> list[str]:
    """Wait for all of them, and say what came of each."""
    for parcel in parcels:
        await parcel.finished.wait()
    return [parcel.brief for parcel in parcels]
