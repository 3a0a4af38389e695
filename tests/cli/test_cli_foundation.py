"""What holds for every command: exit codes, errors, colours, closed pipes, and how little is loaded to start."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.cli import Cli, validate

from mailer import __version__


@pytest.fixture
def mailer(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


# What was typed


def test_the_version_is_one_line(mailer: Cli) -> None:
    assert mailer("--version").ok().stdout == f"mailer {__version__}\n"


def test_nothing_typed_is_wrong_usage_and_shows_the_help(mailer: Cli) -> None:
    ran = mailer()
    assert (ran.exit, ran.stdout) == (2, "")
    assert ran.stderr.startswith("Usage: mailer [OPTIONS] COMMAND")


def test_an_unknown_command_is_wrong_usage_and_gets_a_suggestion(mailer: Cli) -> None:
    ran = mailer("completoin", "bash")
    assert (ran.exit, ran.stdout) == (2, "")
    assert ran.stderr == "mailer: there is no command `mailer completoin`.\n  Did you mean `completion`?\n"


def test_where_nothing_comes_near_the_help_is_named(mailer: Cli) -> None:
    ran = mailer("zzzzzz")
    assert ran.exit == 2
    assert ran.stderr == "mailer: there is no command `mailer zzzzzz`.\n  See `mailer --help`.\n"


@pytest.mark.parametrize("typed", ["--no-progres", "--no_progress"])
def test_an_unknown_option_is_wrong_usage_and_gets_a_suggestion(mailer: Cli, typed: str) -> None:
    ran = mailer("explain", "421", typed)
    assert (ran.exit, ran.stdout) == (2, "")
    assert ran.stderr == f"mailer: `mailer explain` has no option {typed}.\n  Did you mean `--no-progress`?\n"


def test_a_missing_argument_is_wrong_usage_and_names_the_help(mailer: Cli) -> None:
    ran = mailer("explain")
    assert (ran.exit, ran.stdout) == (2, "")
    assert ran.stderr == "mailer: missing argument 'REPLY...'.\n  See `mailer explain --help`.\n"


def test_a_format_means_nothing_to_a_command_that_shows_no_data(mailer: Cli) -> None:
    ran = mailer("completion", "bash", "--format", "csv")
    assert (ran.exit, ran.stdout) == (2, "")
    assert "shows no data" in ran.stderr
    mailer("completion", "bash", "--json").ok()


def test_global_options_stand_before_and_after_the_command_and_the_inner_one_wins(mailer: Cli) -> None:
    before = mailer("--json", "explain", "421").ok()
    behind = mailer("explain", "421", "--format", "json").ok()
    assert before.json == behind.json
    assert mailer("--format", "csv", "explain", "421", "--json").ok().json == before.json


# Errors


def test_an_error_is_a_sentence_and_a_hint_without_a_traceback(mailer: Cli) -> None:
    ran = mailer("explain", "hello there")
    assert (ran.exit, ran.stdout) == (1, "")
    assert ran.stderr.startswith(
        "mailer: this is no reply of a mail server: hello there\n  A reply begins with its code"
    )
    assert "Traceback" not in ran.stderr


def test_debug_shows_the_traceback(mailer: Cli) -> None:
    ran = mailer("explain", "hello", "--debug")
    assert ran.exit == 1
    assert ran.stderr.startswith("mailer: this is no reply")
    assert "Traceback (most recent call last):" in ran.stderr


@pytest.mark.parametrize("chosen", [["--json"], ["--format", "json"], ["--format=json"], ["--format", "jsonl"]])
@pytest.mark.parametrize(
    ("args", "code", "exit_code"), [(["explain", "hello"], "bad-input", 1), (["completoin"], "usage", 2)]
)
def test_with_json_an_error_is_a_json_document_on_stderr(
    mailer: Cli, args: list[str], code: str, exit_code: int, chosen: list[str]
) -> None:
    ran = mailer(*args, *chosen)
    assert (ran.exit, ran.stdout) == (exit_code, "")
    validate({"error": ran.error}, "error")
    assert (ran.error["code"], ran.error["exit"]) == (code, exit_code)
    assert ran.error["hint"]


UNFORESEEN = '''
import click
from mailer.cli import app

@app.command(examples=("mailer boom", "mailer boom"))
def command(session):
    """Fail as nobody foresaw."""
    raise RuntimeError("the roof\\nfell in")
'''
RUN = """
import os, sys
from mailer.cli import app, entry
app.COMMANDS["boom"] = "boom"
sys.exit(entry.run(sys.argv[1:], os.environ))
"""


def test_an_unforeseen_error_is_one_sentence_and_its_traceback_goes_to_the_error_log(mailer: Cli) -> None:
    (mailer.folder / "boom.py").write_text(UNFORESEEN)
    done = subprocess.run(
        [sys.executable, "-c", RUN, "boom"],
        cwd=mailer.folder,
        env=mailer.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "mailer: an error that should not happen: RuntimeError: the roof fell in\n"
        f"  The traceback is in {mailer.folder / 'error.log'}; run the same command with --debug to see it here.\n"
    )
    logged = (mailer.folder / "error.log").read_text()
    assert "unexpected error in: mailer boom" in logged
    assert 'raise RuntimeError("the roof' in logged


def test_a_configuration_that_is_not_there_exits_3(mailer: Cli) -> None:
    # The completion of relay names swallows it; whoever needs the configuration does not.
    code = (
        "import os, sys; from mailer.cli import app, entry; app.COMMANDS['needs'] = 'needs';"
        "sys.exit(entry.run(['needs', '--config', 'gone.toml'], os.environ))"
    )
    (mailer.folder / "needs.py").write_text(
        UNFORESEEN.replace('raise RuntimeError("the roof\\nfell in")', "session.config")
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=mailer.folder, env=mailer.environ, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (3, "")
    assert "gone.toml" in done.stderr
    assert "Traceback" not in done.stderr


# What is written, and where to


def test_a_stdout_whose_reader_has_gone_ends_the_command_quietly(mailer: Cli) -> None:
    with mailer.start("explain", "-", "--json", stdin=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stdin.write("421\n")
        process.stdin.flush()
        assert process.stdout.readline().startswith('{"reply": "421"')
        process.stdout.close()
        for _ in range(3):
            process.stdin.write("421\n")
        process.stdin.close()
        assert process.stderr.read() == ""
        assert process.wait() == 0


def test_a_help_that_nobody_reads_ends_quietly(mailer: Cli) -> None:
    done = subprocess.run(
        ["bash", "-c", '"$@" --help | true; echo "${PIPESTATUS[0]}"', "bash", *mailer.program],
        cwd=mailer.folder,
        env=mailer.environ,
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_a_stdout_that_was_never_open_is_no_error(mailer: Cli) -> None:
    done = subprocess.run(
        ["bash", "-c", '"$@" explain 421 >&-', "bash", *mailer.program],
        cwd=mailer.folder,
        env=mailer.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux's")
@pytest.mark.parametrize("args", [["explain", "421"], ["explain", "421", "--format", "csv"], ["--version"], ["--help"]])
def test_a_full_disk_is_an_error_with_a_sentence(mailer: Cli, args: list[str]) -> None:
    with Path("/dev/full").open("w") as full, mailer.start(*args, stdout=full) as process:
        assert process.stderr
        assert process.stderr.read() == (
            "mailer: cannot write to standard output: No space left on device.\n  Is the disk full?\n"
        )
    assert process.returncode == 1


def test_ctrl_c_ends_with_130_and_without_a_word(mailer: Cli) -> None:
    with mailer.start("explain", "-", "--json", stdin=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stdin.write("421\n")
        process.stdin.flush()
        process.stdout.readline()  # it is running, and waits for more
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
        assert process.stderr.read() == ""


# Colours


def test_colours_are_for_a_terminal(mailer: Cli) -> None:
    assert "\x1b[" in mailer.on_terminal("explain", "421").ok().stdout
    assert "\x1b[" not in mailer("explain", "421").ok().stdout


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {"NO_COLOR": "1", "FORCE_COLOR": "1"}])
def test_no_color_and_a_dumb_terminal_have_none(mailer: Cli, env: dict[str, str]) -> None:
    assert "\x1b[" not in mailer.on_terminal("explain", "421", env=env).ok().stdout


def test_force_color_has_them_everywhere(mailer: Cli) -> None:
    assert "\x1b[" in mailer("explain", "421", env={"FORCE_COLOR": "1"}).ok().stdout
    assert "\x1b[" in mailer("explain", "421", env={"FORCE_COLOR": "1", "TERM": "dumb"}).ok().stdout


def test_json_never_has_colours(mailer: Cli) -> None:
    assert "\x1b[" not in mailer.on_terminal("explain", "421", "--json").ok().stdout


# How little is loaded

HEAVY = ("pydantic", "asyncio", "sqlite3", "aiosqlite", "jinja2", "rich", "tomllib", "ssl", "structlog")


@pytest.mark.parametrize("args", [["--version"], ["explain", "--help"], ["completion", "bash"]])
def test_nothing_heavy_is_loaded_for_what_needs_none_of_it(mailer: Cli, args: list[str]) -> None:
    code = (
        "import os, sys\nfrom mailer.cli.entry import run\n"
        f"assert run({args!r}, os.environ) == 0\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=mailer.folder, env=mailer.environ, capture_output=True, text=True, check=True
    )
    assert done.stderr == "[]\n"


def test_the_installed_command_is_the_module(mailer: Cli) -> None:
    installed = Path(sys.executable).with_name("mailer")
    done = subprocess.run([installed, "--version"], env=mailer.environ, capture_output=True, text=True, check=True)
    assert done.stdout == mailer("--version").ok().stdout
