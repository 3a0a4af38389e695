"""What is prepared before a case of bad input runs, by the name that stands in its case.toml.

A stage is a context manager over the folder of the run: it is undone when the command has ended. What it yields are
placeholders for the command, the environment, `*.in` files and the expected text. Stages run in the order given.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Final

import pytest

__all__ = ["DATABASE", "STAGES", "Stage"]

DATABASE: Final = "mailer.db"
Placeholders = Mapping[str, str]
Stage = Callable[[Path], AbstractContextManager[Placeholders]]


@contextmanager
def database(folder: Path) -> Iterator[Placeholders]:
    """A database as mailer makes it, with nothing in it."""
    from mailer.store import Store

    async def create() -> None:
        async with await Store.open(folder / DATABASE, create=True):
            pass

    asyncio.run(create())
    yield {}


@contextmanager
def newer(folder: Path) -> Iterator[Placeholders]:
    """The database was brought up to date by a mailer that this one does not know."""
    with closing(sqlite3.connect(folder / DATABASE)) as connection:
        [known] = connection.execute("PRAGMA user_version").fetchone()
        connection.execute("PRAGMA user_version = 999")
    yield {"known": str(known)}


# A process of its own: closing any file of ours that is the database would drop SQLite's locks on it (fcntl(2)).
HOLD_LOCK: Final = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA locking_mode = EXCLUSIVE")
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.read()
"""


@contextmanager
def locked(folder: Path) -> Iterator[Placeholders]:
    """Another program holds the database's lock and does not let go of it."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD_LOCK, folder / DATABASE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        yield {}
        holder.communicate()


@contextmanager
def read_only(folder: Path) -> Iterator[Placeholders]:
    """Nobody may write the database, not even root: for root a file's mode means nothing, its attributes do."""
    file = folder / DATABASE
    if os.geteuid() != 0:
        file.chmod(0o400)
        yield {}
        file.chmod(0o600)
        return
    chattr = shutil.which("chattr")
    done = subprocess.run([chattr, "+i", file], capture_output=True, check=False) if chattr else None
    if chattr is None or done is None or done.returncode:
        # A container without CAP_LINUX_IMMUTABLE, or a file system without attributes: no package would help.
        pytest.skip("on this machine not even root can make a file read-only for root (chattr +i)")
    try:
        yield {}
    finally:
        subprocess.run([chattr, "-i", file], check=True)


@contextmanager
def foreign(folder: Path) -> Iterator[Placeholders]:
    """The database is a good one, of another program."""
    with closing(sqlite3.connect(folder / DATABASE)) as connection:
        connection.execute("CREATE TABLE note (text TEXT)")
    yield {}


@contextmanager
def damaged(folder: Path) -> Iterator[Placeholders]:
    """The database's first page is whole, every other one is not."""
    with closing(sqlite3.connect(folder / DATABASE)) as connection:
        [page] = connection.execute("PRAGMA page_size").fetchone()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = (folder / DATABASE).read_bytes()
    (folder / DATABASE).write_bytes(content[:page] + b"\xee" * (len(content) - page))
    yield {}


@contextmanager
def loose_secret(folder: Path) -> Iterator[Placeholders]:
    """Everybody may read the file `secret`."""
    (folder / "secret").write_text("correct horse\n")
    (folder / "secret").chmod(0o644)
    yield {}


@contextmanager
def two_line_secret(folder: Path) -> Iterator[Placeholders]:
    """The file `secret` is for its owner alone, and holds more than the secret."""
    (folder / "secret").touch(0o600)
    (folder / "secret").write_text("correct horse\nuser: me\n")
    yield {}


@contextmanager
def closed_port(_folder: Path) -> Iterator[Placeholders]:
    """`{port}` of 127.0.0.1, on which nobody listens and nobody else can."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # bound and not listening: it is taken, and connecting to it is refused
        yield {"port": str(bound.getsockname()[1])}


@contextmanager
def login_server(_folder: Path) -> Iterator[Placeholders]:
    """A mail server on `{port}` of 127.0.0.1 that asks for a login and accepts none."""
    from aiosmtpd.controller import Controller
    from aiosmtpd.smtp import AuthResult

    def refuse(*_: object) -> AuthResult:
        return AuthResult(success=False, handled=False)

    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
    server = Controller(object(), "127.0.0.1", port, authenticator=refuse, auth_require_tls=False)
    server.start()
    try:
        yield {"port": str(port)}
    finally:
        server.stop()


STAGES: Final[Mapping[str, Stage]] = {
    "closed-port": closed_port,
    "damaged": damaged,
    "database": database,
    "foreign": foreign,
    "locked": locked,
    "login-server": login_server,
    "loose-secret": loose_secret,
    "newer": newer,
    "read-only": read_only,
    "two-line-secret": two_line_secret,
}
