"""Dialling: from a relay's host to a socket that is connected to it.

Theory of operation (RFC 8305, "happy eyeballs")
- The host's addresses are tried in the resolver's order (RFC 6724), IPv6 and IPv4 in turn. The next attempt begins when
  one has failed, or 250 ms after the last one began; the first to connect wins and the others are closed. A network
  whose IPv6 leads nowhere so costs a quarter of a second, and not the whole connect timeout.
- `aiohappyeyeballs` runs the race, because uvloop's create_connection cannot. What it raises is one error made of all,
  so each attempt is written down as it goes by; sentences are made from that.
- A host that is an address is not looked up.
- One time limit holds for all of it.
Not done: beginning with whichever family is known first (section 3 there). getaddrinfo answers with both at once.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, cast

from aiohappyeyeballs import AddrInfoType, start_connection

from mailer.smtp.settings import RelaySettings
from mailer.smtp.trouble import no_address, no_greeting, no_source, unreachable, words_of

# RFC 8305 section 8 recommends it.
STAGGER_S: Final = 0.25

# A server may take ten minutes to answer the end of a message (RFC 5321 section 4.5.3.2.6), and many NATs and firewalls
# forget a silent connection sooner. A peer that has vanished is noticed after 60 + 4 * 15 seconds.
_KEEP_ALIVE: Final = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}


class Resolve(Protocol):
    """Looks a host up."""

    async def __call__(self, host: str, port: int, family: int, /) -> Sequence[AddrInfoType]:
        """Its addresses of `family` (AF_UNSPEC: of any), best first, as getaddrinfo gives them; it raises gaierror."""


async def system_addresses(host: str, port: int, family: int, /) -> Sequence[AddrInfoType]:
    """What this machine's resolver says: the `Resolve` of all days."""
    return await asyncio.get_running_loop().getaddrinfo(
        host, port, family=family, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
    )


@dataclass(frozen=True, slots=True)
class Line:
    """A connection, and the addresses of its two ends, without port and zone."""

    sock: socket.socket
    """It does not block, sends what it is given at once and keeps the connection alive. It belongs to the caller."""
    local: str
    peer: str


async def dial(settings: RelaySettings, resolve: Resolve = system_addresses, *, stagger_s: float = STAGGER_S) -> Line:
    """Connect to the relay. Raises RelayFailure; that and a cancellation leave no socket open."""
    race = _Race(asyncio.get_running_loop(), settings.source_address)
    try:
        async with asyncio.timeout(settings.connect_timeout_s):
            sock = await race.run(await _addresses(settings, resolve), stagger_s)
    except OSError as error:
        if race.bind_error is not None:
            raise no_source(settings, race.bind_error) from error
        raise unreachable(settings, race.tried) from error
    try:
        return Line(sock, _bare(sock.getsockname()), _bare(sock.getpeername()))
    except OSError as error:  # gone again already
        sock.close()
        raise no_greeting(settings, "closed it without a word") from error


async def _addresses(settings: RelaySettings, resolve: Resolve) -> list[AddrInfoType]:
    """Where to connect to; never empty. Raises RelayFailure if the host has no address that could be used."""
    source = settings.source_address
    family = _family(source) if source is not None else socket.AF_UNSPEC
    literal = _literal(settings.host, settings.port)
    try:
        found = [literal] if literal is not None else await resolve(settings.host, settings.port, family)
    except OSError as error:
        raise no_address(settings, words_of(error)) from error
    except UnicodeError as error:  # from the IDNA codec, for a label that is empty or has more than 63 letters
        raise no_address(settings, "not a host name") from error
    usable = [info for info in dict.fromkeys(found) if family in (socket.AF_UNSPEC, info[0])]
    if not usable:
        raise no_address(settings, "none of that kind")
    return usable


class _Race:
    """One race: the sockets it opens, and what came of each attempt."""

    def __init__(self, loop: asyncio.AbstractEventLoop, source: str | None) -> None:
        self._loop = loop
        self._source = source
        self.tried: dict[str, OSError | None] = {}
        """The addresses in the order of their attempts, and why each failed: None if there was no answer so far."""
        self.bind_error: OSError | None = None
        """Why we cannot send from the address that was asked for."""

    async def run(self, addresses: Sequence[AddrInfoType], stagger_s: float) -> socket.socket:
        """The first socket that connects. Raises OSError if none does."""
        return await start_connection(
            addresses,
            happy_eyeballs_delay=stagger_s,
            socket_factory=self._open,
            loop=cast(asyncio.AbstractEventLoop, self),  # the loop, but for its sock_connect: see below
        )

    async def sock_connect(self, sock: socket.socket, address: tuple[Any, ...]) -> None:
        """The event loop's, and a note of how it ended."""
        self.tried[str(address[0])] = None
        try:
            await self._loop.sock_connect(sock, address)
        except OSError as error:
            self.tried[str(address[0])] = error
            raise

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    def _open(self, info: AddrInfoType) -> socket.socket:
        """A socket for one attempt."""
        family, kind, protocol, _, address = info
        sock = None
        try:
            sock = socket.socket(family, kind, protocol)
            sock.setblocking(False)
            _set_options(sock)
            if self._source is not None:
                self._bind(sock, self._source)
        except OSError as error:  # no such family on this machine, too many files open, …
            self.tried[str(address[0])] = error
            if sock is not None:
                sock.close()
            raise
        return sock

    def _bind(self, sock: socket.socket, source: str) -> None:
        try:
            sock.bind((source, 0))
        except OSError as error:
            self.bind_error = error
            raise


def _set_options(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEP_ALIVE.items():
        if hasattr(socket, name):  # macOS has the first one under another name, and its own two hours serve as well
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    # A command is written whole and then its answer is waited for; Nagle's algorithm would only hold it back.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _literal(host: str, port: int) -> AddrInfoType | None:
    """What the resolver would say of a host that is an address itself."""
    try:
        family = _family(host)
    except ValueError:
        return None
    address = (host, port) if family == socket.AF_INET else (host, port, 0, 0)
    return (family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address)


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET if ipaddress.ip_address(address).version == 4 else socket.AF_INET6


def _bare(address: tuple[Any, ...]) -> str:
    return str(address[0]).partition("%")[0]
