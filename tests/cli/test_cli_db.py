"""`mailer db …` as typed: upgrade with a backup first, check with every finding, backup, stats."""

from __future__ import annotations

import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from support.cli import ROOT, Cli, validate

COMMANDS = (("upgrade",), ("check",), ("backup", "copy.db"), ("stats",))


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """In a folder that `mailer init` has been run in."""
    cli = Cli(tmp_path)
    cli("init", "-q").ok()
    return cli


def newer_program(folder: Path, cli: Cli) -> Cli:
    """The same folder, seen by a mailer that has one more migration."""
    program = folder / "program"
    shutil.copytree(ROOT / "mailer", program / "mailer", ignore=shutil.ignore_patterns("__pycache__"))
    migrations = program / "mailer" / "migrations" / "sqlite"
    number = len(list(migrations.glob("*.sql"))) + 1
    (migrations / f"{number:04}_one_more.sql").write_text("CREATE TABLE one_more (id INTEGER PRIMARY KEY) STRICT;\n")
    return Cli(cli.folder, PYTHONPATH=str(program))


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_without_a_database_all_say_so_and_make_none(tmp_path: Path, words: tuple[str, ...]) -> None:
    ran = Cli(tmp_path)("db", *words)
    assert (ran.exit, ran.stdout) == (4, "")
    assert ran.stderr.startswith(f"mailer: no database at {tmp_path}/mailer.db")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_an_empty_file_is_no_database(tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "mailer.db").touch()
    ran = Cli(tmp_path)("db", *words)
    assert ran.exit == 4
    assert ran.stderr.startswith(f"mailer: no database at {tmp_path}/mailer.db: the file is empty")
    assert (tmp_path / "mailer.db").stat().st_size == 0


def test_upgrade_leaves_a_current_database_alone(cli: Cli) -> None:
    assert cli("db", "upgrade").ok().stdout == f"{cli.folder}/mailer.db is up to date.\n"
    document = cli("db", "upgrade", "--json").ok().json
    validate(document, "db-upgrade")
    assert (document["applied"], document["backup"]) == ([], None)
    assert sorted(path.name for path in cli.folder.iterdir()) == ["config.toml", "mailer.db"]


def test_an_old_database_is_refused_until_it_is_upgraded_and_backed_up_first(cli: Cli, tmp_path: Path) -> None:
    newer = newer_program(tmp_path, cli)
    refused = newer("db", "stats")
    assert refused.exit == 4
    assert "Run `mailer db upgrade`: it makes a backup first." in refused.stderr

    document = newer("db", "upgrade", "--json").ok().json
    validate(document, "db-upgrade")
    assert [step[5:] for step in document["applied"]] == ["one_more"]
    assert re.fullmatch(r"mailer\.db\.before-upgrade-\d{8}T\d{6}Z", Path(document["backup"]).name)
    newer("db", "check").ok()

    with (
        closing(sqlite3.connect(document["backup"])) as before,
        closing(sqlite3.connect(tmp_path / "mailer.db")) as now,
    ):
        has = "SELECT count(*) FROM sqlite_schema WHERE name = 'one_more'"
        assert (before.execute(has).fetchone(), now.execute(has).fetchone()) == ((0,), (1,))
        assert (
            before.execute("SELECT store_id FROM store").fetchone()
            == now.execute("SELECT store_id FROM store").fetchone()
        )

    older = cli("db", "stats")
    assert older.exit == 4
    assert "was written by a newer mailer" in older.stderr


def test_upgrade_says_what_it_did(cli: Cli, tmp_path: Path) -> None:
    lines = newer_program(tmp_path, cli)("db", "upgrade").ok().stdout.splitlines()
    assert lines[0].startswith(f"Backed up to {tmp_path}/mailer.db.before-upgrade-")
    assert [line.split(" ")[0] for line in lines] == ["Backed", "Applied"]


def test_check_finds_nothing_in_a_sound_database(cli: Cli) -> None:
    assert cli("db", "check").ok().stdout == f"{cli.folder}/mailer.db: nothing is wrong.\n"
    document = cli("db", "check", "--json").ok().json
    validate(document, "db-check")
    assert document == {"database": f"{cli.folder}/mailer.db", "ok": True, "findings": []}


def break_a_rule(database: Path) -> None:
    """A reference that leads nowhere, and a tally that counts messages that are not there."""
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("INSERT INTO tally (lane_id, state, count) VALUES (7, 'sent', 3)")


def test_check_ends_with_1_and_names_rule_row_and_what_is_wrong(cli: Cli) -> None:
    break_a_rule(cli.folder / "mailer.db")
    ran = cli("db", "check", "--json")
    assert ran.exit == 1
    validate(ran.json, "db-check")
    assert ran.json["ok"] is False
    assert {
        "rule": "every tally is the count of its messages",
        "row": "lane 7, sent",
        "what": "the tally says 3, there are 0",
    } in ran.json["findings"]


def test_check_shows_a_line_for_each_finding(cli: Cli) -> None:
    break_a_rule(cli.folder / "mailer.db")
    ran = cli("db", "check")
    assert (ran.exit, ran.stderr) == (1, "")
    head, *lines = ran.stdout.splitlines()
    assert head.split() == ["RULE", "ROW", "WHAT"]
    assert any(re.search(r"lane 7, sent +the tally says 3, there are 0", line) for line in lines)


def test_check_changes_nothing(cli: Cli) -> None:
    break_a_rule(cli.folder / "mailer.db")
    before = (cli.folder / "mailer.db").read_bytes()
    cli("db", "check")
    assert (cli.folder / "mailer.db").read_bytes() == before


def test_a_backup_is_a_database_that_can_be_used(cli: Cli, tmp_path: Path) -> None:
    document = cli("db", "backup", "copy.db", "--json").ok().json
    validate(document, "db-backup")
    assert document["backup"] == f"{tmp_path}/copy.db"
    assert document["size_bytes"] == (tmp_path / "copy.db").stat().st_size
    restored = Cli(tmp_path, MAILER_DATABASE__URL="sqlite:///copy.db")
    restored("db", "check").ok()
    assert restored("db", "stats", "--json").ok().json["rows"]["messages"] == 0


def test_a_backup_overwrites_nothing(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "copy.db").write_text("mine")
    ran = cli("db", "backup", "copy.db")
    assert (ran.exit, ran.stdout) == (1, "")
    assert ran.stderr == (
        "mailer: copy.db exists already.\n  Give the backup a name of its own; nothing is overwritten.\n"
    )
    assert (tmp_path / "copy.db").read_text() == "mine"


def test_a_backup_needs_its_folder(cli: Cli, tmp_path: Path) -> None:
    ran = cli("db", "backup", "nowhere/copy.db")
    assert ran.exit == 1
    assert ran.stderr.startswith("mailer: cannot write nowhere/copy.db: there is no folder nowhere.")


def test_stats_say_how_large_it_is(cli: Cli) -> None:
    document = cli("db", "stats", "--json").ok().json
    validate(document, "db-stats")
    assert document["database"] == f"{cli.folder}/mailer.db"
    assert document["size_bytes"] == (cli.folder / "mailer.db").stat().st_size
    assert (document["rows"]["campaigns"], document["rows"]["messages"]) == (0, 0)
    assert document["oldest_due_at"] is None


def test_stats_as_a_table(cli: Cli) -> None:
    lines = cli("db", "stats").ok().stdout.splitlines()
    assert lines[1].split() == ["database", f"{cli.folder}/mailer.db"]
    assert any(re.fullmatch(r"messages \(rows\) +0", line) for line in lines)
