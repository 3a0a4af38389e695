"""Recipients on their way into a campaign: which rows can be used, and what is said about those that cannot.

Rendering every row while queueing would take longer than everything else together. Two things that go wrong in
rendering can be seen without it: a field that a template needs is not there, and a line break stands where none may
be. So fields are looked up, and only rows that hold a line break are rendered, to see where it would land; and the
first few, for a template that fails for everybody. A rehearsal (`--dry-run`) renders all of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final, Protocol, TypeVar

from mailer.content import BadRow, Compiled, Recipient
from mailer.core.message import Composed
from mailer.errors import InputError
from mailer.service.identity import message_id
from mailer.store import NewRow

__all__ = ["BadRows", "RowCheck", "Rows", "chunks", "good_rows"]

# A screen of problems: enough to see what they have in common.
SHOWN: Final = 20
# Enough for a template that never works to be found, few enough to cost nothing.
RENDERED: Final = 20
# Of a bad row's text, what fits beside its number and reason.
LONGEST_TEXT: Final = 60
# The identity of a message that exists only to be looked at; as long as a real one.
NOBODY: Final = "0" * 32

T = TypeVar("T")


class Rows(Protocol):
    """A file of recipients: what `mailer.content.RecipientFile` is."""

    where: str
    """How a sentence names it."""
    columns: tuple[str, ...] | None
    """The fields of every row; None where each row brings its own."""

    def __iter__(self) -> Iterator[Recipient | BadRow]: ...


class BadRows:
    """The rows that could not be used: the first few, how many, and each of them to `sink` where there is one."""

    def __init__(self, where: str, sink: Callable[[BadRow], None] | None) -> None:
        """`where` is how a sentence names the file."""
        self._where = where
        self._sink = sink
        self.first: list[BadRow] = []
        self.count = 0

    @property
    def refuse_all(self) -> bool:
        """One was met and nobody wants it skipped."""
        return self.count > 0 and self._sink is None

    def add(self, row: BadRow) -> None:
        """One more."""
        self.count += 1
        if len(self.first) < SHOWN:
            self.first.append(row)
        if self._sink is not None:
            self._sink(row)

    def nobody(self) -> InputError:
        """What the operator is told when there is no row that can be used."""
        if self.count:
            return InputError(f"{self._where}: no row of it can be used.", "\n".join(self._listed()))
        return InputError(f"{self._where}: there is no recipient in it.", "The file holds no row with an address.")

    def error(self) -> InputError:
        """What the operator is told when they refuse the whole file."""
        rows = "1 row cannot be used" if self.count == 1 else f"{self.count:,} rows cannot be used"
        advice = "Correct the file, or add --skip-bad FILE to queue the others and write these, with why, to FILE."
        return InputError(f"{self._where}: {rows}, so nobody was queued.", "\n".join([*self._listed(), advice]))

    def _listed(self) -> list[str]:
        more = [f"… and {self.count - len(self.first):,} more."] if self.count > len(self.first) else []
        return [*map(describe, self.first), *more]


def describe(row: BadRow) -> str:
    """`row 17, bob.example.org: it has no `@`.`."""
    text = " ".join(row.text.split())
    if len(text) > LONGEST_TEXT:
        text = text[: LONGEST_TEXT - 1] + "…"
    return f"row {row.row:,}{', ' if text else ''}{text}: {row.reason.rstrip('.')}."


class RowCheck:
    """What must hold of a row for its message to be made."""

    def __init__(self, compiled: Compiled, domain: str) -> None:
        """`domain` is the sender's, under which Message-IDs are made."""
        self._compiled = compiled
        self._required = compiled.required
        self._to_render = RENDERED
        self._message_id = message_id(NOBODY, domain)

    def problem(self, address: str, fields: Mapping[str, Any], encoded: str) -> str | None:
        """What is wrong with the row, or None. `encoded` is `fields` as JSON."""
        if not self._required <= fields.keys():
            missing = sorted(self._required - fields.keys())
            return f"it has no field {missing[0]}, which a template needs"
        if self._to_render > 0:
            self._to_render -= 1
            return self.rendering_problem(address, fields)
        # In JSON a line break is an escape. A backslash and an n in the text match as well; that costs one rendering.
        if "\\n" in encoded or "\\r" in encoded:
            return self.rendering_problem(address, fields)
        return None

    def rendering_problem(self, address: str, fields: Mapping[str, Any]) -> str | None:
        """Render the row; what went wrong, or None."""
        try:
            self.compose(address, fields, date=datetime(2000, 1, 1, tzinfo=UTC))
        except InputError as error:
            return error.message
        return None

    def compose(self, address: str, fields: Mapping[str, Any], *, date: datetime, subject_prefix: str = "") -> Composed:
        """The message, under an identity that belongs to nobody. Raises InputError."""
        return self._compiled.compose(
            address, fields, message_id=self._message_id, mailer_id=NOBODY, date=date, subject_prefix=subject_prefix
        )


def encode_fields(fields: Mapping[str, Any]) -> str:
    """Fields as they are stored."""
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))


def good_rows(rows: Iterable[Recipient | BadRow], check: RowCheck, bad: BadRows) -> Iterator[NewRow]:
    """The rows that can be used, ready for the store; the others go to `bad`."""
    for row in rows:
        if isinstance(row, BadRow):
            bad.add(row)
            continue
        encoded = encode_fields(row.fields)
        problem = check.problem(row.address, row.fields, encoded)
        if problem is None:
            yield NewRow(row.address, row.key, row.destination, encoded)
        else:
            bad.add(BadRow(row.row, row.address, problem))


def chunks(rows: Iterator[T], size: int) -> Iterator[list[T]]:
    """Lists of at most `size`, none of them empty."""
    while chunk := list(islice(rows, size)):
        yield chunk
