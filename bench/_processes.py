"""The processes of a benchmark: servers that run while it does, and contenders that are timed as a whole."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
HOST: Final = "127.0.0.1"

# Debian keeps what only an administrator runs in a folder that is not on everybody's PATH.
_PROGRAMS: Final = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin"


@dataclass(frozen=True)
class Measured:
    """One run of one contender."""

    seconds: float
    cpu_seconds: float
    peak_mb: float


def timed(command: list[str], folder: Path) -> Measured:
    """Run to the end; wall time, CPU time and peak memory of the process and its children."""
    began = time.perf_counter()
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{command} ended with {process.returncode}")
    cpu = usage.ru_utime + usage.ru_stime
    return Measured(seconds, cpu, usage.ru_maxrss / 1024)


def postfix_program(name: str) -> str:
    """Where one of Postfix's programs is."""
    program = shutil.which(name, path=_PROGRAMS)
    if program is None:
        sys.exit(f"{name} is missing: it comes with Postfix (apt-get install postfix).")
    return program


@contextlib.contextmanager
def smtp_sink() -> Iterator[int]:
    """Postfix's sink on a free port."""
    program = postfix_program("smtp-sink")
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    user = ["-u", "nobody"] if os.getuid() == 0 else []
    with subprocess.Popen([program, *user, f"{HOST}:{port}", "1000"]) as sink:
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection((HOST, port), 1):
                break
            time.sleep(0.02)
        try:
            yield port
        finally:
            sink.terminate()


class OurServer:
    """A server of this folder in a process of its own; it ends when its standard input does."""

    def __init__(self, module: str, *options: str) -> None:
        """`module` is one that calls `serve`, and `options` are its own."""
        command = [sys.executable, "-m", f"bench.{module}", *options]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        port = self._process.stdout.readline()
        if not port:
            sys.exit(f"bench/{module}.py did not start.")
        self.port = int(port)

    def stop(self) -> str:
        """End it, and return what it said last."""
        last_words, _ = self._process.communicate()
        return last_words


@contextlib.contextmanager
def our_server(module: str, *options: str) -> Iterator[int]:
    """The port of a server of this folder, for as long as the block runs."""
    server = OurServer(module, *options)
    try:
        yield server.port
    finally:
        server.stop()


def serve(new_connection: Callable[[], asyncio.Protocol]) -> None:
    """What our servers have in common: print the port on a line, serve, and return when standard input ends."""
    import uvloop

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(new_connection, HOST, 0, backlog=1000)
        print(server.sockets[0].getsockname()[1], flush=True)
        is_over = asyncio.Event()
        loop.add_reader(sys.stdin, is_over.set)
        await is_over.wait()

    uvloop.run(main())
