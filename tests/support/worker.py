"""A worker in the test's own event loop: real database, compiled content, real connections; the clocks moved by hand.

    async with post_office(tmp_path, server.port) as office:
        await office.queue("spring", 3)
        summary = await office.work(until_empty=True)
        assert await office.states("spring") == {"sent": 3}

What a test waits for is a line of the worker's log (`office.journal`), an event of the server's, or the end of a run.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any, Final

import structlog
from support.scripted_server import PATIENCE_S, Peer
from support.store import Clock, no_rest, queue, recipients, snapshot, states

from mailer.config import Config, load
from mailer.content import Content
from mailer.service.job import Job
from mailer.service.running import Summary, run_worker
from mailer.store import Snapshot, Store
from mailer.store.flight_adopt import find_flights

RELAY: Final = """
[[relay]]
name = "{name}"
host = "127.0.0.1"
port = {port}
tls = "none"
auth = "none"
{more}
"""
CONFIG: Final = """
[database]
url = "sqlite:///mailer.db"
lock_wait = "0.05s"
[worker]
stop_within = "{stop_within}"
{worker}
[retry]
first = "10s"
factor = 1.0
longest = "10s"
give_up_after = "1h"
"""


def relay(port: int, name: str = "qq", more: str = "") -> str:
    """A relay of the configuration, on this machine; `more` are further keys."""
    return RELAY.format(name=name, port=port, more=more)


def configured(folder: Path, *relays: str, stop_within: str = "20s", worker: str = "") -> Config:
    """A checked configuration in a file of its own."""
    file = folder / "config.toml"
    file.write_text(CONFIG.format(stop_within=stop_within, worker=worker) + "".join(relays), "utf-8")
    return load({}, file=file, cwd=folder).config


def letter(subject: str = "Hello {{ name }}", text: str = "Dear {{ name }},\n\nspring is here.\n") -> Content:
    """Content that can be compiled."""
    return Content(sender="News <news@example.com>", subject=subject, text=text)


def campaign(content: Content | None = None, **changes: Any) -> Snapshot:
    """What an operator queues: the letter, unless something else is given."""
    content = content or letter()
    return replace(snapshot(), **{"body": content.to_json(), "digest": content.digest, **changes})


class Journal:
    """Every event that is logged, for tests to wait for. Also the processor that structlog ends with."""

    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()

    def __call__(self, logger: Any, method: str, event: Any) -> Any:
        self.entries.append({**event, "level": method})
        self._loop.call_soon_threadsafe(self._news.set)
        raise structlog.DropEvent

    def named(self, event: str) -> list[dict[str, Any]]:
        """All entries of that name so far."""
        return [entry for entry in self.entries if entry["event"] == event]

    async def saw(self, event: str, count: int = 1) -> dict[str, Any]:
        """Wait until it was logged so often; the last of these."""
        async with asyncio.timeout(PATIENCE_S):
            while len(self.named(event)) < count:
                self._news.clear()
                await self._news.wait()
        return self.named(event)[count - 1]


@contextmanager
def journal_kept() -> Iterator[Journal]:
    """While the block runs, what is logged goes into a journal and nowhere else."""
    journal = Journal()
    before = structlog.get_config()
    structlog.configure(processors=[journal], wrapper_class=structlog.make_filtering_bound_logger(0))
    try:
        yield journal
    finally:
        structlog.configure(**before)


@dataclass
class Office:
    """A database, a configuration, and the workers that run on them."""

    folder: Path
    config: Config
    store: Store
    """The test's own connection: what is queued through it comes from outside, as far as a worker can tell."""
    clock: Clock
    boot: Clock
    journal: Journal
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    async def queue(self, name: str, count: int, new: Snapshot | None = None, **how: Any) -> int:
        """A campaign with `count` recipients; its id. `hold` goes to the store, all else to `recipients`."""
        hold = how.pop("hold", False)
        return await queue(self.store, name, recipients(count, **how), new or campaign(), hold=hold)

    async def work(self, **job: Any) -> Summary:
        """A whole run of a worker, on a connection of its own, until it ends by itself or by `office.stop`."""
        database = self.config.database
        async with (
            asyncio.timeout(PATIENCE_S),
            await Store.open(
                database.path,
                create=False,
                synchronous="off",
                lock_wait_s=database.lock_wait.total_seconds(),
                clock=self.clock,
                rest=no_rest,
            ) as store,
        ):
            return await run_worker(
                store, self.config, Job(**job), self.stop, clock=self.clock, boot=self.boot, random=Random(1)
            )

    @asynccontextmanager
    async def working(self, **job: Any) -> AsyncIterator[asyncio.Task[Summary]]:
        """A worker that has started, stopped at the end of the block if it has not ended before."""
        started = len(self.journal.named("worker.started"))
        task = asyncio.create_task(self.work(**job), name="worker under test")
        try:
            await self.journal.saw("worker.started", started + 1)
            yield task
            self.stop.set()
            await task
        finally:
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def states(self, name: str) -> dict[str, int]:
        """How many messages of a campaign are in each state."""
        return await states(self.store, name)

    async def reach(self, name: str, **wanted: int) -> None:
        """Wait until a campaign's messages stand like that: for what nobody logs and no server sees."""
        async with asyncio.timeout(PATIENCE_S):
            while await self.states(name) != wanted:  # noqa: ASYNC110 - each turn asks the database anew
                await asyncio.sleep(0)

    async def reach_row(self, sql: str) -> None:
        """Wait until the database has an answer to it."""
        async with asyncio.timeout(PATIENCE_S):
            while not self.rows(sql):  # noqa: ASYNC110 - as in `reach`
                await asyncio.sleep(0)

    def rows(self, sql: str) -> list[Any]:
        """What the database says, past all our own code."""
        return rows_of(self.config.database.path, sql)

    def flights(self) -> list[Path]:
        """The flight files that lie about."""
        return find_flights(self.config.state_dir)

    @asynccontextmanager
    async def locked(self) -> AsyncIterator[None]:
        """A second program has an open write transaction while the block runs."""
        path = self.config.database.path
        with closing(sqlite3.connect(path, isolation_level=None, timeout=5, check_same_thread=False)) as other:
            await asyncio.to_thread(other.execute, "BEGIN IMMEDIATE")  # not in the loop that whoever has the lock needs
            try:
                yield
            finally:
                other.execute("ROLLBACK")

    async def assert_left_nothing(self) -> None:
        """Every worker has ended, holds nothing and left no file; the database keeps all its invariants."""
        assert self.rows("SELECT count(*) FROM claim") == [(0,)]
        assert self.rows("SELECT count(*) FROM worker WHERE state = 'live'") == [(0,)]
        assert self.flights() == []
        assert await self.store.check() == []


def rows_of(path: Path, sql: str) -> list[Any]:
    """What the database at `path` says, past all our own code."""
    with closing(sqlite3.connect(path, timeout=5)) as connection:
        return connection.execute(sql).fetchall()


@asynccontextmanager
async def post_office(folder: Path, *relays: str | int, **worker: str) -> AsyncIterator[Office]:
    """An office with these relays; a number is the port of one. The wall clock and the boot clock stand still."""
    config = configured(folder, *(relay(one) if isinstance(one, int) else one for one in relays), **worker)
    clock = Clock()
    with journal_kept() as journal:
        async with await Store.open(
            config.database.path, create=True, synchronous="off", lock_wait_s=0.05, clock=clock, rest=no_rest
        ) as store:
            yield Office(folder, config, store, clock, Clock(1_000_000_000), journal)


@dataclass
class Clerk:
    """What the server at the other end does: obliging, unless told otherwise. One for all of its connections."""

    rcpt: Mapping[str, str] = field(default_factory=dict)
    """Replies to RCPT by the local part of the recipient, once for each `;` between them, the last for ever."""
    mail: str = "250 sender ok"
    greeting: str = "220 relay ready"
    on_rcpt: Callable[[str], None] = lambda _: None
    on_data: Callable[[str], None] = lambda _: None
    """Called with the recipient, in the connection's thread, before 354 is said. May block."""
    on_end: Callable[[str], None] = lambda _: None
    """Called when the lone dot has come, before that is answered. May block."""
    taken: list[str] = field(default_factory=list)
    """The local part of every recipient whose message was taken, in order."""
    asked: Counter[str] = field(default_factory=Counter)
    """How often each recipient was named."""
    cut: list[str] = field(default_factory=list)
    """Whose message broke off before its lone dot."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, peer: Peer) -> None:
        """One connection."""
        peer.say(self.greeting)
        if not self.greeting.startswith("220"):
            return
        recipient = ""
        while (line := peer.line()) is not None:
            verb = line.split(" ", 1)[0]
            if verb == "EHLO":
                peer.say("250-relay | 250 SIZE 100000000")
            elif verb == "MAIL":
                peer.say(self.mail)
            elif verb == "RCPT":
                recipient = line.partition("<")[2].partition("@")[0].lower()
                self.on_rcpt(recipient)
                peer.say(self._answer(recipient))
            elif verb == "DATA":
                self.on_data(recipient)
                peer.say("354 go on")
                self._take(peer, recipient)
            elif verb == "QUIT":
                peer.say("221 bye")
                return
            else:
                peer.say("250 ok")

    def _answer(self, recipient: str) -> str:
        with self._lock:
            self.asked[recipient] += 1
            replies = self.rcpt.get(recipient, self.rcpt.get("*", "250 recipient ok")).split(";")
            return replies[min(self.asked[recipient], len(replies)) - 1].strip()

    def _take(self, peer: Peer, recipient: str) -> None:
        while (line := peer.line()) != ".":
            if line is None:
                self.cut.append(recipient)
                return
        self.on_end(recipient)
        self.taken.append(recipient)
        peer.say(f"250 2.0.0 taken as {len(self.taken)}")


class Gate:
    """Where a connection of the server's waits until the test lets it go on."""

    def __init__(self) -> None:
        self._is_reached = threading.Event()
        self._is_open = threading.Event()

    def __call__(self, _recipient: str) -> None:
        self._is_reached.set()
        self._is_open.wait(PATIENCE_S)

    def wait(self) -> None:
        """Wait until somebody stands before it."""
        assert self._is_reached.wait(PATIENCE_S), "nobody came to the gate"

    async def reached(self) -> None:
        """The same for a test with an event loop."""
        await asyncio.to_thread(self.wait)

    def open(self) -> None:
        """Let everybody through from now on."""
        self._is_open.set()


@contextmanager
def gates(*several: Gate) -> Iterator[None]:
    """Opens them at the end of the block, however it ends, so that no thread of a server waits for ever."""
    try:
        yield
    finally:
        for gate in several:
            gate.open()
