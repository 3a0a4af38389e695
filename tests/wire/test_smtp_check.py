"""Opening a session and logging in, as `check_relay` does: what works, and one sentence and a hint for each thing that
can be wrong with a relay, with no secret in either."""

from __future__ import annotations

import base64
import ipaddress
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme
from support.certificates import Certificates, make_certificates
from support.scripted_server import BYE, HELLO, LOGIN, ScriptedServer, scripted_server
from support.wire import run_on, secret, settings_for

from mailer.core.message import Phase
from mailer.errors import ConfigError
from mailer.smtp import CheckReport, RelayFailure, Timeouts, Transcript, check_relay

LOOPS = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
PASSWORD = "hunter22-geheim"
STARTTLS = """
S: 220 relay ready
C: EHLO *
S: 250-relay | 250 STARTTLS
C: STARTTLS
S: 220 go ahead
"""


@dataclass
class Tried:
    """What came of a check."""

    report: CheckReport | None
    failure: RelayFailure | None
    lines: list[str]

    @property
    def sentence(self) -> str:
        assert self.failure is not None, self.report
        return self.failure.message


def check(port: int, loop: str = "asyncio", **settings: Any) -> Tried:
    lines: list[str] = []

    async def main() -> Tried:
        try:
            report = await check_relay(
                settings_for(port, **settings), transcript=Transcript(lines.append), timeouts=Timeouts(quit=0.01)
            )
        except RelayFailure as failure:
            return Tried(None, failure, lines)
        return Tried(report, None, lines)

    tried: Tried = run_on(loop, main())
    encoded = base64.b64encode(PASSWORD.encode()).decode()
    for text in [*lines, repr(tried.failure), repr(tried.report), tried.failure.hint if tried.failure else ""]:
        assert PASSWORD not in text
        assert encoded not in text
    return tried


def login(**others: Any) -> dict[str, Any]:
    return {"auth": "login", "username": "me@qq.com", "password": secret} | others


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("ca"), "127.0.0.1", "localhost")


@LOOPS
def test_a_relay_that_works_is_described(loop: str) -> None:
    with scripted_server(HELLO + LOGIN + BYE) as server:
        tried = check(server.port, loop, **login(ehlo_name="mail.example.com"))
    report = tried.report
    assert report is not None
    assert (report.name, report.greeting, report.tls, report.auth) == ("r", "relay ready", None, "login")
    assert report.ehlo_name == "mail.example.com"
    assert report.extensions == {"SIZE": "100000000", "AUTH": "PLAIN LOGIN", "HELP": ""}
    assert report.size_limit == 100_000_000
    assert tried.lines == [
        f"-- connecting to 127.0.0.1:{server.port}",
        "S: 220 relay ready",
        "C: EHLO mail.example.com",
        "S: 250-relay",
        "S: 250-SIZE 100000000",
        "S: 250-AUTH PLAIN LOGIN",
        "S: 250 HELP",
        "C: AUTH LOGIN ***",
        "S: 334 UGFzc3dvcmQ6",
        "C: ***",
        "S: 235 welcome",
        "C: QUIT",
        "S: 221 bye",
    ]


@pytest.mark.parametrize(
    ("offered", "settings", "pipelining", "chunking"),
    [
        ("250 HELP", {}, False, False),
        ("250 PIPELINING", {}, True, False),
        ("250-CHUNKING | 250 pipelining", {}, True, True),
        ("250-CHUNKING | 250 PIPELINING", {"chunking": "off"}, True, False),
        ("250-CHUNKING | 250 PIPELINING", {"pipelining": "off"}, False, False),
        ("250 CHUNKING", {}, False, False),
    ],
)
def test_what_is_offered_is_used_unless_it_is_turned_off(
    offered: str, settings: dict[str, Any], pipelining: bool, chunking: bool
) -> None:
    with scripted_server(f"S: 220 x\nC: EHLO *\nS: 250-x | {offered}\n" + BYE) as server:
        report = check(server.port, **settings).report
    assert report is not None
    assert (report.pipelining, report.chunking) == (pipelining, chunking)


def test_the_address_that_answered_is_named() -> None:
    with scripted_server(HELLO + BYE) as server:
        report = check(server.port, host="localhost", source_address="127.0.0.1").report
    assert report is not None
    assert (report.host, report.address) == ("localhost", "127.0.0.1")


def test_plain_text_is_warned_of_where_it_need_not_be() -> None:
    script = "S: 220 x\nC: EHLO *\nS: 250-x | 250 STARTTLS\n"
    with scripted_server(script + BYE) as server:
        report = check(server.port).report
    assert report is not None
    [warning] = report.warnings
    assert warning == (
        f"127.0.0.1:{server.port} offers STARTTLS and it is not used, so that everything can be read on the way. "
        'Set tls = "starttls".'
    )


@LOOPS
@pytest.mark.parametrize("tls", ["implicit", "starttls"])
def test_tls_is_verified_and_named(loop: str, tls: str, certificates: Certificates) -> None:
    again = HELLO.replace("S: 220 relay ready", "")  # after STARTTLS nobody greets again (RFC 3207 section 4.2)
    script = ("tls\n" + HELLO if tls == "implicit" else STARTTLS + "tls\n" + again) + LOGIN + BYE
    with scripted_server(script, context=certificates.server_context()) as server:
        report = check(server.port, loop, **login(tls=tls, ca_file=certificates.ca_file)).report
    assert report is not None
    assert report.tls is not None
    assert report.tls.startswith("TLSv1.3 TLS_")
    assert report.warnings == ()


def test_a_script_cut_byte_by_byte_reads_the_same() -> None:
    with scripted_server("bytewise\n" + HELLO + LOGIN + BYE) as server:
        report = check(server.port, **login()).report
    assert report is not None
    assert report.size_limit == 100_000_000


def test_a_server_without_ehlo_is_greeted_with_helo() -> None:
    with scripted_server("S: 220 old\nC: EHLO *\nS: 502 what\nC: HELO *\nS: 250 old\n" + BYE) as server:
        report = check(server.port).report
    assert report is not None
    assert report.extensions == {}


def test_without_a_name_of_its_own_the_machine_gives_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "laptop")
    with scripted_server(HELLO + BYE) as server:
        check(server.port)
    assert server.heard[0] == "EHLO [127.0.0.1]"


def test_a_full_host_name_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "mail.example.com")
    with scripted_server(HELLO + BYE) as server:
        check(server.port)
    assert server.heard[0] == "EHLO mail.example.com"


def test_old_style_auth_lines_are_read() -> None:
    hello = "S: 220 x\nC: EHLO *\nS: 250-x | 250-AUTH=LOGIN | 250-auth plain | 250 SIZE 0\n"
    with scripted_server(hello + "C: AUTH PLAIN *\nS: 235 ok\n" + BYE) as server:
        report = check(server.port, **login(auth="auto")).report
    assert report is not None
    assert (report.auth, report.size_limit) == ("plain", None)


WRONG = {
    "a server that refuses us": (
        "S: 554 5.7.1 go away", {}, Phase.CONNECT, True, "{at} refused the connection: 554 5.7.1 go away.",
    ),
    "a server that is busy": (
        "S: 421 too many", {}, Phase.CONNECT, False, "{at} refused the connection: 421 too many.",
    ),
    "a web server": (
        "raw: HTTP/1.1 400 Bad Request\\r\\n\\r\\n", {}, Phase.CONNECT, True,
        '{at} speaks no SMTP: it said "HTTP/1.1 400 Bad Request".',
    ),
    "a POP3 server": ("S: +OK ready", {}, Phase.CONNECT, True, '{at} speaks no SMTP: it said "+OK ready".'),
    "an SSH server": ("S: SSH-2.0-x", {}, Phase.CONNECT, True, '{at} speaks no SMTP: it said "SSH-2.0-x".'),
    "a server that hangs up at once": (
        "close", {}, Phase.CONNECT, False, "{at} took the connection but closed it without a word.",
    ),
    "a server that hangs up on EHLO": (
        "S: 220 x\nC: EHLO *\nclose", {"ehlo_name": "me"}, Phase.CONNECT, False,
        "{at} closed the connection after EHLO me.",
    ),
    "a server that refuses EHLO for now": (
        "S: 220 x\nC: EHLO *\nS: 450 later", {}, Phase.CONNECT, False, "{at} refused EHLO: 450 later.",
    ),
    "a server that refuses our name": (
        "S: 220 x\nC: EHLO *\nS: 550 no\nC: HELO *\nS: 550 bad name", {"ehlo_name": "me"}, Phase.CONNECT, True,
        '{at} refused HELO as "me": 550 bad name.',
    ),
    "a server that answers EHLO with junk": (
        "S: 220 x\nC: EHLO *\nS: what?", {}, Phase.CONNECT, True, '{at} speaks no SMTP: it said "what?".',
    ),
    "a server that answers EHLO twice": (
        "S: 220 x\nC: EHLO *\nraw: 250 a\\r\\n250 b\\r\\n\nhold", {}, Phase.CONNECT, False,
        "{at}: the server sent more than was asked for.",
    ),
    "a server that greets twice": (
        "raw: 220 x\\r\\n250 fake\\r\\n\nC: EHLO *\nS: 250 real\nhold", {}, Phase.CONNECT, False,
        "{at}: the server sent more than was asked for.",
    ),
    "a server without STARTTLS": (HELLO, {"tls": "starttls"}, Phase.TLS, True, "{at} does not offer STARTTLS."),
    "a server that refuses STARTTLS for now": (
        STARTTLS.replace("220 go ahead", "454 no TLS today"), {"tls": "starttls"}, Phase.TLS, False,
        "{at} refused STARTTLS: 454 no TLS today.",
    ),
    "text sent ahead of STARTTLS": (
        STARTTLS.replace("S: 220 go ahead", "raw: 220 go\\r\\n250 injected\\r\\n\ntls"),
        {"tls": "starttls"}, Phase.TLS, False, "{at}: the server sent more than was asked for.",
    ),
    "a server without AUTH": ("S: 220 x\nC: EHLO *\nS: 250 x\nhold", login(), Phase.AUTH, True, "{at} offers no AUTH."),
    "a wrong password": (
        HELLO + LOGIN.replace("235 welcome", "535 5.7.8 bad password"), login(), Phase.AUTH, True,
        "{at} refused the login: 535 5.7.8 bad password.",
    ),
    "a login that fails for now": (
        HELLO + LOGIN.replace("235 welcome", "454 4.7.0 later"), login(), Phase.AUTH, False,
        "{at} refused the login: 454 4.7.0 later.",
    ),
    "a server that repeats the password": (
        HELLO + LOGIN.replace("235 welcome", f"535 not {PASSWORD} {base64.b64encode(PASSWORD.encode()).decode()}"),
        login(), Phase.AUTH, True, "{at} refused the login: 535 not *** ***.",
    ),
    "a server that asks for more than there is": (
        HELLO + LOGIN.replace("S: 235 welcome", "S: 334 Q29sb3VyPw==\nC: *\nS: 501 cancelled"),
        login(), Phase.AUTH, True, "{at} asked for more than a user name and a password.",
    ),
    "a server that hangs up on the login": (
        HELLO + "C: AUTH LOGIN *\nclose", login(), Phase.AUTH, False, "{at}: connection lost: closed by the server.",
    ),
}  # fmt: skip


@LOOPS
@pytest.mark.parametrize(("script", "settings", "phase", "is_permanent", "sentence"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_is_said_in_a_sentence(
    loop: str,
    script: str,
    settings: dict[str, Any],
    phase: Phase,
    is_permanent: bool,
    sentence: str,
    certificates: Certificates,
) -> None:
    if "tls" in settings:
        settings = settings | {"ca_file": certificates.ca_file}
    with scripted_server(script, context=certificates.server_context()) as server:
        failure = check(server.port, loop, **settings).failure
    assert failure is not None
    assert failure.message == sentence.replace("{at}", f"127.0.0.1:{server.port}")
    assert (failure.phase, failure.is_permanent) == (phase, is_permanent)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


@LOOPS
def test_a_port_where_nobody_listens(loop: str) -> None:
    port = free_port()
    tried = check(port, loop)
    assert tried.sentence == f"nobody listens on 127.0.0.1:{port}."
    assert tried.failure is not None
    assert "465 or 587" in tried.failure.hint
    assert not tried.failure.is_permanent


@LOOPS
def test_a_host_that_does_not_exist(loop: str) -> None:
    tried = check(25, loop, host="no-such-host.invalid")
    assert tried.sentence.startswith('there is no address for the host "no-such-host.invalid" (')


@LOOPS
def test_a_server_that_says_nothing(loop: str) -> None:
    with scripted_server("hold") as server:
        tried = check(server.port, loop, connect_timeout_s=0.1)
    assert tried.sentence == f"127.0.0.1:{server.port} took the connection but said nothing for 0.1 s."
    assert tried.failure is not None
    assert 'tls = "implicit"' in tried.failure.hint


@LOOPS
def test_tls_spoken_to_a_server_that_begins_in_plain_text(loop: str, certificates: Certificates) -> None:
    with scripted_server("S: 220 relay ready\nhold") as server:
        tried = check(server.port, loop, tls="implicit", ca_file=certificates.ca_file)
    assert tried.sentence == f"127.0.0.1:{server.port} does not speak TLS from the start."
    assert tried.failure is not None
    assert 'tls = "starttls"' in tried.failure.hint
    assert tried.failure.is_permanent


def test_plain_text_spoken_to_a_server_that_begins_with_tls(certificates: Certificates) -> None:
    with scripted_server("tls", context=certificates.server_context()) as server:
        tried = check(server.port, connect_timeout_s=0.1)
    assert tried.sentence == f"127.0.0.1:{server.port} took the connection but said nothing for 0.1 s."


@pytest.fixture(scope="module")
def other_ca(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("other"), "somewhere.else.example")


@LOOPS
@pytest.mark.parametrize("tls", ["implicit", "starttls"])
@pytest.mark.parametrize("wrong", ["name", "authority"])
def test_a_certificate_that_proves_nothing(
    loop: str, tls: str, wrong: str, certificates: Certificates, other_ca: Certificates
) -> None:
    script = "tls" if tls == "implicit" else STARTTLS + "tls"
    with scripted_server(script, context=other_ca.server_context()) as server:
        ca_file = other_ca.ca_file if wrong == "name" else certificates.ca_file
        tried = check(server.port, loop, tls=tls, ca_file=ca_file)
    at = f"127.0.0.1:{server.port}"
    assert tried.sentence == {
        "name": f'the certificate of {at} is for another name than "127.0.0.1".',
        "authority": f"the certificate of {at} was not issued by an authority that is trusted here.",
    }[wrong]  # fmt: skip
    assert tried.failure is not None
    assert (tried.failure.phase, tried.failure.is_permanent) == (Phase.TLS, True)


def test_a_certificate_that_has_expired(tmp_path: Path) -> None:
    from datetime import UTC, datetime

    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    expired = authority.issue_cert("127.0.0.1", not_after=datetime(2020, 1, 1, tzinfo=UTC))
    expired.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "server.pem"))
    context = Certificates(tmp_path / "ca.pem", tmp_path / "server.pem").server_context()
    with scripted_server("tls", context=context) as server:
        tried = check(server.port, tls="implicit", ca_file=tmp_path / "ca.pem")
    assert tried.sentence == f"the certificate of 127.0.0.1:{server.port} has expired."


@pytest.mark.parametrize(("content", "reason"), [(None, "no such file or directory"), ("x", "no certificate in it")])
def test_a_ca_file_that_cannot_be_used(tmp_path: Path, content: str | None, reason: str) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    tried = check(1, tls="implicit", ca_file=file)
    assert tried.sentence == f"`ca_file` {file} cannot be used: {reason}."


def test_old_tls_is_refused(certificates: Certificates) -> None:
    import ssl
    import warnings

    context = certificates.server_context()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with scripted_server("tls", context=context) as server:
        tried = check(server.port, tls="implicit", ca_file=certificates.ca_file)
    assert "at least TLS 1.2 is needed" in tried.sentence


def test_a_secret_that_is_not_set_is_the_reason() -> None:
    async def missing() -> str:
        raise ConfigError("the variable QQ_PASSWORD is not set", "export QQ_PASSWORD=…")

    with scripted_server(HELLO + "hold") as server:
        tried = check(server.port, **login(password=missing))
    assert tried.sentence == "the variable QQ_PASSWORD is not set"
    assert tried.failure is not None
    assert (tried.failure.hint, tried.failure.is_permanent) == ("export QQ_PASSWORD=…", True)
    assert len(server.heard) == 1


@pytest.fixture
def beyond_loopback() -> Iterator[ScriptedServer]:
    with scripted_server(HELLO + "hold") as server:
        yield server


def test_no_login_over_plain_text_beyond_this_machine(
    beyond_loopback: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ipaddress.IPv4Address, "is_loopback", property(lambda _: False))
    tried = check(beyond_loopback.port, **login())
    assert "would get the password over plain text" in tried.sentence
    assert len(beyond_loopback.heard) == 1  # EHLO, and no AUTH


def test_the_settings_show_no_secret() -> None:
    assert "secret" not in repr(settings_for(25, **login()))
