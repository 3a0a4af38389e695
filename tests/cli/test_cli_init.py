"""`mailer init`: a commented configuration and its database, filled in where somebody is there to be asked."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from support.cli import ROOT, Cli, Ran

from mailer.config import load, preset_names

EXAMPLE = (ROOT / "config.toml").read_text("utf-8")

# The answers to the questions in their order; an empty one takes what is offered.
ANSWERS = {
    "qq": ("", "me@qq.com", "News <me@qq.com>", "Asia/Shanghai"),
    "163": ("163", "me@163.com", "", ""),
    "gmail": ("gmail", "me@gmail.com", "News <news@company.example>", "Europe/Berlin"),
    "outlook": ("outlook", "me@company.example", "", ""),
    "ses": ("ses", "email-smtp.eu-central-1.amazonaws.com", "AKIA123", "News <news@company.example>", ""),
    "custom": ("custom", "mail.company.example", "", "", "", "me", "News <news@company.example>", ""),
}


def typed(*answers: str) -> str:
    return "".join(f"{answer}\n" for answer in answers)


def written(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "config.toml").read_text("utf-8"))


def on_terminal(folder: Path, *answers: str) -> Ran:
    ran = Cli(folder).on_terminal("init", typed=typed(*answers))
    assert ran.exit == 0, ran.stdout
    return ran


def test_without_a_terminal_it_writes_the_example_as_it_is_and_the_database_and_says_what_is_next(
    tmp_path: Path,
) -> None:
    ran = Cli(tmp_path)("init").ok()
    assert (tmp_path / "config.toml").read_text("utf-8") == EXAMPLE
    assert ran.stdout == ""
    assert ran.stderr == (
        f"Created the database {tmp_path}/mailer.db.\n"
        "Wrote config.toml.\n"
        "Next:\n"
        "  edit config.toml: the relay, its user name, the sender\n"
        "  read -rs QQ_PASSWORD && export QQ_PASSWORD        type the password; it is not shown\n"
        "  mailer relay check qq\n"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.toml", "mailer.db"]


def test_with_no_input_it_asks_nothing_on_a_terminal_either(tmp_path: Path) -> None:
    ran = Cli(tmp_path).on_terminal("init", "--no-input")
    assert ran.exit == 0
    assert "?" not in ran.stdout
    assert (tmp_path / "config.toml").read_text("utf-8") == EXAMPLE


def test_it_overwrites_only_when_forced(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("# mine\n")
    refused = Cli(tmp_path)("init")
    assert (refused.exit, refused.stderr) == (
        1,
        "mailer: config.toml exists already.\n  Use --force to overwrite it.\n",
    )
    assert (tmp_path / "config.toml").read_text() == "# mine\n"
    assert not (tmp_path / "mailer.db").exists()
    Cli(tmp_path)("init", "--force").ok()
    assert (tmp_path / "config.toml").read_text("utf-8") == EXAMPLE


def test_a_link_that_leads_nowhere_is_not_overwritten_either(tmp_path: Path) -> None:
    (tmp_path / "config.toml").symlink_to("elsewhere/config.toml")
    assert Cli(tmp_path)("init").exit == 1
    assert (tmp_path / "config.toml").is_symlink()


def test_it_writes_where_config_says(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    Cli(tmp_path)("init", "--config", "etc/own.toml").ok()
    assert (tmp_path / "etc/own.toml").read_text("utf-8") == EXAMPLE
    assert (tmp_path / "etc/mailer.db").exists()
    assert not (tmp_path / "config.toml").exists()


def test_it_keeps_a_database_that_is_there(tmp_path: Path) -> None:
    Cli(tmp_path)("init").ok()
    before = (tmp_path / "mailer.db").stat().st_ino
    ran = Cli(tmp_path)("init", "--force").ok()
    assert "Created" not in ran.stderr
    assert (tmp_path / "mailer.db").stat().st_ino == before


@pytest.mark.parametrize("forced", [False, True])
def test_where_the_database_cannot_be_made_nothing_is_changed(tmp_path: Path, forced: bool) -> None:
    if forced:
        (tmp_path / "config.toml").write_text("# mine\n")
    (tmp_path / "mailer.db").write_text("no database, and of some length\n" * 100)
    ran = Cli(tmp_path)("init", *(["--force"] if forced else []))
    assert ran.exit == 4
    assert "is not a mailer database" in ran.stderr
    left = {path.name: path.read_text("utf-8") for path in tmp_path.iterdir() if path.name != "mailer.db"}
    assert left == ({"config.toml": "# mine\n"} if forced else {})


def test_a_folder_that_is_missing_is_said(tmp_path: Path) -> None:
    ran = Cli(tmp_path)("init", "--config", "nowhere/config.toml")
    assert (ran.exit, ran.stderr) == (
        1,
        "mailer: cannot write nowhere/config.toml: there is no folder nowhere.\n  Make it first.\n",
    )


def test_another_file_in_the_environment_is_pointed_out(tmp_path: Path) -> None:
    ran = Cli(tmp_path, MAILER_CONFIG="/somewhere/else.toml")("init").ok()
    assert (
        "mailer: warning: $MAILER_CONFIG names another file, /somewhere/else.toml; mailer uses that one." in ran.stderr
    )


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_leads_to_a_file_that_loads_and_holds_no_password(name: str, tmp_path: Path) -> None:
    ran = on_terminal(tmp_path, *ANSWERS[name])
    assert f"mailer relay check {'relay' if name == 'custom' else name}" in ran.stdout
    done = load({"HOME": str(tmp_path)}, file=tmp_path / "config.toml")
    [relay] = done.config.relays
    assert done.warnings == ()
    assert relay.preset == (None if name == "custom" else name)
    assert relay.password is not None
    assert relay.password.form == "env"


def test_what_was_answered_stands_in_the_file_and_all_else_is_the_example(tmp_path: Path) -> None:
    ran = on_terminal(tmp_path, *ANSWERS["gmail"])
    content = written(tmp_path)
    assert content["defaults"] == {"from": "News <news@company.example>", "zone": "Europe/Berlin"}
    [relay] = content["relay"]
    assert relay == {
        "name": "gmail",
        "preset": "gmail",
        "host": "smtp.gmail.com",
        "port": 465,
        "tls": "implicit",
        "auth": "login",
        "username": "me@gmail.com",
        "password": {"env": "GMAIL_PASSWORD"},
        "senders": ["me@gmail.com", "news@company.example"],
        "daily_limit": 500,
    }
    lines = (tmp_path / "config.toml").read_text("utf-8").splitlines()
    assert len(lines) == len(EXAMPLE.splitlines())
    assert [line for line in lines if line.startswith("#  ")] == []
    assert "edit config.toml" not in ran.stdout
    assert "read -rs GMAIL_PASSWORD && export GMAIL_PASSWORD" in ran.stdout
    assert "an app password" in ran.stdout  # what this provider wants as password is said when it is asked for


def test_qq_with_its_defaults_is_the_example_but_for_what_was_answered(tmp_path: Path) -> None:
    on_terminal(tmp_path, *ANSWERS["qq"])
    before = tomllib.loads(EXAMPLE)
    assert written(tmp_path) == {**before, "defaults": {"from": "News <me@qq.com>", "zone": "Asia/Shanghai"}}


def test_a_company_server_without_login_can_be_set_up(tmp_path: Path) -> None:
    on_terminal(tmp_path, "custom", "mail.company.example", "25", "none", "n", "News <news@company.example>", "")
    [relay] = written(tmp_path)["relay"]
    assert relay == {
        "name": "relay",
        "host": "mail.company.example",
        "port": 25,
        "tls": "none",
        "auth": "none",
    }


def test_a_wrong_answer_is_explained_and_asked_for_again(tmp_path: Path) -> None:
    ran = on_terminal(
        tmp_path,
        "gmial",
        "gmail",
        "me",
        "me@gmail.com",
        "not an address",
        "me@gmail.com",
        "Asia/Shangai",
        "Asia/Shanghai",
    )
    assert 'there is no preset "gmial". Did you mean "gmail"?' in ran.stdout
    assert "expected a whole address" in ran.stdout
    assert "expected an address such as News <news@example.com>" in ran.stdout
    assert 'there is no time zone "Asia/Shangai". Did you mean "Asia/Shanghai"?' in ran.stdout
    assert written(tmp_path)["defaults"] == {"from": "me@gmail.com", "zone": "Asia/Shanghai"}


def test_input_that_ends_early_writes_nothing(tmp_path: Path) -> None:
    ran = Cli(tmp_path).on_terminal("init", typed="gmail\n")
    assert ran.exit == 2
    assert "the input ended before the question was answered." in ran.stdout
    assert list(tmp_path.iterdir()) == []
