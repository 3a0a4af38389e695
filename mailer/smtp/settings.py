"""What a relay pool has to know of its relay."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Tls = Literal["implicit", "starttls", "none"]
AuthChoice = Literal["login", "plain", "cram-md5", "xoauth2", "auto", "none"]
Use = Literal["auto", "off"]


@dataclass(frozen=True)
class RelaySettings:
    """One relay: where it is, how to log in, and how much of it may be used."""

    name: str
    host: str
    port: int
    tls: Tls
    auth: AuthChoice
    username: str | None = None
    password: Callable[[], Awaitable[str]] | None = field(default=None, repr=False)
    """Resolved anew whenever a connection logs in. May raise MailerError: the relay then stops with that reason."""
    insecure_auth: bool = False
    """Log in over plain text beyond this machine, too."""
    max_connections: int = 4
    messages_per_connection: int = 100
    pipelining: Use = "auto"
    """Write commands ahead of their answers where the server announces it (RFC 2920)."""
    chunking: Use = "auto"
    """Send messages as chunks where the server announces that as well and has proven it (RFC 3030)."""
    window: int = 4
    """Messages that may be on their way on one connection at once: so many are in doubt at most if it breaks."""
    ca_file: Path | None = None
    """Trust the authorities in this file instead of the system's."""
    client_cert: Path | None = None
    """Our own certificate, in PEM form, for a server that asks for one."""
    client_key: Path | None = None
    """Its key; None if that is in the same file."""
    source_address: str | None = None
    """Send from this address of ours, and so to addresses of its family alone."""
    ehlo_name: str | None = None
    """How we introduce ourselves; None for the name or address of this machine."""
    connect_timeout_s: float = 30.0
    """For connecting (the look-up and all addresses together), and for STARTTLS with its handshake."""
    greeting_timeout_s: float = 300.0
    """For the greeting, a TLS handshake in front of it, and the answer to EHLO. A busy server may take its time (RFC
    5321 section 4.5.3.2.1)."""
    idle_timeout_s: float = 10.0
    """A connection with nothing to do for this long says QUIT."""

    @property
    def endpoint(self) -> str:
        """`host:port`, as sentences name it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds to wait for what the server owes us: the minimums of RFC 5321 section 4.5.3.2, which servers rely on."""

    auth: float = 120.0
    """RFC 4954 names none; a server that asks a slow directory is given as long as for DATA."""
    mail: float = 300.0
    rcpt: float = 300.0
    data: float = 120.0
    block: float = 180.0
    """For each piece of a body to leave this process."""
    end: float = 600.0
    rset: float = 300.0
    quit: float = 5.0
    """No standard asks to wait for a good-bye, and nothing depends on it."""
