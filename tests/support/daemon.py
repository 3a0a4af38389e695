"""Servers as child processes: in the foreground, on loopback, and gone when the tests are.

Each set of servers has a loopback address of its own (`own_address`), so that several runs of the tests share no port:
all of 127.0.0.0/8 is this machine on Linux. No server detaches from us, and beside each waits a shell that ends it when
we die, so that even a `kill -9` of the tests leaves nothing that listens; Ctrl-C and failures go through `stop`.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Self

# How long a server may take to listen, and to end. Each needs well under a second; a loaded machine gets more.
START_WITHIN_S: Final = 30.0
STOP_WITHIN_S: Final = 10.0

# Between two looks at a socket or a process that has no event to wait for.
_LOOK_EVERY_S: Final = 0.02

Place = tuple[str, int]
"""Address and port."""


class ServerError(AssertionError):
    """A server did not start, or not end. The text has its last words."""


class Daemon:
    """One server that runs in the foreground. Use it in a `with`: it is stopped however the block ends."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        listens: Sequence[Place],
        log: Path,
        started: str = "",
        environ: Mapping[str, str] | None = None,
        stdout: Path | None = None,
    ) -> None:
        """A server that is up when it listens on all of `listens` and its log has the words `started`.

        `log` is the file it writes; what it prints goes beside it, to `stdout` if that is given.
        """
        self.name = name
        self.log = log
        self.stdout = stdout or log.with_suffix(".printed")
        self._command = [str(word) for word in command]
        self._listens = listens
        self._started = started
        self._environ = {**os.environ, **(environ or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self._heir: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start, and return when it is up. Raises ServerError with its words, and leaves nothing running."""
        with self.stdout.open("ab") as printed:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=printed,
                env=self._environ,
                # A session of its own: a Ctrl-C in the terminal reaches the tests alone, which then stop us in order.
                start_new_session=True,
            )
        try:
            self._heir = _heir_of(self._process.pid)
            self._wait_until_up(self._process)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End it and all its children: asked first, then killed. Harmless when it is not running."""
        process, self._process = self._process, None
        if process is None:
            return
        if self._heir is not None:
            self._heir.kill()
            self._heir.communicate()
            self._heir = None
        group = process.pid  # it leads its session, so its children are in its group
        process.terminate()
        try:
            process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_WITHIN_S)
        # Children that outlive their master would write into a folder that is being removed.
        deadline = time.monotonic() + STOP_WITHIN_S
        while _is_alive(group) and time.monotonic() < deadline:
            with suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
            time.sleep(_LOOK_EVERY_S)

    def said(self, since: int = 0) -> str:
        """What it wrote to its log from byte `since` on, and all that it printed."""
        parts = [_read(self.log, since)]
        if self.stdout != self.log:
            parts.append(_read(self.stdout, 0))
        return "".join(parts)

    def log_size(self) -> int:
        """Bytes in its log by now: a mark for `said`."""
        return self.log.stat().st_size if self.log.exists() else 0

    def _wait_until_up(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_WITHIN_S
        while not self._is_up():
            if process.poll() is not None:
                raise ServerError(f"{self.name} ended with {process.returncode} at its start:\n{self.said()}")
            if time.monotonic() > deadline:
                raise ServerError(f"{self.name} was not up after {START_WITHIN_S:.0f} s:\n{self.said()}")
            time.sleep(_LOOK_EVERY_S)

    def _is_up(self) -> bool:
        # Listening alone would not do: a Postfix that finds one of its ports taken ends a second later, and until then
        # its other ports, and whoever took that one, answer.
        return self._started in _read(self.log, 0) and all(map(_is_listening, self._listens))


def own_address() -> str:
    """A loopback address that no other run of the tests uses: 16 million of them, drawn at random."""
    # Not 127.0.x.x: what listens on localhost, or on the 127.0.1.1 that Debian gives a machine's name, is not ours.
    return f"127.{secrets.choice(range(1, 255))}.{secrets.choice(range(256))}.{secrets.choice(range(1, 255))}"


def free_ports(address: str, count: int) -> list[int]:
    """Ports of `address` that nothing listens on. Nobody else binds to the address, so they stay free."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sockets = [socket.create_server((address, 0), family=family) for _ in range(count)]
    try:
        return [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()


@contextmanager
def open_folder(prefix: str) -> Iterator[Path]:
    """A temporary folder that the servers' own users can enter, removed at the end.

    pytest's are for their owner alone. Its name is short: the path of a Unix socket has 108 bytes at most.
    """
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        folder.chmod(0o755)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _heir_of(pid: int) -> subprocess.Popen[bytes]:
    """A shell that ends the process `pid` once we are dead, however we died: the kernel closes our end of its stdin."""
    # The kernel's own way (PR_SET_PDEATHSIG) does not last: Postfix's master changes its user for a moment, which
    # undoes it. A session of its own, as above: Ctrl-C is not for it.
    return subprocess.Popen(
        ["/bin/sh", "-c", 'read -r _; kill "$0"', str(pid)], stdin=subprocess.PIPE, start_new_session=True
    )


def _is_listening(place: Place) -> bool:
    try:
        socket.create_connection(place, timeout=START_WITHIN_S).close()
    except OSError:
        return False
    return True


def _is_alive(group: int) -> bool:
    """Whether a process of that group runs. Dead ones that nobody has collected yet do not count."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended since
            # proc(5): "pid (name) state parent group …"; the name may hold anything, brackets too.
            state, _, its_group, *_ = stat.read_text(errors="replace").rpartition(")")[2].split()
            if int(its_group) == group and state not in "ZX":
                return True
    return False


def _read(path: Path, since: int) -> str:
    if not path.exists():
        return ""
    with path.open("rb") as file:
        file.seek(since)
        return file.read().decode(errors="replace")
