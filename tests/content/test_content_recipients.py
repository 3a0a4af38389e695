"""Files of recipients of every kind: what comes out of them, row by row, and what is said of those that are none."""

from __future__ import annotations

import csv
import io
import json
import os
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.content import BadRow, Recipient, RecipientFile, open_recipients
from mailer.core.address import address_key
from mailer.core.spreadsheet import disarm
from mailer.errors import InputError

Rows = list[Recipient | BadRow]


def read(data: str | bytes, **options: Any) -> Rows:
    """The rows of a file that comes through standard input."""
    return list(opened(data, **options))


def opened(data: str | bytes, **options: Any) -> RecipientFile:
    raw = data.encode() if isinstance(data, str) else data
    return open_recipients(None, stdin=io.BytesIO(raw), **options)


def good(rows: Rows) -> list[tuple[int, str, dict[str, Any]]]:
    assert all(isinstance(row, Recipient) for row in rows), rows
    return [(row.row, row.address, row.fields) for row in rows if isinstance(row, Recipient)]


def bad(rows: Rows) -> list[tuple[int, str]]:
    return [(row.row, row.reason) for row in rows if isinstance(row, BadRow)]


def refusal(data: str | bytes, **options: Any) -> InputError:
    with pytest.raises(InputError) as raised:
        read(data, **options)
    return raised.value


# CSV


def test_a_row_has_its_address_and_all_other_columns_as_fields() -> None:
    file = opened("name,Email,city\nAnn,Ann@Example.COM,Berlin\nBob,bob@qq.com,\n")
    assert file.kind == "csv"
    assert file.columns == ("name", "city")
    first, second = file
    assert first == Recipient(2, "Ann@Example.COM", "ann@example.com", "other", {"name": "Ann", "city": "Berlin"})
    assert second == Recipient(3, "bob@qq.com", "bob@qq.com", "qq", {"name": "Bob", "city": ""})


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_the_delimiter_is_found_and_any_line_end_will_do(delimiter: str, line_end: str) -> None:
    lines = [["address", "name", "note"], ["a@b.example", "Smith, Ann; x", "1|2"], ["c@d.example", "Bob", ""]]
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, lineterminator=line_end).writerows(lines)
    assert [(address, fields) for _, address, fields in good(read(out.getvalue()))] == [
        ("a@b.example", {"name": "Smith, Ann; x", "note": "1|2"}),
        ("c@d.example", {"name": "Bob", "note": ""}),
    ]


def test_a_file_may_have_one_column_and_a_byte_order_mark() -> None:
    assert good(read("\ufeffAddress\na@b.example\n")) == [(2, "a@b.example", {})]
    assert good(read('"email"\n"a@b.example"\n')) == [(2, "a@b.example", {})]


def test_blank_lines_are_passed_over_and_counted() -> None:
    rows = read("\n\naddress,name\n\na@b.example,Ann\n,\n\n  \nc@d.example,Bob")
    assert good(rows[:1] + rows[2:]) == [(5, "a@b.example", {"name": "Ann"}), (9, "c@d.example", {"name": "Bob"})]
    assert bad(rows) == [(8, "it has 1 cell, the first line 2")]


def test_a_quoted_cell_may_have_lines_and_the_row_is_where_it_begins() -> None:
    rows = read('address,note,name\na@b.example,"one\ntwo ""x""",Ann\nc@d.example,,Bob\n')
    assert good(rows) == [
        (2, "a@b.example", {"note": 'one\ntwo "x"', "name": "Ann"}),
        (4, "c@d.example", {"note": "", "name": "Bob"}),
    ]


def test_the_names_of_the_columns_may_have_lines_too() -> None:
    rows = read('address,"first\nname"\na@b.example,Ann\n')
    assert good(rows) == [(3, "a@b.example", {"first\nname": "Ann"})]


def test_a_row_with_more_or_fewer_cells_is_bad() -> None:
    rows = read("address,name\na@b.example\na@b.example,Ann,x\na@b.example,Ann,,\n")
    assert bad(rows) == [
        (2, "it has 1 cell, the first line 2"),
        (3, "it has 3 cells, the first line 2"),
    ]
    assert good(rows[2:]) == [(4, "a@b.example", {"name": "Ann"})]
    assert rows[0] == BadRow(2, "a@b.example", "it has 1 cell, the first line 2")


def test_a_column_without_a_name_is_passed_over() -> None:
    file = opened("address,,name,\na@b.example,x,Ann,\n")
    assert file.columns == ("name",)
    assert good(list(file)) == [(2, "a@b.example", {"name": "Ann"})]


def test_a_row_without_a_usable_address_is_bad() -> None:
    rows = read("address,name\n,Ann\nnobody,Bob\nx@y..example,C\na\u3000b@example.com,D\n a@b.example ,E\n")
    assert bad(rows) == [
        (2, "it has no address"),
        (3, "it has no `@`"),
        (4, "there can be no domain 'y..example'"),
        (5, "it holds a blank or a control character"),
    ]
    assert good(rows[4:]) == [(6, "a@b.example", {"name": "E"})]
    assert rows[0] == BadRow(2, ",Ann", "it has no address")
    assert rows[1] == BadRow(3, "nobody", "it has no `@`")


def test_an_address_in_any_script_is_taken_and_compared_in_one_form() -> None:
    rows = read("address\n用户@例子.广告\nMu\u0308ller@Example.com\nmüller@example.com\n")
    assert bad(rows) == []
    found = [(row.address, row.key) for row in rows if isinstance(row, Recipient)]
    assert found == [
        ("用户@例子.广告", "用户@xn--fsqu00a.xn--4rr70v"),
        ("Mu\u0308ller@Example.com", "müller@example.com"),
        ("müller@example.com", "müller@example.com"),
    ]


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("a@b.example\nBcc: c@d.example", "it holds a blank or a control character"),
        ("a\n@b.example", "it holds a blank or a control character"),
        ("a@b.example\0", "there can be no domain"),
    ],
)
def test_an_address_with_a_line_break_or_a_nul_is_bad(cell: str, reason: str) -> None:
    # Behind a beginning that is long enough for the file not to be taken for something else than text.
    (row,) = read("address,name\n" + "\n" * 70_000 + f'"{cell}",Ann\n')
    assert isinstance(row, BadRow)
    assert row.reason.startswith(reason)


def test_a_name_with_a_line_break_is_bad_and_other_fields_may_have_them() -> None:
    rows = read('address,name,note\na@b.example,"Ann\nB","x"\na@b.example,"Ann","x\r\ny"\n')
    assert bad(rows) == [(2, "its name has a line break in it")]
    assert good(rows[1:]) == [(4, "a@b.example", {"name": "Ann", "note": "x\r\ny"})]


def test_a_quote_that_is_never_closed_is_one_bad_row() -> None:
    rows = read('address,name\na@b.example,"Ann\nb@c.example,Bob\n')
    assert bad(rows) == [(2, "a quote opens and is not closed")]
    rows = read('address,name\na@b.example,"Ann"x\nb@c.example,Bob\n')
    assert bad(rows) == [(2, "a cell goes on behind its closing quote")]
    assert good(rows[1:]) == [(3, "b@c.example", {"name": "Bob"})]
    # One that swallows a whole file ends at the largest cell there may be, not at the end of memory.
    rows = read('address,name\na@b.example,"Ann\n' + "b@c.example,Bob\n" * 20_000)
    assert bad(rows)[0] == (2, "a quote opens and is not closed")


def test_what_our_own_export_disarmed_is_restored() -> None:
    out = io.StringIO()
    cells = ["=1+1", "+49", "-", "'=x", "plain", "'plain"]
    csv.writer(out).writerows([["address", *"abcdef"], ["a@b.example", *map(disarm, cells)]])
    assert good(read(out.getvalue())) == [(2, "a@b.example", dict(zip("abcdef", cells, strict=True)))]


def test_the_column_with_the_addresses_can_be_named() -> None:
    text = "mail,name\na@b.example,Ann\n"
    assert good(read(text, address_column="mail")) == [(2, "a@b.example", {"name": "Ann"})]
    assert good(read(text, address_column="MAIL")) == [(2, "a@b.example", {"name": "Ann"})]
    both = "email,backup email\na@b.example,c@d.example\n"
    assert good(read(both, address_column="backup email")) == [(2, "c@d.example", {"email": "a@b.example"})]
    assert good(read("mail\na@b.example\n", address_column="mail")) == [(2, "a@b.example", {})]


@pytest.mark.parametrize(
    ("data", "options", "sentence", "hint"),
    [
        (
            "mail,name\na@b.example,Ann\n",
            {},
            "no column is named address or email. Its columns are: mail, name.",
            "--address-column says",
        ),
        (
            "mail,name\nx,y\n",
            {"address_column": "mial"},
            "there is no column mial. Its columns are: mail, name.",
            "Did you mean mail?",
        ),
        ("email,address\nx,y\n", {}, "two columns could be the address: email and address.", "--address-column says"),
        ("email,Email\nx,y\n", {}, "two columns could be the address: email and Email.", "--address-column says"),
        ("email,name,name\nx,y,z\n", {}, "two columns are named name.", "Rename one"),
        (
            "email,campaign\nx,y\n",
            {},
            "it has a column campaign, a name that means something else in templates.",
            "Rename",
        ),
        (
            "email,address\nx,y\n",
            {"address_column": "email"},
            "it has a column address, a name that means something",
            "Rename",
        ),
        (
            "a@b.example,Ann\nc@d.example,Bob\n",
            {},
            "its first line is a recipient, not the names of the columns.",
            "such as address,name",
        ),
        ('[{"address": "a@b.example"}]', {}, "it is a JSON array.", "one object a line"),
        ("", {}, "it is empty.", ""),
        ("\n \n\n", {}, "it is empty.", ""),
        ('address,"name\n', {}, "the line with the names of the columns cannot be read: unexpected end of data.", ""),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_as_a_whole(data: str, options: Any, sentence: str, hint: str) -> None:
    error = refusal(data, **options)
    assert error.message.startswith(f"--recipients, standard input: {sentence}")
    assert hint in error.hint


# JSON lines


def test_json_lines_bring_their_own_fields_of_any_kind() -> None:
    file = opened('{"address": "a@b.example", "n": 1, "items": [{"t": "x"}], "nil": null}\n\n{"Email": "c@qq.com"}\n')
    assert (file.kind, file.columns) == ("jsonl", None)
    assert list(file) == [
        Recipient(1, "a@b.example", "a@b.example", "other", {"n": 1, "items": [{"t": "x"}], "nil": None}),
        Recipient(3, "c@qq.com", "c@qq.com", "qq", {}),
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"address": "a@b.example"', "it is no JSON: Expecting ',' delimiter at column 26"),
        ("[1]", "it is no JSON object"),
        ('"a@b.example"', "it is no JSON object"),
        ("a@b.example", "it is no JSON: Expecting value at column 1"),
        ('{"name": "Ann"}', "it has no field address or email"),
        ('{"address": "", "name": "Ann"}', "it has no address"),
        ('{"address": null}', "it has no address"),
        ('{"address": 7}', "its address is no text"),
        ('{"address": "nobody"}', "it has no `@`"),
        ('{"address": "a@b.example\\r\\nBcc: c"}', "there can be no domain"),
        ('{"address": "a@b.example", "email": "c@d.example"}', "it has two fields for an address, address and email"),
        ('{"address": "a@b.example", "n": NaN}', "it is no JSON: NaN is no number"),
        pytest.param(
            '{"address": "a@b.example", "n": ' + "1" * 5000 + "}", "it is no JSON: Exceeds the limit", id="digits"
        ),
        ('{"address": "a@b.example", "n": "\\ud800"}', "it holds half a character (a lone surrogate)"),
        pytest.param('{"address": "a@b.example", "n": ' + "[" * 100_000 + "}", "it is nested too deeply", id="nested"),
        ('{"address": "a@b.example", "name": "A\\nB"}', "its name has a line break in it"),
        ('{"address": "a@b.example", "name": "A\\u0000B"}', "its name has a NUL character in it"),
        ('{"address": "a@b.example", "today": "x"}', "its field today has a name that means something else"),
    ],
)
def test_a_line_that_is_no_recipient_is_bad_and_the_others_are_not(line: str, reason: str) -> None:
    rows = read('{"address": "x@y.example"}\n' + line + '\n{"address": "z@y.example"}\n')
    assert [row.row for row in rows] == [1, 2, 3]
    assert isinstance(rows[1], BadRow)
    assert rows[1].reason.startswith(reason)
    assert good([rows[0], rows[2]])


def test_a_whole_character_written_as_two_halves_is_one() -> None:
    assert good(read('{"address": "a@b.example", "n": "\\ud83d\\ude00"}\n')) == [(1, "a@b.example", {"n": "😀"})]


def test_the_field_with_the_address_can_be_named() -> None:
    rows = read('{"to": "a@b.example", "n": 1}\n{"address": "x@y.example"}\n', address_column="to")
    assert good(rows[:1]) == [(1, "a@b.example", {"n": 1})]
    assert bad(rows) == [(2, "it has no field to")]


# Plain text


def test_plain_text_has_an_address_a_line_with_or_without_a_name() -> None:
    file = opened('a@b.example\n\nAnn Smith <ann@b.example>\n"Smith, Bob" <bob@b.example>\n  c@d.example  \n')
    assert (file.kind, file.columns) == ("text", ("name",))
    assert good(list(file)) == [
        (1, "a@b.example", {}),
        (3, "ann@b.example", {"name": "Ann Smith"}),
        (4, "bob@b.example", {"name": "Smith, Bob"}),
        (5, "c@d.example", {}),
    ]


def test_addresses_alone_have_no_fields() -> None:
    file = opened("a@b.example\nc@d.example")
    assert (file.kind, file.columns) == ("text", ())


def test_a_line_that_is_no_address_is_bad_wherever_it_stands(tmp_path: Path) -> None:
    rows = read("a@@b.example\n# a comment\nAnn <a@b.example\nc@d.example, e@f.example\ng@h.example\n")
    assert [row.row for row in rows] == [1, 2, 3, 4, 5]
    assert [type(row) for row in rows] == [BadRow] * 4 + [Recipient]
    path = tmp_path / "list.txt"
    path.write_text("# a comment\na@b.example\n")
    with open_recipients(path) as file:
        assert file.kind == "text"
        assert bad(list(file)) == [(1, "it has no `@`")]


# Files


def test_a_directory_a_missing_and_an_unreadable_file_are_refused(tmp_path: Path) -> None:
    for path, sentence in [
        (tmp_path, "it is a directory."),
        (tmp_path / "no.csv", "there is no such file."),
        (tmp_path / "a\0b", "it cannot be read: embedded null byte."),
        (tmp_path / ("x" * 300), "it cannot be read: File name too long."),
    ]:
        with pytest.raises(InputError) as raised:
            open_recipients(path)
        assert raised.value.message == f"--recipients {path}: {sentence}"


def test_progress_reaches_the_size_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("address\n" + "".join(f"u{at}@b.example\n" for at in range(5_000)))
    with open_recipients(path) as file:
        assert file.size_bytes == path.stat().st_size
        seen = [file.read_bytes for _ in file]
        assert file.read_bytes == file.size_bytes
    assert seen == sorted(seen)
    assert len(set(seen)) > 5


def test_a_pipe_is_read_like_a_file() -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as end:
        end.write(b"address,name\na@b.example,Ann\n")
    with os.fdopen(reading, "rb") as stdin:
        with open_recipients(None, stdin=stdin) as file:
            assert good(list(file)) == [(2, "a@b.example", {"name": "Ann"})]
        assert not stdin.closed


def test_a_named_pipe_is_read_like_a_file(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as end:
        end.write(b"a@b.example\n")
    try:
        with open_recipients(Path(f"/dev/fd/{reading}")) as file:
            assert good(list(file)) == [(1, "a@b.example", {})]
    finally:
        os.close(reading)


def test_standard_input_is_read_from_where_it_stands_and_left_open() -> None:
    stdin = io.BytesIO(b"read alreadyaddress\na@b.example\n")
    stdin.seek(len(b"read already"))
    with open_recipients(None, stdin=stdin) as file:
        assert file.size_bytes == len(b"address\na@b.example\n")
        assert good(list(file)) == [(2, "a@b.example", {})]
        assert file.read_bytes == file.size_bytes
    assert not stdin.closed


def test_a_file_that_is_left_in_the_middle_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("address\n" + "a@b.example\n" * 5_000)
    with open_recipients(path) as file:
        next(iter(file))
    with pytest.raises(ValueError, match="closed"):
        _ = file.read_bytes


def test_a_long_list_costs_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("address,name\n" + "".join(f"user{at}@d{at % 97}.example,Ann Smith\n" for at in range(50_000)))
    tracemalloc.start()
    try:
        with open_recipients(path) as file:
            assert sum(isinstance(row, Recipient) for row in file) == 50_000
        assert tracemalloc.get_traced_memory()[1] < 3_000_000
    finally:
        tracemalloc.stop()


# Addresses


ADDRESSES = st.from_regex(r"\A[A-Za-z0-9._+-]{1,70}@[A-Za-z0-9.-]{1,20}\Z") | st.text(max_size=30) | st.emails()


@given(st.lists(ADDRESSES, max_size=8))
def test_the_quick_look_at_an_address_says_what_the_thorough_one_does(addresses: list[str]) -> None:
    from mailer.content.recipient import AddressBook
    from mailer.core.address import BadAddress

    book = AddressBook()
    for address in addresses * 2:  # the second time every domain is known
        try:
            expected: str | None = address_key(address)
        except BadAddress:
            expected = None
        try:
            found: str | None = book.look_up(address)[0]
        except BadAddress:
            found = None
        assert found == expected


@given(st.binary(max_size=300))
def test_no_file_is_too_strange(data: bytes) -> None:
    try:
        rows = read(data)
    except InputError as error:
        assert error.message.startswith("--recipients, standard input: ")
        return
    for row in rows:
        if isinstance(row, Recipient):
            json.dumps(row.fields, ensure_ascii=False).encode()


@given(st.text(st.sampled_from("\",;|\t\n\r'=ab@.{}[]<> \0é"), max_size=80))
def test_no_text_behind_a_header_is_too_strange(text: str) -> None:
    for row in read("address,name\n" + text.replace("\0", "x") + "\n"):
        assert isinstance(row, Recipient | BadRow)
