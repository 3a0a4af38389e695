"""`--processes N`: one process per core, each a whole worker; this one only watches over them.

- What dies is started again, after a pause that grows while it keeps dying.
- SIGTERM, SIGINT and SIGHUP are passed on.
- A child holds the reading end of a pipe whose writing end is here and nowhere else: when this process is gone, however
  it went, the pipe ends and the child stops as on SIGTERM.
- A child that cannot work at all (configuration, database) ends the whole: starting it again would not help.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from mailer.errors import ENDED_BADLY, WORK_LEFT, ConfigError, StoreError, UsageError

log = structlog.get_logger("supervisor")

FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 60.0
# A child that has lived this long had started well: its next pause begins small again.
LIVED_WELL_S: Final = 60.0
# Exit codes by which a child says that it has ended on purpose, and that starting it again would not help.
ON_PURPOSE: Final = frozenset({0, ENDED_BADLY, WORK_LEFT})
HOPELESS: Final = frozenset({UsageError.exit, ConfigError.exit, StoreError.exit})


class Supervisor:
    """Starts and watches `count` children; `command(i, fd)` is the command line of number i, told the pipe's fd."""

    def __init__(
        self,
        command: Callable[[int, int], Sequence[str]],
        count: int,
        *,
        restart_ended: bool,
        first_pause_s: float = FIRST_PAUSE_S,
    ) -> None:
        self._command = command
        self._count = count
        self._restart_ended = restart_ended
        self._first_pause_s = first_pause_s
        self._children: dict[int, asyncio.subprocess.Process] = {}
        self._stopping = asyncio.Event()
        self._worst = 0
        self._hopeless = 0

    def pass_on(self, number: signal.Signals) -> None:
        """Send a signal to every child; SIGTERM and SIGINT also end the restarting."""
        if number in (signal.SIGTERM, signal.SIGINT):
            self._stopping.set()
        for child in self._children.values():
            if child.returncode is None:
                # The terminal sends Ctrl-C to all of its processes; our children are in a session of their own.
                child.send_signal(signal.SIGTERM if number == signal.SIGINT else number)

    async def run(self) -> int:
        """Until all children have ended. The exit code: that of one that cannot work at all, else the worst."""
        reading, writing = os.pipe()
        os.set_inheritable(reading, True)
        try:
            async with asyncio.TaskGroup() as group:
                for index in range(self._count):
                    group.create_task(self._keep(index, reading), name=f"worker process {index}")
        finally:
            os.close(writing)
            os.close(reading)
        return self._hopeless or self._worst

    async def _keep(self, index: int, pipe: int) -> None:
        pause_s = self._first_pause_s
        loop = asyncio.get_running_loop()
        while not self._stopping.is_set():
            began = loop.time()
            child = await asyncio.create_subprocess_exec(
                *self._command(index, pipe), pass_fds=(pipe,), start_new_session=True
            )
            self._children[index] = child
            if self._stopping.is_set():  # the signal came while it was being started
                child.send_signal(signal.SIGTERM)
            code = await child.wait()
            if self._is_over(index, code):
                return
            if loop.time() - began > LIVED_WELL_S:
                pause_s = self._first_pause_s
            log.error("process.died", process=index, code=code, restart_in_seconds=pause_s)
            await self._pause(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _is_over(self, index: int, code: int) -> bool:
        if code in HOPELESS:
            log.error("process.cannot_work", process=index, code=code)
            self._hopeless = self._hopeless or code
            self.pass_on(signal.SIGTERM)
            return True
        if self._stopping.is_set() and code == -signal.SIGTERM:
            return True  # it was told to stop before it could listen, and had begun nothing
        if self._stopping.is_set() or (code in ON_PURPOSE and not self._restart_ended):
            self._worst = max(self._worst, code if code in ON_PURPOSE else 1)
            return True
        return False

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            pass
