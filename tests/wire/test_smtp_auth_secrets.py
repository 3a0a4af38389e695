"""A server that repeats what it was sent: no secret is in what a person reads, in whatever form it comes back."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable

import pytest
from support.login_check import (
    CHALLENGE,
    DIGEST,
    JSON,
    LONG_TOKEN,
    PASSWORD,
    TOKEN,
    USER,
    pieces,
    secret_forms,
    try_login,
)
from support.login_dialogue import b64
from support.scripted_server import Peer, scripted_server
from support.wire import Parcel, run_on, running_pool, settings_for, until


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
        tried = try_login(server.port, auth, secret)
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
