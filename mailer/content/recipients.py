"""A file of recipients: opened, recognised, and read row by row however long it is."""

from __future__ import annotations

import csv
import io
from collections.abc import Generator, Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final, Literal

from mailer.content.columns import RESERVED
from mailer.content.recipient import BadRow, Recipient
from mailer.content.recipient_bytes import open_bytes
from mailer.content.recipient_encoding import find_encoding, named_encoding
from mailer.content.recipient_rows import ADDRESS_NAMES, CsvRows, json_rows, text_rows
from mailer.core.address import BadAddress, parse_mailbox
from mailer.core.nearest import did_you_mean
from mailer.errors import InputError

__all__ = ["RecipientFile", "open_recipients"]

Kind = Literal["csv", "jsonl", "text"]

DELIMITERS: Final = ",;\t|"
# Lines that are looked at to recognise what kind of file it is.
_LOOKED_AT: Final = 20
# A longer line is no record of a recipient, and reading it to its end might cost all memory.
_LONGEST_LINE: Final = 4 * 1024 * 1024


def open_recipients(
    path: Path | None,
    *,
    stdin: BinaryIO | None = None,
    encoding: str | None = None,
    address_column: str | None = None,
) -> RecipientFile:
    """Open `path`, or `stdin` where it is None, and recognise what it is.

    Raises InputError for what is wrong with it as a whole: not readable, empty, a directory, an encoding that is not
    clear, no column with addresses. Close it, or use it in a `with`.
    """
    return RecipientFile(path, stdin, encoding, address_column)


class RecipientFile:
    """The rows of one file. Iterate once; each is a Recipient or a BadRow, in the order of the file.

    While iterating, InputError is raised for bytes that are not of the file's encoding.
    """

    def __init__(
        self, path: Path | None, stdin: BinaryIO | None, encoding: str | None, address_column: str | None
    ) -> None:
        self.where = f"--recipients {path}" if path is not None else "--recipients, standard input"
        named = named_encoding(encoding) if encoding is not None else None
        self._stream, self.size_bytes = open_bytes(path, stdin, self.where)
        self._is_ours = self._stream is not stdin
        self._start = self._stream.tell()
        self._lines = _lines(self._stream, "utf-8")
        self.kind: Kind
        self.columns: tuple[str, ...] | None
        """The fields of every row; None where each row brings its own."""
        try:
            self.encoding: str = named or find_encoding(self._stream, self.where)
            """As Python calls it. What is not UTF-8 deserves a word to the operator."""
            self._lines = _lines(self._stream, self.encoding)
            self._recognise(path, address_column)
        except BaseException:
            self.close()
            raise

    @property
    def read_bytes(self) -> int:
        """How far reading has come, of `size_bytes`."""
        return self._stream.tell() - self._start

    def close(self) -> None:
        """Close what was opened here; standard input is left as it is."""
        self._lines.close()  # before what it reads from
        if self._is_ours:
            self._stream.close()

    def __enter__(self) -> RecipientFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Recipient | BadRow]:
        row = 0
        try:
            for each in self._rows:
                row = each.row
                yield each
        except UnicodeDecodeError:
            raise self._not_of_encoding(f"behind row {row:,}") from None

    def _not_of_encoding(self, place: str) -> InputError:
        return InputError(
            f"{self.where}: {place} it is not {self.encoding.removesuffix('-sig')}.",
            "--encoding names the encoding of the file; it must be the same throughout.",
        )

    def _recognise(self, path: Path | None, address_column: str | None) -> None:
        try:
            head = list(islice(self._lines, _LOOKED_AT))
        except UnicodeDecodeError:
            raise self._not_of_encoding("at its beginning") from None
        self._rewind()
        filled = [line.strip() for line in head if line.strip()]
        if not filled:
            raise InputError(f"{self.where}: it is empty.")
        suffix = path.suffix.lower() if path is not None else ""
        if filled[0].startswith("{") or suffix in (".jsonl", ".ndjson"):
            self._open_json(address_column)
        elif filled[0].startswith("["):
            raise InputError(f"{self.where}: it is a JSON array.", "JSON lines are expected: one object a line.")
        elif _is_list(filled, suffix, address_column):
            self._open_text(filled)
        else:
            self._open_csv(head, address_column)

    def _rewind(self) -> None:
        self._lines.close()
        self._stream.seek(self._start)
        self._lines = _lines(self._stream, self.encoding)

    def _open_json(self, address_column: str | None) -> None:
        self.kind, self.columns = "jsonl", None
        self._rows: Iterator[Recipient | BadRow] = json_rows(self._lines, address_column)

    def _open_text(self, filled: list[str]) -> None:
        self.kind = "text"
        self.columns = ("name",) if any(line.endswith(">") and not line.startswith("<") for line in filled) else ()
        self._rows = text_rows(self._lines)

    def _open_csv(self, head: list[str], address_column: str | None) -> None:
        self.kind = "csv"
        blank = 0
        while not head[blank].strip():
            blank += 1
        delimiter = _delimiter(head[blank:])
        header = csv.reader(islice(self._lines, blank, None), delimiter=delimiter, strict=True)
        try:
            columns = [name.strip() for name in next(header)]
        except csv.Error as error:
            raise InputError(f"{self.where}: the line with the names of the columns cannot be read: {error}.") from None
        address_at = self._address_at(columns, address_column)
        self.columns = self._field_names(columns, address_at)
        # The reader has taken whole lines, and no more than it needed.
        first_row = blank + header.line_num + 1
        self._rows = iter(CsvRows(self._lines, delimiter, columns, address_at, first_row))

    def _address_at(self, columns: list[str], address_column: str | None) -> int:
        names = ", ".join(name for name in columns if name)
        if address_column is not None:
            wanted = [at for at, name in enumerate(columns) if name == address_column]
            wanted = wanted or [at for at, name in enumerate(columns) if name.casefold() == address_column.casefold()]
            if not wanted:
                raise InputError(
                    f"{self.where}: there is no column {address_column}. Its columns are: {names}.",
                    did_you_mean(address_column, columns),
                )
            return wanted[0]
        found = [at for at, name in enumerate(columns) if name.casefold() in ADDRESS_NAMES]
        if len(found) > 1:
            raise InputError(
                f"{self.where}: two columns could be the address: {columns[found[0]]} and {columns[found[1]]}.",
                "--address-column says which one is.",
            )
        if not found:
            if any("@" in name for name in columns):
                raise InputError(
                    f"{self.where}: its first line is a recipient, not the names of the columns.",
                    "The first line names the columns, such as address,name.",
                )
            raise InputError(
                f"{self.where}: no column is named address or email. Its columns are: {names}.",
                "--address-column says which one holds the addresses.",
            )
        return found[0]

    def _field_names(self, columns: list[str], address_at: int) -> tuple[str, ...]:
        names = [name for at, name in enumerate(columns) if name and at != address_at]
        for name in names:
            if names.count(name) > 1:
                raise InputError(f"{self.where}: two columns are named {name}.", "Rename one of them.")
            if name in RESERVED:
                raise InputError(
                    f"{self.where}: it has a column {name}, a name that means something else in templates.",
                    "Rename the column.",
                )
        return tuple(names)


def _lines(stream: BinaryIO, encoding: str) -> Generator[str, None, None]:
    """Lines with their ends, whatever those are. The stream stays open when they are no longer wanted."""
    text = io.TextIOWrapper(stream, encoding=encoding, errors="strict", newline="")
    try:
        while line := text.readline(_LONGEST_LINE):
            yield line
    finally:
        text.detach()


def _is_list(filled: list[str], suffix: str, address_column: str | None) -> bool:
    """Whether these are lines with one address each, not CSV."""
    first = filled[0]
    if first.strip('"').casefold() in (*ADDRESS_NAMES, (address_column or "").casefold()):
        return False  # a CSV file with one column
    if _is_mailbox(first):
        return True
    if any(sign in first for sign in DELIMITERS):
        return False
    # A first line that is wrong must not make the whole list something else.
    return "@" in first or suffix == ".txt" or (suffix != ".csv" and any(map(_is_mailbox, filled[1:])))


def _is_mailbox(line: str) -> bool:
    try:
        parse_mailbox(line)
    except BadAddress:
        return False
    return True


def _delimiter(head: list[str]) -> str:
    """The one that the first line has most of, outside of quotes; of two alike, the one that fits the other lines."""

    def fit(delimiter: str) -> tuple[int, int]:
        try:
            widths = [len(cells) for cells in csv.reader(head, delimiter=delimiter) if cells]
        except csv.Error:
            return (0, 0)
        return (widths[0] if widths else 0, widths.count(widths[0]) if widths else 0)

    return max(DELIMITERS, key=fit)
