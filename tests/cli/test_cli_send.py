"""`mailer send`: one message by hand, recorded like any other, through a server that wants a login in three steps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.cli import Cli, validate
from support.recording_server import PASSWORD, USER
from support.witness import Witness, config_for, recording_server

TAKEN, REFUSED, PUT_OFF = "user5@x.test", "user6@x.test", "user1@x.test"


@pytest.fixture
def witness(tmp_path: Path) -> Iterator[Witness]:
    with recording_server(tmp_path) as (port, witness):
        (tmp_path / "config.toml").write_text(config_for(port), "utf-8")
        (tmp_path / "hello.txt").write_text("Hello {{ address }}\n", "utf-8")
        yield witness


@pytest.fixture
def cli(tmp_path: Path, witness: Witness) -> Cli:
    return Cli(tmp_path, RECORDER_PASSWORD=PASSWORD)


def letter(*more: str) -> list[str]:
    return ["--from", USER, "--subject", "Hello", "--text", "hello.txt", *more]


def test_a_message_that_is_taken_ends_sent_with_the_servers_words(cli: Cli, witness: Witness) -> None:
    ran = cli("send", TAKEN, *letter("--json")).ok()
    validate(ran.json, "send")
    [message] = ran.json["messages"]
    assert (message["state"], message["code"], message["text"]) == ("sent", 250, "taken as 1")
    assert ran.json["campaign"].startswith("send/")
    assert witness.count("accepted") == {TAKEN: 1}
    [campaign] = cli("status", "--json").ok().json["campaigns"]
    assert (campaign["name"], campaign["state"], campaign["sent"]) == (ran.json["campaign"], "finished", 1)
    cli("db", "check").ok()


def test_each_recipient_sees_only_itself_and_ends_in_its_own_state(cli: Cli, witness: Witness) -> None:
    ran = cli("send", TAKEN, REFUSED, PUT_OFF, TAKEN, *letter("--json"))
    assert ran.exit == 6
    states = {message["address"]: message["state"] for message in ran.json["messages"]}
    assert states == {TAKEN: "sent", REFUSED: "failed", PUT_OFF: "deferred"}
    assert "deferred until" in ran.stderr
    ran = cli("worker", "--until-empty")
    assert ran.exit == 0, ran
    assert witness.count("accepted") == {TAKEN: 1, PUT_OFF: 1}


def test_a_refusal_ends_with_exit_code_5(cli: Cli) -> None:
    ran = cli("send", REFUSED, *letter())
    assert ran.exit == 5
    assert "no such user here" in ran.stdout


def test_queued_it_waits_for_a_worker(cli: Cli, witness: Witness) -> None:
    ran = cli("send", TAKEN, *letter("--queue", "--json")).ok()
    assert ran.json["messages"][0]["state"] == "queued"
    assert not witness.count("accepted")
    cli("worker", "--until-empty").ok()
    assert witness.count("accepted") == {TAKEN: 1}


def test_the_transcript_shows_every_line_and_no_secret(cli: Cli) -> None:
    ran = cli("send", TAKEN, REFUSED, *letter("--transcript"))
    lines = ran.stdout.splitlines()
    wanted = [
        "S: 220", "C: EHLO", "C: AUTH LOGIN", "S: 334", "C: ***", "S: 235", f"C: MAIL FROM:<{USER}>",
        f"C: RCPT TO:<{TAKEN}>", "C: DATA", "S: 354", "C: .", "S: 250 2.0.0 taken", "C: QUIT", "S: 221",
    ]  # fmt: skip
    at = 0
    for want in wanted:
        found = [n for n in range(at, len(lines)) if lines[n].startswith(want)]
        assert found, f"{want} is missing after line {at}:\n{ran.stdout}"
        at = found[0]
    assert PASSWORD not in ran.stdout + ran.stderr
    assert "Y29ycmVjdCBob3JzZQ" not in ran.stdout + ran.stderr, "the password as base64"


def test_an_unexpected_reply_is_named_with_its_command_and_its_meaning(cli: Cli) -> None:
    out = cli("send", REFUSED, *letter("--transcript")).stdout
    assert "!! RCPT was answered with 550, expected was 250 or 251 or 252. It means: " in out
    assert "!! AUTH was answered with 501" in out, "this server takes no initial response, and that is said"


def test_with_json_the_transcript_goes_to_stderr(cli: Cli) -> None:
    ran = cli("send", TAKEN, *letter("--transcript", "--json")).ok()
    assert ran.json["messages"][0]["state"] == "sent"
    assert "C: MAIL FROM" in ran.stderr


def test_unrecorded_it_needs_no_database(cli: Cli, witness: Witness) -> None:
    ran = cli("send", TAKEN, *letter("--no-record", "--json")).ok()
    validate(ran.json, "send")
    assert ran.json["campaign"] is None
    assert witness.count("accepted") == {TAKEN: 1}
    assert not (cli.folder / "queue.db").exists()


def test_unrecorded_each_recipient_gets_one_and_is_shown_with_the_relays_words(cli: Cli, witness: Witness) -> None:
    other = "user8@x.test"
    ran = cli("send", TAKEN, other, TAKEN, *letter("--no-record", "--json")).ok()
    shown = [(message["address"], message["code"], message["enhanced"]) for message in ran.json["messages"]]
    assert shown == [(TAKEN, 250, "2.0.0"), (other, 250, "2.0.0")]
    assert witness.count("accepted") == {TAKEN: 1, other: 1}


def test_unrecorded_a_refusal_is_an_error_with_the_servers_words(cli: Cli) -> None:
    ran = cli("send", REFUSED, *letter("--no-record"))
    assert ran.exit == 1
    assert "550 5.1.1 no such user here" in ran.stderr


def test_unrecorded_those_before_a_refusal_are_shown(cli: Cli, witness: Witness) -> None:
    ran = cli("send", TAKEN, REFUSED, *letter("--no-record", "--json"))
    assert ran.exit == 1
    assert [message["address"] for message in ran.json["messages"]] == [TAKEN]
    assert witness.count("accepted") == {TAKEN: 1}


def test_a_wrong_password_costs_the_message_nothing(cli: Cli, witness: Witness) -> None:
    ran = cli("send", TAKEN, *letter("--json"), env={"RECORDER_PASSWORD": "wrong"})
    assert ran.exit == 6
    [message] = ran.json["messages"]
    assert (message["state"], message["attempts"]) == ("queued", 0)
    assert "535" in ran.stderr
    cli("worker", "--until-empty").ok()
    assert witness.count("accepted") == {TAKEN: 1}


def test_text_is_read_from_stdin(cli: Cli, witness: Witness) -> None:
    cli("send", TAKEN, "--from", USER, "--subject", "x", "--text", "-", stdin="typed\n").ok()
    assert witness.count("accepted") == {TAKEN: 1}


def test_on_a_terminal_the_text_is_typed_and_ended_with_a_dot(cli: Cli, witness: Witness) -> None:
    ran = cli.on_terminal("send", TAKEN, "--from", USER, "--subject", "x", typed="first line\nsecond\n.\n")
    assert ran.exit == 0, ran
    assert witness.count("accepted") == {TAKEN: 1}


@pytest.mark.parametrize(
    ("arguments", "exit_code", "sentence"),
    [
        (["nobody", *letter()], 1, "'nobody' is no address"),
        ([TAKEN, "--from", USER, "--subject", "x"], 2, "neither --text nor --html"),
        ([TAKEN, *letter("--queue", "--transcript")], 2, "do not go together"),
        ([TAKEN, "--from", USER, "--subject", "{{ nme }}", "--text", "hello.txt"], 1, "nme"),
        ([], 2, "TO"),
    ],
)
def test_what_cannot_be_sent_is_refused_before_anything_is_written(
    cli: Cli, arguments: list[str], exit_code: int, sentence: str
) -> None:
    ran = cli("send", *arguments)
    assert ran.exit == exit_code
    assert sentence in ran.stderr
    assert not (cli.folder / "queue.db").exists()
