"""What the process of one contender of bench/wire.py does: send, measure itself, and print that as JSON.

Only the steady state is measured: from the answer to the last message of the first tenth, which also pays for starting
and connecting, to the last answer. The engine has all messages from the start, as a worker that is ahead of it would.
"""

from __future__ import annotations

import asyncio
import cProfile
import json
import pstats
import sys
import time
from collections.abc import Callable, Coroutine
from dataclasses import asdict, dataclass
from random import Random
from typing import Any, Final

from bench._processes import HOST
from mailer.clocks import wall_clock
from mailer.core.message import Composed, Ending, Envelope, Phase, Result
from mailer.core.progress import Step
from mailer.smtp import RelayPool, RelaySettings

SENDER: Final = "news@sender.test"
MESSAGE_OCTETS: Final = 4096
WINDOW: Final = 4
# A line of a body, CRLF included; smtp-source has 80, too.
_LINE_OCTETS: Final = 80
# Begins with the line that a relay's chunking is proven with.
_HEAD: Final = (
    f"MIME-Version: 1.0\r\nFrom: {SENDER}\r\nTo: someone@example.test\r\nSubject: news\r\n"
    "Date: Wed, 25 Nov 2026 00:00:00 +0000\r\nContent-Type: text/plain\r\n\r\n"
).encode()
_PROFILED_FUNCTIONS: Final = 30


def message() -> bytes:
    """A text of MESSAGE_OCTETS."""
    lines, rest = divmod(MESSAGE_OCTETS - len(_HEAD), _LINE_OCTETS)
    return _HEAD + (b"X" * (_LINE_OCTETS - 2) + b"\r\n") * (lines - 1) + b"X" * (_LINE_OCTETS + rest - 2) + b"\r\n"


@dataclass(frozen=True)
class Steady:
    """What one contender measured."""

    messages: int
    seconds: float
    cpu_seconds: float
    """User and system time of the process that sends."""


class Tally:
    """Counts answers, and looks at the clocks twice."""

    def __init__(self, messages: int, connections: int) -> None:
        self._messages = messages
        # Less than one for each connection would not even mean that all are open.
        self._before = max(messages // 10, connections)
        self._taken = 0
        self._began = (0.0, 0.0)
        self._ended = (0.0, 0.0)
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Set when all are taken. Fails with the first other result."""

    def took(self) -> None:
        """One more message was answered with 250."""
        self._taken += 1
        if self._taken == self._before:
            self._began = (time.perf_counter(), time.process_time())
        if self._taken == self._messages:
            self._ended = (time.perf_counter(), time.process_time())
            self.done.set_result(None)

    def fail(self, why: str) -> None:
        """It is not what was to be measured."""
        if not self.done.done():
            self.done.set_exception(RuntimeError(why))

    def steady(self) -> Steady:
        """The figures, when it is done."""
        seconds, cpu_seconds = (end - begin for end, begin in zip(self._ended, self._began, strict=True))
        return Steady(self._messages - self._before, seconds, cpu_seconds)


class Parcel:
    """A delivery that costs as little as one can."""

    __slots__ = ("_composed", "_tally", "envelope")

    def __init__(self, envelope: Envelope, composed: Composed, tally: Tally) -> None:
        self.envelope = envelope
        self._composed = composed
        self._tally = tally

    def compose(self) -> Composed:
        return self._composed

    def note(self, step: Step) -> None:
        pass

    def may_end(self) -> bool:
        return True

    def finish(self, result: Result) -> None:
        reply = result.reply
        if (
            result.ending is Ending.ANSWERED
            and result.phase is Phase.END_OF_DATA
            and reply is not None
            and reply.code == 250
        ):
            self._tally.took()
        else:
            self._tally.fail(f"a message was not taken: {result}")


async def aiosmtplib(port: int, messages: int, connections: int) -> Steady:
    from bench._aiosmtplib import aiosmtplib_alone

    tally = Tally(messages, connections)
    await aiosmtplib_alone(port, SENDER, message(), messages=messages, connections=connections, on_taken=tally.took)
    return tally.steady()


async def engine(settings: RelaySettings, messages: int) -> Steady:
    tally = Tally(messages, settings.max_connections)

    def changed() -> None:
        if pool.state != "ready":
            tally.fail(f"the relay is {pool.state}: {pool.reason}")

    pool = RelayPool(settings, clock=wall_clock, random=Random(1), on_change=changed, on_distrust=tally.fail)
    body = message()
    composed = Composed((body,), len(body))
    running = asyncio.ensure_future(pool.run())
    running.add_done_callback(lambda _: tally.fail("the pool ended before its messages"))
    for n in range(messages):
        pool.submit(Parcel(Envelope(SENDER, f"user{n}@example.test"), composed, tally))
    try:
        await tally.done
    finally:
        await pool.close()
        await running
    return tally.steady()


def _engine(**mode: Any) -> Callable[[int, int, int], Coroutine[Any, Any, Steady]]:
    def run(port: int, messages: int, connections: int) -> Coroutine[Any, Any, Steady]:
        settings = RelaySettings(
            name="sink",
            host=HOST,
            port=port,
            tls="none",
            auth="none",
            max_connections=connections,
            messages_per_connection=messages,
            **mode,
        )
        return engine(settings, messages)

    return run


SENDING: Final[dict[str, Callable[[int, int, int], Coroutine[Any, Any, Steady]]]] = {
    "aiosmtplib": aiosmtplib,
    "step": _engine(pipelining="off", chunking="off"),
    "pipelined": _engine(chunking="off"),
    "chunked": _engine(window=WINDOW),
}


def run(sending: str, loop: str, *, port: int, messages: int, connections: int, is_profiled: bool) -> None:
    """Be that contender, on the event loop `asyncio` or `uvloop`; a profile goes to standard error."""
    import uvloop

    main = SENDING[sending](port, messages, connections)
    profile = cProfile.Profile() if is_profiled else None
    with asyncio.Runner(loop_factory=uvloop.new_event_loop if loop == "uvloop" else None) as runner:
        if profile is not None:
            profile.enable()
        try:
            steady = runner.run(main)
        except Exception as error:  # noqa: BLE001 - whatever it is, there is nothing to measure
            sys.exit(f"{sending} on {loop}: {error}")
        finally:
            if profile is not None:
                profile.disable()
    if profile is not None:
        pstats.Stats(profile, stream=sys.stderr).sort_stats("tottime").print_stats(_PROFILED_FUNCTIONS)
    print(json.dumps(asdict(steady)))
