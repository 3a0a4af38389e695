"""`mailer status` as it is typed: the document, the tables, waiting and watching, and what it costs."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

import pytest
from support.cli import Cli, validate
from support.store import (
    PUT_OFF,
    REFUSED,
    SENT,
    UNKNOWN,
    Clock,
    all_settled,
    claim,
    open_store,
    queue,
    recipients,
    register,
    send_all,
    snapshot,
)

from mailer.core.message import OnUncertain
from mailer.store import RelayReport, Store

CONFIG: Final = """
[[relay]]
name = "qq"
host = "127.0.0.1"
port = 2525
tls = "none"
daily_limit = 500

[[relay]]
name = "spare"
host = "127.0.0.1"
port = 2526
tls = "none"
senders = ["nobody@example.com"]
"""


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """mailer in a folder with a configuration."""
    (tmp_path / "config.toml").write_text(CONFIG)
    return Cli(tmp_path)


def in_database(cli: Cli, steps: Callable[[Store, Clock], Coroutine[Any, Any, None]]) -> None:
    """Run `steps` on the folder's database, which is made, at the present time."""
    clock = Clock(time.time_ns() // 1_000)

    async def run() -> None:
        async with await open_store(cli.folder / "mailer.db", clock) as store:
            await steps(store, clock)

    asyncio.run(run())


async def half_done(store: Store, clock: Clock) -> None:
    """Six of ten messages have been tried: 3 sent, 2 deferred, 1 failed. The worker still lives."""
    await queue(store, "spring", recipients(10))
    worker = await register(store)
    claims = await claim(worker, 6)
    results = [SENT, SENT, SENT, PUT_OFF, PUT_OFF, REFUSED]
    outcomes = [
        outcome for one, result in zip(claims, results, strict=True) for outcome in all_settled([one], result, clock)
    ]
    await worker.exchange(outcomes, [])
    await store.workers.report_relays(worker.worker_id, [RelayReport("qq", "ready", "", None, 3)])


async def all_sent(store: Store, clock: Clock) -> None:
    await queue(store, "spring", recipients(4))
    worker = await register(store)
    await send_all(worker, clock)
    await store.workers.end(worker.worker_id)


async def in_doubt(store: Store, clock: Clock) -> None:
    await queue(store, "spring", recipients(4))
    worker = await register(store)
    await send_all(worker, clock, UNKNOWN)
    await store.workers.end(worker.worker_id)


def test_what_may_have_been_sent_twice_is_counted_in_sight(cli: Cli) -> None:
    in_database(cli, all_sent)
    assert "DOUBT" not in cli("status").ok().stdout
    cli.folder.joinpath("mailer.db").unlink()
    in_database(cli, in_doubt)
    doubted = cli("status", "--json").ok().json["campaigns"][0]["in_doubt"]
    head, row = cli("status").ok().stdout.splitlines()[2:4]
    end = head.index("IN DOUBT") + len("IN DOUBT")
    assert row[:end].endswith(f" {doubted}")
    assert doubted > 0


def test_why_a_campaign_does_not_send_yet_is_said(cli: Cli) -> None:
    async def not_yet(store: Store, clock: Clock) -> None:
        await queue(store, "later", recipients(1), snapshot(start_at_us=clock() + 3_600_000_000))
        load = await store.begin_load("half", loader="test", new=snapshot())
        await load.add(recipients(1))

    in_database(cli, not_yet)
    text = cli("status").ok().stdout
    assert re.search(r"^later +scheduled .* starts at \d{4}-\d\d-\d\dT\S+Z$", text, re.MULTILINE)
    assert re.search(r"^half +loading .* if that was killed, type it again$", text, re.MULTILINE)


# The document


def test_the_document_holds_counts_relays_and_workers(cli: Cli) -> None:
    in_database(cli, half_done)
    document = cli("status", "--json").ok().json
    validate(document, "status")
    [campaign] = document["campaigns"]
    counts = {key: campaign[key] for key in ("total", "queued", "deferred", "sending", "sent", "failed", "uncertain")}
    assert counts == {
        "total": 10, "queued": 4, "deferred": 2, "sending": 0, "sent": 3, "failed": 1, "uncertain": 0,
    }  # fmt: skip
    assert campaign["state"] == "running"
    assert campaign["rate_per_second"] > 0
    assert campaign["eta_seconds"] == pytest.approx(6 / campaign["rate_per_second"], rel=0.02)
    assert [
        (one["name"], one["state"], one["connections"], one["sent_24h"], one["daily_limit"])
        for one in document["relays"]
    ] == [
        ("qq", "ready", 3, 3, 500),
        ("spare", "idle", 0, 0, None),
    ]
    assert [(one["id"], one["host"], one["pid"], one["slots"]) for one in document["workers"]] == [("1", "here", 1, 4)]
    assert document["trouble"] == []


def test_one_campaign_can_be_asked_for_and_an_unknown_one_is_named(cli: Cli) -> None:
    async def two(store: Store, clock: Clock) -> None:
        await queue(store, "spring", recipients(2))
        await queue(store, "autumn", recipients(3))

    in_database(cli, two)
    assert [one["name"] for one in cli("status", "autumn", "--json").ok().json["campaigns"]] == ["autumn"]
    ran = cli("status", "sprng")
    assert ran.exit == 1
    assert "there is no campaign called sprng" in ran.stderr
    assert "Did you mean spring?" in ran.stderr


def test_without_a_database_it_says_so_and_makes_none(cli: Cli) -> None:
    ran = cli("status")
    assert ran.exit == 4
    assert f"no database at {cli.folder / 'mailer.db'}" in ran.stderr
    assert not (cli.folder / "mailer.db").exists()


def test_csv_has_a_line_a_campaign(cli: Cli) -> None:
    in_database(cli, half_done)
    head, row = cli("status", "--format", "csv").ok().stdout.splitlines()
    assert dict(zip(head.split(","), row.split(","), strict=True))["sent"] == "3"


# The tables


def test_the_tables_tell_the_same_in_words(cli: Cli) -> None:
    in_database(cli, half_done)
    campaigns, relays, workers = cli("status").ok().stdout.split("\n\n")
    head, row = campaigns.splitlines()
    assert head.split() == [
        "CAMPAIGN", "STATE", "TOTAL", "SENT", "QUEUED", "SENDING", "DEFERRED", "FAILED", "RATE", "TIME", "LEFT",
    ]  # fmt: skip
    assert row.split()[:9] == ["spring", "running", "10", "40", "%", "3", "4", "0", "2"]
    assert "spare  idle" in relays
    assert workers.splitlines()[1].split()[:4] == ["1", "here", "1", "4"]


def test_columns_stay_aligned_under_chinese_names(cli: Cli) -> None:
    async def named(store: Store, clock: Clock) -> None:
        await queue(store, "春季活动", recipients(2), hold=True)
        await queue(store, "spring", recipients(2), hold=True)

    in_database(cli, named)
    lines = cli("status").ok().stdout.splitlines()
    # A wide character takes two cells: four of them are as wide as eight letters.
    assert lines[1].index("paused") + 4 == lines[2].index("paused")


def test_trouble_stands_on_top(cli: Cli) -> None:
    async def waiting(store: Store, clock: Clock) -> None:
        await queue(store, "spring", recipients(3))

    in_database(cli, waiting)
    ran = cli("status").ok()
    assert ran.stdout.startswith("! No worker is running, and 3 messages wait: start one with `mailer worker`.\n\n")


# Waiting


def test_a_wait_for_what_has_ended_is_over_at_once(cli: Cli) -> None:
    in_database(cli, all_sent)
    assert "finished" in cli("status", "--wait").ok().stdout
    assert cli("status", "spring", "--wait", "--json").ok().json["campaigns"][0]["sent"] == 4


@pytest.mark.parametrize(
    ("results", "options", "expected"),
    [
        ([SENT, SENT], [], 0),
        ([SENT, REFUSED], [], 5),
        ([SENT, REFUSED], ["--max-failed", "1"], 0),
        ([SENT, REFUSED], ["--max-failed", "40%"], 5),
    ],
    ids=["all well", "one failed", "one may fail", "more than 40 % failed"],
)
def test_a_wait_ends_with_what_came_of_the_messages_meanwhile(
    cli: Cli, results: list[Any], options: list[str], expected: int
) -> None:
    async def queued(store: Store, clock: Clock) -> None:
        await queue(store, "spring", recipients(2))

    async def sends(store: Store, clock: Clock) -> None:
        worker = await register(store)
        claims = await claim(worker, 2)
        outcomes = [all_settled([one], result, clock)[0] for one, result in zip(claims, results, strict=True)]
        await worker.exchange(outcomes, [])
        await store.workers.end(worker.worker_id)

    in_database(cli, queued)
    with cli.start("status", "--wait", *options) as process:
        # The wait has begun once it has said that nobody sends: only then something happens.
        assert process.stderr is not None
        assert "No worker is running" in process.stderr.readline()
        in_database(cli, sends)
        assert process.wait(20) == expected


async def paused(store: Store, clock: Clock) -> None:
    await queue(store, "spring", recipients(3), hold=True)


async def held(store: Store, clock: Clock) -> None:
    await queue(store, "spring", recipients(1), snapshot(on_uncertain=OnUncertain.HOLD))
    worker = await register(store)
    await send_all(worker, clock, UNKNOWN)
    await store.workers.end(worker.worker_id)


async def stopped(store: Store, clock: Clock) -> None:
    await queue(store, "spring", recipients(3))
    worker = await register(store)
    await store.workers.report_relays(worker.worker_id, [RelayReport("qq", "stopped", "535 wrong password", None, 0)])


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        (paused, "spring: 3 left, paused"),
        (held, "spring: 1 uncertain and held"),
        (stopped, "spring: 3 left, relay qq is stopped: 535 wrong password"),
    ],
    ids=["paused", "held", "relay stopped"],
)
def test_a_wait_ends_with_6_and_the_reason_when_only_an_operator_can_move_it_on(
    cli: Cli, steps: Callable[[Store, Clock], Coroutine[Any, Any, None]], reason: str
) -> None:
    in_database(cli, steps)
    ran = cli("status", "spring", "--wait", timeout=20)
    assert ran.exit == 6
    assert reason in ran.stderr


# Watching


def test_watching_without_a_terminal_writes_lines_and_ends_when_everything_has_ended(cli: Cli) -> None:
    in_database(cli, half_done)

    async def sends_the_rest(store: Store, clock: Clock) -> None:
        await store.campaigns.cancel("spring")

    with cli.start("status", "--watch") as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("spring: running, 3 of 10 sent, 2 deferred, 1 failed")
        in_database(cli, sends_the_rest)
        last = process.stdout.read().splitlines()[-1]
        assert process.wait(20) == 0
    assert last == "spring: cancelled, 3 of 10 sent, 1 failed, 6 cancelled"


def test_watching_as_json_lines_writes_a_document_a_change(cli: Cli) -> None:
    in_database(cli, all_sent)
    [document] = cli("status", "--watch", "--format", "jsonl").ok().jsonl
    validate(document, "status")


def test_watching_as_one_document_is_refused(cli: Cli) -> None:
    ran = cli("status", "--watch", "--json")
    assert ran.exit == 2
    assert "--format jsonl" in ran.error["hint"]


def test_ctrl_c_ends_the_watching_quietly_with_130(cli: Cli) -> None:
    in_database(cli, half_done)
    with cli.start("status", "--watch") as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert process.stderr is not None
        assert process.stderr.read() == ""


@pytest.mark.parametrize(("columns", "lines"), [(100, 30), (40, 6)], ids=["large", "small"])
def test_on_a_terminal_the_table_is_drawn_within_its_size_and_its_last_frame_stays(
    cli: Cli, columns: int, lines: int
) -> None:
    async def many(store: Store, clock: Clock) -> None:
        await all_sent(store, clock)
        for number in range(12):
            await queue(store, f"more{number}", recipients(1))
        worker = await register(store, "1" * 32)
        await send_all(worker, clock)
        await store.workers.end(worker.worker_id)

    in_database(cli, many)
    shown = on_terminal(cli, "status", "--watch", columns=columns, lines=lines)
    text = [line.rstrip() for line in shown.replace("\r", "").split("\n")]
    drawn = [line for line in text if line]
    assert any("100 %" in line for line in drawn)
    assert len(drawn) < lines, shown
    assert max(map(len, drawn)) <= columns, shown
    if lines == 6:
        assert any("more" in line and line.startswith("…") for line in drawn), shown


def on_terminal(cli: Cli, *args: str, columns: int, lines: int) -> str:
    """What stands on a terminal of that size after the command; control sequences are taken out."""
    ran = cli.on_terminal(*args, env={"COLUMNS": str(columns), "LINES": str(lines)}).ok()
    # A frame is drawn over the one before: the cursor goes up and each line is erased. The last one is what stays.
    last = re.split(r"(?:\x1b\[1A\x1b\[2K)+|\r\x1b\[2K", ran.stdout)[-1]
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\^D\x08\x08", "", last)


# What it costs


def test_status_imports_only_what_a_table_needs(cli: Cli) -> None:
    in_database(cli, all_sent)
    script = (
        "import sys, os, json\n"
        "from mailer.cli.entry import run\n"
        "code = run(['status'], os.environ)\n"
        "print(json.dumps([code, sorted({name.partition('.')[0] for name in sys.modules})]), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=cli.folder, env=cli.environ, capture_output=True, check=True, timeout=30
    )
    code, modules = json.loads(done.stderr.splitlines()[-1])
    assert code == 0
    assert not {"rich", "jinja2", "structlog", "aiosmtplib", "uvloop"} & set(modules)


@pytest.mark.parametrize("columns", [80, 120])
def test_a_row_stays_on_one_line_and_a_wide_terminal_shows_what_passes_quickly(cli: Cli, columns: int) -> None:
    in_database(cli, all_sent)
    ran = cli.on_terminal("status", env={"COLUMNS": str(columns), "NO_COLOR": "1"}).ok()
    head, row = ran.stdout.splitlines()[:2]
    assert max(len(head), len(row)) <= columns
    assert ("SENDING" in head, "RATE" in head) == (columns == 120, columns == 120)
