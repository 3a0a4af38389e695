"""The relay pool and servers that nobody here wrote: what Postfix says to it, and what comes out at the far end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random

import pytest
from support.mailbox import without_trace
from support.mailhost import SENDERS, MailHost
from support.smtpsink import SmtpSink

from mailer.core.message import Composed, Ending, Envelope, Phase, Result
from mailer.core.progress import Step
from mailer.smtp import RelayFailure, RelayPool, RelaySettings, Transcript, check_relay

ME = "me@qq.test"
TLS = ["starttls", "implicit"]

# Far above what any of these takes; it only keeps a hanging pool from hanging the tests.
PATIENCE_S = 60.0


def relay(host: MailHost, tls: str = "starttls", **changes: object) -> RelaySettings:
    """smtp.qq.test as a user of it would configure it."""
    user = str(changes.pop("username", ME))
    password = str(changes.pop("password", SENDERS[user]))
    given: dict[str, object] = {
        "name": "qq",
        "host": host.address,
        "port": host.implicit_port if tls == "implicit" else host.starttls_port,
        "tls": tls,
        "auth": "login",
        "username": user,
        "password": constant(password),
        "ca_file": host.ca_file,
        "ehlo_name": "client.test",
    }
    return RelaySettings(**{**given, **changes})  # type: ignore[arg-type]


def constant(password: str) -> Callable[[], Awaitable[str]]:
    """A secret that is at hand."""

    async def resolve() -> str:
        return password

    return resolve


@dataclass
class Letter:
    """A message on its way, and what the pool says of it."""

    envelope: Envelope
    body: bytes
    steps: list[Step] = field(default_factory=list)
    result: asyncio.Future[Result] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def compose(self) -> Composed:
        return Composed((self.body,), len(self.body))

    def note(self, step: Step) -> None:
        self.steps.append(step)

    def may_end(self) -> bool:
        return True

    def finish(self, result: Result) -> None:
        self.result.set_result(result)


def letter(recipient: str, *, sender: str = ME) -> Letter:
    """One with what a careless client damages: lines of dots, trailing blanks, a dot at the end."""
    head = f"From: <{sender}>\r\nTo: <{recipient}>\r\nSubject: x\r\nDate: Tue, 24 Nov 2026 08:00:00 +0800\r\n"
    body = f"Message-ID: <{recipient}>\r\n\r\n.\r\n..\r\n.{recipient}\r\n\r\nblanks  \r\n.\r\n"
    return Letter(Envelope(sender, recipient), (head + body).encode())


@asynccontextmanager
async def running(settings: RelaySettings) -> AsyncIterator[RelayPool]:
    """A pool at work, closed at the end."""
    pool = RelayPool(settings, clock=lambda: time.time_ns() // 1000, random=Random(1))
    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
        group.create_task(pool.run())
        try:
            yield pool
        finally:
            await pool.close()


async def send(pool: RelayPool, letters: Iterable[Letter]) -> list[Result]:
    """What the pool says of each, when all have ended."""
    waiting = list(letters)
    for each in waiting:
        pool.submit(each)
    return list(await asyncio.gather(*(each.result for each in waiting)))


def replies(results: Sequence[Result]) -> list[tuple[int, str | None, Phase | None]]:
    """What decided each."""
    assert all(result.ending is Ending.ANSWERED for result in results), results
    return [(result.reply.code, result.reply.enhanced, result.phase) for result in results if result.reply is not None]


@pytest.mark.parametrize("tls", TLS)
@pytest.mark.parametrize("auth", ["login", "plain", "auto"])
@pytest.mark.parametrize("username", SENDERS)
async def test_a_check_logs_in_and_reports_what_postfix_offers(
    mail_host: MailHost, tls: str, auth: str, username: str
) -> None:
    lines: list[str] = []
    settings = relay(mail_host, tls, auth=auth, username=username)
    report = await check_relay(settings, transcript=Transcript(lines.append))
    assert report.greeting.startswith("smtp.qq.test ESMTP")
    assert report.tls is not None and report.tls.startswith("TLSv1.3 ")
    assert report.auth is not None and report.auth.lower() in (("login", "plain") if auth == "auto" else (auth,))
    assert {"PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES"} <= set(report.extensions)
    assert report.size_limit == 10_240_000
    assert any(line.startswith("S: 235 ") for line in lines)
    assert not any(SENDERS[username] in line for line in lines)


@pytest.mark.parametrize("tls", TLS)
async def test_a_wrong_password_is_the_relays_trouble_for_good(mail_host: MailHost, tls: str) -> None:
    lines: list[str] = []
    with pytest.raises(RelayFailure) as refused:
        await check_relay(relay(mail_host, tls, password="no-such-code"), transcript=Transcript(lines.append))
    failure = refused.value
    assert failure.phase is Phase.AUTH
    assert failure.is_permanent
    assert failure.reply is not None and (failure.reply.code, failure.reply.enhanced) == (535, "5.7.8")
    assert "no-such-code" not in "\n".join([*lines, failure.message, failure.hint])


async def test_a_certificate_of_an_unknown_authority_is_refused(mail_host: MailHost) -> None:
    with pytest.raises(RelayFailure, match="not issued by an authority that is trusted here") as refused:
        await check_relay(relay(mail_host, ca_file=None))
    assert (refused.value.phase, refused.value.is_permanent) == (Phase.TLS, True)
    assert "ca_file" in refused.value.hint


async def test_tls_from_the_start_on_a_port_that_begins_in_plain_text_names_the_setting(mail_host: MailHost) -> None:
    with pytest.raises(RelayFailure, match="does not speak TLS from the start") as refused:
        await check_relay(relay(mail_host, "implicit", port=mail_host.starttls_port))
    assert 'tls = "starttls"' in refused.value.hint


async def test_plain_text_on_a_port_that_speaks_tls_from_the_start_names_the_setting(mail_host: MailHost) -> None:
    settings = relay(mail_host, "starttls", port=mail_host.implicit_port, connect_timeout_s=0.3)
    with pytest.raises(RelayFailure) as refused:
        await check_relay(settings)
    assert 'tls = "implicit"' in refused.value.hint
    assert not refused.value.is_permanent


@pytest.mark.parametrize("port", ["imap_port", "pop3_port"])
async def test_a_server_for_reading_mail_is_told_apart(mail_host: MailHost, port: str) -> None:
    with pytest.raises(RelayFailure, match="speaks no SMTP") as refused:
        await check_relay(relay(mail_host, port=getattr(mail_host, port)))
    assert "reading mail" in refused.value.hint


@pytest.mark.parametrize("tls", TLS)
async def test_messages_arrive_byte_for_byte(mail_host: MailHost, tls: str) -> None:
    boxes = mail_host.fresh("reader", 6)
    letters = [letter(box.address) for box in boxes for _ in range(5)]
    async with running(relay(mail_host, tls, max_connections=3, messages_per_connection=4)) as pool:
        results = await send(pool, letters)
    assert replies(results) == [(250, "2.0.0", Phase.END_OF_DATA)] * len(letters)
    assert all(each.steps == [Step.ON_WIRE, Step.END_BEGUN] for each in letters)
    assert all(result.tls is not None and result.tls.startswith("TLSv1.3 ") for result in results)
    assert all("queued as" in result.reply.text for result in results if result.reply is not None)
    for box in boxes:
        await asyncio.to_thread(box.wait_for, 5)
        sent = [each.body for each in letters if each.envelope.recipient == box.address]
        by_imap, by_pop3 = await asyncio.to_thread(box.fetch_imap), await asyncio.to_thread(box.fetch_pop3)
        assert [without_trace(message) for message in by_imap] == sent
        assert by_pop3 == by_imap


async def test_each_recipient_gets_its_own_answer_and_greylisting_ends_at_the_second_try(mail_host: MailHost) -> None:
    (reader,), (grey,) = mail_host.fresh("reader"), mail_host.fresh("grey")
    recipients = ["nobody@163.test", reader.address, grey.address, "x@elsewhere.test"]
    async with running(relay(mail_host, max_connections=1)) as pool:
        first = await send(pool, map(letter, recipients))
        again = await send(pool, [letter(grey.address)])
        not_mine = await send(pool, [letter(reader.address, sender="news+me@qq.test")])
    assert replies(first) == [
        (550, "5.1.1", Phase.RCPT),
        (250, "2.0.0", Phase.END_OF_DATA),
        (450, "4.2.0", Phase.RCPT),
        (550, "5.1.2", Phase.RCPT),
    ]
    assert replies(again) == [(250, "2.0.0", Phase.END_OF_DATA)]
    assert replies(not_mine) == [(553, "5.7.1", Phase.RCPT)]
    await asyncio.to_thread(grey.wait_for, 1)
    await asyncio.to_thread(reader.wait_for, 1)
    assert len(await asyncio.to_thread(reader.fetch_pop3)) == 1


async def test_a_wrong_password_stops_the_relay_and_no_message_pays(mail_host: MailHost) -> None:
    letters = [letter(box.address) for box in mail_host.fresh("reader", 3)]
    stopped = asyncio.Event()
    settings = relay(mail_host, password="no-such-code")
    pool = RelayPool(settings, clock=lambda: time.time_ns() // 1000, random=Random(1), on_change=stopped.set)
    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
        group.create_task(pool.run())
        for each in letters:
            pool.submit(each)
        await stopped.wait()
        assert pool.state == "stopped"
        assert "535" in pool.reason
        assert "no-such-code" not in pool.reason
        assert pool.withdraw(lambda _: True) == letters
        await pool.close()
    assert not any(each.result.done() or each.steps for each in letters)


async def test_a_session_that_postfix_ends_after_twenty_errors_costs_no_message(mail_host: MailHost) -> None:
    (reader,) = mail_host.fresh("reader")
    unknown = [letter(f"nobody{n}@163.test") for n in range(50)]
    # Written ahead, the DATA behind a refused RCPT is an error of its own; after two of them it is not written ahead.
    async with running(relay(mail_host, max_connections=1)) as pool:
        results = await send(pool, [*unknown, letter(reader.address)])
    await asyncio.to_thread(mail_host.wait_until_said, "smtp.qq.test", "too many errors after RCPT", 2)
    assert replies(results) == [(550, "5.1.1", Phase.RCPT)] * 50 + [(250, "2.0.0", Phase.END_OF_DATA)]


async def test_a_message_larger_than_what_postfix_says_it_takes_is_not_begun(mail_host: MailHost) -> None:
    (reader,) = mail_host.fresh("reader")
    large = letter(reader.address)
    large.body += b"0123456789abcde\r\n" * (10_240_000 // 17 + 1)
    async with running(relay(mail_host, max_connections=1)) as pool:
        results = await send(pool, [large, letter(reader.address)])
    assert results[0].ending is Ending.UNFIT
    assert "takes at most 10,240,000" in results[0].note
    assert large.steps == []
    assert replies(results[1:]) == [(250, "2.0.0", Phase.END_OF_DATA)]


async def test_smtp_sink_takes_a_thousand_on_four_connections(smtp_sink: SmtpSink) -> None:
    settings = RelaySettings("sink", smtp_sink.host, smtp_sink.port, "none", "none", messages_per_connection=10_000)
    async with running(settings) as pool:
        results = await send(pool, [letter(f"{n}@163.test") for n in range(1000)])
        assert pool.connections <= 4
    assert all(result.ending is Ending.ANSWERED for result in results)
    assert smtp_sink.messages() == 1000
