"""QUIT is the last command of a conversation that the client ends (RFC 5321 sections 4.1.1.10 and 4.1.4).

Nothing waits for its answer where there is nothing left to be learnt; a server that has closed is told nothing.
"""

from __future__ import annotations

from typing import Any

import pytest
from support.certificates import Certificates, make_certificates
from support.modes import CHUNKED, expect, greet, parcel_of, replies
from support.scripted_server import HELLO, Peer, scripted_server
from support.wire import Pauses, finished, run_on, running_pool, secret, settings_for

from mailer.smtp import RelayFailure, check_relay

LOGIN: dict[str, Any] = {"auth": "login", "username": "me", "password": secret}
LOOPS = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("ca"), "127.0.0.1")


@LOOPS
@pytest.mark.parametrize(
    ("script", "settings"),
    [
        (HELLO + "C: AUTH LOGIN *\nS: 535 no\n", LOGIN),
        ("S: 220 relay\nC: EHLO *\nS: 250 relay\n", LOGIN),  # no AUTH is offered
        ("S: 220 relay\nC: EHLO *\nS: 451 later\n", {}),
        ("S: 220 relay\nC: EHLO *\nS: 550 not you\n", LOGIN),
        ("S: 220 relay\nC: EHLO *\nS: 250-relay | 250 STARTTLS\nC: STARTTLS\nS: 454 no\n", {"tls": "starttls"}),
    ],
    ids=["login", "no AUTH", "EHLO 451", "EHLO 550", "STARTTLS"],
)
def test_after_a_refusal(loop: str, script: str, settings: dict[str, Any], certificates: Certificates) -> None:
    tls = {"ca_file": certificates.ca_file} if settings.get("tls") else {}
    with scripted_server(script + "C: QUIT\nthen: heard", context=certificates.server_context()) as server:
        with pytest.raises(RelayFailure):
            run_on(loop, check_relay(settings_for(server.port, **settings, **tls)))
        assert server.events["heard"].wait(20)


@LOOPS
def test_after_a_server_that_takes_no_chunks(loop: str) -> None:
    def play(peer: Peer) -> None:
        greet(peer, CHUNKED)
        expect(peer, "mail1 rcpt1 proof1")
        replies(peer, "250 250 500 500 250")
        peer.expect("QUIT")
        peer.server.events["heard"].set()

    async def main(port: int) -> None:
        parcel = parcel_of(1)
        async with running_pool(settings_for(port, max_connections=1), sleep=Pauses()) as pool:
            pool.submit(parcel)
            assert await finished(parcel) == ["untouched"]

    with scripted_server(play) as server:
        run_on(loop, main(server.port))
        assert server.events["heard"].wait(20)


@LOOPS
def test_under_tls_the_server_is_told_that_nothing_follows(loop: str, certificates: Certificates) -> None:
    """RFC 8446 section 6.1: without close_notify a reader could not tell an end from one that somebody else made."""

    def play(peer: Peer) -> None:
        peer.start_tls()
        peer.say("220 relay ready")
        peer.expect("EHLO *")
        peer.say("250 relay")
        peer.expect("QUIT")
        peer.say("221 bye")
        # Python's ssl raises SSLEOFError (an OSError) for an end without it, and gives b"" for an end with it.
        assert peer.read(1) == b""
        peer.server.events["ended"].set()

    with scripted_server(play, context=certificates.server_context()) as server:
        settings = settings_for(server.port, tls="implicit", ca_file=certificates.ca_file)
        run_on(loop, check_relay(settings))
        assert server.events["ended"].wait(20)
