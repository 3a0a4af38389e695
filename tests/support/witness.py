"""The recording server as tests use it: started in a process of its own, always stopped, its log read as evidence."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from support.recording_server import USER

SERVER = Path(__file__).with_name("recording_server.py")

CONFIG = """
[database]
url = "sqlite:///queue.db"
[worker]
lease = "20s"
[log]
level = "warning"
[retry]
first = "0.2s"
factor = 1.0
longest = "0.2s"
[[relay]]
name = "recorder"
host = "127.0.0.1"
port = {port}
tls = "none"
auth = "login"
username = "{user}"
password = {{ env = "RECORDER_PASSWORD" }}
max_connections = 10
"""


class Witness:
    """What the server wrote down."""

    def __init__(self, log: Path) -> None:
        self._log = log

    def lines(self) -> list[str]:
        """All lines so far that are complete."""
        text = self._log.read_text("utf-8") if self._log.exists() else ""
        return text[: text.rfind("\n") + 1].splitlines()

    def count(self, what: str) -> Counter[str]:
        """How often each address was `accepted`, `deferred` or `refused`."""
        return Counter(line.split(" ", 1)[1] for line in self.lines() if line.startswith(what + " "))


@contextlib.contextmanager
def recording_server(folder: Path, *more: str) -> Iterator[tuple[int, Witness]]:
    """The server's port, and what it writes down."""
    log = folder / "server.log"
    with subprocess.Popen(
        [sys.executable, str(SERVER), "--log", str(log), *more],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline()), Witness(log)
        finally:
            process.stdin.close()
            process.wait(10)


def config_for(port: int) -> str:
    """A config.toml with the recording server as its only relay; the password comes from RECORDER_PASSWORD."""
    return CONFIG.format(port=port, user=USER)
