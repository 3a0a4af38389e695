"""`mailer config show`: every value in force and where it came from; no secret."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from support.cli import Cli, validate

CONFIG = """
[database]
url = "sqlite:///queue.db"
[worker]
lease = "90s"
[[relay]]
name = "qq"
preset = "qq"
username = "me@qq.com"
password = { env = "QQ_PASSWORD" }
port = 2525
tls = "starttls"
[[relay]]
name = "other"
host = "mail.example"
username = "me"
password = "correct horse"
"""


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    (tmp_path / "config.toml").write_text(CONFIG)
    return Cli(tmp_path, QQ_PASSWORD="battery staple", MAILER_WORKER__STOP_WITHIN="10s")


def by_key(document: dict[str, Any]) -> dict[str, tuple[Any, str]]:
    return {row["key"]: (row["value"], row["source"]) for row in document["settings"]}


def test_each_value_comes_with_its_source(cli: Cli) -> None:
    document = cli("config", "show", "--json").ok().json
    validate(document, "config-show")
    assert document["file"] == "config.toml"
    shown = by_key(document)
    assert shown["database.url"] == ("sqlite:///queue.db", "config.toml")
    assert shown["worker.lease"] == ("90s", "config.toml")
    assert shown["worker.stop_within"] == ("10s", "environment MAILER_WORKER__STOP_WITHIN")
    assert shown["retry.factor"] == (2.0, "default")
    assert shown["relay.qq.host"] == ("smtp.qq.com", "preset qq")
    assert shown["relay.qq.port"] == (2525, "config.toml")
    assert shown["relay.other.rate"] == (None, "default")
    assert shown["defaults.zone"] == ("UTC", "this machine")


@pytest.mark.parametrize("form", ["table", "json", "jsonl", "csv"])
def test_secrets_are_stars_in_every_form(cli: Cli, form: str) -> None:
    ran = cli("config", "show", "--format", form).ok()
    assert "***" in ran.stdout
    for secret in ("horse", "staple"):
        assert secret not in ran.stdout + ran.stderr


def test_a_secret_says_where_it_is_kept(cli: Cli) -> None:
    shown = by_key(cli("config", "show", "--json", env={"MAILER_RELAY__OTHER__PASSWORD": "x"}).ok().json)
    assert shown["relay.qq.password"] == ("***", "config.toml, env QQ_PASSWORD")
    assert shown["relay.other.password"] == ("***", "environment MAILER_RELAY__OTHER__PASSWORD")


def test_a_password_in_the_file_is_warned_of(cli: Cli) -> None:
    assert cli("config", "show").ok().stderr == (
        'mailer: warning: config.toml, relay "other": the password is written in the file. '
        'Safer: password = { env = "OTHER_PASSWORD" }\n'
    )


def test_the_table_shows_values_as_they_would_be_written(cli: Cli) -> None:
    lines = cli("config", "show").ok().stdout.splitlines()
    assert lines[0].split() == ["KEY", "VALUE", "SOURCE"]
    rows = {line.split()[0]: line.split()[1] for line in lines[1:]}
    assert rows["relay.qq.port"] == "2525"
    assert rows["relay.other.insecure_auth"] == "false"


def test_csv_has_the_same_rows(cli: Cli) -> None:
    rows = list(csv.DictReader(io.StringIO(cli("config", "show", "--format", "csv").ok().stdout)))
    shown = cli("config", "show", "--json").ok().json["settings"]
    assert [row["key"] for row in rows] == [row["key"] for row in shown]
    assert {"key": "relay.qq.port", "value": "2525", "source": "config.toml"} in rows


def test_without_any_file_the_defaults_are_shown(tmp_path: Path) -> None:
    ran = Cli(tmp_path)("config", "show").ok()
    assert ran.stderr == "There is no configuration file; all values are defaults. `mailer init` writes one.\n"
    document = Cli(tmp_path)("config", "show", "--json").ok().json
    validate(document, "config-show")
    assert document["file"] is None
    assert {source for _, source in by_key(document).values()} <= {"default", "this machine", "beside the database"}


def test_showing_creates_no_database(cli: Cli, tmp_path: Path) -> None:
    cli("config", "show").ok()
    assert [path.name for path in tmp_path.iterdir()] == ["config.toml"]
