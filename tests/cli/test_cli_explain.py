"""`mailer explain`: what a reply means and what mailer does about it, for people and for programs."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from support.cli import Cli, validate


@pytest.fixture
def mailer(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


def test_a_reply_is_explained_in_a_paragraph(mailer: Cli) -> None:
    ran = mailer("explain", "550 5.1.1 <x>: no such user").ok()
    assert ran.stderr == ""
    assert ran.stdout == (
        "550 5.1.1 <x>: no such user\n"
        "  means   There is no such mailbox: what stands before the @ does not exist there.\n"
        "  about   the message, permanent, no-such-user\n"
        "  mailer  The message ends as failed, these words beside it; it is not tried again.\n"
        "  you     Take the address off the list, or correct it.\n"
        "  source  RFC 3463 3.2\n"
    )


def test_with_json_it_is_one_document(mailer: Cli) -> None:
    document = mailer("explain", "535 5.7.8 bad password", "--json").ok().json
    validate(document, "explain")
    assert document["reply"] == "535 5.7.8 bad password"
    assert (document["code"], document["enhanced"]) == (535, "5.7.8")
    assert (document["scope"], document["permanence"], document["category"]) == ("relay", "permanent", "auth-problem")


@pytest.mark.parametrize(
    ("typed", "code", "enhanced"),
    [
        (["5.7.1"], None, "5.7.1"),
        (["421"], 421, None),
        (["550", "5.1.1", "no", "such", "user"], 550, "5.1.1"),
        (["550-5.1.1 a\n550 5.1.1 b"], 550, "5.1.1"),
        (["smtp; 550 no"], 550, None),
        (["571 what"], 571, None),
    ],
)
def test_replies_are_taken_as_people_paste_them(
    mailer: Cli, typed: list[str], code: int | None, enhanced: str | None
) -> None:
    document = mailer("explain", "--json", *typed).ok().json
    validate(document, "explain")
    assert (document["code"], document["enhanced"]) == (code, enhanced)
    assert document["reply"] == " ".join(typed)


def test_an_unknown_code_is_explained_by_its_first_digit_and_says_so(mailer: Cli) -> None:
    assert "No standard defines the reply code 571. By its first digit: refused for good." in (
        mailer("explain", "571 what").ok().stdout
    )


def test_502_names_the_line_that_did_not_end_in_crlf(mailer: Cli) -> None:
    shown = " ".join(mailer("explain", "502").ok().stdout.split())
    assert "the command line did not end in CR LF" in shown


def test_several_replies_are_explained_one_after_the_other(mailer: Cli) -> None:
    shown = mailer("explain", "421", "550").ok().stdout
    assert [part.splitlines()[0] for part in shown.split("\n\n")] == ["421", "550"]
    assert [row["code"] for row in mailer("explain", "421 a", "550 b", "--json").ok().jsonl] == [421, 550]


@pytest.mark.parametrize("typed", ["hello", "no such user", "5.1", "", "650 x"])
def test_what_is_no_reply_is_refused_with_what_was_expected(mailer: Cli, typed: str) -> None:
    ran = mailer("explain", typed)
    assert (ran.exit, ran.stdout) == (1, "")
    assert ran.stderr == (
        f"mailer: this is no reply of a mail server: {typed}\n"
        '  A reply begins with its code, as in "550 5.1.1 no such user", "421" or "5.7.1".\n'
    )


def test_from_stdin_every_line_is_a_reply_and_every_answer_a_line_of_json(mailer: Cli) -> None:
    lines = ["550 5.1.1 no such user", "", "421 later", "5.7.1", "250 2.0.0 完成"]
    rows = mailer("explain", "-", "--json", stdin="\n".join(lines) + "\n").ok().jsonl
    for row in rows:
        validate(row, "explain")
    assert [row["reply"] for row in rows] == [line for line in lines if line]
    assert [row["category"] for row in rows] == [
        "no-such-user",
        "temporary-server-problem",
        "policy-block",
        "accepted",
    ]


def test_from_stdin_bytes_that_are_no_utf_8_are_shown_as_such(mailer: Cli) -> None:
    assert mailer("explain", "-", "--json", stdin=b"550 \xff no\r\n").ok().jsonl[0]["reply"] == "550 \ufffd no"


def test_from_stdin_lines_that_are_no_replies_are_named_and_the_others_explained(mailer: Cli) -> None:
    ran = mailer("explain", "-", "--json", stdin="421\nwhat?\n550\n")
    assert ran.exit == 1
    assert [row["code"] for row in ran.jsonl] == [421, 550]
    assert ran.stderr.splitlines()[0] == "mailer: line 2 is no reply of a mail server: what?"
    assert ran.error["message"] == "1 line is no reply of a mail server."


def test_nothing_on_stdin_is_nothing_to_explain(mailer: Cli) -> None:
    ran = mailer("explain", "-", "--json").ok()
    assert (ran.stdout, ran.stderr) == ("", "")


def test_a_dash_stands_alone(mailer: Cli) -> None:
    ran = mailer("explain", "-", "421")
    assert (ran.exit, ran.stdout) == (2, "")
    assert ran.stderr.startswith("mailer: - reads the replies from standard input and stands alone.\n")


def test_csv_has_a_column_for_each_key(mailer: Cli) -> None:
    for args, stdin in ((("550 5.1.1 x",), ""), (("-",), "550 5.1.1 x\n")):
        (row,) = csv.DictReader(io.StringIO(mailer("explain", "--format", "csv", *args, stdin=stdin).ok().stdout))
        validate(row | {"code": int(row["code"])}, "explain")


def test_a_reply_cannot_move_the_cursor(mailer: Cli) -> None:
    shown = mailer("explain", "550 \x1b[2Jgone\x07").ok().stdout
    assert shown.splitlines()[0] == "550 \\x1b[2Jgone\\x07"


def test_a_narrow_terminal_wraps_the_words(mailer: Cli) -> None:
    shown = mailer("explain", "502", env={"COLUMNS": "50"}).ok().stdout
    assert max(map(len, shown.splitlines())) <= 50
