"""Logins over a connection: what a person reads of them, when they are taken and when they fail."""

from __future__ import annotations

import base64

import pytest
from support.certificates import Certificates, make_certificates
from support.login_check import (
    CHALLENGE,
    DIGEST,
    HELLO,
    JSON,
    LONG_TOKEN,
    PASSWORD,
    TOKEN,
    USER,
    bearer,
    secret_forms,
    try_login,
)
from support.login_dialogue import b64
from support.scripted_server import BYE, scripted_server
from support.wire import run_on, settings_for

from mailer.core.message import Phase
from mailer.smtp import Timeouts, check_relay

LOOPS = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])


# What works


@LOOPS
@pytest.mark.parametrize(
    ("auth", "secret", "dialogue", "shown"),
    [
        ("plain", PASSWORD, "C: AUTH PLAIN *\nS: 235 in\n", ["C: AUTH PLAIN ***", "S: 235 in"]),
        ("login", PASSWORD, "C: AUTH LOGIN *\nS: 334 UGFzc3dvcmQ6\nC: *\nS: 235 in\n",
         ["C: AUTH LOGIN ***", "S: 334 UGFzc3dvcmQ6", "C: ***", "S: 235 in"]),
        ("cram-md5", PASSWORD,
         f"C: AUTH CRAM-MD5\nS: 334 {CHALLENGE}\nC: {b64(f'{USER} {DIGEST}')}\nS: 235 in\n",
         ["C: AUTH CRAM-MD5", f"S: 334 {CHALLENGE}", "C: ***", "S: 235 in"]),
        ("auto", PASSWORD,  # without TLS
         f"C: AUTH CRAM-MD5\nS: 334 {CHALLENGE}\nC: {b64(f'{USER} {DIGEST}')}\nS: 235 in\n",
         ["C: AUTH CRAM-MD5", f"S: 334 {CHALLENGE}", "C: ***", "S: 235 in"]),
        ("xoauth2", TOKEN, f"C: AUTH XOAUTH2 {bearer(TOKEN)}\nS: 235 in\n",
         ["C: AUTH XOAUTH2 ***", "S: 235 in"]),
        ("xoauth2", LONG_TOKEN,
         f"C: AUTH XOAUTH2\nS: 334\nC: {bearer(LONG_TOKEN)}\nS: 235 in\n",
         ["C: AUTH XOAUTH2", "S: 334", "C: ***", "S: 235 in"]),
    ],
)  # fmt: skip
def test_a_login_that_is_taken(loop: str, auth: str, secret: str, dialogue: str, shown: list[str]) -> None:
    with scripted_server(HELLO + dialogue + BYE) as server:
        tried = try_login(server.port, auth, secret, loop)
    assert tried.failure is None
    assert tried.auth == ("cram-md5" if auth == "auto" else auth)
    assert tried.lines[5:] == [*shown, "C: QUIT", "S: 221 bye"]
    assert not any(form in tried.said for form in secret_forms(secret))


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("ca"), "127.0.0.1")


def test_over_tls_auto_takes_plain(certificates: Certificates) -> None:
    script = "tls\n" + HELLO + "C: AUTH PLAIN *\nS: 235 in\n" + BYE
    with scripted_server(script, context=certificates.server_context()) as server:
        assert try_login(server.port, "auto", tls="implicit", ca_file=certificates.ca_file).auth == "plain"


def test_a_token_is_fetched_anew_at_each_login() -> None:
    tokens = iter(["first", "second"])

    async def command() -> str:
        return next(tokens)

    async def main() -> None:
        settings = settings_for(server.port, auth="xoauth2", username=USER, password=command)
        for _ in range(2):
            await check_relay(settings, timeouts=Timeouts(quit=0.01))

    with scripted_server(HELLO + "C: AUTH XOAUTH2 *\nS: 235 in\n" + BYE) as server:
        run_on("asyncio", main())
    said = [base64.b64decode(line.split()[2]) for line in server.heard if line.startswith("AUTH")]
    assert [line.split(b"Bearer ")[1] for line in said] == [b"first\1\1", b"second\1\1"]


# What fails, and how that is said


FAILED: dict[str, tuple[str, str, str, bool, str]] = {
    # auth, the dialogue, the sentence, whether it is for good, a word of the hint
    "a wrong password": (
        "plain", "C: AUTH PLAIN *\nS: 535 5.7.8 no", "refused the login: 535 5.7.8 no.", True, "app password",
    ),
    "closed right after the refusal: the reply counts": (
        "plain", "C: AUTH PLAIN *\nS: 535 5.7.8 no\nclose", "refused the login: 535 5.7.8 no.", True, "app password",
    ),
    "reset right after the refusal": (
        "login", "C: AUTH LOGIN *\nS: 334 UGFzc3dvcmQ6\nC: *\nS: 535 5.7.8 no\nreset",
        "refused the login: 535 5.7.8 no.", True, "app password",
    ),
    "421 and closed (RFC 5321 section 3.8)": (
        "login", "C: AUTH LOGIN *\nS: 421 4.3.2 too busy\nclose", "refused the login: 421 4.3.2 too busy.", False, "",
    ),
    "454 (RFC 4954 section 6)": ("plain", "C: AUTH PLAIN *\nS: 454 4.7.0 later", "refused the login: 454 4.7.0 later.",
                                 False, "again"),
    "432 (RFC 4954 section 6)": ("plain", "C: AUTH PLAIN *\nS: 432 4.7.12 change it",
                                 "refused the login: 432 4.7.12 change it.", False, "again"),
    "534 in many lines": ("plain", "C: AUTH PLAIN *\nS: 534-5.7.9 too weak | 534 5.7.9 see x",
                          "refused the login: 534 5.7.9 too weak / see x.", True, ""),
    "530": ("login", "C: AUTH LOGIN *\nS: 530 5.7.0 STARTTLS first", "refused the login: 530 5.7.0 STARTTLS first.",
            True, ""),
    "closed without a word": ("plain", "C: AUTH PLAIN *\nclose", ": connection lost: closed by the server.", False, ""),
    "CRAM-MD5 refused": (
        "cram-md5", f"C: AUTH CRAM-MD5\nS: 334 {CHALLENGE}\nC: *\nS: 535 no", "refused the login: 535 no.", True,
        'auth = "plain"',
    ),
    "a challenge that is not base64": (
        "cram-md5", "C: AUTH CRAM-MD5\nS: 334 <1@x>\nC: *\nS: 501 cancelled",
        "sent a challenge for CRAM-MD5 that is not base64.", True, "mechanism",
    ),
    "an empty challenge, and closed": (
        "cram-md5", "C: AUTH CRAM-MD5\nS: 334\nC: *\nclose", "sent an empty challenge for CRAM-MD5.", True, "mechanism",
    ),
    "asked for more than there is": (
        "login", "C: AUTH LOGIN *\nS: 334 UGFzc3dvcmQ6\nC: *\nS: 334 eA==\nC: *\nS: 501 cancelled",
        "asked for more than a user name and a password.", True, "mechanism",
    ),
    "XOAUTH2 refused by Google": (
        "xoauth2",
        f"C: AUTH XOAUTH2 *\nS: 334 {JSON}\nC:\nS: 535-5.7.8 not accepted. | 535 5.7.8 https://support.google.com/",
        "refused the login: 535 5.7.8 not accepted. / https://support.google.com/ "
        "(status 400, scope https://mail.google.com/).",
        True, "access token that is still valid",
    ),
    "XOAUTH2 refused by Microsoft": (
        "xoauth2", "C: AUTH XOAUTH2 *\nS: 535 5.7.3 Authentication unsuccessful",
        "refused the login: 535 5.7.3 Authentication unsuccessful.", True, "SMTP.Send",
    ),
    "XOAUTH2, and closed after the error text": (
        "xoauth2", f"C: AUTH XOAUTH2 *\nS: 334 {JSON}\nC:\nclose",
        ": connection lost: closed by the server (status 400, scope https://mail.google.com/).", False, "",
    ),
    "XOAUTH2 asks on": (
        "xoauth2", f"C: AUTH XOAUTH2 *\nS: 334 {JSON}\nC:\nS: 334 {JSON}\nC: *\nS: 501 cancelled",
        "asked for more than an access token.", True, "access token",
    ),
}  # fmt: skip


@LOOPS
@pytest.mark.parametrize(("auth", "dialogue", "sentence", "is_permanent", "hint"), FAILED.values(), ids=FAILED.keys())
def test_a_login_that_fails_is_a_sentence(
    loop: str, auth: str, dialogue: str, sentence: str, is_permanent: bool, hint: str
) -> None:
    secret = TOKEN if auth == "xoauth2" else PASSWORD
    with scripted_server(HELLO + dialogue) as server:
        tried = try_login(server.port, auth, secret, loop)
    assert tried.failure is not None
    at = f"127.0.0.1:{server.port}"
    assert tried.failure.message == (f"{at}{sentence}" if sentence.startswith(":") else f"{at} {sentence}")
    assert (tried.failure.phase, tried.failure.is_permanent) == (Phase.AUTH, is_permanent)
    assert hint in tried.failure.hint
    assert [line for line in tried.lines[1:] if line.startswith("--")] == [f"-- {tried.failure.message}"], "said once"
    assert not any(form in tried.said for form in secret_forms(secret))


def test_the_reply_of_a_refusal_is_kept() -> None:
    with scripted_server(HELLO + "C: AUTH PLAIN *\nS: 535 5.7.8 no\nclose") as server:
        failure = try_login(server.port, "plain").failure
    assert failure is not None
    assert failure.reply is not None
    assert (failure.reply.code, failure.reply.enhanced, failure.reply.text) == (535, "5.7.8", "no")


def test_a_password_that_is_no_text_is_a_sentence_and_not_sent() -> None:
    with scripted_server(HELLO + "hold") as server:
        tried = try_login(server.port, "plain", "caf\udce9-geheim")
    assert tried.failure is not None
    assert "is not UTF-8 text" in tried.failure.message
    assert "geheim" not in tried.said
    assert server.heard == ["EHLO me"]


def test_what_is_no_token_is_a_sentence_and_not_sent() -> None:
    with scripted_server(HELLO + "hold") as server:
        tried = try_login(server.port, "xoauth2", f'{{"access_token":"{TOKEN}"}}')
    assert tried.failure is not None
    assert "is no access token" in tried.failure.message
    assert TOKEN not in tried.said
    assert server.heard == ["EHLO me"]
