"""How we introduce ourselves: by which name, and what is made of a server that does not like EHLO."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from support.certificates import Certificates, make_certificates
from support.scripted_server import Peer, scripted_server
from support.wire import run_on, settings_for

from mailer.core.message import Phase
from mailer.smtp import RelaySettings, Transcript
from mailer.smtp.own_name import own_name
from mailer.smtp.session import Session
from mailer.smtp.session_opener import make_context, open_session
from mailer.smtp.trouble import RelayFailure

LOOPS = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("ca"), "127.0.0.1")


async def opened(settings: RelaySettings, transcript: Transcript | None = None) -> Session:
    context = make_context(settings) if settings.tls != "none" else None
    session = await open_session(settings, context, transcript)
    session.transport.abort()
    return session


# The name


@pytest.mark.parametrize("name", ["mail.example.com", "a.b", "MAIL-1.example.com", "box.corp.internal", "3com.example"])
def test_a_full_name_of_this_machine_is_given(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: name)
    assert own_name("192.0.2.7") == name


@pytest.mark.parametrize(
    "name",
    [
        "localhost",
        "localhost.localdomain",
        "LOCALHOST.LOCALDOMAIN",
        "laptop",
        "macbook.local",
        "me.localhost",
        "my_box.example.com",
        "192.0.2.7",
        "mail.example.com.",
        "-mail.example.com",
        "mail-.example.com",
        "mail..example.com",
        "büro.example.com",
        "a" * 64 + ".example.com",
        ".".join(["a" * 60] * 5),
        "mail.example.com\r\nRSET",
        "mail.example.com\n",
        "",
    ],
)
def test_any_other_is_not_and_the_address_stands_for_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: name)
    assert own_name("192.0.2.7") == "[192.0.2.7]"
    assert own_name("2001:db8::7") == "[IPv6:2001:db8::7]"


@LOOPS
def test_the_address_is_that_of_our_end_of_the_connection(loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "localhost")
    with scripted_server("S: 220 x\nC: EHLO *\nS: 250 x\nhold") as server:
        session = run_on(loop, opened(settings_for(server.port, source_address="127.0.0.9")))
    assert session.ehlo_name == "[127.0.0.9]"
    assert server.heard == ["EHLO [127.0.0.9]"]


@LOOPS
def test_a_name_that_was_configured_is_given_as_it_is(loop: str) -> None:
    with scripted_server("S: 220 x\nC: EHLO *\nS: 250 x\nhold") as server:
        run_on(loop, opened(settings_for(server.port, ehlo_name="localhost")))
    assert server.heard == ["EHLO localhost"]


# Servers that do not like EHLO


@LOOPS
@pytest.mark.parametrize("code", [500, 502, 504, 550, 554])
def test_where_nothing_more_is_wanted_helo_follows(loop: str, code: int) -> None:
    with scripted_server(f"S: 220 x\nC: EHLO me.example\nS: {code} what\nC: HELO me.example\nS: 250 x\nhold") as server:
        session = run_on(loop, opened(settings_for(server.port, ehlo_name="me.example")))
    assert session.features.extensions == {}


REFUSED = '{at} refused EHLO as "me.example": 502 5.5.1 what.'
NO_HELO: dict[str, tuple[str, dict[str, Any], bool, str]] = {
    "it could not offer STARTTLS then": (
        "S: 220 x\nC: EHLO *\nS: 502 5.5.1 what\nhold", {"tls": "starttls"}, True, REFUSED,
    ),
    "it could not offer AUTH then": (
        "S: 220 x\nC: EHLO *\nS: 502 5.5.1 what\nhold", {"auth": "login", "username": "me"}, True, REFUSED,
    ),
    "it has hung up": ("S: 220 x\nC: EHLO *\nS: 502 5.5.1 what\nclose", {}, True, REFUSED),
    "it hangs up on HELO": ("S: 220 x\nC: EHLO *\nS: 502 5.5.1 what\nC: HELO *\nclose", {}, True, REFUSED),
    "it closes down": (
        "S: 220 x\nC: EHLO *\nS: 421 4.3.2 closing\nhold", {}, False, "{at} refused EHLO: 421 4.3.2 closing.",
    ),
    "it closes down and hangs up": (
        "S: 220 x\nC: EHLO *\nS: 421 4.3.2 closing\nclose", {}, False, "{at} refused EHLO: 421 4.3.2 closing.",
    ),
    "it is busy": ("S: 220 x\nC: EHLO *\nS: 451 busy\nhold", {}, False, "{at} refused EHLO: 451 busy."),
    "it hangs up without a word": (
        "S: 220 x\nC: EHLO *\nclose", {}, False, "{at} closed the connection after EHLO me.example.",
    ),
    "it hangs up hard": (
        "S: 220 x\nC: EHLO *\nreset", {}, False, "{at} closed the connection after EHLO me.example.",
    ),
    "it says nothing": (
        "S: 220 x\nC: EHLO *\nhold", {"connect_timeout_s": 0.1}, False,
        "{at} did not answer EHLO me.example within 0.1 s.",
    ),
    "it closes down on HELO": (
        "S: 220 x\nC: EHLO *\nS: 502 what\nC: HELO *\nS: 421 closing\nclose", {}, False,
        '{at} refused HELO as "me.example": 421 closing.',
    ),
}  # fmt: skip


@LOOPS
@pytest.mark.parametrize(("script", "settings", "is_permanent", "sentence"), NO_HELO.values(), ids=NO_HELO.keys())
def test_otherwise_the_server_is_taken_at_its_word(
    loop: str, script: str, settings: dict[str, Any], is_permanent: bool, sentence: str
) -> None:
    with scripted_server(script) as server, pytest.raises(RelayFailure) as caught:
        run_on(loop, opened(settings_for(server.port, ehlo_name="me.example", **settings)))
    assert caught.value.message == sentence.replace("{at}", f"127.0.0.1:{server.port}")
    assert (caught.value.phase, caught.value.is_permanent) == (Phase.CONNECT, is_permanent)
    assert ("`ehlo_name`" in caught.value.hint) == ('as "me.example"' in sentence)


@LOOPS
def test_a_connection_that_is_gone_before_anything_is_said(loop: str) -> None:
    def play(peer: Peer) -> None:
        peer.reset()

    with scripted_server(play) as server, pytest.raises(RelayFailure) as caught:
        run_on(loop, opened(settings_for(server.port)))
    assert caught.value.message == f"127.0.0.1:{server.port} took the connection but closed it without a word."


# Plain text is never silent


@LOOPS
def test_a_transcript_says_that_starttls_is_offered_and_not_used(loop: str) -> None:
    lines: list[str] = []
    with scripted_server("S: 220 x\nC: EHLO *\nS: 250-x | 250 STARTTLS\nhold") as server:
        run_on(loop, opened(settings_for(server.port), Transcript(lines.append)))
    assert lines[-1] == '-- the server offers STARTTLS, and it is not used: tls = "none"'


def test_it_is_not_said_where_tls_is_spoken(certificates: Certificates) -> None:
    lines: list[str] = []
    script = "tls\nS: 220 x\nC: EHLO *\nS: 250-x | 250 STARTTLS\nhold"  # offered although it is there already
    with scripted_server(script, context=certificates.server_context()) as server:
        settings = settings_for(server.port, tls="implicit", ca_file=certificates.ca_file)
        run_on("asyncio", opened(settings, Transcript(lines.append)))
    assert lines[-1] == "S: 250 STARTTLS"
