"""TLS: which name is asked for and checked, which versions do, our own certificate, and no half-made handshakes."""

from __future__ import annotations

import asyncio
import socket
import ssl
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohappyeyeballs import AddrInfoType
from cryptography.hazmat.primitives import serialization
from support.certificates import Certificates, make_certificates
from support.scripted_server import HELLO, Peer, scripted_server
from support.sockets import dialled_sockets
from support.wire import run_on, settings_for, until

from mailer.core.message import Phase
from mailer.smtp import RelaySettings
from mailer.smtp.session import Session
from mailer.smtp.session_opener import make_context, open_session
from mailer.smtp.trouble import RelayFailure

LOOPS = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
TLS = pytest.mark.parametrize("tls", ["implicit", "starttls"])
HOST = "mail.example.com"
PLAIN = "S: 220 x\nC: EHLO *\nS: 250-x | 250 STARTTLS\nC: STARTTLS\nS: 220 go\n"
AGAIN = HELLO.replace("S: 220 relay ready", "")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("ca"), HOST, "127.0.0.1")


def script_of(tls: str, *, then: str = "hold") -> str:
    """A server that speaks TLS from the start, or after STARTTLS."""
    return ("tls\n" + HELLO if tls == "implicit" else PLAIN + "tls\n" + AGAIN) + then


async def opened(settings: RelaySettings, port: int) -> Session:
    """A session with the server on that port of this machine, whatever the host is called; ended at once."""

    async def resolve(host: str, _: int, family: int, /) -> Sequence[AddrInfoType]:
        del host, family
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", port))]

    session = await open_session(settings, make_context(settings), resolve=resolve)
    session.transport.abort()
    return session


def failure_of(loop: str, settings: RelaySettings, port: int) -> RelayFailure:
    with pytest.raises(RelayFailure) as caught:
        run_on(loop, opened(settings, port))
    return caught.value


# The name


@LOOPS
@TLS
@pytest.mark.parametrize(
    ("host", "asked"), [(HOST, HOST), (f"{HOST}.", HOST), (HOST.upper(), HOST.upper()), ("127.0.0.1", None)]
)
def test_the_server_is_asked_for_by_its_name_and_has_to_prove_it(
    loop: str, tls: Any, host: str, asked: str | None, certificates: Certificates
) -> None:
    names: list[str | None] = []
    context = certificates.server_context()
    context.sni_callback = lambda _, name, __: names.append(name)
    with scripted_server(script_of(tls), context=context) as server:
        settings = settings_for(server.port, host=host, tls=tls, ca_file=certificates.ca_file)
        session = run_on(loop, opened(settings, server.port))
    assert session.tls is not None
    assert names == [asked]


@LOOPS
@TLS
def test_a_certificate_for_another_name_is_refused_wherever_the_address_came_from(
    loop: str, tls: Any, certificates: Certificates
) -> None:
    with scripted_server(
        PLAIN + "tls" if tls == "starttls" else "tls", context=certificates.server_context()
    ) as server:
        settings = settings_for(server.port, host="other.example.com", tls=tls, ca_file=certificates.ca_file)
        failure = failure_of(loop, settings, server.port)
    assert 'is for another name than "other.example.com"' in failure.message
    assert failure.is_permanent


# The version


@LOOPS
@TLS
@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2])
def test_tls_older_than_1_2_is_refused(loop: str, tls: Any, newest: ssl.TLSVersion, certificates: Certificates) -> None:
    context = certificates.server_context()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = newest
    context.set_ciphers("ALL:@SECLEVEL=0")
    with scripted_server(script_of(tls), context=context) as server:
        settings = settings_for(server.port, host=HOST, tls=tls, ca_file=certificates.ca_file)
        if newest == ssl.TLSVersion.TLSv1_2:
            assert str(run_on(loop, opened(settings, server.port)).tls).startswith("TLSv1.2 ")
            return
        failure = failure_of(loop, settings, server.port)
        server.problems.clear()  # it sees no EHLO any more
    assert (
        failure.message == f"{HOST}:{server.port} offers no TLS version that is still safe; at least TLS 1.2 is needed."
    )
    assert (failure.phase, failure.is_permanent) == (Phase.TLS, True)


# Our own certificate


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a certificate of ours and its key in every form, and what does not go with them."""
    folder = tmp_path_factory.mktemp("ours")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    leaf, other = authority.issue_cert("news@example.com"), authority.issue_cert("other@example.com")
    leaf.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    leaf.private_key_pem.write_to_path(str(folder / "key.pem"))
    leaf.private_key_and_cert_chain_pem.write_to_path(str(folder / "both.pem"))
    other.private_key_pem.write_to_path(str(folder / "other.pem"))
    key = serialization.load_pem_private_key(leaf.private_key_pem.bytes(), None)
    for name, form in (
        ("locked.pem", serialization.PrivateFormat.PKCS8),
        ("locked-old.pem", serialization.PrivateFormat.TraditionalOpenSSL),
    ):
        locked = serialization.BestAvailableEncryption(b"hunter22")
        (folder / name).write_bytes(key.private_bytes(serialization.Encoding.PEM, form, locked))
    (folder / "text.pem").write_text("nothing\n")
    (folder / "damaged.pem").write_text("-----BEGIN CERTIFICATE-----\nQUJD\n-----END CERTIFICATE-----\n")
    return folder


def asking_context(certificates: Certificates, ours: Path) -> ssl.SSLContext:
    """A server that wants a certificate of the authority in `ours`."""
    context = certificates.server_context()
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(ours / "ca.pem")
    return context


@LOOPS
@TLS
@pytest.mark.parametrize(("cert", "key"), [("cert.pem", "key.pem"), ("both.pem", None), ("both.pem", "both.pem")])
def test_our_certificate_is_shown_to_a_server_that_asks(
    loop: str, tls: Any, cert: str, key: str | None, certificates: Certificates, ours: Path
) -> None:
    with scripted_server(script_of(tls), context=asking_context(certificates, ours)) as server:
        settings = settings_for(
            server.port,
            host=HOST,
            tls=tls,
            ca_file=certificates.ca_file,
            client_cert=ours / cert,
            client_key=ours / key if key else None,
        )
        assert run_on(loop, opened(settings, server.port)).tls is not None


# In TLS 1.3 we are done before the server has seen what we show. Here nothing is sent before its greeting; EHLO after
# STARTTLS could cross its refusal, and make a reset of it.
@LOOPS
def test_a_server_that_asks_and_gets_none_is_understood(loop: str, certificates: Certificates, ours: Path) -> None:
    with scripted_server("tls", context=asking_context(certificates, ours)) as server:
        settings = settings_for(server.port, host=HOST, tls="implicit", ca_file=certificates.ca_file)
        failure = failure_of(loop, settings, server.port)
    assert f"{HOST}:{server.port} asks for a certificate of ours" in failure.message
    assert "`client_cert`" in failure.hint
    assert (failure.phase, failure.is_permanent) == (Phase.TLS, True)


@LOOPS
def test_a_server_that_does_not_like_it_is_understood(loop: str, certificates: Certificates, ours: Path) -> None:
    context = asking_context(certificates, ours)
    stranger = trustme.CA().issue_cert("who@example.com")
    stranger.private_key_and_cert_chain_pem.write_to_path(str(ours / "stranger.pem"))
    with scripted_server("tls", context=context) as server:
        settings = settings_for(
            server.port, host=HOST, tls="implicit", ca_file=certificates.ca_file, client_cert=ours / "stranger.pem"
        )
        failure = failure_of(loop, settings, server.port)
    assert "did not accept our certificate (" in failure.message
    assert str(ours / "stranger.pem") in failure.hint


UNUSABLE = {
    "no file": ("none.pem", None, "`client_cert` {none.pem} cannot be used: no such file or directory."),
    "no key file": ("cert.pem", "none.pem", "`client_key` {none.pem} cannot be used: no such file or directory."),
    "a folder": (".", None, "`client_cert` {.} cannot be used: is a directory."),
    "no certificate": ("key.pem", None, "`client_cert` {key.pem} cannot be used: no certificate in it."),
    "no key": ("cert.pem", "text.pem", "`client_key` {text.pem} cannot be used: no private key in it."),
    "no key beside it": ("cert.pem", None, "`client_cert` {cert.pem} cannot be used: no private key in it."),
    "another's key": (
        "cert.pem", "other.pem",
        "`client_key` {other.pem} cannot be used: its key does not fit the certificate in {cert.pem}.",
    ),
    "an encrypted key": (
        "cert.pem", "locked.pem",
        "`client_key` {locked.pem} cannot be used: the key in it is encrypted, and nobody is there to type its pass "
        "phrase.",
    ),
    "a key encrypted as it was long ago": (
        "cert.pem", "locked-old.pem",
        "`client_key` {locked-old.pem} cannot be used: the key in it is encrypted, and nobody is there to type its "
        "pass phrase.",
    ),
    "a damaged one": (
        "damaged.pem", "key.pem",
        "`client_cert` {damaged.pem} with `client_key` {key.pem} cannot be used: what is in it is damaged (tls error).",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("cert", "key", "sentence"), UNUSABLE.values(), ids=UNUSABLE.keys())
def test_a_file_that_cannot_be_used_is_said_by_the_name_of_its_key(
    cert: str, key: str | None, sentence: str, ours: Path
) -> None:
    settings = settings_for(465, tls="implicit", client_cert=ours / cert, client_key=ours / key if key else None)
    with pytest.raises(RelayFailure) as caught:
        make_context(settings)
    for name in [file.name for file in ours.iterdir()] + ["none.pem", "."]:
        sentence = sentence.replace("{" + name + "}", str(ours / name))
    assert caught.value.message == sentence
    assert (caught.value.phase, caught.value.is_permanent) == (Phase.TLS, True)
    if "encrypted" in sentence:
        assert (
            caught.value.hint == f"Write it without one: openssl pkey -in {ours / str(key)} -out FILE; chmod 600 FILE."
        )


# Servers that say nothing, and cancellation


def silent_server(tls: str) -> str:
    return "hold" if tls == "implicit" else PLAIN + "hold"


@LOOPS
@TLS
def test_a_handshake_that_is_not_answered_is_said(loop: str, tls: Any, certificates: Certificates) -> None:
    with scripted_server(silent_server(tls), context=certificates.server_context()) as server:
        settings = settings_for(server.port, host=HOST, tls=tls, ca_file=certificates.ca_file, connect_timeout_s=0.2)
        failure = failure_of(loop, settings, server.port)
    assert failure.message == f"{HOST}:{server.port} did not answer the TLS handshake within 0.2 s."
    assert (failure.phase, failure.is_permanent) == (Phase.TLS, False)


@LOOPS
@TLS
def test_a_handshake_that_is_broken_off_is_said(loop: str, tls: Any, certificates: Certificates) -> None:
    def play(peer: Peer) -> None:
        for line in PLAIN.splitlines() if tls == "starttls" else ():
            verb, _, rest = line.partition(": ")
            peer.say(rest) if verb == "S" else peer.line()
        peer.read(1)
        peer.reset()

    with scripted_server(play) as server:
        settings = settings_for(server.port, host=HOST, tls=tls, ca_file=certificates.ca_file)
        failure = failure_of(loop, settings, server.port)
    assert failure.message == (
        f"{HOST}:{server.port} ended the connection during the TLS handshake (connection reset by peer)."
    )
    assert (failure.phase, failure.is_permanent) == (Phase.TLS, False)


# `wait`, not `hold`: these servers do not even see that we go.
CUT_AT = {
    "the handshake": ("implicit", "then: here\nwait: over"),
    "the greeting": ("implicit", "tls\nthen: here\nwait: over"),
    "EHLO": ("implicit", "tls\nS: 220 x\nC: EHLO *\nthen: here\nwait: over"),
    "STARTTLS": ("starttls", "S: 220 x\nC: EHLO *\nS: 250-x | 250 STARTTLS\nC: STARTTLS\nthen: here\nwait: over"),
    "the handshake after STARTTLS": ("starttls", PLAIN + "then: here\nwait: over"),
    "EHLO after STARTTLS": ("starttls", PLAIN + "tls\nC: EHLO *\nthen: here\nwait: over"),
}


@LOOPS
@pytest.mark.parametrize(("tls", "script"), CUT_AT.values(), ids=CUT_AT.keys())
def test_cancelled_it_leaves_nothing_open_and_waits_for_nobody(
    loop: str, tls: str, script: str, certificates: Certificates
) -> None:
    async def main() -> None:
        settings = settings_for(server.port, tls=tls, ca_file=certificates.ca_file)
        opening = asyncio.ensure_future(open_session(settings, make_context(settings)))
        await until(server.events["here"].is_set)
        assert dialled_sockets() == 1
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        # A polite end of TLS would wait for a server that says nothing: for longer than this test may take.
        await until(lambda: dialled_sockets() == 0)

    with scripted_server(script, context=certificates.server_context()) as server:
        run_on(loop, main())
