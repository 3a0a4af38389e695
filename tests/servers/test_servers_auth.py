"""Each way to log in, at a Postfix that asks a Dovecot: what they say when it is right, and when it is wrong."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, NamedTuple

import pytest
from support.access_token import access_token
from support.mailhost import SENDERS, MailHost
from support.wire import Parcel

from mailer.core.message import Envelope, Phase
from mailer.smtp import RelayFailure, RelayPool, RelaySettings, Transcript, check_relay

ME = "me@qq.test"
MECHANISMS = ["plain", "login", "cram-md5", "xoauth2"]

# Far above what any of these takes; it only keeps a hanging pool from hanging the tests.
PATIENCE_S = 60.0


def secret_of(mechanism: str, user: str) -> str:
    return access_token(user) if mechanism == "xoauth2" else SENDERS[user]


def relay(host: MailHost, auth: str, user: str, secret: str) -> RelaySettings:
    def constant() -> Callable[[], Awaitable[str]]:
        async def resolve() -> str:
            return secret

        return resolve

    given: dict[str, Any] = {
        "name": "qq", "host": host.address, "port": host.implicit_port, "tls": "implicit", "auth": auth,
        "username": user, "password": constant(), "ca_file": host.ca_file, "ehlo_name": "client.test",
    }  # fmt: skip
    return RelaySettings(**given)


class Tried(NamedTuple):
    """What came of trying to log in."""

    auth: str | None
    failure: RelayFailure | None
    lines: list[str]


async def try_login(settings: RelaySettings) -> Tried:
    lines: list[str] = []
    try:
        report = await check_relay(settings, transcript=Transcript(lines.append))
    except RelayFailure as failure:
        return Tried(None, failure, lines)
    return Tried(report.auth, None, lines)


def shows(tried: Tried, secret: str) -> bool:
    texts = [*tried.lines, tried.failure.message if tried.failure else ""]
    forms = [secret, base64.b64encode(secret.encode()).decode()[4:-4]]
    return any(form in text for form in forms for text in texts)


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("user", SENDERS)
async def test_a_message_goes_after_each_kind_of_login(mail_host: MailHost, mechanism: str, user: str) -> None:
    (box,) = mail_host.fresh("reader")
    settings = relay(mail_host, mechanism, user, secret_of(mechanism, user))
    parcel = Parcel(Envelope(user, box.address))
    pool = RelayPool(settings, clock=lambda: time.time_ns() // 1000, random=Random(1))
    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
        group.create_task(pool.run())
        pool.submit(parcel)
        await parcel.finished.wait()
        await pool.close()
    assert parcel.brief == "answered end-of-data 250"
    words = f"sasl_method={mechanism.upper()}, sasl_username={user}"
    await asyncio.to_thread(mail_host.wait_until_said, "smtp.qq.test", words)


async def test_over_tls_auto_takes_plain(mail_host: MailHost) -> None:
    assert (await try_login(relay(mail_host, "auto", ME, SENDERS[ME]))).auth == "plain"


@pytest.mark.parametrize("mechanism", ["plain", "login", "cram-md5"])
async def test_a_wrong_password_is_refused_with_the_servers_words(mail_host: MailHost, mechanism: str) -> None:
    tried = await try_login(relay(mail_host, mechanism, ME, "no-such-code"))
    assert tried.failure is not None
    assert tried.failure.message.startswith(
        f"{mail_host.address}:{mail_host.implicit_port} refused the login: 535 5.7.8 Error: authentication failed"
    )
    assert (tried.failure.phase, tried.failure.is_permanent) == (Phase.AUTH, True)
    assert not shows(tried, "no-such-code")


@pytest.mark.parametrize(
    "wrong",
    [access_token(ME, expires_in_s=-60), access_token("news+me@qq.test"), access_token(ME)[:-4] + "AAAA"],
    ids=["expired", "of another user", "with a wrong signature"],
)
async def test_a_wrong_token_is_refused_and_the_server_says_why(mail_host: MailHost, wrong: str) -> None:
    tried = await try_login(relay(mail_host, "xoauth2", ME, wrong))
    failure = tried.failure
    assert failure is not None
    assert "refused the login: 535 5.7.8 Error: authentication failed" in failure.message
    assert failure.message.endswith("(status 401, scope mail).")
    assert failure.is_permanent
    assert "access token that is still valid" in failure.hint
    assert "C: " in tried.lines, "its error text was answered with an empty line"
    assert not shows(tried, wrong)


@pytest.mark.parametrize("length", [0, 400, 900])
async def test_a_token_longer_than_a_command_may_be_is_taken(mail_host: MailHost, length: int) -> None:
    token = access_token(ME, more="x" * length)
    tried = await try_login(relay(mail_host, "xoauth2", ME, token))
    assert tried.auth == "xoauth2"
    is_long = len(base64.b64encode(f"user={ME}\1auth=Bearer {token}\1\1".encode())) > 512 - 15
    assert ("C: AUTH XOAUTH2" in tried.lines) == is_long
    assert is_long == (length > 0)
    assert not shows(tried, token)
