"""The demo's server seen from the process that starts it: a child, so that the worker has a core to itself."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from mailer.demo.account import Account
from mailer.errors import MailerError

__all__ = ["Count", "DemoServer", "serving"]

# A Python process that imports aiosmtpd takes half a second here; a loaded machine takes longer.
START_S: Final = 30.0
STOP_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Count:
    """The server's own count of what it took."""

    messages: int
    recipients: int
    refusals: int


class DemoServer:
    """A running one."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self._process = process
        self.port = port

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def kill(self) -> None:
        """End it at once, without a count."""
        self._process.kill()

    async def end(self) -> Count:
        """End the server and hear its count. Raises MailerError if it has died before."""
        stdin, stdout = _pipes(self._process)
        stdin.close()
        try:
            lines = (await asyncio.wait_for(stdout.read(), STOP_S)).decode().splitlines()
        except TimeoutError:
            lines = []
        if not lines:
            raise MailerError(
                "the demo's server has ended before its time.", "server.log in the demo's folder says why."
            )
        return Count(**json.loads(lines[-1]))


@asynccontextmanager
async def serving(account: Account, log: Path) -> AsyncIterator[DemoServer]:
    """A server on a free port of this machine, for as long as the block lasts; what it complains of goes to `log`.

    Raises MailerError when it cannot be started. However the block ends, the process is gone afterwards.
    """
    if find_spec("aiosmtpd") is None:
        raise MailerError("the demo needs aiosmtpd, which is not installed.", "Type: pip install 'mailer-bulk[demo]'")
    with log.open("xb") as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "mailer.demo.server",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
        )
    try:
        yield DemoServer(process, await _port(process, account))
    finally:
        await _gone(process)


async def _port(process: asyncio.subprocess.Process, account: Account) -> int:
    """Tell it the account; the port that it listens on."""
    stdin, stdout = _pipes(process)
    with suppress(ConnectionError):  # it has died; its first line, which is missing, tells
        stdin.write(json.dumps(asdict(account)).encode() + b"\n")
        await stdin.drain()
    try:
        first: Any = json.loads(await asyncio.wait_for(stdout.readline(), START_S))
        return int(first["port"])
    except (TimeoutError, ValueError, KeyError, TypeError):
        raise MailerError("the demo's server did not start.", "server.log in the demo's folder says why.") from None


async def _gone(process: asyncio.subprocess.Process) -> None:
    """See to it that the process has ended: by the end of its stdin, or if it does not listen, by force."""
    _pipes(process)[0].close()
    try:
        await asyncio.wait_for(process.wait(), STOP_S)
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    except asyncio.CancelledError:
        with suppress(ProcessLookupError):
            process.kill()
        raise


def _pipes(process: asyncio.subprocess.Process) -> tuple[asyncio.StreamWriter, asyncio.StreamReader]:
    if process.stdin is None or process.stdout is None:
        raise TypeError("the server was started without pipes")
    return process.stdin, process.stdout
