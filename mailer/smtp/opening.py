"""From settings to a connection that is logged in."""

from __future__ import annotations

import ssl
from dataclasses import replace
from typing import NamedTuple

from mailer.core.message import Phase
from mailer.errors import MailerError
from mailer.redact import Redactor
from mailer.smtp.auth import Mechanism, choose_mechanism, explained, new_login
from mailer.smtp.connection import Connection, Desk
from mailer.smtp.session import Session
from mailer.smtp.session_opener import open_session
from mailer.smtp.settings import RelaySettings
from mailer.smtp.shared import Shared
from mailer.smtp.transcript import Transcript
from mailer.smtp.trouble import OutOfStep, RelayFailure, shortened


class Opened(NamedTuple):
    """A connection that is logged in, or needs no login."""

    connection: Connection
    session: Session
    mechanism: Mechanism | None


async def open_connection(
    settings: RelaySettings,
    context: ssl.SSLContext | None,
    desk: Desk,
    *,
    shared: Shared,
    transcript: Transcript | None,
) -> Opened:
    """Connect, say EHLO, log in. Raises RelayFailure, without secrets; that and a cancellation leave nothing open."""
    try:
        session = await open_session(settings, context, transcript)
    except RelayFailure as failure:
        _note(transcript, failure)
        raise
    connection: Connection | None = None
    try:
        connection = Connection(settings, session, desk, shared=shared, transcript=transcript)
        mechanism = await _log_in(settings, session, connection, shared, transcript)
    except RelayFailure as failure:
        if connection is not None:
            connection.cut(failure.message)
        clean = without_secrets(failure, shared.redact)
        _note(transcript, clean)
        # What a secret's place says of itself is kept as the cause; it names the place, never the value.
        raise clean from (failure.__cause__ if isinstance(failure.__cause__, MailerError) else None)
    except OutOfStep as error:
        raise RelayFailure(
            f"{settings.endpoint}: {error.message}.", phase=Phase.CONNECT, is_permanent=False, reply=error.reply
        ) from None
    except BaseException:
        if connection is not None:
            connection.cut("cancelled")
        raise
    finally:
        if connection is None:
            session.transport.abort()
    return Opened(connection, session, mechanism)


async def _log_in(
    settings: RelaySettings,
    session: Session,
    connection: Connection,
    shared: Shared,
    transcript: Transcript | None,
) -> Mechanism | None:
    mechanism = choose_mechanism(
        settings, session.features.auth, is_tls=session.tls is not None, is_loopback=session.is_loopback
    )
    if mechanism is None:
        return None
    once = Redactor()  # for what this login alone says: the pool need not remember it

    def hide(secret: str) -> None:
        once.add(secret)
        if transcript is not None:
            transcript.hide(secret)

    secret = await _secret(settings)
    shared.redact.add(secret)
    hide(secret)
    login = new_login(mechanism, settings.username or "", secret, shared.memory, hide)
    try:
        await connection.log_in(login)
    except RelayFailure as failure:
        raise without_secrets(explained(settings, mechanism, login, failure), once) from None
    return mechanism


async def _secret(settings: RelaySettings) -> str:
    if settings.password is None:
        return ""
    try:
        return await settings.password()
    except MailerError as error:
        raise RelayFailure(error.message, error.hint, phase=Phase.AUTH, is_permanent=True) from error


def without_secrets(failure: RelayFailure, redact: Redactor) -> RelayFailure:
    """The same failure; a server may repeat in its words what it was sent."""
    reply = failure.reply
    if reply is not None:
        reply = replace(reply, text=redact(reply.text))
    return RelayFailure(
        shortened(redact(failure.message)),
        failure.hint,
        phase=failure.phase,
        is_permanent=failure.is_permanent,
        reply=reply,
    )


def _note(transcript: Transcript | None, failure: RelayFailure) -> None:
    if transcript is not None:
        transcript.note(failure.message)
