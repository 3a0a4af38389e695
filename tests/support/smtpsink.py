"""Postfix's smtp-sink: a server written in C that takes any mail from anyone and throws it away, as fast as it comes.

For benchmarks, and for tests in which only the client matters. It knows no AUTH, no TLS and no CHUNKING.

Asked to, it keeps each message in a file of its own (its option -d): first a few lines of its own, of which the last is
a Received in three lines, then the message with every CR left out, then an empty line. NULs stay (seen with 3.7.11).
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from support.daemon import Daemon, free_ports, open_folder, own_address
from support.postfix import POSTFIX_USER

_OWN_LINES: Final = re.compile(
    rb"(?:X-(?!Rcpt)[^\n]*\n)+X-Rcpt-Args: <([^\n]*)>\nReceived: [^\n]*\n\t[^\n]*\n\t[^\n]*\n"
)


@dataclass(frozen=True, slots=True)
class SmtpSink:
    """A running one."""

    host: str
    port: int
    counters: Path
    folder: Path
    """Where it keeps messages, if it does."""

    def messages(self) -> int:
        """How many it has answered with 250 to the end of data."""
        # It prints `sess=1 quit=1 mesg=1` and a carriage return each time a number changes.
        with self.counters.open("rb") as file:
            file.seek(max(0, self.counters.stat().st_size - 200))
            last = file.read().rpartition(b"mesg=")[2].split(b"\r")[0]
        return int(last or 0)

    def kept(self) -> Mapping[str, list[bytes]]:
        """By recipient the messages it has answered with 250, with CRLF, if it was asked to keep them."""
        kept: dict[str, list[bytes]] = {}
        for file in self.folder.iterdir():
            stored = file.read_bytes()
            own = _OWN_LINES.match(stored)
            if own is None or not stored.endswith(b"\n"):
                raise AssertionError(f"not how smtp-sink keeps a message: {stored[:300]!r}")
            kept.setdefault(own[1].decode(), []).append(stored[own.end() : -1].replace(b"\n", b"\r\n"))
        return kept


@contextmanager
def running_smtp_sink(*options: str, backlog: int = 256, keeps: bool = False) -> Iterator[SmtpSink]:
    """smtp-sink on a free loopback port, stopped at the end. `options` are its own, such as `-w 1` or `-f RCPT`.

    `keeps`: it is asked to keep what it takes.
    """
    with open_folder("smtpsink-") as folder:
        host = own_address()
        (port,) = free_ports(host, 1)
        counters = folder / "counters"
        # Started as root it insists on a user to be instead (-u).
        user = ["-u", POSTFIX_USER] if os.geteuid() == 0 else []
        kept = folder / "kept"
        kept.mkdir()
        if user:
            shutil.chown(kept, POSTFIX_USER)
        keeping = ["-d", f"{kept}/"] if keeps else []
        command = ["smtp-sink", "-4", "-c", *user, *keeping, *options, f"{host}:{port}", str(backlog)]
        with Daemon("smtp-sink", command, listens=[(host, port)], log=counters, stdout=counters):
            yield SmtpSink(host, port, counters, kept)
