"""Logging in (RFC 4954): which mechanism, and what has to hold before anything secret is said. No I/O.

| mechanism | file            | what crosses the wire                | round trips |
|-----------|-----------------|--------------------------------------|-------------|
| PLAIN     | `auth_response` | user name and password               | 1           |
| LOGIN     | `auth_login`    | the same                             | 2 or 3      |
| CRAM-MD5  | `auth_response` | a digest keyed with the password     | 2           |
| XOAUTH2   | `auth_response` | user name and an access token        | 1 or 2      |

`auto` takes what shows the least to who can listen: over TLS nobody can, and PLAIN comes before LOGIN (it has a
standard and is quicker), and both before CRAM-MD5, for which a server has to keep passwords as they are. Without TLS
(on loopback, or where the operator insists) CRAM-MD5 comes first. It never takes XOAUTH2: a password is no token.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Final, Literal

from mailer.core.message import Phase
from mailer.smtp.auth_login import AuthLogin, LoginMemory
from mailer.smtp.auth_response import AuthCramMd5, AuthPlain, AuthXoauth2
from mailer.smtp.login import MAX_RESPONSE_LINE, Login, LoginEnd
from mailer.smtp.settings import RelaySettings
from mailer.smtp.trouble import RelayFailure

__all__ = ["Login", "LoginEnd", "LoginMemory", "Mechanism", "choose_mechanism", "explained", "new_login"]

Mechanism = Literal["login", "plain", "cram-md5", "xoauth2"]

_AUTO: Final[tuple[Mechanism, ...]] = ("plain", "login", "cram-md5")
_AUTO_IN_PLAIN_TEXT: Final[tuple[Mechanism, ...]] = ("cram-md5", "plain", "login")

# RFC 6750 section 2.1: what may stand behind "Bearer".
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")

# User name and secret in base64, with all that a mechanism adds to them.
_MAX_SECRET: Final = MAX_RESPONSE_LINE * 3 // 4 - 64

_REFUSED_HINTS: Final = {
    "cram-md5": "Check `username` and `password`. A server that keeps only hashes of its passwords offers CRAM-MD5 in "
    'vain: auth = "plain" then works.',
    "xoauth2": "The secret in `password` has to be an access token that is still valid, was given to this user and is "
    "good for sending: its scope is https://mail.google.com/ at Google, https://outlook.office.com/SMTP.Send at "
    "Microsoft.",
}


def choose_mechanism(
    settings: RelaySettings, offered: Collection[str], *, is_tls: bool, is_loopback: bool
) -> Mechanism | None:
    """The mechanism to log in with, or None for a relay that wants no login. Raises RelayFailure.

    `offered` are the words behind AUTH in the answer to EHLO. Nothing secret has been sent when this raises.
    """
    auth = settings.auth
    if auth == "none":
        return None
    if not (is_tls or is_loopback or settings.insecure_auth):
        what = {"cram-md5": "a digest of the password", "xoauth2": "the access token"}.get(auth, "the password")
        raise _failure(
            f"{settings.endpoint} would get {what} over plain text, which anybody on the way can read.",
            'Set tls = "starttls" (port 587) or "implicit" (port 465).',
        )
    names = {name.lower() for name in offered}
    auto = _AUTO if is_tls else _AUTO_IN_PLAIN_TEXT
    wanted = auto if auth == "auto" else (auth,)
    for mechanism in wanted:
        if mechanism in names:
            return mechanism
    raise _not_offered(settings, wanted, names, is_tls=is_tls)


def _not_offered(
    settings: RelaySettings, wanted: tuple[Mechanism, ...], names: Collection[str], *, is_tls: bool
) -> RelayFailure:
    if not names:
        hint = 'If it wants no login, set auth = "none".'
        if not is_tls:
            hint = 'It may offer it only over TLS (tls = "starttls"), or want no login at all (auth = "none").'
        return _failure(f"{settings.endpoint} offers no AUTH.", hint)
    hint = 'auth = "auto" takes what is offered.'
    if not set(_AUTO).intersection(names):
        hint = "None of them is one that mailer knows; ask whoever runs the server for another way to log in."
        if "xoauth2" in names:
            command = _token_command(settings.username)
            hint = f'It takes access tokens: auth = "xoauth2", and a command that prints one: {command}.'
        elif "oauthbearer" in names:
            hint = "It takes access tokens, but by OAUTHBEARER only; mailer sends them by XOAUTH2."
    elif wanted == ("xoauth2",):
        hint = 'It takes no access tokens. With a password that is one: auth = "auto".'
    *others, last = (name.upper() for name in wanted)
    words = f"{', '.join(others)} or {last}" if others else last
    known = ", ".join(sorted(name.upper() for name in names))
    return _failure(f"{settings.endpoint} does not offer AUTH {words}, only {known}.", hint)


def _nobody(_secret: str) -> None:
    """Hides nothing."""


def new_login(
    mechanism: Mechanism,
    username: str,
    secret: str,
    memory: LoginMemory,
    hide: Callable[[str], None] = _nobody,
) -> Login:
    """A fresh try. Raises RelayFailure for what no server could take, before anything is said.

    `secret` is the password, or the access token for XOAUTH2. `hide` is told of what else must not be shown, once it
    is known and before it is said; the secret itself is the caller's to hide.
    """
    _check(username, secret, is_token=mechanism == "xoauth2")
    match mechanism:
        case "plain":
            return AuthPlain(username, secret)
        case "login":
            return AuthLogin(username, secret, memory)
        case "cram-md5":
            return AuthCramMd5(username, secret, hide)
        case "xoauth2":
            return AuthXoauth2(username, secret)


def _check(username: str, secret: str, *, is_token: bool) -> None:
    if "\0" in username or "\0" in secret:
        raise _failure("the user name or the password holds a NUL character.", "Check how the secret is stored.")
    try:
        size = len(username.encode("utf-8")) + len(secret.encode("utf-8"))
    except UnicodeEncodeError:  # without it as the cause: it carries the text
        size = None
    if size is None:
        raise _failure(
            "the user name or the password is not UTF-8 text, which a login takes alone (RFC 4616 section 2).",
            "An environment variable holds other bytes if it was set in a terminal of another encoding.",
        )
    if size > _MAX_SECRET:
        raise _failure(
            f"the user name and the {'access token' if is_token else 'password'} have {size:,} octets together; "
            f"{_MAX_SECRET:,} is the most that a login can carry (RFC 4954 section 4).",
            "Check what `password` names: it has to hold the secret and nothing else.",
        )
    if is_token and _TOKEN.fullmatch(secret) is None:
        raise _failure(
            "what `password` gives is no access token, which has letters, digits and -._~+/ alone, with = at its end.",
            f"For XOAUTH2 it has to name a command that prints the token and nothing else: {_token_command(username)}.",
        )


def explained(settings: RelaySettings, mechanism: Mechanism, login: Login, failure: RelayFailure) -> RelayFailure:
    """A login's failure, together with what the mechanism knows of it. It may quote the server: redact it."""
    if login.is_cancelled:
        hint = _REFUSED_HINTS["xoauth2"] if mechanism == "xoauth2" else 'Another mechanism may work, such as "plain".'
        return RelayFailure(
            f"{settings.endpoint} {login.complaint}.", hint, phase=Phase.AUTH, is_permanent=True, reply=failure.reply
        )
    message, hint = failure.message, failure.hint
    if login.complaint:
        message = f"{message.removesuffix('.')} ({login.complaint})."
    if failure.is_permanent:
        hint = _REFUSED_HINTS.get(mechanism, hint)
    return RelayFailure(message, hint, phase=failure.phase, is_permanent=failure.is_permanent, reply=failure.reply)


def _token_command(username: str | None) -> str:
    """What an operator may write; how a token is got differs from provider to provider."""
    return f'password = {{ command = ["oauth2-token", "{username}"] }}'


def _failure(message: str, hint: str) -> RelayFailure:
    return RelayFailure(message, hint, phase=Phase.AUTH, is_permanent=True)
