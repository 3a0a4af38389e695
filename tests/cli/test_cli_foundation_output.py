"""What commands share to show and to ask: tables, JSON, CSV, files written whole, questions, bars."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.cli import Cli

from mailer.cli.output import Column, RowWriter, emit, open_output, rfc3339
from mailer.cli.session import Format, Session
from mailer.cli.table import printable, render, width_of
from mailer.errors import InputError

ROWS = [{"name": "spring", "sent": 12345, "note": None}, {"name": "=1+1", "sent": 0, "note": "ünïcode"}]
COLUMNS = (Column("name"), Column("sent", right=True), Column("note", may_shrink=True))


def shown(form: Format, capsys: pytest.CaptureFixture[str]) -> str:
    session = Session({})
    session.chosen_format = form
    emit(session, {"rows": ROWS}, rows=ROWS, columns=COLUMNS)
    return capsys.readouterr().out


# Forms


def test_json_is_the_document_whole(capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads(shown("json", capsys)) == {"rows": ROWS}


def test_jsonl_is_a_row_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert [json.loads(line) for line in shown("jsonl", capsys).splitlines()] == ROWS


def test_csv_has_a_header_and_no_formulas(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown("csv", capsys) == "name,sent,note\nspring,12345,\n'=1+1,0,ünïcode\n"


def test_a_table_has_a_head_and_aligned_columns(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown("table", capsys) == "NAME      SENT  NOTE\nspring  12,345  –\n=1+1         0  ünïcode\n"


def test_csv_without_rows_still_has_its_header() -> None:
    to = io.StringIO()
    RowWriter("csv", ["a", "b"], to=to).end()
    assert to.getvalue() == "a,b\n"


def test_raw_csv_leaves_formulas_as_they_are() -> None:
    to = io.StringIO()
    RowWriter("csv", ["a"], to=to, raw=True).write({"a": "=1"})
    assert to.getvalue() == "a\n=1\n"


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=4))
def test_every_text_comes_out_of_csv_as_it_went_in(cells: list[str]) -> None:
    to = io.StringIO(newline="")
    names = [f"c{number}" for number in range(len(cells))]
    RowWriter("csv", names, to=to, raw=True).write(dict(zip(names, cells, strict=True)))
    (row,) = csv.DictReader(io.StringIO(to.getvalue(), newline=""))
    assert list(row.values()) == cells


@pytest.mark.parametrize(
    ("at_us", "text"),
    [
        (None, None),
        (0, "1970-01-01T00:00:00.000Z"),
        (1_795_507_200_123_999, "2026-11-24T08:00:00.123Z"),
    ],
)
def test_a_time_is_rfc_3339_in_utc_with_milliseconds(at_us: int | None, text: str | None) -> None:
    assert rfc3339(at_us) == text


# Tables


@pytest.mark.parametrize(("text", "width"), [("abc", 3), ("新闻", 4), ("e\u0301", 1), ("", 0), ("a\u200db", 2)])
def test_wide_and_combining_characters_take_their_cells(text: str, width: int) -> None:
    assert width_of(text) == width


@given(st.text())
def test_nothing_that_is_shown_moves_the_cursor(text: str) -> None:
    safe = printable(text)
    assert not any(ord(char) < 32 or 127 <= ord(char) < 160 for char in safe)
    assert not set(safe) & set("\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


@given(
    st.lists(st.fixed_dictionaries({"a": st.text(max_size=60), "b": st.integers()}), max_size=5), st.integers(40, 100)
)
def test_a_table_fits_the_terminal_by_cutting_what_may_shrink(rows: list[dict[str, object]], width: int) -> None:
    table = render(rows, [Column("b", right=True), Column("a", may_shrink=True)], colour=False, width=width)
    lines = table.splitlines()
    assert len(lines) == len(rows) + 1
    fixed = max((width_of(f"{row['b']:,}") for row in rows), default=1)
    assert max(map(width_of, lines)) <= max(width, fixed + 2 + 8)


def test_colours_do_not_disturb_the_columns() -> None:
    rows = [{"state": "failed", "n": 1}, {"state": "sent", "n": 22}]
    columns = [Column("state"), Column("n", right=True)]
    coloured = render(rows, columns, colour=True, width=None)
    plain = render(rows, columns, colour=False, width=None)
    assert "\x1b[31mfailed\x1b[0m" in coloured
    assert [line.index("22") for line in plain.splitlines() if "22" in line] == [8]
    for code in ("\x1b[0m", "\x1b[1m", "\x1b[31m", "\x1b[32m"):
        coloured = coloured.replace(code, "")
    assert coloured == plain


# Files


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    target.write_text("before")

    def fail() -> None:
        with open_output(target) as file:
            file.write("half of ")
            raise RuntimeError("in between")

    with pytest.raises(RuntimeError):
        fail()
    assert target.read_text() == "before"
    with open_output(target) as file:
        file.write("whole")
    assert target.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [target]


def test_a_dash_is_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    with open_output(Path("-")) as file:
        file.write("x")
    with open_output(None) as file:
        file.write("y")
    assert capsys.readouterr().out == "xy"


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(InputError, match=r"cannot write .*gone/out.csv: No such file or directory"),
        open_output(tmp_path / "gone" / "out.csv"),
    ):
        pytest.fail("it was opened")


def test_what_is_no_regular_file_is_written_to_directly() -> None:
    with open_output(Path(os.devnull)) as file:
        file.write("x")
    assert Path(os.devnull).is_char_device()


# Questions and bars, on a real terminal

PROGRAM = """
import os, sys
import click
from mailer.cli import app, entry
from mailer.cli.output import confirm
from mailer.cli.progress import progress

@app.command(examples=("mailer ask", "mailer ask --yes"))
@click.option("--yes", is_flag=True)
def ask(session, yes):
    '''Ask.'''
    confirm(session, "cancel 1,204 waiting messages", yes=yes)
    click.echo("done")

@app.command(examples=("mailer bar", "mailer bar"))
def bar(session):
    '''Show a bar.'''
    with progress(session, "reading", total=3, unit="recipients") as shown:
        for done in range(4):
            shown.update(done)
    click.echo("done")

sys.modules["program"] = sys.modules["__main__"]
app.COMMANDS.update(ask="program:ask", bar="program:bar")
sys.exit(entry.run(sys.argv[1:], os.environ))
"""


@pytest.fixture
def program(tmp_path: Path) -> Cli:
    (tmp_path / "program.py").write_text(PROGRAM)
    made = Cli(tmp_path)
    made.program = (sys.executable, "program.py")
    return made


QUESTION = "This will cancel 1,204 waiting messages and cannot be undone. Go on? [y/N]: "


def test_what_cannot_be_undone_is_asked_on_a_terminal(program: Cli) -> None:
    yes = program.on_terminal("ask", typed="y\n").ok()
    assert QUESTION in yes.stdout
    assert yes.stdout.endswith("done\r\n")


@pytest.mark.parametrize("typed", ["n\n", "\n"])
def test_no_and_nothing_typed_change_nothing(program: Cli, typed: str) -> None:
    no = program.on_terminal("ask", typed=typed)
    assert no.exit == 1
    assert no.stdout.endswith("mailer: nothing was changed.\r\n")


def test_the_end_of_the_input_is_no_answer(program: Cli) -> None:
    ended = program.on_terminal("ask")
    assert ended.exit == 2
    assert "the input ended before the question was answered" in ended.stdout


def test_where_nobody_can_be_asked_yes_is_needed(program: Cli) -> None:
    for ran in (program("ask", stdin="y\n"), program.on_terminal("ask", "--no-input", typed="y\n")):
        assert ran.exit == 2
        assert "this would cancel 1,204 waiting messages and cannot be undone." in ran.stdout + ran.stderr
        assert "Add --yes to do it, or --dry-run to only look." in ran.stdout + ran.stderr
    assert program("ask", "--yes").ok().stdout == "done\n"


def test_a_bar_is_shown_where_somebody_sees_it(program: Cli) -> None:
    assert "reading" in program.on_terminal("bar").ok().stdout
    piped = program("bar").ok()
    assert (piped.stdout, piped.stderr) == ("done\n", "")


@pytest.mark.parametrize("args", [["--no-progress"], ["-q"]])
def test_no_bar_where_none_is_wanted(program: Cli, args: list[str]) -> None:
    assert "reading" not in program.on_terminal("bar", *args).ok().stdout


def test_a_dumb_terminal_has_no_bar(program: Cli) -> None:
    assert "reading" not in program.on_terminal("bar", env={"TERM": "dumb"}).ok().stdout
