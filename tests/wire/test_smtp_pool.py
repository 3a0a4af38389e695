"""A relay's pool: connections on demand, reuse, limits, the breaker on real sockets, and servers that others wrote."""

from __future__ import annotations

import asyncio
import gc
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session
from support.daemon import free_ports
from support.scripted_server import BYE, DATA, ENVELOPE, HELLO, LOGIN, MESSAGE, Peer, scripted_server
from support.servers import require
from support.smtpsink import running_smtp_sink
from support.wire import BODY, Parcel, Pauses, finished, run_on, running_pool, secret, settings_for, until

from mailer.core import message
from mailer.core.progress import Step
from mailer.errors import InputError, MailerError
from mailer.smtp import Timeouts, Transcript

LOOPS = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
SENT = "answered end-of-data 250"
LOGIN_SETTINGS: dict[str, Any] = {"auth": "login", "username": "me@qq.com", "password": secret}


def say_no(error: MailerError) -> None:
    raise error


@LOOPS
def test_messages_share_a_connection_and_the_last_word_is_quit(loop: str) -> None:
    parcels = [Parcel() for _ in range(3)]

    async def main() -> None:
        async with running_pool(settings_for(server.port, max_connections=1), timeouts=Timeouts()) as pool:
            for parcel in parcels:
                pool.submit(parcel)
            assert pool.waiting == 3
            assert await finished(*parcels) == [SENT] * 3
            assert (pool.waiting, pool.connections, pool.state, pool.reason) == (0, 1, "ready", "")
        assert pool.connections == 0

    with scripted_server(HELLO + MESSAGE * 3 + BYE) as server:
        run_on(loop, main())
    assert server.connections == 1
    assert [taken.data for taken in server.messages] == [BODY] * 3
    assert server.messages[0].mail == f"MAIL FROM:<a@sender.example> SIZE={len(BODY)}"
    assert parcels[0].steps == [Step.ON_WIRE, Step.END_BEGUN]
    result = parcels[0].result
    assert (result.relay, result.tls, result.note) == ("r", None, "")
    assert result.started_at_us > 0
    assert result.duration_us > 0


def test_a_refused_message_is_followed_by_rset_and_the_next_one() -> None:
    first, second = Parcel(), Parcel()

    async def main() -> list[str]:
        async with running_pool(settings_for(server.port, max_connections=1), timeouts=Timeouts()) as pool:
            pool.submit(first)
            pool.submit(second)
            return await finished(first, second)

    refused = ENVELOPE.replace("250 recipient ok", "550-5.1.1 no such | 550 5.1.1 user") + "C: RSET\nS: 250 ok\n"
    with scripted_server(HELLO + refused + MESSAGE + BYE) as server:
        assert run_on("asyncio", main()) == ["answered rcpt 550", SENT]
    reply = first.result.reply
    assert reply is not None
    assert (reply.enhanced, reply.text) == ("5.1.1", "no such\nuser")


def test_a_connection_carries_so_many_messages_and_no_more() -> None:
    parcels = [Parcel() for _ in range(5)]

    async def main() -> list[str]:
        settings = settings_for(server.port, max_connections=1, messages_per_connection=2)
        async with running_pool(settings, timeouts=Timeouts()) as pool:
            for parcel in parcels:
                pool.submit(parcel)
            return await finished(*parcels)

    with scripted_server(HELLO + MESSAGE * 2 + BYE, HELLO + MESSAGE * 2 + BYE, HELLO + MESSAGE + BYE) as server:
        assert run_on("asyncio", main()) == [SENT] * 5
    assert server.connections == 3


def test_an_idle_connection_says_quit() -> None:
    parcel = Parcel()

    async def main() -> None:
        async with running_pool(settings_for(server.port, idle_timeout_s=0.01), timeouts=Timeouts()) as pool:
            pool.submit(parcel)
            await finished(parcel)
            await until(lambda: pool.connections == 0)
            assert pool.state == "ready"

    with scripted_server(HELLO + MESSAGE + BYE) as server:
        run_on("asyncio", main())


def test_at_first_one_connection_tries_and_then_as_many_as_are_allowed() -> None:
    parcels = [Parcel() for _ in range(8)]

    async def main() -> None:
        async with running_pool(settings_for(server.port, max_connections=3, **LOGIN_SETTINGS)) as pool:
            for parcel in parcels:
                pool.submit(parcel)
            await asyncio.to_thread(server.events["asked"].wait, 20)
            assert server.connections == 1
            server.events["let in"].set()
            assert await finished(*parcels) == [SENT] * 8
            await until(lambda: pool.connections == 3)

    with scripted_server(taking_everything(is_gated=True), greedy) as server:
        run_on("asyncio", main())
    assert server.connections == 3


def taking_everything(*, is_gated: bool) -> Callable[[Peer], None]:
    """A server that takes everything; the gated one lets nobody in before the test says so."""

    def play(peer: Peer) -> None:
        peer.say("220 relay ready")
        if peer.line() is None:
            return  # a further connection, no longer needed when the test was over
        peer.say("250-relay | 250 AUTH LOGIN PLAIN")
        while (line := peer.line()) is not None:
            if line.startswith("AUTH LOGIN "):
                if is_gated:
                    peer.server.events["asked"].set()
                    peer.server.events["let in"].wait(20)
                peer.say("334 UGFzc3dvcmQ6")
                peer.line()
                peer.say("235 welcome")
            elif line == "DATA":
                peer.say("354 go on")
                peer.message()
                peer.say("250 taken")
            elif line == "QUIT":
                peer.say("221 bye")
                return
            else:
                peer.say("250 ok")

    return play


greedy = taking_everything(is_gated=False)


@LOOPS
def test_a_wrong_password_is_tried_once_and_stops_the_relay(loop: str) -> None:
    parcels = [Parcel() for _ in range(8)]
    changes: list[str] = []

    async def main() -> None:
        changed = asyncio.Event()

        def on_change() -> None:
            changes.append(pool.state)
            changed.set()

        settings = settings_for(server.port, max_connections=4, **LOGIN_SETTINGS)
        async with running_pool(settings, on_change=on_change) as pool:
            for parcel in parcels:
                pool.submit(parcel)
            await changed.wait()
            assert pool.state == "stopped"
            assert pool.reason == f"127.0.0.1:{server.port} refused the login: 535 5.7.8 bad password."
            assert pool.withdraw(lambda _: True) == parcels
            late = Parcel()
            pool.submit(late)
            await asyncio.sleep(0)
            assert pool.waiting == 1
        assert late.brief == "untouched"

    with scripted_server(HELLO + LOGIN.replace("235 welcome", "535 5.7.8 bad password")) as server:
        run_on(loop, main())
    assert server.connections == 1
    assert changes == ["stopped"]
    assert all(parcel.results == [] for parcel in parcels)


def test_a_refused_connection_pauses_the_relay_and_one_connection_tries_again() -> None:
    parcels = [Parcel() for _ in range(3)]
    pauses = Pauses()

    async def main() -> None:
        async with running_pool(settings_for(server.port, max_connections=3), sleep=pauses) as pool:
            for parcel in parcels:
                pool.submit(parcel)
            for n in range(3):
                await pauses.is_asked.wait()
                assert (pool.state, pool.connections) == ("paused", 0)
                assert pool.reason.endswith("refused the connection: 421 too many.")
                assert pool.paused_until_us is not None
                assert server.connections == n + 1
                pauses.end()
                await until(lambda: pool.state == "ready")
            assert await finished(*parcels) == [SENT] * 3
            assert (pool.state, pool.reason, pool.paused_until_us) == ("ready", "", None)

    busy = "S: 421 too many\nclose"
    with scripted_server(busy, busy, busy, greedy) as server:
        run_on("asyncio", main())
    assert [0.75 * 2**n <= pause <= 1.25 * 2**n for n, pause in enumerate(pauses.asked)] == [True] * 3


def test_a_server_that_dies_on_every_message_is_not_met_by_the_whole_queue() -> None:
    # One connection: a second one that is refused while the first still works only keeps the pool from widening.
    parcels = [Parcel() for _ in range(3)]
    pauses = Pauses()

    async def main() -> None:
        async with running_pool(settings_for(server.port, max_connections=1), sleep=pauses) as pool:
            for parcel in parcels:
                pool.submit(parcel)
            for _ in range(2):
                await pauses.is_asked.wait()
                assert pool.state == "paused"
                assert sum(bool(parcel.results) for parcel in parcels) == 1
                pauses.end()
                await until(lambda: pool.state == "ready")
            assert await finished(*parcels) == ["lost mail", SENT, SENT]

    with scripted_server(HELLO + "C: MAIL FROM:<*>*\nclose", "close", greedy) as server:
        run_on("asyncio", main())


@pytest.mark.parametrize(("reply", "state"), [("421 4.7.0 too many", "paused"), ("530 5.7.0 login first", "stopped")])
def test_a_reply_about_the_relay_ends_the_connection_and_no_message_pays(reply: str, state: str) -> None:
    first, second = Parcel(), Parcel()
    pauses = Pauses()

    async def main() -> None:
        async with running_pool(settings_for(server.port, max_connections=1), sleep=pauses) as pool:
            pool.submit(first)
            pool.submit(second)
            assert await finished(first) == [f"answered mail {reply[:3]}"]
            assert pool.state == state
            assert reply in pool.reason
            await until(lambda: pool.connections == 0)
            assert pool.withdraw(lambda one: one is second) == [second]

    with scripted_server(HELLO + f"C: MAIL FROM:<*>*\nS: {reply}\nhold") as server:
        run_on("asyncio", main())
    assert second.results == []


def test_one_connection_too_many_does_not_stop_the_others() -> None:
    parcels = [Parcel() for _ in range(6)]
    pauses = Pauses()

    async def main() -> None:
        async with running_pool(settings_for(server.port, max_connections=3), sleep=pauses) as pool:
            for parcel in parcels:
                pool.submit(parcel)
            await pauses.is_asked.wait()
            assert (pool.state, pool.connections) == ("ready", 1)
            server.events["go"].set()
            assert await finished(*parcels) == [SENT] * 6
            assert pool.state == "ready"
            assert len(pauses.asked) == 1

    waits = HELLO + ENVELOPE.replace("S: 250 sender ok", "wait: go\nS: 250 sender ok")
    first = waits + "C: DATA\nS: 354 go on\nC: .\nS: 250 taken\n" + MESSAGE * 5 + "hold"
    with scripted_server(first, "S: 421 too many from you\nclose") as server:
        run_on("asyncio", main())


def test_a_message_that_cannot_be_composed_is_unfit_and_the_next_one_goes() -> None:
    unfit = [Parcel(on_compose=lambda: say_no(InputError("row 7 has no name"))) for _ in range(3)]
    good = Parcel()

    async def main() -> None:
        async with running_pool(settings_for(server.port, max_connections=1)) as pool:
            for parcel in (*unfit, good):
                pool.submit(parcel)
            assert await finished(*unfit, good) == ["unfit"] * 3 + [SENT]

    with scripted_server(HELLO + MESSAGE + "hold") as server:
        run_on("asyncio", main())
    assert {parcel.result.note for parcel in unfit} == {"row 7 has no name"}
    assert unfit[0].steps == []


@pytest.mark.parametrize(
    ("hello", "parcel", "mail", "note"),
    [
        ("250 SIZE 30", Parcel(), None, "the message has 36 bytes, and relay r takes at most 30 (its SIZE limit)"),
        ("250 SIZE 36", Parcel(), "MAIL FROM:<a@sender.example> SIZE=36", ""),
        ("250 SIZE 0", Parcel(), "MAIL FROM:<a@sender.example> SIZE=36", ""),
        ("250 HELP", Parcel(), "MAIL FROM:<a@sender.example>", ""),
        (
            "250 HELP", Parcel(message.Envelope("a@b.example", "用户@c.example")), None,
            "the address 用户@c.example has letters beyond ASCII before its @, and relay r does not offer SMTPUTF8",
        ),
        (
            "250 SMTPUTF8", Parcel(message.Envelope("a@b.example", "用户@c.example")),
            "MAIL FROM:<a@b.example> SMTPUTF8", "",
        ),
        ("250 SMTPUTF8", Parcel(), "MAIL FROM:<a@sender.example>", ""),
        ("250 HELP", Parcel(message.Envelope("", "b@c.example")), "MAIL FROM:<>", ""),
        (
            "250 HELP", Parcel(message.Envelope("a@b.example", "x@y>\r\nRCPT TO:<evil@z")), None,
            "the sender's or the recipient's address holds a control character or is empty",
        ),
    ],
)  # fmt: skip
def test_what_the_server_offers_decides_how_mail_is_said(
    hello: str, parcel: Parcel, mail: str | None, note: str
) -> None:
    async def main() -> None:
        async with running_pool(settings_for(server.port)) as pool:
            pool.submit(parcel)
            await finished(parcel)

    parcel.results.clear()
    parcel.finished = asyncio.Event()
    script = f"S: 220 x\nC: EHLO *\nS: 250-x | {hello}\n"
    with scripted_server(script + (MESSAGE if mail else "") + "hold") as server:
        run_on("asyncio", main())
    assert [line for line in server.heard if line.startswith("MAIL")] == ([mail] if mail else [])
    assert parcel.brief == (SENT if mail else "unfit")
    assert parcel.result.note == note


def test_a_bug_in_a_delivery_ends_the_pool_loudly_and_finishes_everything_once() -> None:
    def bug() -> None:
        raise ZeroDivisionError

    broken, waiting = Parcel(on_compose=bug), Parcel()

    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async with running_pool(settings_for(server.port, max_connections=1)) as pool:
                pool.submit(broken)
                pool.submit(waiting)
                await finished(broken, waiting)
        assert caught.group_contains(ZeroDivisionError)

    with scripted_server(HELLO + "hold") as server:
        run_on("asyncio", main())
    assert broken.brief == "lost mail"
    assert waiting.brief == "untouched"


def test_a_finish_that_submits_the_next_message_does_no_harm() -> None:
    parcels: list[Parcel] = []

    async def main() -> None:
        done = asyncio.Event()
        async with running_pool(settings_for(server.port, max_connections=1)) as pool:

            def again(_: Parcel) -> None:
                if len(parcels) < 50:
                    parcels.append(Parcel(on_finish=again))
                    pool.submit(parcels[-1])
                else:
                    done.set()

            parcels.append(Parcel(on_finish=again))
            pool.submit(parcels[0])
            await done.wait()
        assert [parcel.brief for parcel in parcels] == [SENT] * 50

    with scripted_server(greedy) as server:
        run_on("asyncio", main())
    assert server.connections == 1


def test_begins_nothing_more_when_told_so() -> None:
    first, second = Parcel(), Parcel()

    async def main() -> None:
        async with running_pool(settings_for(server.port, max_connections=1)) as pool:
            pool.submit(first)
            pool.submit(second)
            await asyncio.to_thread(server.events["heard"].wait, 20)
            pool.stop_starting()
            server.events["go"].set()
            assert await finished(first) == [SENT]
            assert pool.withdraw(lambda _: True) == [second]

    waits = HELLO + MESSAGE.replace("S: 250 sender ok", "then: heard\nwait: go\nS: 250 sender ok")
    with scripted_server(waits + "hold") as server:
        run_on("asyncio", main())


def test_a_transcript_shows_everything_but_secrets_and_bodies() -> None:
    lines: list[str] = []

    async def main() -> None:
        settings = settings_for(server.port, max_connections=1, **LOGIN_SETTINGS)
        async with running_pool(settings, transcript=lambda: Transcript(lines.append), timeouts=Timeouts()) as pool:
            parcel = Parcel()
            pool.submit(parcel)
            await finished(parcel)

    script = HELLO + LOGIN + MESSAGE.replace("250 taken", "250 taken, hunter22-geheim") + BYE
    with scripted_server(script) as server:
        run_on("asyncio", main())
    assert lines[7:] == [
        "C: AUTH LOGIN ***",
        "S: 334 UGFzc3dvcmQ6",
        "C: ***",
        "S: 235 welcome",
        "C: MAIL FROM:<a@sender.example> SIZE=36",
        "S: 250 sender ok",
        "C: RCPT TO:<b@recipient.example>",
        "S: 250 recipient ok",
        "C: DATA",
        "S: 354 go on",
        "-- the message, 36 bytes",
        "C: .",
        "S: 250 taken, ***",
        "C: QUIT",
        "S: 221 bye",
    ]


ECHO = "bad me@qq.com hunter22-geheim aHVudGVyMjItZ2VoZWlt"


@pytest.mark.parametrize(
    ("answer", "state"),
    [(f"250 2.0.0 {ECHO}", "ready"), (f"550 5.1.1 {ECHO}", "ready"), (f"530 5.7.0 {ECHO}", "stopped"),
     (f"421 {ECHO}", "paused"), (f"xyz {ECHO}", "ready")],
)  # fmt: skip
def test_a_server_that_repeats_the_password_does_not_get_it_into_what_is_kept(answer: str, state: str) -> None:
    parcel = Parcel()

    async def main() -> None:
        settings = settings_for(server.port, max_connections=1, **LOGIN_SETTINGS)
        async with running_pool(settings, sleep=Pauses()) as pool:
            pool.submit(parcel)
            await finished(parcel)
            await until(lambda: pool.state == state)
            kept = f"{pool.reason} {parcel.result!r}"
            assert "***" in kept
            assert "geheim" not in kept
            assert "Z2VoZWlt" not in kept

    with scripted_server(HELLO + LOGIN + ENVELOPE + DATA + f"S: {answer}\nhold") as server:
        run_on("asyncio", main())


class Inbox:
    """An aiosmtpd handler that keeps what it takes, and refuses recipients whose name says so."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, bytes]] = []

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address.startswith("no-"):
            return "550 5.1.1 no such user"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 ok"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        assert isinstance(envelope.content, bytes)
        self.taken.append((envelope.rcpt_tos[0], envelope.content))
        return "250 2.0.0 taken"


@contextmanager
def aiosmtpd_server(inbox: Inbox) -> Iterator[int]:
    """aiosmtpd on a free port; it wants a login."""

    def authenticate(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
        return AuthResult(success=(data.login, data.password) == (b"me@qq.com", b"hunter22-geheim"))

    (port,) = free_ports("127.0.0.1", 1)
    controller = Controller(
        inbox, hostname="127.0.0.1", port=port, authenticator=authenticate, auth_required=True, auth_require_tls=False
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of AUTH without TLS, which stays on this machine here
        controller.start()
        try:
            yield port
        finally:
            controller.stop()


@LOOPS
@pytest.mark.parametrize("auth", ["login", "plain", "auto"])
def test_through_a_real_aiosmtpd_every_message_arrives_and_every_refusal_is_known(loop: str, auth: str) -> None:
    inbox = Inbox()
    parcels = [
        Parcel(
            message.Envelope("a@sender.example", f"{'no-' if n % 6 == 0 else ''}r{n}@recipient.example"),
            chunks=(f"Subject: {n}\r\n\r\n".encode(), b".dot\r\n", b"." * n, b"\r\n.\r\nend\r\n"),
        )
        for n in range(120)
    ]

    async def main(port: int) -> None:
        settings = settings_for(port, **LOGIN_SETTINGS | {"auth": auth}, max_connections=4, messages_per_connection=20)
        async with running_pool(settings, timeouts=Timeouts()) as pool:
            for parcel in parcels:
                pool.submit(parcel)
            await finished(*parcels)

    with aiosmtpd_server(inbox) as port:
        run_on(loop, main(port))
    for n, parcel in enumerate(parcels):
        assert parcel.brief == ("answered rcpt 550" if n % 6 == 0 else SENT)
    assert sorted(inbox.taken) == sorted(
        (parcel.envelope.recipient, b"".join(parcel.chunks)) for n, parcel in enumerate(parcels) if n % 6
    )


@pytest.mark.slow
@LOOPS
def test_ten_thousand_messages_on_one_connection_leave_nothing_behind(loop: str) -> None:
    """Slow: it has to be many messages, for a leak of one object each to stand out."""
    require("smtp-sink")

    async def main(host: str, port: int) -> None:
        settings = settings_for(port, host=host, max_connections=1, messages_per_connection=100_000)
        async with running_pool(settings, timeouts=Timeouts()) as pool:
            await batch(pool, 500)
            gc.collect()
            before = sys.getallocatedblocks()
            await batch(pool, 10_000)
            gc.collect()
            assert pool.connections == 1
            # Blocks of memory, whatever they hold: not even one for each ten messages.
            assert sys.getallocatedblocks() - before < 1_000

    async def batch(pool: Any, count: int) -> None:
        left = count
        done = asyncio.Event()

        def count_down(_: Parcel) -> None:
            nonlocal left
            left -= 1
            if not left:
                done.set()

        for _ in range(count):
            pool.submit(Parcel(on_finish=count_down))
        await done.wait()

    with running_smtp_sink() as sink:
        run_on(loop, main(sink.host, sink.port))
        assert sink.messages() == 10_500
