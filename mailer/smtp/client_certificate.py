"""Our own certificate, for a server that asks who we are in the TLS handshake."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final

from mailer.core.message import Phase
from mailer.smtp.trouble import RelayFailure, words_of

_FORM: Final = "It has to be in PEM form: text that begins with -----BEGIN."


class _Encrypted(Exception):
    """OpenSSL asks for a pass phrase."""


def load_client_certificate(context: ssl.SSLContext, certificate: Path, key: Path | None) -> None:
    """Have `context` show `certificate`; `key` is its key, None if that is in the same file. Reads files.

    Raises RelayFailure that names the key of the configuration to look at.
    """
    key_place = f"`client_key` {key}" if key is not None else f"`client_cert` {certificate}"
    # Read first: OpenSSL does not say which of the two files it means.
    if b"CERTIFICATE-----" not in _content("client_cert", certificate):
        raise _unusable(f"`client_cert` {certificate}", "no certificate in it", _FORM)
    if b"PRIVATE KEY-----" not in _content("client_key", key or certificate):
        hint = _FORM if key is not None else "Set `client_key` to the file with its key, or put the key into this one."
        raise _unusable(key_place, "no private key in it", hint)
    try:
        context.load_cert_chain(certificate, key, password=_refuse)
    except _Encrypted:
        raise _unusable(
            key_place,
            "the key in it is encrypted, and nobody is there to type its pass phrase",
            f"Write it without one: openssl pkey -in {key or certificate} -out FILE; chmod 600 FILE.",
        ) from None
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            hint = "Set `client_key` to the key that the certificate in `client_cert` was made for."
            raise _unusable(key_place, f"its key does not fit the certificate in {certificate}", hint) from error
        both = f"`client_cert` {certificate}" + (f" with `client_key` {key}" if key is not None else "")
        raise _unusable(both, f"what is in it is damaged ({words_of(error)})", _FORM) from error


def _content(name: str, file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise _unusable(f"`{name}` {file}", words_of(error), "") from error


def _refuse() -> str:
    # Without this OpenSSL would ask on the terminal, and wait.
    raise _Encrypted


def _unusable(what: str, why: str, hint: str) -> RelayFailure:
    return RelayFailure(f"{what} cannot be used: {why}.", hint, phase=Phase.TLS, is_permanent=True)
