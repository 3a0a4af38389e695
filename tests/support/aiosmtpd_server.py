"""aiosmtpd that keeps every message as it came, in a thread of its own. It offers neither PIPELINING nor CHUNKING."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from support.daemon import Place, free_ports, own_address


@dataclass
class Keeper:
    """What it has answered with 250, by recipient, dots undoubled."""

    kept: dict[str, list[bytes]] = field(default_factory=dict)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - its name
        """Called by aiosmtpd at the end of data."""
        content = envelope.original_content
        assert content is not None
        for recipient in envelope.rcpt_tos:
            self.kept.setdefault(recipient, []).append(content)
        return "250 2.0.0 kept"


@contextmanager
def running_keeper() -> Iterator[tuple[Place, Keeper]]:
    """It on a free loopback port, stopped at the end."""
    host = own_address()
    (port,) = free_ports(host, 1)
    keeper = Keeper()
    controller = Controller(keeper, hostname=host, port=port, server_hostname="keeper.test")
    controller.start()
    try:
        yield (host, port), keeper
    finally:
        controller.stop()
