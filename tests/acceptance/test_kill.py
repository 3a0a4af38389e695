"""Ten thousand recipients, a login in three steps only, deferrals and refusals, and `kill -9` in the middle.

A server in a process of its own, which shares no code with the project, writes down what it accepted and refused; what
the database says afterwards must be the same, recipient by recipient.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import signal
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from support.cli import Cli, Ran
from support.recording_server import PASSWORD, USER
from support.witness import Witness, config_for, recording_server

RECIPIENTS = 10_000


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path, RECORDER_PASSWORD=PASSWORD)


def prepare(cli: Cli, port: int, count: int, *options: str) -> None:
    (cli.folder / "config.toml").write_text(config_for(port), "utf-8")
    with (cli.folder / "list.csv").open("w", encoding="utf-8") as file:
        file.write("email,name\n")
        file.writelines(f"user{n}@x{n % 7}.test,Name {n}\n" for n in range(count))
    (cli.folder / "body.txt").write_text("Dear {{ name }},\nthis is for {{ address }}.\n", "utf-8")
    cli(
        "campaign", "queue", "spring", "--from", f"News <{USER}>", "--subject", "For {{ name }}",
        "--text", "body.txt", "--recipients", "list.csv", *options,
    ).ok()  # fmt: skip


def states(cli: Cli) -> dict[str, dict[str, str]]:
    out = cli("campaign", "export", "spring", "--format", "csv").ok().stdout
    return {row["address"]: row for row in csv.DictReader(io.StringIO(out))}


def compare(cli: Cli, witness: Witness, count: int) -> tuple[Counter[str], int]:
    """Every state is what the server recorded; how many in each state, and how many were accepted more than once."""
    accepted, refused = witness.count("accepted"), witness.count("refused")
    rows = states(cli)
    assert len(rows) == count
    twice = 0
    for address, row in rows.items():
        if row["state"] == "sent":
            assert accepted[address] >= 1, f"{address} is sent, but the server never took it"
            assert row["code"] == "250"
        elif row["state"] == "failed":
            assert accepted[address] == 0, f"{address} is failed, but the server took it"
            assert refused[address] >= 1
            assert (row["code"], row["enhanced"]) == ("550", "5.1.1")
        else:
            pytest.fail(f"{address} ended {row['state']}: {row}")
        if accepted[address] > 1:
            twice += 1
            assert_marked_as_resent(cli, address)
    ran = cli("db", "check").ok()
    assert "nothing" in ran.stdout.lower() or ran.exit == 0
    return Counter(row["state"] for row in rows.values()), twice


def assert_marked_as_resent(cli: Cli, address: str) -> None:
    """Whoever got it twice has an attempt that ended without an answer: never in silence."""
    [message] = cli("message", "list", "--address", address, "--json").ok().json["messages"]
    shown = cli("message", "show", message["id"], "--json").ok().json
    assert any(attempt["code"] is None for attempt in shown["attempts"]), json.dumps(shown, indent=1)


def expected(count: int) -> dict[str, int]:
    refused = sum(1 for n in range(count) if n % 6 == 0)
    return {"sent": count - refused, "failed": refused}


def run_to_the_end(cli: Cli) -> Ran:
    ran = cli("worker", "--until-empty", timeout=300)
    assert ran.exit == 5, f"a sixth is refused, so 5 was expected: {ran}"
    return ran


@pytest.mark.slow
def test_ten_thousand_recipients_end_as_the_server_recorded(cli: Cli) -> None:
    """Slow: 16,000 attempts."""
    with recording_server(cli.folder) as (port, witness):
        prepare(cli, port, RECIPIENTS)
        run_to_the_end(cli)
        counts, twice = compare(cli, witness, RECIPIENTS)
    assert counts == expected(RECIPIENTS)
    assert twice == 0
    deferred = witness.count("deferred")
    third = [n for n in range(RECIPIENTS) if n % 3 == 1 and n % 6]
    assert deferred == {f"user{n}@x{n % 7}.test": 2 for n in third}
    assert "wrong login" not in witness.lines()


@pytest.mark.slow
def test_kill_9_in_the_middle_loses_nobody_and_doubles_nobody_in_silence(cli: Cli) -> None:
    """Slow: 16,000 attempts and five kills."""
    with recording_server(cli.folder, "--hold-end", "50") as (port, witness):
        prepare(cli, port, RECIPIENTS)
        for kill in range(1, 6):
            kill_after(cli, witness, kill * 1_200)
        run_to_the_end(cli)
        counts, twice = compare(cli, witness, RECIPIENTS)
    assert counts == expected(RECIPIENTS)
    # A kill leaves in doubt at most what each connection was waiting for an answer to.
    assert twice <= 5 * 10


@pytest.mark.slow
def test_with_hold_a_kill_sends_nobody_anything_twice(cli: Cli) -> None:
    """Slow: several thousand attempts and three kills."""
    count = 3_000
    with recording_server(cli.folder, "--hold-end", "20") as (port, witness):
        prepare(cli, port, count, "--on-uncertain", "hold")
        for kill in range(1, 4):
            kill_after(cli, witness, kill * 500)
        held_before = sum(row["state"] == "uncertain" for row in states(cli).values())
        ran = cli("worker", "--until-empty", timeout=300)
        accepted = witness.count("accepted")
        rows = states(cli)
        held = sum(row["state"] == "uncertain" for row in rows.values())
        assert ran.exit == (6 if held > held_before else 5), ran
    assert set(accepted.values()) == {1}
    for address, row in rows.items():
        if row["state"] == "sent":
            assert accepted[address] == 1
        elif row["state"] == "failed":
            assert accepted[address] == 0
        else:
            assert row["state"] == "uncertain"
    cli("db", "check").ok()


def kill_after(cli: Cli, witness: Witness, accepted: int) -> None:
    """Start a worker and kill it as soon as the server has accepted so many in all."""
    with cli.start("worker", stderr=subprocess.DEVNULL) as worker:
        while sum(witness.count("accepted").values()) < accepted:
            assert worker.poll() is None, "the worker ended by itself"
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.wait(0.02)
        worker.send_signal(signal.SIGKILL)
        worker.wait(10)


def test_a_clean_stop_leaves_nothing_in_hand_and_the_next_worker_goes_on(cli: Cli) -> None:
    count = 1_500
    with recording_server(cli.folder) as (port, witness):
        prepare(cli, port, count)
        with cli.start("worker", stderr=subprocess.DEVNULL) as worker:
            while sum(witness.count("accepted").values()) < 300:
                assert worker.poll() is None
                with contextlib.suppress(subprocess.TimeoutExpired):
                    worker.wait(0.02)
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(30) == 0
        status = cli("status", "--json").ok().json
        [campaign] = status["campaigns"]
        assert (campaign["sending"], campaign["uncertain"], status["workers"]) == (0, 0, [])
        assert campaign["sent"] == sum(witness.count("accepted").values())
        run_to_the_end(cli)
        counts, twice = compare(cli, witness, count)
    assert counts == expected(count)
    assert twice == 0
