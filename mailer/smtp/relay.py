"""A relay's pool: messages wait in one queue, connections are opened for them, kept for the next and closed when idle.

Theory of operation
- `submit` only puts into the queue; `_pump` runs once per turn of the event loop that changed something. It wakes
  resting connections and decides how many to open. All of it is synchronous: no decision is interrupted.
- Each connection has one task, from connecting to its end. The messages on it are not tasks: see `connection`.
- A connection takes its next message by itself when it is done with one.
- What fails before a message, and replies that speak of the relay, go to the breaker. If a further connection is
  refused while others work, that is a limit of the relay's and not a failure: no more are opened for a while.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Awaitable, Callable
from random import Random
from typing import Final

from mailer.clocks import boot_clock
from mailer.core.clock import Clock
from mailer.core.message import Ending, Phase, Result
from mailer.core.reply import Reply
from mailer.core.verdict import Scope, judge
from mailer.smtp.breaker import Backoff, Breaker, RelayState
from mailer.smtp.connection import Connection
from mailer.smtp.deadline import Timers
from mailer.smtp.delivery import Delivery
from mailer.smtp.opening import open_connection, without_secrets
from mailer.smtp.session_opener import make_context
from mailer.smtp.settings import RelaySettings, Timeouts
from mailer.smtp.shared import Shared
from mailer.smtp.transcript import Transcript
from mailer.smtp.trouble import RelayFailure, refused
from mailer.smtp.trust import Trust

Sleep = Callable[[float], Awaitable[None]]

# How long nothing is begun when something of ours (the lease, the flight recorder) did not let a message go on. Whoever
# hands out messages has done something about it by then.
HINDERED_S: Final = 1.0

_STANDARD_TIMEOUTS: Final = Timeouts()


def connections_to_open(*, waiting: int, opening: int, established: int, limit: int, is_on_trial: bool) -> int:
    """How many connections to open now, when those that were resting have been woken. `established` are logged in."""
    allowed = min(limit, 1) if is_on_trial else limit
    return max(0, min(waiting - opening, allowed - established - opening))


class RelayPool:
    """Sends what is submitted to it through one relay. `run` has to run for anything to happen."""

    def __init__(
        self,
        settings: RelaySettings,
        *,
        clock: Clock,
        random: Random,
        sleep: Sleep = asyncio.sleep,
        transcript: Callable[[], Transcript] | None = None,
        on_change: Callable[[], None] = lambda: None,
        on_distrust: Callable[[str], None] = lambda _: None,
        timeouts: Timeouts = _STANDARD_TIMEOUTS,
        timers: Timers | None = None,
    ) -> None:
        """`on_change` is called whenever `state` changes, `on_distrust` as Trust says.

        `timers` are the event loop's unless tests hand in others.
        """
        self._settings = settings
        self._clock = clock
        self._shared = Shared(clock=clock, timeouts=timeouts, timers=timers, trust=Trust(boot_clock, on_distrust))
        self._sleep = sleep
        self._new_transcript = transcript
        self._on_change = on_change
        self._breaker = Breaker(random)
        self._context: ssl.SSLContext | None = None
        self._queue: deque[Delivery] = deque()
        self._resting: list[Connection] = []  # the one that rests for the shortest time last, and woken first
        self._established: set[Connection] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._widen_backoff = Backoff(random)
        self._may_widen = True  # False while a refused further connection says that there are enough
        self._loop: asyncio.AbstractEventLoop | None = None
        self._group: asyncio.TaskGroup | None = None
        self._pausing: asyncio.Task[None] | None = None
        self._hindering: asyncio.Task[None] | None = None
        self._widening: asyncio.Task[None] | None = None
        self._wants_close = asyncio.Event()
        self._is_done = asyncio.Event()
        self._has_run = False
        self._is_pump_due = False
        self._may_start = True
        self._is_hindered = False
        self._is_ending = False
        self._is_abandoning = False

    def __repr__(self) -> str:
        return (
            f"<RelayPool {self.name} {self.state}: {self.waiting} waiting, {self.connections} open, "
            f"{len(self._resting)} resting, {len(self._opening)} opening>"
        )

    @property
    def name(self) -> str:
        """The relay's name."""
        return self._settings.name

    @property
    def state(self) -> RelayState:
        """`ready`, `paused` until `paused_until_us`, or `stopped` until somebody acts."""
        return self._breaker.state

    @property
    def reason(self) -> str:
        """Why it is not ready, in a sentence."""
        return self._breaker.reason

    @property
    def paused_until_us(self) -> int | None:
        """When it is tried again, while it is paused."""
        return self._breaker.paused_until_us

    @property
    def connections(self) -> int:
        """Connections that are open and logged in now."""
        return len(self._established)

    @property
    def waiting(self) -> int:
        """Messages submitted and not begun."""
        return len(self._queue)

    @property
    def is_stalled(self) -> bool:
        """Whether some server does not take what is written to it, for now."""
        return any(connection.is_stalled for connection in self._established)

    def submit(self, delivery: Delivery) -> None:
        """Send this one. Its `finish` is called once, whatever happens, unless it is withdrawn before it is begun."""
        self._queue.append(delivery)
        self._pump_soon()

    def withdraw(self, unwanted: Callable[[Delivery], bool]) -> list[Delivery]:
        """Take back those that are not begun and `unwanted`. They are the caller's again; `finish` is not called."""
        taken: list[Delivery] = []
        kept: deque[Delivery] = deque()
        for delivery in self._queue:
            (taken if unwanted(delivery) else kept).append(delivery)
        self._queue = kept
        return taken

    def stop_starting(self) -> None:
        """Begin no further message. What is on the wire goes on."""
        self._may_start = False

    def abandon_bodies(self) -> None:
        """End no further message. Those whose end of data has begun are waited for; the others are UNTOUCHED."""
        self._may_start = False
        self._is_abandoning = True
        for connection in tuple(self._established):
            connection.abandon_bodies()

    async def run(self) -> None:
        """Work until `close`. Owns every task of the pool; a cancellation finishes every message and leaves none."""
        if self._has_run:
            raise ValueError("a pool runs once")
        self._has_run = True
        self._loop = asyncio.get_running_loop()
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                self._pump_soon()
                try:
                    await self._wants_close.wait()
                finally:
                    self._may_start = False
                    self._is_ending = True
                self._begin_to_close()
        finally:
            self._may_start = False
            self._group = None
            self._finish_waiting()
            self._is_done.set()

    async def close(self) -> None:
        """QUIT where nothing is on the wire, end the rest, and wait for `run`. May be called again.

        What waited and what had not ended is UNTOUCHED; an end of data without an answer is UNKNOWN.
        """
        self._may_start = False
        self._finish_waiting()
        self._wants_close.set()
        if self._group is not None:
            await self._is_done.wait()

    # What connections ask and tell (connection.Desk)

    def next_delivery(self, *, is_ahead: bool) -> Delivery | None:
        """The next message, or None. A connection that has one takes another only if no idle one is left without."""
        waiting = len(self._queue)
        if not waiting or not self._may_start or self._is_hindered or self._breaker.state != "ready":
            return None
        if is_ahead and waiting <= len(self._resting) + len(self._opening):
            return None
        return self._queue.popleft()

    def is_resting(self, connection: Connection) -> None:
        """Keep it in mind for what comes next."""
        self._resting.append(connection)

    def may_go_on(self, phase: Phase, reply: Reply) -> bool:
        """A reply decided a message. False if it speaks of the relay."""
        verdict = judge(reply, phase)
        if verdict.scope is not Scope.RELAY and reply.code != 421:
            if self._breaker.is_on_trial:
                self._pump_soon()
            self._breaker.worked()
            return True
        doing = {Phase.MAIL: "to take mail", Phase.RCPT: "a recipient"}.get(phase, "a message")
        self._failed(refused(self._settings, phase, doing, reply))
        return False

    def is_hindered(self) -> None:
        """Hand out nothing for a moment: every connection would be opened, logged in and cut for the same reason."""
        if self._group is not None and not (self._is_hindered or self._is_ending):
            self._is_hindered = True
            self._hindering = self._group.create_task(self._be_hindered(), name=f"{self.name} is hindered")

    # Decisions

    def _pump_soon(self) -> None:
        if self._loop is not None and not self._is_pump_due:
            self._is_pump_due = True
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        self._is_pump_due = False
        if self._group is None or not self._may_start or self._is_hindered or self._breaker.state != "ready":
            return
        asleep = len(self._queue)
        while asleep > 0 and self._resting:
            asleep -= self._resting.pop().wake()
        established = len(self._established)
        count = connections_to_open(
            waiting=len(self._queue),
            opening=len(self._opening),
            established=established,
            limit=self._settings.max_connections if self._may_widen else established,
            is_on_trial=self._breaker.is_on_trial,
        )
        for _ in range(count):
            task = self._group.create_task(self._serve(), name=f"connection to {self.name}")
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    def _failed(self, failure: RelayFailure) -> None:
        before = self._breaker.state
        pause_s = self._breaker.failed(without_secrets(failure, self._shared.redact), self._clock())
        if pause_s and self._group is not None and not self._is_ending:
            self._pausing = self._group.create_task(self._pause(pause_s), name=f"pause of {self.name}")
        if self._breaker.state != before:
            self._on_change()

    async def _pause(self, seconds: float) -> None:
        await self._sleep(seconds)
        self._pausing = None
        if self._breaker.state == "paused":
            self._breaker.pause_is_over()
            self._on_change()
            self._pump_soon()

    async def _be_hindered(self) -> None:
        await self._sleep(HINDERED_S)
        self._is_hindered = False
        self._pump_soon()

    async def _widen_later(self, seconds: float) -> None:
        await self._sleep(seconds)
        self._widening = None
        self._may_widen = True
        self._pump_soon()

    # One connection

    async def _serve(self) -> None:
        """A connection, from opening it to its end."""
        connection: Connection | None = None
        try:
            connection = await self._open()
            self._no_longer_opening()
            if self._may_widen:
                self._widen_backoff.reset()
            self._established.add(connection)
            self._breaker.logged_in()
            self._pump_soon()
            connection.start()
            if self._is_abandoning:
                connection.abandon_bodies()
            failure = await connection.gone
            if failure is not None and not self._is_ending:
                self._failed(failure)
        except RelayFailure as failure:
            self._no_longer_opening()
            self._not_opened(failure)
        finally:
            self._no_longer_opening()
            if connection is not None:
                self._established.discard(connection)
                if connection in self._resting:
                    self._resting.remove(connection)
                connection.cut("cancelled")
            self._pump_soon()

    async def _open(self) -> Connection:
        settings = self._settings
        if settings.tls != "none" and self._context is None:
            self._context = await asyncio.to_thread(make_context, settings)
        opened = await open_connection(
            settings,
            self._context,
            self,
            shared=self._shared,
            transcript=self._new_transcript() if self._new_transcript is not None else None,
        )
        return opened.connection

    def _not_opened(self, failure: RelayFailure) -> None:
        if self._is_ending:
            return  # it says more about our going away than about the relay
        is_about_login = failure.phase is Phase.AUTH and failure.is_permanent
        if self._established and not is_about_login:
            if self._widening is None and self._group is not None:
                self._may_widen = False
                wait = self._widen_later(self._widen_backoff.next_s())
                self._widening = self._group.create_task(wait, name=f"fewer connections to {self.name}")
            return
        self._failed(failure)

    def _no_longer_opening(self) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._opening.discard(task)

    # The end

    def _begin_to_close(self) -> None:
        for task in (*self._opening, self._pausing, self._widening, self._hindering):
            if task is not None:
                task.cancel()
        for connection in tuple(self._established):
            connection.stop()

    def _finish_waiting(self) -> None:
        while self._queue:
            self._queue.popleft().finish(Result(Ending.UNTOUCHED, relay=self.name, note="stopped before it was begun"))
