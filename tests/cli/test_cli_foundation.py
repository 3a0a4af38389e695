"""What holds for every command: exit codes, errors, help, colours, and how quickly it starts."""

from __future__ import annotations

from pathlib import Path

from support.cli import Cli, validate


def test_an_unknown_command_is_wrong_usage_and_gets_a_suggestion(tmp_path: Path) -> None:
    ran = Cli(tmp_path)("completoin", "bash")
    assert (ran.exit, ran.stdout) == (2, "")
    assert ran.stderr == "mailer: there is no command `mailer completoin`.\n  Did you mean `completion`?\n"


def test_with_json_an_error_is_a_json_document_on_stderr(tmp_path: Path) -> None:
    ran = Cli(tmp_path)("completoin", "bash", "--json")
    assert (ran.exit, ran.stdout) == (2, "")
    validate({"error": ran.error}, "error")
    assert ran.error["exit"] == 2
