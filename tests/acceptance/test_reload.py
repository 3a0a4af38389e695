"""SIGHUP: a worker goes on by the configuration as it is now, and tries again what had stopped."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

from support.cli import Cli
from support.recording_server import PASSWORD, USER
from support.witness import config_for, recording_server


def wait_until(worker: subprocess.Popen[str], what: Callable[[], bool]) -> None:
    while not what():
        assert worker.poll() is None, "the worker ended by itself"
        with contextlib.suppress(subprocess.TimeoutExpired):
            worker.wait(0.02)


def prepare(cli: Cli, port: int, password: str) -> None:
    folder = cli.folder
    config = config_for(port).replace('{ env = "RECORDER_PASSWORD" }', '{ file = "secret" }')
    (folder / "config.toml").write_text(config, "utf-8")
    write_secret(folder, password)
    (folder / "hello.txt").write_text("Hello\n", "utf-8")
    cli("send", "user5@x.test", "--from", USER, "--subject", "x", "--text", "hello.txt", "--queue").ok()


def write_secret(folder: Path, password: str) -> None:
    (folder / "secret").write_text(password, "utf-8")
    (folder / "secret").chmod(0o600)


def test_a_password_that_was_put_right_is_used_after_a_sighup(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    with recording_server(tmp_path) as (port, witness):
        prepare(cli, port, "wrong")
        with cli.start("worker", stderr=subprocess.DEVNULL) as worker:
            wait_until(worker, lambda: "wrong login" in witness.lines())
            write_secret(tmp_path, PASSWORD)
            worker.send_signal(signal.SIGHUP)
            wait_until(worker, lambda: witness.count("accepted") == {"user5@x.test": 1})
            worker.terminate()
            assert worker.wait(30) == 0
    assert cli("status", "--json").ok().json["campaigns"][0]["sent"] == 1
    cli("db", "check").ok()


def test_a_configuration_that_became_wrong_is_refused_and_the_worker_goes_on(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    with recording_server(tmp_path) as (port, witness):
        prepare(cli, port, PASSWORD)
        log = tmp_path / "stderr.log"
        with log.open("w") as stderr, cli.start("worker", stderr=stderr) as worker:
            wait_until(worker, lambda: witness.count("accepted") == {"user5@x.test": 1})
            good = (tmp_path / "config.toml").read_text("utf-8")
            (tmp_path / "config.toml").write_text(good.replace("max_connections", "max_conections"), "utf-8")
            worker.send_signal(signal.SIGHUP)
            wait_until(worker, lambda: "config.refused" in log.read_text("utf-8"))
            (tmp_path / "config.toml").write_text(good, "utf-8")
            cli("send", "user8@x.test", "--from", USER, "--subject", "x", "--text", "hello.txt", "--queue").ok()
            wait_until(worker, lambda: witness.count("accepted")["user8@x.test"] == 1)
            worker.terminate()
            assert worker.wait(30) == 0
    assert "max_conections" in log.read_text("utf-8")
