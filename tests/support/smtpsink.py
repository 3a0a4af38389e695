"""Postfix's smtp-sink: a server written in C that takes any mail from anyone and throws it away, as fast as it comes.

For benchmarks, and for tests in which only the client matters. It knows no AUTH and no TLS.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from support.daemon import Daemon, free_ports, open_folder, own_address
from support.postfix import POSTFIX_USER


@dataclass(frozen=True, slots=True)
class SmtpSink:
    """A running one."""

    host: str
    port: int
    counters: Path

    def messages(self) -> int:
        """How many it has answered with 250 to the end of data."""
        # It prints `sess=1 quit=1 mesg=1` and a carriage return each time a number changes.
        with self.counters.open("rb") as file:
            file.seek(max(0, self.counters.stat().st_size - 200))
            last = file.read().rpartition(b"mesg=")[2].split(b"\r")[0]
        return int(last or 0)


@contextmanager
def running_smtp_sink(*options: str, backlog: int = 256) -> Iterator[SmtpSink]:
    """smtp-sink on a free loopback port, stopped at the end. `options` are its own, such as `-w 1` or `-f RCPT`."""
    with open_folder("smtpsink-") as folder:
        host = own_address()
        (port,) = free_ports(host, 1)
        counters = folder / "counters"
        # Started as root it insists on a user to be instead (-u).
        user = ["-u", POSTFIX_USER] if os.geteuid() == 0 else []
        command = ["smtp-sink", "-4", "-c", *user, *options, f"{host}:{port}", str(backlog)]
        with Daemon("smtp-sink", command, listens=[(host, port)], log=counters, stdout=counters):
            yield SmtpSink(host, port, counters)
