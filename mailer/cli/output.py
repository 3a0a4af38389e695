"""What goes to stdout: one document or many rows, as a table for people or as JSON, JSON lines or CSV for programs."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal

import click

from mailer.cli.interruptible import interruptible
from mailer.cli.session import Session
from mailer.cli.table import Column, render
from mailer.core.spreadsheet import disarm
from mailer.errors import InputError, Refused, UsageError

__all__ = ["Column", "RowWriter", "confirm", "emit", "open_output", "rfc3339", "show_json"]


def rfc3339(at_us: int | None) -> str | None:
    """`2026-11-24T08:00:00.000Z` for microseconds since the epoch, None for None."""
    if at_us is None:
        return None
    from datetime import UTC, datetime, timedelta

    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at_us)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z"


def emit(
    session: Session,
    document: Mapping[str, Any],
    *,
    rows: Iterable[Mapping[str, Any]] | None = None,
    columns: Sequence[Column] = (),
) -> None:
    """Write `document` to stdout in the form the user asked for.

    json: the document, whole. jsonl and csv: one line per row of `rows`, or the document as the only row; csv has the
    fields that `columns` name (or those of the first row). table: `rows` under the titles of `columns`, or without
    rows the fields of the document one under the other. A command with a table of its own asks `session.format` and
    calls this for the other three.
    """
    if session.format == "json":
        show_json(document)
    elif session.format == "table":
        listed = [document] if rows is None else list(rows)
        if rows is None and not columns:
            columns, listed = _as_pairs(document)
        click.echo(
            render(listed, columns, colour=session.has_colour(sys.stdout), width=session.width_of(sys.stdout)), nl=False
        )
    else:
        writer = RowWriter(session.format, [column.key for column in columns])
        for row in [document] if rows is None else rows:
            writer.write(row)
        writer.end()


def show_json(document: object) -> None:
    """One JSON document on stdout, indented; keys in the order they were put in."""
    click.echo(json.dumps(document, ensure_ascii=_ascii_only(sys.stdout), indent=2))


class RowWriter:
    """Writes rows one at a time as `jsonl` or `csv`, for what is too long to be held."""

    def __init__(
        self,
        form: Literal["jsonl", "csv"],
        fields: Sequence[str],
        *,
        to: IO[str] | None = None,
        raw: bool = False,
    ) -> None:
        """`fields` are the columns of csv; with none, the first row's keys are. `raw` leaves formulas as they are."""
        self._form = form
        self._fields = list(fields)
        self._to = to or sys.stdout
        self._raw = raw
        self._has_header = False

    def write(self, row: Mapping[str, Any]) -> None:
        """One more row. A nested value becomes JSON within its csv cell; None an empty cell."""
        if self._form == "jsonl":
            self._to.write(json.dumps(row, ensure_ascii=_ascii_only(self._to)) + "\n")
            return
        if not self._has_header:
            self._fields = self._fields or list(row)
            self._write_line(self._fields)
        self._write_line([self._cell(row.get(name)) for name in self._fields])

    def end(self) -> None:
        """Call once when there are no more rows: a csv without rows still has its header."""
        if self._form == "csv" and not self._has_header and self._fields:
            self._write_line(self._fields)

    def _write_line(self, cells: list[str]) -> None:
        import csv

        self._has_header = True
        # The writer quotes only the line ends that it makes itself; a bare CR would end the row for who reads it.
        quoting: Literal[0, 1] = csv.QUOTE_ALL if any("\r" in cell for cell in cells) else csv.QUOTE_MINIMAL
        csv.writer(self._to, lineterminator="\n", quoting=quoting).writerow(cells)

    def _cell(self, value: Any) -> str:
        match value:
            case None:
                return ""
            case str():
                return value if self._raw else disarm(value)
            case bool():
                return "true" if value else "false"
            case Mapping() | list() | tuple():
                return json.dumps(value, ensure_ascii=False)
            case _:
                return str(value)


@contextmanager
def open_output(path: Path | None, *, binary: bool = False) -> Iterator[IO[Any]]:
    """A file to write to for `--output F`: whole or not at all, put in place when the block ends without an error.

    `-` and None are stdout. What exists and is no regular file (a pipe, /dev/null) is written to directly. Raises
    InputError when the file cannot be written.
    """
    if path is None or str(path) == "-":
        yield sys.stdout.buffer if binary else sys.stdout
        return
    if path.exists() and not path.is_file():
        try:
            direct = path.open("wb") if binary else path.open("w", encoding="utf-8", newline="")
        except OSError as error:
            raise _unwritable(path, error) from error
        with direct:
            yield direct
        return
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        file = beside.open("xb") if binary else beside.open("x", encoding="utf-8", newline="")
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        with file:
            yield file
        beside.replace(path)
    except OSError as error:
        # The block may fail for reasons of its own; only what a file being written meets is reported as that.
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EACCES, errno.EISDIR):
            raise
        raise _unwritable(path, error) from error
    finally:
        beside.unlink(missing_ok=True)


def confirm(session: Session, what: str, *, yes: bool) -> None:
    """Ask before something that cannot be undone; `what` names it with its count: `cancel 1,204 waiting messages`.

    Returns if it was confirmed. Raises Refused if the answer was no, and UsageError where nobody can be asked and
    --yes was not given.
    """
    if yes:
        return
    if not session.interactive:
        raise UsageError(f"this would {what} and cannot be undone.", "Add --yes to do it, or --dry-run to only look.")
    with interruptible():
        goes_on = click.confirm(f"This will {what} and cannot be undone. Go on?", err=True)
    if not goes_on:
        raise Refused("nothing was changed.")


def _unwritable(path: Path, error: OSError) -> InputError:
    return InputError(f"cannot write {path}: {error.strerror}.", "Name another file with --output, or - for stdout.")


def _as_pairs(document: Mapping[str, Any]) -> tuple[Sequence[Column], list[Mapping[str, Any]]]:
    columns = (Column("key", ""), Column("value", ""))
    return columns, [{"key": key.replace("_", " "), "value": value} for key, value in document.items()]


def _ascii_only(stream: IO[str]) -> bool:
    # JSON is UTF-8 (RFC 8259 section 8.1); in another locale only ASCII comes out right.
    return (getattr(stream, "encoding", None) or "").lower().replace("-", "") != "utf8"
