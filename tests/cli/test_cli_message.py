"""`mailer message list` and `show` as they are typed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from support.cli import Cli, validate
from support.store import (
    NO_SUCH_USER,
    PUT_OFF,
    REFUSED,
    SENT,
    Clock,
    all_settled,
    answered,
    claim,
    open_store,
    queue,
    recipients,
    register,
    snapshot,
)

from mailer.core.clock import DAY_US
from mailer.core.message import Phase, Result
from mailer.core.reply import Reply
from mailer.service.identity import mailer_id, message_id
from mailer.store import Store


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """mailer in a folder with two campaigns, of which messages have been tried."""
    cli = Cli(tmp_path)
    in_database(cli, two_campaigns)
    return cli


def in_database(cli: Cli, steps: Callable[[Store, Clock], Coroutine[Any, Any, None]], *, ago_us: int = 0) -> None:
    """Run `steps` on the folder's database, which is made, at the present time or so long ago."""
    clock = Clock(time.time_ns() // 1_000 - ago_us)

    async def run() -> None:
        async with await open_store(cli.folder / "mailer.db", clock) as store:
            await steps(store, clock)

    asyncio.run(run())


async def tried(store: Store, clock: Clock, incarnation: str, *results: Result) -> None:
    """Claim as many messages as there are results, and record those."""
    worker = await register(store, incarnation)
    claims = await claim(worker, len(results))
    assert len(claims) == len(results)
    outcomes = [all_settled([one], result, clock)[0] for one, result in zip(claims, results, strict=True)]
    await worker.exchange(outcomes, [])
    await store.workers.end(worker.worker_id)


async def two_campaigns(store: Store, clock: Clock) -> None:
    """spring: 1 sent, 2 deferred, 3 failed, 4 queued. autumn: 5 and 6 queued, 6 to the same person as 1."""
    await queue(store, "spring", recipients(4))
    await tried(store, clock, "1" * 32, SENT, PUT_OFF, REFUSED)
    await queue(store, "autumn", [*recipients(1, first=9), *recipients(1)])


def listed(cli: Cli, *args: str) -> list[str]:
    document = cli("message", "list", "--json", *args).ok().json
    validate(document, "message-list")
    return [message["id"] for message in document["messages"]]


def test_messages_are_listed_newest_first_with_their_last_reply(cli: Cli) -> None:
    document = cli("message", "list", "--json").ok().json
    validate(document, "message-list")
    assert [message["id"] for message in document["messages"]] == ["6", "5", "4", "3", "2", "1"]
    assert document["next"] is None
    failed = document["messages"][3]
    assert failed["campaign"] == "spring"
    assert failed["address"] == "User2@example.org"
    assert (failed["state"], failed["attempts"], failed["due_at"]) == ("failed", 1, None)
    assert (failed["code"], failed["enhanced"], failed["category"]) == (550, "5.1.1", "no-such-user")
    assert (failed["text"], failed["relay"]) == (NO_SUCH_USER.text, "qq")


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (["--campaign", "autumn"], ["6", "5"]),
        (["--address", "USER0@EXAMPLE.ORG"], ["6", "1"]),
        (["--address", "user0@example.org", "--campaign", "spring"], ["1"]),
        (["--state", "failed"], ["3"]),
        (["--state", "failed", "--state", "sent"], ["3", "1"]),
        (["--category", "no-such-user"], ["3"]),
        (["--code", "250"], ["1"]),
        (["--relay", "qq"], ["3", "2", "1"]),
        (["--relay", "gmail"], []),
        (["--since", "2020-01-01"], ["3", "2", "1"]),
        (["--since", "2099-01-01T00:00Z"], []),
        (["--state", "failed", "--code", "250"], []),
    ],
    ids=" ".join,
)  # fmt: skip
def test_all_filters_must_match(cli: Cli, filters: list[str], expected: list[str]) -> None:
    assert listed(cli, *filters) == expected


def test_an_age_counts_back_from_now(tmp_path: Path) -> None:
    cli = Cli(tmp_path)

    async def yesterday(store: Store, clock: Clock) -> None:
        await queue(store, "spring", recipients(1))
        old = Result(SENT.ending, phase=SENT.phase, reply=SENT.reply, relay="qq", started_at_us=clock(), duration_us=1)
        await tried(store, clock, "1" * 32, old)

    in_database(cli, yesterday, ago_us=DAY_US)
    assert listed(cli, "--since", "2d") == ["1"]
    assert listed(cli, "--since", "2h") == []


def test_pages_follow_one_another_without_gap_or_repetition(cli: Cli) -> None:
    pages: list[list[str]] = []
    after: list[str] = []
    while True:
        document = cli("message", "list", "--limit", "4", "--json", *after).ok().json
        pages.append([message["id"] for message in document["messages"]])
        if document["next"] is None:
            break
        after = ["--after", document["next"]]
    assert pages == [["6", "5", "4", "3"], ["2", "1"]]


def test_a_page_that_is_just_full_has_no_next(cli: Cli) -> None:
    assert cli("message", "list", "--limit", "6", "--json").ok().json["next"] is None


def test_the_table_says_how_to_see_more(cli: Cli) -> None:
    ran = cli("message", "list", "--limit", "2").ok()
    head, first, second = ran.stdout.splitlines()
    assert head.split()[:4] == ["ID", "CAMPAIGN", "ADDRESS", "STATE"]
    assert (first.split()[0], second.split()[0]) == ("6", "5")
    assert "add --after 5" in ran.stderr


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--state", "lost"], "lost"),
        (["--category", "no-such-usr"], "Did you mean `no-such-user`?"),
        (["--address", "nobody"], "--address: 'nobody' is no address: it has no `@`."),
        (["--since", "yesterday"], "--since: 'yesterday' is no time."),
        (["--after", "x1"], "--after: 'x1' is no message id."),
        (["--limit", "0"], "--limit"),
        (["--code", "5"], "--code"),
    ],
)
def test_a_filter_that_cannot_be_is_wrong_usage(cli: Cli, args: list[str], said: str) -> None:
    ran = cli("message", "list", *args)
    assert ran.exit == 2
    assert said in ran.stderr


def test_an_unknown_campaign_is_named(cli: Cli) -> None:
    ran = cli("message", "list", "--campaign", "autum")
    assert ran.exit == 1
    assert "Did you mean autumn?" in ran.stderr


# One message


def test_a_message_is_shown_with_every_attempt_in_order(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    known: dict[str, str] = {}

    async def three_tries(store: Store, clock: Clock) -> None:
        known["store"] = store.store_id
        await queue(store, "spring", recipients(1), snapshot(author="news@例子.example"))
        greylisted = answered(Reply(450, "4.7.1", "greylisted\ntry later"), Phase.RCPT)
        for n, result in enumerate((greylisted, greylisted, SENT)):
            await tried(store, clock, str(n) * 32, result)
            clock.forward(DAY_US // 4)

    in_database(cli, three_tries)
    document = cli("message", "show", "1", "--json").ok().json
    validate(document, "message-show")
    assert document["state"] == "sent"
    assert [(a["n"], a["phase"], a["code"], a["milliseconds"]) for a in document["attempts"]] == [
        (1, "rcpt", 450, 1.0),
        (2, "rcpt", 450, 1.0),
        (3, "end-of-data", 250, 1.0),
    ]
    assert document["attempts"][0]["text"] == "greylisted\ntry later"
    assert document["fields"] == {"name": "User 0"}
    # The Message-ID is under the sender's domain as it travels: A-labels.
    assert document["message_id"] == message_id(mailer_id(known["store"], 1, 1), "xn--fsqu00a.example")


def test_the_table_shows_every_line_of_the_servers_words_and_makes_them_harmless(tmp_path: Path) -> None:
    cli = Cli(tmp_path)

    async def hostile(store: Store, clock: Clock) -> None:
        await queue(store, "spring", recipients(1))
        await tried(store, clock, "1" * 32, answered(Reply(550, "5.1.1", "no \x1b[2Jscreen\nsecond line"), Phase.RCPT))

    in_database(cli, hostile)
    shown = cli("message", "show", "1").ok().stdout
    assert "\x1b" not in shown
    assert "1: no \\x1b[2Jscreen\n1: second line\n" in shown
    assert "Message-ID  <" in shown


def test_a_message_without_attempts_says_so(cli: Cli) -> None:
    assert "No attempt yet." in cli("message", "show", "4").ok().stdout
    assert cli("message", "show", "4", "--json").ok().json["attempts"] == []


def test_why_a_message_ended_that_nobody_attempted_is_shown(tmp_path: Path) -> None:
    async def expired(store: Store, clock: Clock) -> None:
        await queue(store, "stale", recipients(1), snapshot(expires_at_us=clock() - 1))
        await store.campaigns.sweep()

    cli = Cli(tmp_path)
    in_database(cli, expired)
    assert "because     not accepted before the campaign's deadline\n" in cli("message", "show", "1").ok().stdout


@pytest.mark.parametrize(("given", "exit_code"), [("99", 1), ("spring", 2), ("-1", 2)])
def test_a_message_that_is_not_there_is_refused(cli: Cli, given: str, exit_code: int) -> None:
    ran = cli("message", "show", "--", given)
    assert ran.exit == exit_code
    assert "mailer message list" in ran.stderr
