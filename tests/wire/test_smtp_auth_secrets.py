"""Logins over a connection: what a person reads of them, and that no secret is in it, whatever a server repeats."""

from __future__ import annotations

import base64
import hmac
import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from support.certificates import Certificates, make_certificates
from support.login_dialogue import b64
from support.scripted_server import BYE, Peer, scripted_server
from support.wire import Parcel, run_on, running_pool, settings_for, until

from mailer.core.message import Phase
from mailer.smtp import RelayFailure, Timeouts, Transcript, check_relay

LOOPS = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
USER = "me@qq.com"
PASSWORD = "hunter22-geheim"
TOKEN = "ya29." + "a0AfB_byC-7dE~" * 3
LONG_TOKEN = "EwBA" + "kQ7xZ2Lm9Wp4Rt6Y" * 90 + "=="
HELLO = "S: 220 relay ready\nC: EHLO *\nS: 250-relay | 250 AUTH PLAIN LOGIN CRAM-MD5 XOAUTH2\n"
CHALLENGE = b64("<1896.697170952@postoffice.reston.mci.net>")
DIGEST = hmac.new(PASSWORD.encode(), base64.b64decode(CHALLENGE), "md5").hexdigest()
JSON = b64('{"status":"400","schemes":"Bearer","scope":"https://mail.google.com/"}')


class Tried(NamedTuple):
    """What came of a check, and all that was said of it."""

    auth: str | None
    failure: RelayFailure | None
    lines: list[str]

    @property
    def said(self) -> str:
        texts = [*self.lines, repr(self.failure)]
        if self.failure is not None:
            texts += [self.failure.message, self.failure.hint, repr(self.failure.reply)]
        return "\n".join(texts)


def check(port: int, auth: str, secret: str = PASSWORD, loop: str = "asyncio", **others: Any) -> Tried:
    lines: list[str] = []

    async def resolved() -> str:
        return secret

    async def main() -> Tried:
        settings = settings_for(port, auth=auth, username=USER, password=resolved, ehlo_name="me", **others)
        try:
            report = await check_relay(settings, transcript=Transcript(lines.append), timeouts=Timeouts(quit=0.01))
        except RelayFailure as failure:
            return Tried(None, failure, lines)
        return Tried(report.auth, None, lines)

    tried: Tried = run_on(loop, main())
    return tried


def bearer(token: str) -> str:
    return b64(f"user={USER}\1auth=Bearer {token}\1\1")


def secret_forms(secret: str) -> list[str]:
    """The forms in which it was sent, and what could be made of them at once."""
    return [
        secret, b64(secret), b64(f"\0{USER}\0{secret}"), bearer(secret),
        DIGEST, b64(f"{USER} {DIGEST}"),
    ]  # fmt: skip


def pieces(text: str, length: int = 12) -> list[str]:
    return [text[n : n + length] for n in range(0, len(text) - length + 1, length)]


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
        tried = check(server.port, auth, secret, loop)
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
        assert check(server.port, "auto", tls="implicit", ca_file=certificates.ca_file).auth == "plain"


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
        tried = check(server.port, auth, secret, loop)
    assert tried.failure is not None
    at = f"127.0.0.1:{server.port}"
    assert tried.failure.message == (f"{at}{sentence}" if sentence.startswith(":") else f"{at} {sentence}")
    assert (tried.failure.phase, tried.failure.is_permanent) == (Phase.AUTH, is_permanent)
    assert hint in tried.failure.hint
    assert tried.lines[-1] == f"-- {tried.failure.message}"
    assert tried.lines.count(tried.lines[-1]) == 1, "said once"
    assert not any(form in tried.said for form in secret_forms(secret))


def test_the_reply_of_a_refusal_is_kept() -> None:
    with scripted_server(HELLO + "C: AUTH PLAIN *\nS: 535 5.7.8 no\nclose") as server:
        failure = check(server.port, "plain").failure
    assert failure is not None
    assert failure.reply is not None
    assert (failure.reply.code, failure.reply.enhanced, failure.reply.text) == (535, "5.7.8", "no")


def test_a_password_that_is_no_text_is_a_sentence_and_not_sent() -> None:
    with scripted_server(HELLO + "hold") as server:
        tried = check(server.port, "plain", "caf\udce9-geheim")
    assert tried.failure is not None
    assert "is not UTF-8 text" in tried.failure.message
    assert "geheim" not in tried.said
    assert server.heard == ["EHLO me"]


def test_what_is_no_token_is_a_sentence_and_not_sent() -> None:
    with scripted_server(HELLO + "hold") as server:
        tried = check(server.port, "xoauth2", f'{{"access_token":"{TOKEN}"}}')
    assert tried.failure is not None
    assert "is no access token" in tried.failure.message
    assert TOKEN not in tried.said
    assert server.heard == ["EHLO me"]


# A server that repeats what it was sent


def heard(peer: Peer) -> list[str]:
    """What the client has said since EHLO, without the words of the command."""
    lines = (re.sub(r"^AUTH [\w-]+ ?", "", line) for line in peer.server.heard[1:])
    return [line for line in lines if line]


def whole(peer: Peer) -> None:
    peer.say("535-5.7.8 what is | " + " | ".join(f"535-<{line}>" for line in heard(peer)) + " | 535 to us?")


def decoded(peer: Peer) -> None:
    texts = [base64.b64decode(line).decode().replace("\0", " ").replace("\1", " ") for line in heard(peer)]
    peer.say("535-no such user | " + " | ".join(f"535-{text!r}" for text in texts) + " | 535 bye")


def folded(peer: Peer) -> None:
    text = "".join(heard(peer))
    peer.say(" | ".join(f"535-{text[n : n + 24]}" for n in range(0, len(text), 24)) + " | 535 bye")


def cut_short(peer: Peer) -> None:
    peer.say(f"535 5.7.8 not {' or '.join(line[: len(line) * 3 // 4] + '...' for line in heard(peer))}")


def encoded_again(peer: Peer) -> None:
    """As some put what they were given into JSON, and that into base64."""
    texts = [base64.b64decode(line) for line in heard(peer)]
    again = [base64.b64encode(before + text).decode() for text in texts for before in (b"", b"{", b'{"')]
    peer.say("535-5.7.8 error | " + " | ".join(f"535-{text}" for text in again) + " | 535 bye")


@pytest.mark.parametrize("repeat", [whole, decoded, folded, cut_short, encoded_again])
@pytest.mark.parametrize(
    ("auth", "secret", "prompts"),
    [
        ("plain", PASSWORD, []), ("plain", "p" * 300 + PASSWORD * 10, [""]), ("login", PASSWORD, ["UGFzc3dvcmQ6"]),
        ("cram-md5", PASSWORD, [CHALLENGE]), ("xoauth2", TOKEN, []), ("xoauth2", TOKEN, [JSON]),
        ("xoauth2", LONG_TOKEN, [""]),
    ],
)  # fmt: skip
def test_a_server_that_repeats_what_it_was_sent_shows_no_secret(
    auth: str, secret: str, prompts: list[str], repeat: Callable[[Peer], None]
) -> None:
    def play(peer: Peer) -> None:
        peer.say("220 relay ready")
        peer.expect("EHLO *")
        peer.say(f"250-relay | 250 AUTH {auth.upper()}")
        peer.expect("AUTH *")
        for prompt in prompts:
            peer.say(f"334 {prompt}")
            peer.line()
        repeat(peer)

    with scripted_server(play) as server:
        tried = check(server.port, auth, secret)
    assert tried.failure is not None
    assert "refused the login: 535" in tried.failure.message
    assert "***" in tried.failure.message
    for form in secret_forms(secret):
        assert form not in tried.said
    kept = DIGEST if auth == "cram-md5" else secret
    for before in range(3):  # what would be left of it in base64, wherever it begins
        own = base64.b64encode(bytes(before) + kept.encode()).decode()[4:-4]
        assert not any(piece in tried.said for piece in pieces(own))
    assert not any(piece in tried.said for piece in pieces(kept, 24))


@pytest.mark.parametrize(("auth", "secret"), [("plain", PASSWORD), ("xoauth2", TOKEN)])
def test_what_a_server_repeats_long_after_the_login_is_hidden_too(auth: str, secret: str) -> None:
    async def resolved() -> str:
        return secret

    def play(peer: Peer) -> None:
        peer.say("220 relay ready")
        peer.expect("EHLO *")
        peer.say(f"250-relay | 250 AUTH {auth.upper()}")
        line = peer.expect("AUTH *")
        peer.say("235 in")
        peer.expect("MAIL *")
        peer.say(f"550 5.7.1 not for {line} or {secret}")
        peer.hold()

    async def main() -> None:
        async with running_pool(settings_for(server.port, auth=auth, username=USER, password=resolved)) as pool:
            pool.submit(parcel)
            await parcel.finished.wait()

    parcel = Parcel()
    with scripted_server(play) as server:
        run_on("asyncio", main())
    assert parcel.brief == "answered mail 550"
    assert not any(form in repr(parcel.result) for form in secret_forms(secret))
    assert not any(piece in repr(parcel.result) for piece in pieces(b64(f"\0{USER}\0{secret}")[16:-4]))
    assert "***" in repr(parcel.result)


def test_what_the_pool_says_of_a_refused_login_holds_no_secret() -> None:
    async def resolved() -> str:
        return TOKEN

    def play(peer: Peer) -> None:
        peer.say("220 relay ready")
        peer.expect("EHLO *")
        peer.say("250-relay | 250 AUTH XOAUTH2")
        line = peer.expect("AUTH *")
        peer.say("334 " + b64(json.dumps({"status": f"401 {TOKEN}"})))
        peer.line()
        peer.say(f"535 {line}")

    async def main() -> str:
        settings = settings_for(server.port, auth="xoauth2", username=USER, password=resolved)
        async with running_pool(settings) as pool:
            pool.submit(Parcel())
            await until(lambda: pool.state == "stopped")
            return pool.reason

    with scripted_server(play) as server:
        reason = run_on("asyncio", main())
    assert "(status 401 ***)" in reason
    assert TOKEN not in reason
    assert not any(piece in reason for piece in pieces(b64(TOKEN)[4:-4]))
