"""What goes wrong with a relay: two errors that carry facts, and the sentences and hints made from them."""

from __future__ import annotations

import errno
import socket
import ssl
from typing import Final

from mailer.core.message import Phase
from mailer.core.reply import Reply
from mailer.errors import RelayError
from mailer.smtp.settings import RelaySettings


class OutOfStep(RelayError):
    """The server said something that has no place at this point. The connection cannot be trusted any further."""

    def __init__(self, message: str, reply: Reply | None = None) -> None:
        super().__init__(message)
        self.reply = reply


class RelayFailure(RelayError):
    """The relay cannot be used now (`is_permanent` false) or until somebody acts (true)."""

    def __init__(
        self, message: str, hint: str = "", *, phase: Phase, is_permanent: bool, reply: Reply | None = None
    ) -> None:
        super().__init__(message, hint)
        self.phase = phase
        self.is_permanent = is_permanent
        self.reply = reply


def quoted(reply: Reply) -> str:
    """The reply in one line: `550 5.1.1 no such user`."""
    words = " / ".join(line for line in reply.text.split("\n") if line)
    return " ".join(part for part in (str(reply.code), reply.enhanced, words) if part)


def refused(settings: RelaySettings, phase: Phase, doing: str, reply: Reply, hint: str = "") -> RelayFailure:
    """A reply that says no before any message: for good if it is a 5xx."""
    return RelayFailure(
        f"{settings.endpoint} refused {doing}: {quoted(reply)}.",
        hint,
        phase=phase,
        is_permanent=reply.code >= 500,
        reply=reply,
    )


def login_refused(settings: RelaySettings, reply: Reply, *, kept_asking: bool) -> RelayFailure:
    """A login that was not taken; `kept_asking`: the server wanted more than there is to be said."""
    if kept_asking:
        return RelayFailure(
            f"{settings.endpoint} asked for more than a user name and a password.",
            'Another mechanism may work: auth = "plain" or "auto".',
            phase=Phase.AUTH,
            is_permanent=True,
            reply=reply,
        )
    hint = "Check `username` and `password`; many providers want an authorization code or app password here."
    if reply.code < 500:
        hint = "It will be tried again."
    return refused(settings, Phase.AUTH, "the login", reply, hint)


def no_smtp(settings: RelaySettings, said: str) -> RelayFailure:
    """What greets us is something else."""
    hint = "Check the port: 465 speaks TLS from the start, 587 and 25 begin in plain text."
    if said.startswith(("+OK", "* OK")):
        hint = "That is a server for reading mail (POP3 or IMAP). Sending goes through port 465 or 587."
    shown = f': it said "{said[:80]}"' if said else ""
    return RelayFailure(f"{settings.endpoint} speaks no SMTP{shown}.", hint, phase=Phase.CONNECT, is_permanent=True)


def no_greeting(settings: RelaySettings, why: str) -> RelayFailure:
    """Connected, and then nothing."""
    return RelayFailure(
        f"{settings.endpoint} took the connection but {why}.",
        _tls_hint(settings),
        phase=Phase.CONNECT,
        is_permanent=False,
    )


def not_connected(settings: RelaySettings, error: BaseException, phase: Phase = Phase.CONNECT) -> RelayFailure:
    """Why there is no connection, or no TLS on it. Takes what the operating system or OpenSSL raised."""
    cause = _root(error)
    where = settings.endpoint
    if isinstance(cause, ssl.SSLCertVerificationError):
        sentence, hint = _certificate(settings, cause)
        return RelayFailure(sentence, hint, phase=Phase.TLS, is_permanent=True)
    if isinstance(cause, ssl.SSLError):
        return _no_tls(settings, cause)
    if isinstance(cause, TimeoutError):
        sentence = f"{where} did not answer within {settings.connect_timeout_s:g} s"
        return RelayFailure(f"{sentence}.", _reach_hint(settings), phase=phase, is_permanent=False)
    if isinstance(cause, socket.gaierror):
        sentence = f'there is no address for the host "{settings.host}" ({_words(cause)})'
        return RelayFailure(
            f"{sentence}.", "Check `host` and this machine's name resolution.", phase=phase, is_permanent=False
        )
    if isinstance(cause, ConnectionRefusedError):
        return RelayFailure(f"nobody listens on {where}.", _reach_hint(settings), phase=phase, is_permanent=False)
    if phase is Phase.TLS or settings.tls == "implicit":
        return RelayFailure(
            f"{where} ended the connection during the TLS handshake ({_words(cause)}).",
            _tls_hint(settings),
            phase=Phase.TLS,
            is_permanent=False,
        )
    return RelayFailure(
        f"cannot connect to {where}: {_words(cause)}.", _reach_hint(settings), phase=phase, is_permanent=False
    )


def _no_tls(settings: RelaySettings, error: ssl.SSLError) -> RelayFailure:
    where = settings.endpoint
    # What OpenSSL says when plain text, such as a greeting, arrives in the place of its handshake.
    if error.reason in {"WRONG_VERSION_NUMBER", "PACKET_LENGTH_TOO_LONG", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE"}:
        return RelayFailure(
            f"{where} does not speak TLS from the start.",
            'Set tls = "starttls" (usually port 587), or port = 465.',
            phase=Phase.TLS,
            is_permanent=True,
        )
    if error.reason in {"UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION", "NO_PROTOCOLS_AVAILABLE"}:
        return RelayFailure(
            f"{where} offers no TLS version that is still safe; at least TLS 1.2 is needed.",
            "Ask whoever runs the server to turn on TLS 1.2 or 1.3.",
            phase=Phase.TLS,
            is_permanent=True,
        )
    return RelayFailure(
        f"the TLS handshake with {where} failed ({_words(error)}).",
        _tls_hint(settings),
        phase=Phase.TLS,
        is_permanent=True,
    )


# Of OpenSSL's X509_V_ERR_*: those a person can do something about.
_EXPIRED: Final = 10
_NOT_YET: Final = 9
_WRONG_NAME: Final = frozenset({62, 64})  # host name, address
_UNKNOWN_ISSUER: Final = frozenset({2, 18, 19, 20, 21})  # no issuer, self-signed alone or in the chain


def _certificate(settings: RelaySettings, error: ssl.SSLCertVerificationError) -> tuple[str, str]:
    where = settings.endpoint
    if error.verify_code in _WRONG_NAME:
        return (
            f'the certificate of {where} is for another name than "{settings.host}".',
            "Set `host` to the name in the certificate.",
        )
    if error.verify_code == _EXPIRED:
        return (
            f"the certificate of {where} has expired.",
            "Ask whoever runs the server to renew it, and check this machine's clock.",
        )
    if error.verify_code == _NOT_YET:
        return (f"the certificate of {where} is not valid yet.", "Check this machine's clock.")
    if error.verify_code in _UNKNOWN_ISSUER:
        return (
            f"the certificate of {where} was not issued by an authority that is trusted here.",
            "If it is your own authority, set `ca_file` to its certificate.",
        )
    return (f"the certificate of {where} cannot be verified: {error.verify_message}.", "")


def _reach_hint(settings: RelaySettings) -> str:
    return (
        f"Check `host` and `port` ({settings.port}), and whether a firewall lets this machine out; "
        "submission is usually port 465 or 587."
    )


def _tls_hint(settings: RelaySettings) -> str:
    if settings.tls == "implicit":
        return 'If this port begins in plain text (587, 25), set tls = "starttls".'
    return 'If this port speaks TLS from the start (465), set tls = "implicit".'


def _root(error: BaseException) -> BaseException:
    """The error that the operating system gave, below what was wrapped around it."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _words(error: BaseException) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "TLS error").replace("_", " ").lower()
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    if isinstance(error, OSError) and error.errno is not None:
        return errno.errorcode.get(error.errno, str(error))
    return str(error) or type(error).__name__
