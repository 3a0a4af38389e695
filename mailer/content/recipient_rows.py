"""Rows of a file of recipients, in the three kinds of file there are: CSV, JSON lines, an address a line."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final, NoReturn

from mailer.content.columns import RESERVED
from mailer.content.recipient import AddressBook, BadRow, Recipient
from mailer.core.address import BadAddress, parse_mailbox
from mailer.core.spreadsheet import rearm

__all__ = ["ADDRESS_NAMES", "CsvRows", "json_rows", "text_rows"]

ADDRESS_NAMES: Final = ("address", "email")

_BREAK: Final = re.compile(r"[\r\n\0]")
_HALF_CHARACTER: Final = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}|\\u[dD][c-fC-F][0-9a-fA-F]{2}")


def _reason_for_name(name: object) -> str | None:
    """What is wrong with a row's `name`, which becomes a header."""
    if isinstance(name, str) and _BREAK.search(name) is not None:
        return "its name has a NUL character in it" if "\0" in name else "its name has a line break in it"
    return None


class CsvRows:
    """Records behind the line with the names of the columns. Numbered by the line on which each begins."""

    def __init__(
        self, lines: Iterable[str], delimiter: str, columns: list[str], address_at: int, first_row: int
    ) -> None:
        """`columns` are the names as they stand in the file; one without a name is passed over."""
        self._reader = csv.reader(lines, delimiter=delimiter, strict=True)
        self._delimiter = delimiter
        self._width = len(columns)
        self._address_at = address_at
        self._kept = [(at, name) for at, name in enumerate(columns) if name and at != address_at]
        self._before = first_row - 1

    def __iter__(self) -> Iterator[Recipient | BadRow]:
        book = AddressBook()
        reader, width, address_at, kept, before = self._reader, self._width, self._address_at, self._kept, self._before
        while True:
            row = before + reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield BadRow(row, "", _quoting_trouble(error))
                continue
            if not cells:
                continue
            if len(cells) != width:
                if not any(cells):
                    continue  # `;;;` is how spreadsheets write an empty line
                if len(cells) < width or any(cells[width:]):
                    yield BadRow(
                        row, self._delimiter.join(cells), f"it has {_cells(len(cells))}, the first line {width}"
                    )
                    continue
            if any(cell[:1] == "'" for cell in cells):
                cells = [rearm(cell) for cell in cells]
            address = cells[address_at].strip()
            try:
                key, destination = book.look_up(address)
            except BadAddress as error:
                if any(cells):
                    text = self._delimiter.join(cells)
                    yield BadRow(row, address or text, str(error) if address else "it has no address")
                continue
            fields: dict[str, Any] = {name: cells[at] for at, name in kept}
            wrong = _reason_for_name(fields.get("name"))
            if wrong is not None:
                yield BadRow(row, address, wrong)
                continue
            yield Recipient(row, address, key, destination, fields)


def _cells(count: int) -> str:
    return "1 cell" if count == 1 else f"{count} cells"


def _quoting_trouble(error: csv.Error) -> str:
    if "expected after" in str(error):
        return "a cell goes on behind its closing quote"
    if "limit" in str(error) or "end of data" in str(error):
        return "a quote opens and is not closed"
    return f"it is no CSV: {error}"


def json_rows(lines: Iterable[str], address_name: str | None) -> Iterator[Recipient | BadRow]:
    """Objects, one a line. `address_name` is `--address-column`."""
    book = AddressBook()
    found, met = "", None
    for row, line in enumerate(lines, start=1):
        line = line.strip()
        if not line:
            continue
        try:
            fields = _json_object(line)
            names = tuple(fields)
            if names != met:  # nearly all lines of a file have the same fields
                found = _address_key_in(fields, address_name)
                met = names
            address = _address_value(fields.pop(found))
            key, destination = book.look_up(address)
            _check_fields(fields)
        except _BadLine as bad:
            yield BadRow(row, line, str(bad))
        except BadAddress as error:
            yield BadRow(row, address, str(error) if address else "it has no address")
        else:
            yield Recipient(row, address, key, destination, fields)


class _BadLine(Exception):
    """This line is no recipient. The text says why."""


def _json_object(line: str) -> dict[str, Any]:
    try:
        fields = json.loads(line, parse_constant=_no_such_number)
    except RecursionError:
        raise _BadLine("it is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise _BadLine(f"it is no JSON: {error.msg} at column {error.colno}") from None
    except ValueError as error:
        raise _BadLine(f"it is no JSON: {error}") from None
    if not isinstance(fields, dict):
        raise _BadLine("it is no JSON object")
    if "\\u" in line and _HALF_CHARACTER.search(line) is not None:
        try:
            json.dumps(fields, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise _BadLine("it holds half a character (a lone surrogate)") from None
    return fields


def _no_such_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")


def _address_key_in(fields: dict[str, Any], address_name: str | None) -> str:
    if address_name is not None:
        if address_name not in fields:
            raise _BadLine(f"it has no field {address_name}")
        return address_name
    names = [name for name in fields if name.strip().lower() in ADDRESS_NAMES]
    if not names:
        raise _BadLine("it has no field address or email")
    if len(names) > 1:
        raise _BadLine(f"it has two fields for an address, {names[0]} and {names[1]}")
    return names[0]


def _address_value(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _BadLine("its address is no text")
    return value.strip()


def _check_fields(fields: dict[str, Any]) -> None:
    for name in RESERVED:
        if name in fields:
            raise _BadLine(f"its field {name} has a name that means something else in templates")
    wrong = _reason_for_name(fields.get("name"))
    if wrong is not None:
        raise _BadLine(wrong)


def text_rows(lines: Iterable[str]) -> Iterator[Recipient | BadRow]:
    """`a@b` or `Name <a@b>`, one a line; the name becomes the field `name`."""
    book = AddressBook()
    for row, line in enumerate(lines, start=1):
        text = line.strip()
        if not text:
            continue
        try:
            name, address = "", text
            if text.endswith(">"):
                mailbox = parse_mailbox(text)
                name, address = mailbox.name, mailbox.address
            key, destination = book.look_up(address)
        except BadAddress as error:
            yield BadRow(row, text, str(error))
            continue
        yield Recipient(row, address, key, destination, {"name": name} if name else {})
