"""`--processes N`: children are replaced when they die, told what the supervisor is told, and end with it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import pytest
from support.worker import Journal, journal_kept

from mailer.service.supervisor import Supervisor

PATIENCE_S = 20.0

# A child that reports by a connection of its own, and ends by SIGTERM, or with the pipe that its supervisor holds.
CHILD = """
import os, signal, socket, sys
port, index, fd, code = map(int, sys.argv[1:])
link = socket.create_connection(("127.0.0.1", port))

def say(word):
    link.sendall(f"{index} {os.getpid()} {word}\\n".encode())

def stop(number, frame):
    say("told to stop")
    os._exit(code)

signal.signal(signal.SIGTERM, stop)
signal.signal(signal.SIGHUP, lambda number, frame: say("hung up"))
say("began")
os.read(fd, 1)
say("alone")
"""
# One that ends by itself at once.
BRIEF = "import sys; sys.exit(int(sys.argv[4]))"


@dataclass
class Nursery:
    """Children of a supervisor, as they report."""

    journal: Journal
    port: int = 0
    reports: asyncio.Queue[tuple[int, int, str]] = field(default_factory=asyncio.Queue)
    codes: dict[int, int] = field(default_factory=dict)
    """Exit codes by index; a child that is not here waits for SIGTERM and ends with 0."""
    ended: dict[int, int] = field(default_factory=dict)
    """Children that end by themselves, with these codes."""

    def command(self, index: int, fd: int) -> Sequence[str]:
        """What the supervisor starts."""
        script = BRIEF if index in self.ended else CHILD
        code = self.ended.get(index, self.codes.get(index, 0))
        return [sys.executable, "-I", "-S", "-c", script, str(self.port), str(index), str(fd), str(code)]

    async def heard(self, word: str) -> tuple[int, int]:
        """The next report, which has to be that; index and pid of who made it."""
        async with asyncio.timeout(PATIENCE_S):
            index, pid, said = await self.reports.get()
        assert said == word
        return index, pid

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One child's connection, to its end: that of the child."""
        with suppress(ConnectionError):
            while line := await reader.readline():
                index, pid, word = line.decode().rstrip().split(" ", 2)
                self.reports.put_nowait((int(index), int(pid), word))
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


@asynccontextmanager
async def nursery() -> AsyncIterator[Nursery]:
    with journal_kept() as journal:
        found = Nursery(journal)
        async with asyncio.TaskGroup() as connections:  # ends when all children have

            def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                connections.create_task(found.take(reader, writer))

            server = await asyncio.start_server(take, "127.0.0.1", 0)
            found.port = server.sockets[0].getsockname()[1]
            async with server:
                yield found


@asynccontextmanager
async def supervised(supervisor: Supervisor) -> AsyncIterator[asyncio.Task[int]]:
    task = asyncio.create_task(supervisor.run())
    try:
        yield task
    finally:
        supervisor.pass_on(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(task, return_exceptions=True)


async def test_a_signal_to_stop_is_passed_on_and_the_whole_ends_with_0() -> None:
    async with nursery() as children:
        supervisor = Supervisor(children.command, 3, restart_ended=True)
        async with supervised(supervisor) as running:
            began = {await children.heard("began") for _ in range(3)}
            assert {index for index, _ in began} == {0, 1, 2}
            supervisor.pass_on(signal.SIGINT)
            assert {await children.heard("told to stop") for _ in range(3)} == began
            assert await running == 0


async def test_a_hang_up_is_passed_on_and_ends_nobody() -> None:
    async with nursery() as children:
        supervisor = Supervisor(children.command, 1, restart_ended=True)
        async with supervised(supervisor) as running:
            one = await children.heard("began")
            supervisor.pass_on(signal.SIGHUP)
            assert await children.heard("hung up") == one
            assert not running.done()


async def test_a_child_that_is_killed_is_replaced_and_the_pause_grows() -> None:
    async with nursery() as children:
        supervisor = Supervisor(children.command, 1, restart_ended=False, first_pause_s=0.01)
        async with supervised(supervisor) as running:
            pids = []
            for _ in range(4):
                _, pid = await children.heard("began")
                pids.append(pid)
                os.kill(pid, signal.SIGKILL)
            await children.heard("began")
            assert len(set(pids)) == 4
            supervisor.pass_on(signal.SIGTERM)
            assert await running == 0, "that it was killed before says nothing of its end"
        died = children.journal.named("process.died")
        assert [entry["code"] for entry in died] == [-signal.SIGKILL] * 4
        pauses = [entry["restart_in_seconds"] for entry in died]
        assert pauses == [0.01, 0.02, 0.04, 0.08]


async def test_a_stop_ends_the_pause_before_a_restart() -> None:
    async with nursery() as children:
        children.ended = {0: 1}
        supervisor = Supervisor(children.command, 1, restart_ended=True, first_pause_s=3600)
        async with supervised(supervisor) as running:
            await children.journal.saw("process.died")
            supervisor.pass_on(signal.SIGTERM)
            async with asyncio.timeout(PATIENCE_S):
                await running


@pytest.mark.parametrize("code", [2, 3, 4])
async def test_a_child_that_cannot_work_at_all_ends_the_whole_with_its_code(code: int) -> None:
    async with nursery() as children:
        children.codes = {0: 5}
        supervisor = Supervisor(children.command, 2, restart_ended=True)
        children.ended = {1: code}
        async with supervised(supervisor) as running, asyncio.timeout(PATIENCE_S):
            assert await running == code, "whatever the others end with"
        [entry] = children.journal.named("process.cannot_work")
        assert (entry["process"], entry["code"]) == (1, code)


@pytest.mark.parametrize(("codes", "expected"), [((0, 0), 0), ((0, 6), 6), ((6, 5), 6)])
async def test_with_until_empty_it_ends_when_all_have_ended_with_the_worst_code(
    codes: tuple[int, int], expected: int
) -> None:
    async with nursery() as children:
        children.ended = dict(enumerate(codes))
        async with asyncio.timeout(PATIENCE_S):
            assert await Supervisor(children.command, 2, restart_ended=False).run() == expected


async def test_without_until_empty_a_child_that_ends_is_started_again() -> None:
    async with nursery() as children:
        children.ended = {0: 0}
        supervisor = Supervisor(children.command, 1, restart_ended=True, first_pause_s=0.01)
        async with supervised(supervisor):
            await children.journal.saw("process.died", 2)


async def test_a_child_that_is_stopped_before_it_could_listen_has_ended_well() -> None:
    async with nursery() as children:
        script = "import socket, sys; s = socket.create_connection(('127.0.0.1', int(sys.argv[1])));" + (
            " s.sendall(b'0 0 began\\n'); s.recv(1)"  # SIGTERM ends it as the kernel does
        )
        supervisor = Supervisor(
            lambda _index, _fd: [sys.executable, "-I", "-S", "-c", script, str(children.port)], 1, restart_ended=True
        )
        async with supervised(supervisor) as running:
            await children.heard("began")
            supervisor.pass_on(signal.SIGTERM)
            assert await running == 0


async def test_when_its_supervisor_is_gone_a_child_is_told_by_its_pipe() -> None:
    """The supervisor's end of the pipe is in no child: when the supervisor's own is closed, all of them read an end."""
    async with nursery() as children:
        code = (
            "import asyncio, sys; from mailer.service.supervisor import Supervisor;"
            "asyncio.run(Supervisor(lambda i, fd: [sys.executable, '-I', '-S', '-c', sys.argv[1], sys.argv[2], str(i),"
            " str(fd), '0'], 2, restart_ended=True).run())"
        )
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, CHILD, str(children.port))
        began = {await children.heard("began") for _ in range(2)}
        process.kill()
        await process.wait()
        assert {await children.heard("alone") for _ in range(2)} == began
