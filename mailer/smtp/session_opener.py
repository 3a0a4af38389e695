"""Opening a session: TLS or STARTTLS, EHLO. aiosmtplib does it on a socket that `dialling` has connected; then a
protocol of ours takes over.

Theory of operation
- Each step is asked for by itself, so that a failure knows its phase and a transcript shows every line.
- What aiosmtplib took for a command's reply has to be all that the session's tap has read (see `session`).
- STARTTLS that was asked for and is not offered is an error. There is no falling back to plain text.
- EHLO that a server does not know is followed by HELO (RFC 5321 section 3.2), where that can be of use: with HELO there
  are no extensions, so neither STARTTLS nor AUTH. A 4xx, 421 among them, or a connection that is closed without a word
  says nothing of EHLO: the server is busy, or does not want us now, and is tried again later as for any other trouble.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Awaitable
from contextlib import suppress
from typing import cast

import aiosmtplib

from mailer.core.message import Phase
from mailer.core.reply import Reply
from mailer.smtp.client_certificate import load_client_certificate
from mailer.smtp.dialling import Line, Resolve, dial, system_addresses
from mailer.smtp.own_name import own_name
from mailer.smtp.reply_parser import reply_of
from mailer.smtp.session import Features, Session, Tap, extensions_in
from mailer.smtp.settings import RelaySettings
from mailer.smtp.transcript import Transcript, shown_reply
from mailer.smtp.trouble import (
    OutOfStep,
    RelayFailure,
    lost,
    no_greeting,
    no_handshake,
    no_smtp,
    refused,
    root_of,
    words_of,
)


async def open_session(
    settings: RelaySettings,
    context: ssl.SSLContext | None,
    transcript: Transcript | None = None,
    *,
    resolve: Resolve = system_addresses,
) -> Session:
    """Connect and introduce ourselves. `context` is None only where `tls` is none. Raises RelayFailure.

    A cancellation, like a failure, leaves nothing open.
    """
    opener = _Opener(settings, context, transcript, resolve)
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
        # The exception has been seen: it is the one that is raised here, or came too late to matter.
        failure = None if opening.cancelled() else opening.exception()
        if isinstance(failure, RelayFailure) and failure.reply is not None:
            opener.good_bye()
        opener.abort()
        raise


def make_context(settings: RelaySettings) -> ssl.SSLContext:
    """The TLS context of a relay: certificates and names are verified, at least TLS 1.2. Reads files: not for the loop.

    Raises RelayFailure if `ca_file`, `client_cert` or `client_key` cannot be used.
    """
    ca_file = str(settings.ca_file) if settings.ca_file is not None else None
    try:
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=ca_file)
    except OSError as error:
        reason = "no certificate in it" if isinstance(error, ssl.SSLError) else words_of(error)
        raise RelayFailure(
            f"`ca_file` {ca_file} cannot be used: {reason}.",
            "It holds the certificates of the authorities to trust, in PEM form.",
            phase=Phase.TLS,
            is_permanent=True,
        ) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.hostname_checks_common_name = False  # RFC 9525 section 2: the names of a certificate are its SANs
    if settings.client_cert is not None:
        load_client_certificate(context, settings.client_cert, settings.client_key)
    return context


class _Opener:
    """One opening of one session."""

    def __init__(
        self,
        settings: RelaySettings,
        context: ssl.SSLContext | None,
        transcript: Transcript | None,
        resolve: Resolve,
    ) -> None:
        self._settings = settings
        self._transcript = transcript
        self._resolve = resolve
        self._smtp = aiosmtplib.SMTP(
            # Used for TLS alone, since the socket is ours: what is asked for, and what the certificate has to be for.
            # A dot at the end of a host says that it is a full name and is no part of it (RFC 6066 section 3).
            hostname=settings.host.removesuffix("."),
            use_tls=settings.tls == "implicit",
            start_tls=False,
            tls_context=context,
            timeout=settings.greeting_timeout_s,
            local_hostname="localhost",  # never sent: the name is chosen when our own address is known
        )
        self._line: Line | None = None
        self._transport: asyncio.Transport | None = None

    async def open(self) -> Session:
        settings = self._settings
        self._note(f"connecting to {settings.endpoint}{' with TLS' if settings.tls == 'implicit' else ''}")
        line = await dial(settings, self._resolve)
        greeting = await self._converse(line)
        tap = self._tap()
        name = settings.ehlo_name or own_name(line.local)
        features = await self._greet(tap, name)
        if settings.tls == "starttls":
            await self._start_tls(tap, features)
            tap = self._tap()
            # RFC 3207 section 4.2: what was said before TLS does not count.
            features = await self._greet(tap, name)
        elif settings.tls == "none" and "STARTTLS" in features.extensions:
            self._note('the server offers STARTTLS, and it is not used: tls = "none"')
        if self._transport is None or self._transport.is_closing():
            raise lost(settings, "EHLO")
        return Session(
            transport=self._transport,
            tap=tap,
            greeting=greeting,
            features=features,
            ehlo_name=name,
            tls=_tls_words(self._transport),
            address=line.peer,
            is_loopback=ipaddress.ip_address(line.peer).is_loopback,
        )

    def good_bye(self) -> None:
        """QUIT, as after every refusal (RFC 5321 section 4.1.1.10). Nothing is to be learnt from the answer."""
        if self._transport is None or self._transport.is_closing():
            return
        if self._transcript is not None:
            self._transcript.client("QUIT")
        self._transport.write(b"QUIT\r\n")

    def abort(self) -> None:
        """Leave nothing behind."""
        if self._transport is not None:
            self._transport.abort()
        elif self._line is not None:
            # aiosmtplib has closed its transport already, politely: under TLS that is half a minute's wait for a server
            # that says nothing. With the socket shut down there is nothing to wait for.
            with suppress(OSError):
                self._line.sock.shutdown(socket.SHUT_RDWR)
        self._smtp.close()

    async def _converse(self, line: Line) -> Reply:
        """Hand the line to aiosmtplib, which speaks TLS if that comes first, and have the greeting."""
        settings = self._settings
        self._line = line
        if line.peer != settings.host:
            self._note(f"connected to {line.peer}")
        try:
            # From its first step on the socket belongs to the transport that is made in there, whatever comes of it.
            response = await self._smtp.connect(sock=line.sock)
        except aiosmtplib.SMTPConnectResponseError as error:
            reply = self._show(reply_of(error.code, error.message))
            raise refused(settings, Phase.CONNECT, "the connection", reply) from None
        except aiosmtplib.SMTPResponseException as error:
            raise no_smtp(settings, _malformed(error.message)) from None
        except (aiosmtplib.SMTPException, OSError) as error:
            if "ready message" in str(error):  # nothing but aiosmtplib's words tells its two time-outs apart
                raise no_greeting(settings, f"said nothing for {settings.greeting_timeout_s:g} s") from None
            is_talk = settings.tls != "implicit" or isinstance(error.__cause__, aiosmtplib.SMTPServerDisconnected)
            if is_talk and not isinstance(root_of(error), ssl.SSLError):
                raise no_greeting(settings, "closed it without a word") from None
            raise no_handshake(settings, error) from None
        return self._show(reply_of(response.code, response.message))

    async def _greet(self, tap: Tap, name: str) -> Features:
        """EHLO, or HELO for a server that does not know it and of which nothing more is wanted."""
        settings = self._settings
        ehlo = await self._ask(tap, f"EHLO {name}", self._smtp.ehlo(hostname=name))
        if ehlo.code == 250:
            return Features(extensions_in(ehlo))
        if ehlo.code < 500:
            raise refused(settings, Phase.CONNECT, "EHLO", ehlo)
        hint = "The server may want another name: set `ehlo_name`."
        refusal = refused(settings, Phase.CONNECT, f'EHLO as "{name}"', ehlo, hint)
        if settings.tls == "starttls" or settings.auth != "none":
            raise refusal
        helo = await self._ask(tap, f"HELO {name}", self._smtp.helo(hostname=name), if_lost=refusal)
        if helo.code != 250:
            raise refused(settings, Phase.CONNECT, f'HELO as "{name}"', helo, hint)
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
            reply = await self._ask(tap, "STARTTLS", self._smtp.starttls(timeout=settings.connect_timeout_s))
        except (OSError, ssl.SSLError) as error:
            raise no_handshake(settings, error) from None
        if reply.code != 220:
            raise refused(settings, Phase.TLS, "STARTTLS", reply)

    async def _ask(
        self,
        tap: Tap,
        line: str,
        asking: Awaitable[aiosmtplib.SMTPResponse],
        *,
        if_lost: RelayFailure | None = None,
    ) -> Reply:
        """One command, one reply. What aiosmtplib took for the reply has to be what our own parser read.

        If the connection is lost instead, `if_lost` is raised, where something that was said before explains it.
        """
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
            if "upgrading" in str(error):
                raise no_handshake(settings, error) from None
            limit_s = settings.connect_timeout_s if line == "STARTTLS" else settings.greeting_timeout_s
            raise RelayFailure(
                f"{settings.endpoint} did not answer {line} within {limit_s:g} s.",
                phase=phase,
                is_permanent=False,
            ) from None
        except aiosmtplib.SMTPServerDisconnected as error:
            if "upgrading" in str(error) or isinstance(root_of(error), ssl.SSLError):
                raise no_handshake(settings, error) from None
            raise if_lost or lost(settings, line) from None
        try:
            return self._show(tap.take_reply(said))
        except OutOfStep as error:
            raise RelayFailure(f"{settings.endpoint}: {error.message}.", phase=phase, is_permanent=False) from None

    def _tap(self) -> Tap:
        """Put a tap on the transport that is in use now."""
        protocol, transport = self._smtp.protocol, self._smtp.transport
        if protocol is None or transport is None:
            raise lost(self._settings, "its greeting")
        self._transport = cast(asyncio.Transport, transport)
        tap = Tap(protocol)
        self._transport.set_protocol(tap)
        tls = _tls_words(self._transport)
        if tls is not None:
            self._note(f"TLS: {tls}")
        return tap

    def _show(self, reply: Reply) -> Reply:
        if self._transcript is not None:
            self._transcript.server(shown_reply(reply))
        return reply

    def _note(self, text: str) -> None:
        if self._transcript is not None:
            self._transcript.note(text)


def _tls_words(transport: asyncio.Transport) -> str | None:
    """`TLSv1.3 TLS_AES_256_GCM_SHA384`, or None for plain text."""
    tls = transport.get_extra_info("ssl_object")
    if tls is None:
        return None
    cipher = tls.cipher()
    return f"{tls.version()} {cipher[0]}" if cipher else str(tls.version())


def _malformed(message: str) -> str:
    """What the server said, out of aiosmtplib's error about it."""
    said = message.rpartition("Malformed SMTP response line: ")[2]
    return reply_of(0, said.strip()).text
