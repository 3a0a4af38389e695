"""Trying a relay without sending anything: connect, TLS, login, and what it offers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from mailer.clocks import wall_clock
from mailer.core.message import Phase
from mailer.core.reply import Reply
from mailer.smtp.connection import Connection
from mailer.smtp.delivery import Delivery
from mailer.smtp.mode import choose_mode
from mailer.smtp.opening import open_connection
from mailer.smtp.session import Session
from mailer.smtp.session_opener import make_context
from mailer.smtp.settings import RelaySettings, Timeouts
from mailer.smtp.shared import Shared
from mailer.smtp.state_table import Mode
from mailer.smtp.transcript import Transcript
from mailer.smtp.trust import Trust


@dataclass(frozen=True, slots=True)
class CheckReport:
    """A relay that can be used, as it presented itself."""

    name: str
    host: str
    port: int
    address: str
    """Which of the host's addresses answered."""
    greeting: str
    """The server's first words, without the code."""
    ehlo_name: str
    """What we called ourselves."""
    tls: str | None
    """Protocol and cipher, or None for plain text."""
    extensions: Mapping[str, str]
    """What EHLO listed: keyword in upper case to its parameters."""
    size_limit: int | None
    """The largest message in bytes, or None if the server names no limit."""
    auth: str | None
    """The mechanism that the login took, or None if there was none."""
    pipelining: bool
    """Whether commands will be written ahead of their answers: it is offered and allowed."""
    chunking: bool
    """Whether messages will be sent in chunks, once it has shown that it takes them: offered and allowed likewise."""
    warnings: tuple[str, ...]
    """What works and should not be left so, a sentence each."""
    milliseconds: int
    """From connecting to being logged in."""


async def check_relay(
    settings: RelaySettings, *, transcript: Transcript | None = None, timeouts: Timeouts | None = None
) -> CheckReport:
    """Connect, log in, say QUIT. Raises RelayError with a sentence and a hint, and with no secret in it.

    A person waits: the greeting is given no longer than the connection.
    """
    begun = time.monotonic()
    settings = replace(settings, greeting_timeout_s=settings.connect_timeout_s)
    trust = Trust(wall_clock)
    context = await asyncio.to_thread(make_context, settings) if settings.tls != "none" else None
    opened = await open_connection(
        settings,
        context,
        _NoMessages(),
        shared=Shared(clock=wall_clock, timeouts=timeouts or Timeouts(), timers=None, trust=trust),
        transcript=transcript,
    )
    milliseconds = round((time.monotonic() - begun) * 1000)
    connection, session = opened.connection, opened.session
    try:
        connection.quit()
        connection.start()
        await connection.gone
    finally:
        connection.cut("cancelled")
    mode = choose_mode(settings, session.features, trust)
    return CheckReport(
        name=settings.name,
        host=settings.host,
        port=settings.port,
        address=session.address,
        greeting=session.greeting.text,
        ehlo_name=session.ehlo_name,
        tls=session.tls,
        extensions=session.features.extensions,
        size_limit=session.features.size_limit,
        auth=opened.mechanism,
        pipelining=mode >= Mode.PIPELINED,
        chunking=mode == Mode.CHUNKED,
        warnings=tuple(_warnings(settings, session)),
        milliseconds=milliseconds,
    )


def _warnings(settings: RelaySettings, session: Session) -> Iterator[str]:
    if session.tls is None and "STARTTLS" in session.features.extensions:
        yield (
            f"{settings.endpoint} offers STARTTLS and it is not used, so that everything can be read on the way. "
            'Set tls = "starttls".'
        )


class _NoMessages:
    """Nothing to send."""

    def next_delivery(self, *, is_ahead: bool) -> Delivery | None:
        del is_ahead
        return None

    def is_resting(self, connection: Connection) -> None:
        del connection

    def may_go_on(self, phase: Phase, reply: Reply) -> bool:
        del phase, reply
        return False

    def is_hindered(self) -> None:
        pass
