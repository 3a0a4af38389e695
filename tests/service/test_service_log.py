"""The log: where a line goes, in which form, and that no secret is in it whichever way it came."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from mailer.config.model import Log
from mailer.config.values import Place
from mailer.errors import ConfigError
from mailer.redact import Redactor
from mailer.service.log import LogFiles, set_up_log

SECRET = 'corréct "horse\\'

Start = Callable[..., io.StringIO]


class Terminal(io.StringIO):
    """stderr as a terminal has it."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def running() -> Iterator[list[LogFiles]]:
    logs: list[LogFiles] = []
    yield logs
    for log in logs:
        log.close()


@pytest.fixture
def start(tmp_path: Path, running: list[LogFiles]) -> Start:
    """Sets up a log with the given keys of `[log]`; gives what stands for stderr."""

    def begin(
        *, stderr: io.StringIO | None = None, verbosity: int = 0, colour: bool = False, **keys: Any
    ) -> io.StringIO:
        redactor = Redactor()
        redactor.add(SECRET)
        config = Log.model_validate(keys, context=Place(tmp_path, {}, redactor.add))
        stderr = stderr or io.StringIO()
        running.append(set_up_log(config, redactor=redactor, verbosity=verbosity, colour=colour, stderr=stderr))
        return stderr

    return begin


log = structlog.get_logger("worker")  # made before any set-up, as the modules of the service do


def fail(error: Exception) -> None:
    raise error


def test_elsewhere_than_on_a_terminal_each_line_is_a_json_document_that_says_when_how_bad_who_and_what(
    start: Start,
) -> None:
    stderr = start()
    log.info("message.deferred", relay="qq", code=451, next_attempt_seconds=300)
    line = json.loads(stderr.getvalue())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("at"))
    assert line == {
        "level": "info",
        "logger": "worker",
        "event": "message.deferred",
        "relay": "qq",
        "code": 451,
        "next_attempt_seconds": 300,
    }


def test_on_a_terminal_a_line_is_for_people(start: Start) -> None:
    stderr = start(stderr=Terminal())
    log.info("message.deferred", relay="qq", code=451)
    assert re.fullmatch(r"\S+Z \[info     \] message\.deferred +\[worker\] relay=qq code=451\n", stderr.getvalue()), (
        stderr.getvalue()
    )


@pytest.mark.parametrize(("form", "begins"), [("console", "2"), ("json", "{")])
def test_the_form_that_is_configured_holds_wherever_stderr_leads(start: Start, form: str, begins: str) -> None:
    for stream in (io.StringIO(), Terminal()):
        stderr = start(stderr=stream, format=form)
        log.info("worker.started")
        assert stderr.getvalue().startswith(begins)


def test_there_are_colours_only_if_they_were_asked_for(start: Start) -> None:
    plain, coloured = start(stderr=Terminal()), None
    log.info("worker.started")
    coloured = start(stderr=Terminal(), colour=True)
    log.info("worker.started")
    assert "\x1b[" not in plain.getvalue()
    assert "\x1b[" in coloured.getvalue()


def test_a_server_cannot_move_the_cursor(start: Start) -> None:
    stderr = start(stderr=Terminal())
    log.warning("message.refused", text="550 \x1b[2Jgone\x07 用户")
    assert "\x1b" not in stderr.getvalue()
    assert "\\x1b[2Jgone\\x07 用户" in stderr.getvalue()


@pytest.mark.parametrize(
    ("level", "verbosity", "shown"),
    [
        ("info", 0, ["info", "warning", "error"]),
        ("debug", 0, ["debug", "info", "warning", "error"]),
        ("error", 0, ["error"]),
        ("warning", 1, ["debug", "info", "warning", "error"]),
        ("info", -1, ["error"]),
    ],
)
def test_the_level_decides_and_v_and_q_move_it(start: Start, level: str, verbosity: int, shown: list[str]) -> None:
    stderr = start(level=level, verbosity=verbosity)
    for name in ("debug", "info", "warning", "error"):
        getattr(log, name)(name)
    assert [json.loads(line)["event"] for line in stderr.getvalue().splitlines()] == shown


def test_the_file_has_everything_and_the_error_file_what_went_wrong_with_its_traceback(
    start: Start, tmp_path: Path
) -> None:
    start(file="all.log", verbosity=-1)
    log.info("worker.started")
    try:
        fail(LookupError("no such lane"))
    except LookupError:
        log.exception("exchange.failed", lane=7)
    entries = [json.loads(line) for line in (tmp_path / "all.log").read_text("utf-8").splitlines()]
    assert [(entry["level"], entry["event"]) for entry in entries] == [
        ("info", "worker.started"),
        ("error", "exchange.failed"),
    ]
    assert "Traceback (most recent call last):\n" in entries[1]["exception"]
    errors = (tmp_path / "error.log").read_text("utf-8")
    assert "worker.started" not in errors
    assert "exchange.failed" in errors
    assert "lane=7" in errors
    assert "    raise error\nLookupError: no such lane\n" in errors


def test_a_run_without_errors_leaves_no_error_file(start: Start, tmp_path: Path) -> None:
    start()
    log.warning("relay.paused")
    assert list(tmp_path.iterdir()) == []


def test_what_libraries_warn_of_becomes_a_line_of_ours_and_their_chatter_does_not(start: Start) -> None:
    stderr = start(level="debug")
    logging.getLogger("aiosmtplib").info("connecting")
    logging.getLogger("asyncio").error("Task %s was lost", 7)
    [line] = map(json.loads, stderr.getvalue().splitlines())
    assert (line["level"], line["logger"], line["event"]) == ("error", "asyncio", "Task 7 was lost")


def test_a_task_whose_error_nobody_fetched_is_in_the_error_file(start: Start, tmp_path: Path) -> None:
    start()

    async def main() -> None:
        asyncio.get_running_loop().call_exception_handler({"message": "lost", "exception": ValueError("what it was")})

    asyncio.run(main())
    assert "ValueError: what it was" in (tmp_path / "error.log").read_text("utf-8")


def test_a_warning_of_pythons_own_becomes_a_line(start: Start) -> None:
    stderr = start()
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        logging.captureWarnings(True)
        warnings.warn("this goes away", FutureWarning, stacklevel=1)
    logging.captureWarnings(False)
    assert "this goes away" in json.loads(stderr.getvalue())["event"]


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_secret_is_in_no_line_whichever_way_it_came(start: Start, tmp_path: Path, form: str) -> None:
    stderr = start(format=form, file="all.log")
    log.info(f"event {SECRET}")
    log.info("field", password=SECRET)
    log.info("nested", of={"password": [SECRET]}, by=("x", SECRET))
    logging.getLogger("library").warning("library says %s", SECRET)
    try:
        fail(ValueError(SECRET))
    except ValueError:
        log.exception("traceback")
    written = stderr.getvalue() + "".join(path.read_text("utf-8") for path in tmp_path.iterdir())
    assert written.count("***") >= 10
    for form_of_it in (
        SECRET,
        repr(SECRET)[1:-1],
        json.dumps(SECRET)[1:-1],
        json.dumps(SECRET, ensure_ascii=False)[1:-1],
    ):
        assert form_of_it not in written
    assert "horse" not in written.replace("\"horse\\\\'\n", "")  # the name of the constant is no secret


def test_after_reopen_lines_go_to_the_new_file(start: Start, running: list[LogFiles], tmp_path: Path) -> None:
    start(file="all.log")
    log.error("first")
    for name in ("all.log", "error.log"):
        (tmp_path / name).rename(tmp_path / f"{name}.1")
    running[0].reopen()
    log.error("second")
    for name in ("all.log", "error.log"):
        assert "first" in (tmp_path / f"{name}.1").read_text("utf-8")
        assert "second" not in (tmp_path / f"{name}.1").read_text("utf-8")
        assert "second" in (tmp_path / name).read_text("utf-8")


def test_where_a_file_cannot_be_reopened_the_old_one_goes_on_and_says_so(
    start: Start, running: list[LogFiles], tmp_path: Path
) -> None:
    (tmp_path / "logs").mkdir()
    stderr = start(file="logs/all.log", error_file="")
    (tmp_path / "logs").rename(tmp_path / "moved")
    running[0].reopen()
    log.info("still here")
    assert "log.not_reopened" in stderr.getvalue()
    assert "still here" in (tmp_path / "moved/all.log").read_text("utf-8")


@pytest.mark.parametrize("key", ["file", "error_file"])
def test_a_file_that_cannot_be_written_is_an_error_of_the_configuration(start: Start, key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        start(**{key: "nowhere/x.log"})
    assert caught.value.message.startswith(f"[log] {key}: ")
    assert caught.value.message.endswith("nowhere/x.log cannot be written: No such file or directory.")


def test_a_log_file_is_not_for_everybody(start: Start, tmp_path: Path) -> None:
    start(file="all.log")
    log.error("x")
    assert [path.stat().st_mode & 0o007 for path in tmp_path.iterdir()] == [0, 0]


def test_a_terminal_that_is_gone_stops_nothing(start: Start, tmp_path: Path) -> None:
    stderr = start(file="all.log")
    stderr.close()
    log.info("worker.started")
    assert "worker.started" in (tmp_path / "all.log").read_text("utf-8")
