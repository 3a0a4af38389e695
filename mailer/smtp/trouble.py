"""What goes wrong with a relay: two errors that carry facts, and the sentences and hints made from them."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import ssl
from collections.abc import Iterable, Mapping
from typing import Final

from mailer.core.message import Phase
from mailer.core.reply import Reply
from mailer.errors import RelayError
from mailer.smtp.settings import RelaySettings

LONGEST_TEXT: Final = 300  # characters of our own words that may quote a server's


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


def shortened(text: str) -> str:
    """The beginning of a text that a server may have made long. For one that has no secret in it any more: a part of a
    secret would not be known for one."""
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}…"


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


def login_refused(settings: RelaySettings, reply: Reply) -> RelayFailure:
    """A login that was not taken. What its mechanism knows of it is added where it is known (`auth.explained`)."""
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


def no_address(settings: RelaySettings, why: str) -> RelayFailure:
    """The name resolution knows no address of the host that we could connect to."""
    kind, hint = "address", "Check `host` and this machine's name resolution."
    if settings.source_address is not None:
        kind = f"IPv{ipaddress.ip_address(settings.source_address).version} address"
        hint = f"`source_address` is {settings.source_address}, so only addresses of its kind can be reached. {hint}"
    return RelayFailure(
        f'there is no {kind} for the host "{settings.host}" ({why}).', hint, phase=Phase.CONNECT, is_permanent=False
    )


def no_source(settings: RelaySettings, error: OSError) -> RelayFailure:
    """We cannot send from the address that the settings name."""
    sentence = f"cannot send from {settings.source_address}: {words_of(error)}"
    if error.errno == errno.EADDRNOTAVAIL:
        sentence = f"this machine does not have the address {settings.source_address}"
    return RelayFailure(
        f"{sentence}.",
        "Check `source_address`; without it the system chooses one.",
        phase=Phase.CONNECT,
        is_permanent=False,  # addresses come and go: at boot, and between machines that stand in for one another
    )


def unreachable(settings: RelaySettings, tried: Mapping[str, OSError | None]) -> RelayFailure:
    """Nothing connected. `tried` has the addresses and why each failed; None: it did not answer."""
    where, limit = settings.endpoint, f"within {settings.connect_timeout_s:g} s"
    reasons = {"no answer" if error is None else words_of(error) for error in tried.values()}
    among = f" (tried {listed(tried)})" if len(tried) > 1 else ""
    hint = _reach_hint(settings)
    if not tried:
        sentence = f'no address of the host "{settings.host}" was found {limit}'
        hint = "Check `host` and this machine's name resolution."
    elif reasons == {"no answer"}:
        sentence = f"{where} did not answer {limit}{among}"
    elif reasons == {os.strerror(errno.ECONNREFUSED).lower()}:
        sentence = f"nobody listens on {where}{among}"
    elif reasons == {os.strerror(errno.ECONNRESET).lower()}:  # on its way in: it was there, and gone before we looked
        return no_greeting(settings, "closed it without a word")
    elif len(reasons) == 1:
        sentence = f"cannot connect to {where}: {reasons.pop()}{among}"
    else:
        each = (f"{address}: {words_of(error) if error else f'no answer {limit}'}" for address, error in tried.items())
        sentence = f"cannot connect to {where} ({'; '.join(each)})"
    return RelayFailure(f"{sentence}.", hint, phase=Phase.CONNECT, is_permanent=False)


def lost(settings: RelaySettings, doing: str) -> RelayFailure:
    """The connection ended in the middle of the introductions."""
    return RelayFailure(
        f"{settings.endpoint} closed the connection after {doing}.", phase=Phase.CONNECT, is_permanent=False
    )


def no_handshake(settings: RelaySettings, error: BaseException) -> RelayFailure:
    """There is a connection, but no TLS on it. Takes what the operating system or OpenSSL raised."""
    cause = root_of(error)
    where = settings.endpoint
    if isinstance(cause, ssl.SSLCertVerificationError):
        sentence, hint = _certificate(settings, cause)
        return RelayFailure(sentence, hint, phase=Phase.TLS, is_permanent=True)
    if isinstance(cause, ssl.SSLError):
        return _no_tls(settings, cause)
    # asyncio and uvloop end a handshake that takes too long with the same error, and there is nothing but its words.
    if isinstance(cause, TimeoutError) or "taking longer" in str(cause):
        limit = settings.greeting_timeout_s if settings.tls == "implicit" else settings.connect_timeout_s
        sentence = f"{where} did not answer the TLS handshake within {limit:g} s"
    else:
        sentence = f"{where} ended the connection during the TLS handshake ({words_of(cause)})"
    return RelayFailure(f"{sentence}.", _tls_hint(settings), phase=Phase.TLS, is_permanent=False)


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
    if error.reason in _ABOUT_OUR_CERTIFICATE:
        has_one = settings.client_cert is not None
        return RelayFailure(
            f"{where} did not accept our certificate ({words_of(error)})."
            if has_one
            else f"{where} asks for a certificate of ours ({words_of(error)}).",
            f"Check `client_cert`: {settings.client_cert}."
            if has_one
            else "Set `client_cert` and `client_key` to what whoever runs the server has issued for you.",
            phase=Phase.TLS,
            is_permanent=True,
        )
    return RelayFailure(
        f"the TLS handshake with {where} failed ({words_of(error)}).",
        _tls_hint(settings),
        phase=Phase.TLS,
        is_permanent=True,
    )


# Alerts with which a server answers our certificate, or that we have shown none.
_ABOUT_OUR_CERTIFICATE: Final = frozenset(
    {
        "TLSV13_ALERT_CERTIFICATE_REQUIRED",
        "TLSV1_ALERT_UNKNOWN_CA",
        "TLSV1_ALERT_ACCESS_DENIED",
        "SSLV3_ALERT_BAD_CERTIFICATE",
        "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE",
        "SSLV3_ALERT_CERTIFICATE_REVOKED",
        "SSLV3_ALERT_CERTIFICATE_EXPIRED",
        "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
    }
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


def listed(words: Iterable[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def root_of(error: BaseException) -> BaseException:
    """The error that the operating system gave, below what was wrapped around it."""
    # A wait that was too long is itself the root: up to Python 3.11 it names as its cause how it was ended.
    while error.__cause__ is not None and not isinstance(error, TimeoutError):
        error = error.__cause__
    return error


def words_of(error: BaseException) -> str:
    """The reason in a few words, for the middle of a sentence."""
    if isinstance(error, ssl.SSLError):
        return (error.reason or "TLS error").replace("_", " ").lower()
    # What connects a socket puts words of its own where the system's belong ("Connect call failed ('10.0.0.1', 25)");
    # the numbers of a resolver's errors are none of the system's.
    if isinstance(error, OSError) and error.errno is not None and not isinstance(error, socket.gaierror):
        return os.strerror(error.errno).lower()
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    if isinstance(error, ConnectionResetError):  # asyncio's own has no words, uvloop's none that say more
        return os.strerror(errno.ECONNRESET).lower()
    return str(error) or type(error).__name__
