"""`mailer worker` as it is typed: exit codes, what it says of the rest, its log, its signals, its processes."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.cli import Cli
from support.recording_server import PASSWORD, USER
from support.scripted_server import scripted_server
from support.witness import Witness, config_for, recording_server
from support.worker import Clerk, Gate, gates, rows_of

# What the recording server does with whom.
TAKEN, ALSO_TAKEN, REFUSED, ALSO_REFUSED, PUT_OFF = (f"user{n}@x.test" for n in (5, 8, 6, 12, 1))


@pytest.fixture
def witness(tmp_path: Path) -> Iterator[Witness]:
    with recording_server(tmp_path) as (port, witness):
        (tmp_path / "config.toml").write_text(config_for(port), "utf-8")
        yield witness


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path, RECORDER_PASSWORD=PASSWORD, MAILER_LOG__LEVEL="info")


def queue(cli: Cli, name: str, *addresses: str, options: tuple[str, ...] = ()) -> None:
    (cli.folder / "list.txt").write_text("".join(f"{address}\n" for address in addresses), "utf-8")
    (cli.folder / "body.txt").write_text("For {{ address }}.\n", "utf-8")
    cli(
        "campaign", "queue", name, "--from", USER, "--subject", "Hello", "--text", "body.txt",
        "--recipients", "list.txt", *options,
    ).ok()  # fmt: skip


def events(stderr: str) -> list[dict[str, Any]]:
    """The log lines among what was written to stderr."""
    return [json.loads(line) for line in stderr.splitlines() if line.startswith("{")]


def said(stderr: str) -> list[str]:
    """The lines for people."""
    return [line for line in stderr.splitlines() if not line.startswith("{")]


@contextmanager
def running(cli: Cli, *more: str) -> Iterator[subprocess.Popen[str]]:
    """A worker that has started; killed at the end of the block if it is there still."""
    with cli.start("worker", *more) as process:
        try:
            wait_for(process, "worker.started")
            yield process
        finally:
            process.kill()


def wait_for(process: subprocess.Popen[str], *wanted: str) -> dict[str, Any]:
    """Read its log up to where all these events have come, in whatever order; the last of them."""
    assert process.stderr is not None
    missing = list(wanted)
    for line in process.stderr:
        entry = json.loads(line) if line.startswith("{") else {"event": None}
        if entry["event"] in missing:
            missing.remove(entry["event"])
            if not missing:
                return entry
    raise AssertionError(f"the worker ended without {missing}")


def live_pids(cli: Cli) -> set[int]:
    return {pid for (pid,) in rows_of(cli.folder / "queue.db", "SELECT pid FROM worker WHERE state = 'live'")}


@pytest.mark.usefixtures("witness")
class TestUntilEmpty:
    def test_with_everything_sent_it_ends_with_0_and_says_nothing(self, cli: Cli) -> None:
        queue(cli, "spring", TAKEN, PUT_OFF)
        ran = cli("worker", "--until-empty").ok()
        assert ran.stdout == ""
        assert said(ran.stderr) == []

    def test_its_log_is_json_where_stderr_is_no_terminal(self, cli: Cli) -> None:
        queue(cli, "spring", TAKEN, REFUSED)
        logged = events(cli("worker", "--until-empty").stderr)
        assert [entry["event"] for entry in logged] == ["worker.started", "message.failed", "worker.ended"]
        failed = logged[1]
        assert (failed["relay"], failed["phase"], failed["code"]) == ("recorder", "rcpt", 550)
        assert PASSWORD not in json.dumps(logged)

    @pytest.mark.parametrize(
        ("bar", "code"),
        [((), 5), (("--max-failed", "1"), 0), (("--max-failed", "50%"), 0), (("--max-failed", "49%"), 5)],
    )
    def test_what_ended_badly_is_5_unless_the_bar_is_higher(self, cli: Cli, bar: tuple[str, ...], code: int) -> None:
        queue(cli, "spring", TAKEN, REFUSED)
        ran = cli("worker", "--until-empty", *bar)
        assert ran.exit == code
        words = ["1 of 2 messages failed or stayed uncertain (`mailer message list --state failed`)."]
        assert said(ran.stderr) == (words if code else [])

    def test_what_had_failed_before_does_not_count(self, cli: Cli) -> None:
        queue(cli, "spring", REFUSED)
        assert cli("worker", "--until-empty").exit == 5
        queue(cli, "summer", TAKEN)
        cli("worker", "--until-empty").ok()

    def test_each_thing_that_is_left_is_named_with_its_reason_and_the_code_is_6(self, cli: Cli) -> None:
        queue(cli, "held", TAKEN, ALSO_TAKEN, options=("--hold",))
        queue(cli, "later", TAKEN, options=("--start-at", "2099-01-02T03:04:05Z"))
        queue(cli, "now", ALSO_TAKEN)
        ran = cli("worker", "--until-empty")
        assert ran.exit == 6
        assert sorted(said(ran.stderr)) == [
            "held: 2 left, paused: held when it was queued",
            "later: 1 left, scheduled for 2099-01-02T03:04:05+00:00",
        ]

    def test_with_no_wait_a_retry_is_left_and_named_with_its_time(self, cli: Cli) -> None:
        queue(cli, "spring", PUT_OFF, TAKEN)
        ran = cli(
            "worker", "--until-empty", "--no-wait", env={"MAILER_RETRY__FIRST": "1h", "MAILER_RETRY__LONGEST": "1h"}
        )
        assert ran.exit == 6
        [line] = said(ran.stderr)
        assert line.startswith("spring: 1 left, deferred until 20")
        assert line.endswith("+00:00")

    def test_a_wrong_password_leaves_everything_and_names_the_servers_words(self, cli: Cli) -> None:
        queue(cli, "spring", TAKEN)
        ran = cli("worker", "--until-empty", env={"RECORDER_PASSWORD": "wrong-geheim"})
        assert ran.exit == 6
        [line] = said(ran.stderr)
        assert line.startswith("spring: 1 left, relay recorder stopped: ")
        assert "535" in line
        assert "wrong-geheim" not in ran.stderr
        stopped = [entry for entry in events(ran.stderr) if entry["event"] == "relay.stopped"]
        assert [entry["level"] for entry in stopped] == ["error"]

    @pytest.mark.parametrize("processes", ["2", "3"])
    def test_several_processes_send_everything_once(self, cli: Cli, witness: Witness, processes: str) -> None:
        addresses = [f"user{n}@x.test" for n in range(2, 300, 3)]
        queue(cli, "spring", *addresses)
        cli("worker", "--until-empty", "--processes", processes).ok()
        assert witness.count("accepted") == dict.fromkeys(addresses, 1)

    def test_a_process_too_many_for_the_relay_is_no_obstacle(self, cli: Cli, witness: Witness) -> None:
        file = cli.folder / "config.toml"
        file.write_text(file.read_text().replace("max_connections = 10", "max_connections = 1"))
        queue(cli, "spring", TAKEN, ALSO_TAKEN)
        ran = cli("worker", "--until-empty", "--processes", "2").ok()
        assert said(ran.stderr) == []
        assert witness.count("accepted") == {TAKEN: 1, ALSO_TAKEN: 1}


@pytest.mark.usefixtures("witness")
class TestRefusals:
    def test_no_wait_alone_means_nothing(self, cli: Cli) -> None:
        ran = cli("worker", "--no-wait")
        assert ran.exit == 2
        assert ran.stderr == ("mailer: --no-wait means nothing without --until-empty.\n  Add --until-empty.\n")
        assert not (cli.folder / "queue.db").exists()

    @pytest.mark.parametrize("bar", ["-1", "101%", "some", "nan%", "1.5"])
    def test_a_bar_that_is_none_is_refused(self, cli: Cli, bar: str) -> None:
        ran = cli("worker", "--until-empty", f"--max-failed={bar}")
        assert ran.exit == 2
        assert "neither a number of messages nor a percentage such as 2%" in ran.stderr

    def test_a_wrong_configuration_is_3(self, cli: Cli) -> None:
        ran = cli("worker", "--until-empty", env={"MAILER_WORKER__LEASE": "soon"})
        assert ran.exit == 3
        assert "MAILER_WORKER__LEASE: expected a duration" in ran.stderr

    @pytest.mark.parametrize("more", [(), ("--processes", "2")])
    def test_a_database_that_is_none_is_4(self, cli: Cli, more: tuple[str, ...]) -> None:
        (cli.folder / "queue.db").write_bytes(b"something else entirely, and long enough to be read\n" * 100)
        ran = cli("worker", "--until-empty", *more)
        assert ran.exit == 4
        assert "is not a mailer database" in ran.stderr

    def test_an_error_that_nobody_foresaw_is_a_sentence_and_its_traceback_is_in_the_error_file(self, cli: Cli) -> None:
        queue(cli, "spring", TAKEN)
        with closing(sqlite3.connect(cli.folder / "queue.db")) as database, database:
            database.execute("PRAGMA ignore_check_constraints = ON")
            database.execute("UPDATE message SET fields = '{'")
        ran = cli("worker", "--until-empty")
        assert ran.exit == 1
        assert "an error that should not happen: JSONDecodeError" in said(ran.stderr)[0]
        assert "Traceback" not in "\n".join(said(ran.stderr))
        assert "Traceback" in (cli.folder / "error.log").read_text()
        assert "JSONDecodeError" in (cli.folder / "error.log").read_text()


@pytest.mark.usefixtures("witness")
class TestSignals:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_an_idle_worker_stops_cleanly_with_0(self, cli: Cli, number: signal.Signals) -> None:
        with running(cli) as worker:
            worker.send_signal(number)
            wait_for(worker, "worker.ended")
            assert worker.wait(20) == 0
        assert live_pids(cli) == set()
        assert list((cli.folder / "queue.db-flight").iterdir()) == []

    def test_a_hang_up_opens_the_log_files_anew(self, cli: Cli) -> None:
        log = cli.folder / "mailer.log"
        with running_with(cli, MAILER_LOG__FILE=str(log)) as worker:
            log.rename(cli.folder / "mailer.log.1")
            worker.send_signal(signal.SIGHUP)
            while not log.exists():
                assert worker.poll() is None
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(20) == 0
        assert "worker.ended" in log.read_text()

    def test_children_stop_and_the_supervisor_ends_with_0(self, cli: Cli) -> None:
        with running(cli, "--processes", "2") as supervisor:
            wait_for(supervisor, "worker.started")
            assert len(live_pids(cli)) == 2
            supervisor.send_signal(signal.SIGTERM)
            assert supervisor.wait(20) == 0
        assert live_pids(cli) == set()

    def test_a_child_that_is_killed_is_replaced_and_settled(self, cli: Cli) -> None:
        """A second and a half: the first pause before a restart."""
        with running(cli, "--processes", "2") as supervisor:
            wait_for(supervisor, "worker.started")
            victim, other = sorted(live_pids(cli))
            kill(victim)
            wait_for(supervisor, "worker.started", "worker.dead")
            assert victim not in live_pids(cli)
            assert other in live_pids(cli)
            assert len(live_pids(cli)) == 2
            supervisor.send_signal(signal.SIGTERM)
            assert supervisor.wait(20) == 0

    def test_children_whose_supervisor_is_killed_stop_as_on_sigterm(self, cli: Cli) -> None:
        with running(cli, "--processes", "2") as supervisor:
            wait_for(supervisor, "worker.started")
            supervisor.kill()
            # They share the supervisor's stderr, which ends when the last of them has gone.
            assert supervisor.stderr is not None
            rest = supervisor.stderr.read()
        assert [entry["event"] for entry in events(rest)].count("worker.ended") == 2
        assert live_pids(cli) == set()
        assert list((cli.folder / "queue.db-flight").iterdir()) == []


@contextmanager
def running_with(cli: Cli, **environ: str) -> Iterator[subprocess.Popen[str]]:
    with running(Cli(cli.folder, **{**cli.environ, **environ})) as process:
        yield process


def kill(pid: int) -> None:
    """A child of a supervisor that this test has started."""
    os.kill(pid, signal.SIGKILL)


STUCK = """
[database]
url = "sqlite:///queue.db"
[worker]
stop_within = "{stop_within}"
[[relay]]
name = "stuck"
host = "127.0.0.1"
port = {port}
tls = "none"
auth = "none"
"""


@contextmanager
def at_the_end_of_data(cli: Cli, stop_within: str) -> Iterator[subprocess.Popen[str]]:
    """A worker that waits for an answer to the end of data, which never comes."""
    gate = Gate()
    with scripted_server(Clerk(on_end=gate)) as server, gates(gate):
        (cli.folder / "config.toml").write_text(STUCK.format(port=server.port, stop_within=stop_within), "utf-8")
        queue(cli, "spring", TAKEN)
        with running(cli) as worker:
            gate.wait()
            yield worker


def test_what_is_not_answered_in_time_is_counted_in_the_last_line(cli: Cli) -> None:
    with at_the_end_of_data(cli, "0.2s") as worker:
        worker.send_signal(signal.SIGTERM)
        _, stderr = worker.communicate(timeout=20)
        assert worker.returncode == 0
    assert said(stderr)[-1] == (
        "Stopped; 1 message(s) had not been answered and are uncertain (`mailer message list --state uncertain`)."
    )
    assert rows_of(cli.folder / "queue.db", "SELECT state, in_doubt FROM message") == [("uncertain", 1)]


def test_a_second_signal_leaves_at_once_and_the_flight_recorder_has_the_rest(cli: Cli) -> None:
    with at_the_end_of_data(cli, "1h") as worker:
        worker.send_signal(signal.SIGTERM)
        wait_for(worker, "worker.stopping")
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(20) == 128 + signal.SIGTERM
    database = cli.folder / "queue.db"
    assert rows_of(database, "SELECT state FROM message") == [("sending",)]
    with running(cli) as worker:
        assert wait_for(worker, "worker.dead")["settled"] == 1
    assert rows_of(database, "SELECT state, in_doubt FROM message") == [("uncertain", 1)]


def test_a_second_signal_to_the_supervisor_is_one_for_its_children_too(cli: Cli) -> None:
    """Otherwise they would go on for `stop_within`, here an hour, after the prompt is back."""
    gate = Gate()
    with scripted_server(Clerk(on_end=gate)) as server, gates(gate):
        (cli.folder / "config.toml").write_text(STUCK.format(port=server.port, stop_within="1h"), "utf-8")
        queue(cli, "spring", TAKEN)
        with running(cli, "--processes", "2") as supervisor:
            wait_for(supervisor, "worker.started")
            gate.wait()
            supervisor.send_signal(signal.SIGINT)
            wait_for(supervisor, "worker.stopping", "worker.stopping", "worker.stopping")  # itself, too
            supervisor.send_signal(signal.SIGINT)
            assert supervisor.wait(20) == 128 + signal.SIGINT
            assert supervisor.stderr is not None
            supervisor.stderr.read()  # ends when nobody is left
