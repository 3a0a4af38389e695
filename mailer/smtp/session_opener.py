"""Opening a session: connect, TLS or STARTTLS, EHLO. aiosmtplib does it; then a protocol of ours takes over.

Theory of operation
- Each step is asked for by itself, so that a failure knows its phase and a transcript shows every line.
- What aiosmtplib took for a command's reply has to be all that the session's tap has read (see `session`).
- STARTTLS that was asked for and is not offered is an error. There is no falling back to plain text.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
import ssl
from collections.abc import Awaitable
from contextlib import suppress
from typing import Final, cast

import aiosmtplib

from mailer.core.message import Phase
from mailer.core.reply import Reply
from mailer.smtp.reply_parser import reply_of
from mailer.smtp.session import Features, Session, Tap, extensions_in
from mailer.smtp.settings import RelaySettings
from mailer.smtp.transcript import Transcript, shown_reply
from mailer.smtp.trouble import OutOfStep, RelayFailure, no_greeting, no_smtp, not_connected, refused

_HOST_NAME: Final = re.compile(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")


async def open_session(
    settings: RelaySettings, context: ssl.SSLContext | None, transcript: Transcript | None = None
) -> Session:
    """Connect and introduce ourselves. `context` is None only where `tls` is none. Raises RelayFailure.

    A cancellation, like a failure, leaves nothing open.
    """
    opener = _Opener(settings, context, transcript)
    opening = asyncio.ensure_future(opener.open())
    try:
        return await asyncio.shield(opening)
    except BaseException:
        # Up to Python 3.11 the wait_for inside aiosmtplib returns what came in the moment of a cancellation and forgets
        # that it was cancelled; the next step would then be waited for in full. So it is told until it has heard.
        while not opening.done():
            opening.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0)
        if not opening.cancelled():
            opening.exception()  # has been seen: it is the one that is raised here, or came too late to matter
        opener.abort()
        raise


def make_context(settings: RelaySettings) -> ssl.SSLContext:
    """The TLS context of a relay: certificates and names are verified, at least TLS 1.2. Reads files: not for the loop.

    Raises RelayFailure if `ca_file` cannot be used.
    """
    ca_file = str(settings.ca_file) if settings.ca_file is not None else None
    try:
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=ca_file)
    except OSError as error:
        reason = "no certificate in it" if isinstance(error, ssl.SSLError) else str(error.strerror or error).lower()
        raise RelayFailure(
            f"`ca_file` {ca_file} cannot be used: {reason}.",
            "It holds the certificates of the authorities to trust, in PEM form.",
            phase=Phase.TLS,
            is_permanent=True,
        ) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


class _Opener:
    """One opening of one session."""

    def __init__(self, settings: RelaySettings, context: ssl.SSLContext | None, transcript: Transcript | None) -> None:
        self._settings = settings
        self._transcript = transcript
        self._smtp = aiosmtplib.SMTP(
            hostname=settings.host,
            port=settings.port,
            use_tls=settings.tls == "implicit",
            start_tls=False,
            tls_context=context,
            timeout=settings.connect_timeout_s,
            local_hostname="localhost",  # never sent: the name is chosen when our own address is known
        )
        self._transport: asyncio.Transport | None = None

    async def open(self) -> Session:
        settings = self._settings
        self._note(f"connecting to {settings.endpoint}{' with TLS' if settings.tls == 'implicit' else ''}")
        greeting = await self._connect()
        tap = self._tap()
        name = settings.ehlo_name or _own_name(self._info("sockname"))
        features = await self._greet(tap, name)
        if settings.tls == "starttls":
            await self._start_tls(tap, features)
            tap = self._tap()
            # RFC 3207 section 4.2: what was said before TLS does not count.
            features = await self._greet(tap, name)
        if self._transport is None or self._transport.is_closing():
            raise self._lost("EHLO")
        return Session(
            transport=self._transport,
            tap=tap,
            greeting=greeting,
            features=features,
            ehlo_name=name,
            tls=_tls_words(self._transport),
            is_loopback=_is_loopback(self._info("peername")),
        )

    def abort(self) -> None:
        """Leave nothing behind."""
        if self._transport is not None:
            self._transport.abort()
        self._smtp.close()

    async def _connect(self) -> Reply:
        settings = self._settings
        try:
            response = await self._smtp.connect()
        except aiosmtplib.SMTPConnectResponseError as error:
            reply = self._show(reply_of(error.code, error.message))
            raise refused(settings, Phase.CONNECT, "the connection", reply) from None
        except aiosmtplib.SMTPResponseException as error:
            raise no_smtp(settings, _malformed(error.message)) from None
        except aiosmtplib.SMTPConnectTimeoutError as error:
            if "ready message" in str(error):  # aiosmtplib's words are the only thing that tells the two apart
                raise no_greeting(settings, f"said nothing for {settings.connect_timeout_s:g} s") from None
            raise not_connected(settings, error) from None
        except (aiosmtplib.SMTPException, OSError, ssl.SSLError) as error:
            if isinstance(error.__cause__, aiosmtplib.SMTPServerDisconnected):
                raise no_greeting(settings, "closed it without a word") from None
            raise not_connected(settings, error) from None
        return self._show(reply_of(response.code, response.message))

    async def _greet(self, tap: Tap, name: str) -> Features:
        """EHLO, or HELO for a server that does not know it (RFC 5321 section 3.2)."""
        reply = await self._ask(tap, f"EHLO {name}", self._smtp.ehlo(hostname=name))
        if reply.code == 250:
            return Features(extensions_in(reply))
        if reply.code < 500:
            raise refused(self._settings, Phase.CONNECT, "EHLO", reply)
        reply = await self._ask(tap, f"HELO {name}", self._smtp.helo(hostname=name))
        if reply.code != 250:
            hint = "The server may want another name: set `ehlo_name`."
            raise refused(self._settings, Phase.CONNECT, f'HELO as "{name}"', reply, hint)
        return Features({})

    async def _start_tls(self, tap: Tap, features: Features) -> None:
        settings = self._settings
        if "STARTTLS" not in features.extensions:
            raise RelayFailure(
                f"{settings.endpoint} does not offer STARTTLS.",
                'Port 465 usually speaks TLS from the start: set tls = "implicit" and port = 465.',
                phase=Phase.TLS,
                is_permanent=True,
            )
        try:
            reply = await self._ask(tap, "STARTTLS", self._smtp.starttls())
        except (OSError, ssl.SSLError) as error:
            raise not_connected(settings, error, Phase.TLS) from None
        if reply.code != 220:
            raise refused(settings, Phase.TLS, "STARTTLS", reply)

    async def _ask(self, tap: Tap, line: str, asking: Awaitable[aiosmtplib.SMTPResponse]) -> Reply:
        """One command, one reply. What aiosmtplib took for the reply has to be what our own parser read."""
        settings = self._settings
        phase = Phase.TLS if line == "STARTTLS" else Phase.CONNECT
        if self._transcript is not None:
            self._transcript.client(line)
        try:
            response = await asking
            said = reply_of(response.code, response.message)
        except aiosmtplib.SMTPResponseException as error:
            if error.code < 0:
                raise no_smtp(settings, _malformed(error.message)) from None
            said = reply_of(error.code, error.message)
        except aiosmtplib.SMTPTimeoutError as error:
            if isinstance(error.__cause__, ConnectionAbortedError) or "upgrading" in str(error):
                raise not_connected(settings, error, Phase.TLS) from None
            raise RelayFailure(
                f"{settings.endpoint} did not answer {line} within {settings.connect_timeout_s:g} s.",
                phase=phase,
                is_permanent=False,
            ) from None
        except aiosmtplib.SMTPServerDisconnected as error:
            if isinstance(error.__cause__, ConnectionError):
                raise not_connected(settings, error, phase) from None
            raise self._lost(line) from None
        try:
            return self._show(tap.take_reply(said))
        except OutOfStep as error:
            raise RelayFailure(f"{settings.endpoint}: {error.message}.", phase=phase, is_permanent=False) from None

    def _tap(self) -> Tap:
        """Put a tap on the transport that is in use now."""
        protocol, transport = self._smtp.protocol, self._smtp.transport
        if protocol is None or transport is None:
            raise self._lost("the connection")
        self._transport = cast(asyncio.Transport, transport)
        tap = Tap(protocol)
        self._transport.set_protocol(tap)
        tls = _tls_words(self._transport)
        if tls is not None:
            self._note(f"TLS: {tls}")
        return tap

    def _lost(self, doing: str) -> RelayFailure:
        return RelayFailure(
            f"{self._settings.endpoint} closed the connection after {doing}.", phase=Phase.CONNECT, is_permanent=False
        )

    def _info(self, name: str) -> object:
        return self._transport.get_extra_info(name) if self._transport is not None else None

    def _show(self, reply: Reply) -> Reply:
        if self._transcript is not None:
            self._transcript.server(shown_reply(reply))
        return reply

    def _note(self, text: str) -> None:
        if self._transcript is not None:
            self._transcript.note(text)


def _own_name(sockname: object) -> str:
    """What EHLO calls us: this machine's full name, or where it has none its address (RFC 5321 section 4.1.4)."""
    # Without asking DNS: that may take seconds, and a name that only DNS knows is not this machine's own.
    name = socket.gethostname()
    if _HOST_NAME.fullmatch(name):
        return name
    host = str(sockname[0]) if isinstance(sockname, tuple) and sockname else "127.0.0.1"
    address = host.partition("%")[0]
    return f"[IPv6:{address}]" if ":" in address else f"[{address}]"


def _tls_words(transport: asyncio.Transport) -> str | None:
    """`TLSv1.3 TLS_AES_256_GCM_SHA384`, or None for plain text."""
    tls = transport.get_extra_info("ssl_object")
    if tls is None:
        return None
    cipher = tls.cipher()
    return f"{tls.version()} {cipher[0]}" if cipher else str(tls.version())


def _is_loopback(peername: object) -> bool:
    if not isinstance(peername, tuple) or not peername:
        return False
    try:
        return ipaddress.ip_address(str(peername[0]).partition("%")[0]).is_loopback
    except ValueError:
        return False


def _malformed(message: str) -> str:
    """What the server said, out of aiosmtplib's error about it."""
    said = message.rpartition("Malformed SMTP response line: ")[2]
    return reply_of(0, said.strip()).text
