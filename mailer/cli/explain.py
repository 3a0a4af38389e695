"""`mailer explain`: what a reply means and what mailer does about it."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from mailer.cli import app
from mailer.cli.output import Column, RowWriter, emit
from mailer.cli.session import Session
from mailer.cli.table import printable
from mailer.errors import InputError, UsageError

if TYPE_CHECKING:
    from mailer.core.explain import Explanation

STDIN: Final = "-"
WIDEST: Final = 100  # columns; longer lines of prose are hard to read
EXPECTED: Final = 'A reply begins with its code, as in "550 5.1.1 no such user", "421" or "5.7.1".'

COLUMNS: Final = tuple(
    Column(key)
    for key in ("reply", "code", "enhanced", "scope", "permanence", "category", "meaning", "advice", "action", "source")
)


@app.command(
    examples=(
        'mailer explain "550 5.1.1 <x@example.com>: Recipient address rejected"',
        "mailer explain --json - < replies.txt",
    ),
    shows=True,
)
@click.argument("reply", nargs=-1, required=True)
def command(session: Session, reply: tuple[str, ...]) -> int:
    """Say what a server's REPLY means and what mailer does about it.

    REPLY is what the server said, as it stands in a log or a bounce: with its code, its enhanced code, or both. Words
    without quotes are one reply. With - replies are read from standard input, one a line; with --json each answer is
    then a line of JSON.
    """
    if STDIN in reply:
        if len(reply) > 1:
            raise UsageError(
                "- reads the replies from standard input and stands alone.", "See `mailer explain --help`."
            )
        return _from_stdin(session)
    given = _replies(reply)
    found = [(text, _explained(text)) for text in given]
    if len(found) == 1:
        _show_one(session, *found[0])
    else:
        _Shower(session).show_all(found)
    return 0


def _replies(words: Sequence[str]) -> list[str]:
    """The replies that were typed: one an argument where they were quoted or are bare codes, else all words as one."""
    quoted = any(any(char.isspace() for char in word.strip()) for word in words)
    if quoted or all(len(word) == 3 and word.isdigit() for word in words):
        return list(words)
    return [" ".join(words)]


def _explained(text: str) -> Explanation:
    from mailer.core.explain import explain
    from mailer.core.reply import read_pasted

    try:
        return explain(read_pasted(text))
    except ValueError:
        raise InputError(f"this is no reply of a mail server: {_short(text)}", EXPECTED) from None


def _from_stdin(session: Session) -> int:
    """Every line that is a reply is explained; the others are named, and make the command fail at its end."""
    shower = _Shower(session)
    bad = 0
    for number, text in _lines():
        try:
            explanation = _explained(text)
        except InputError:
            bad += 1
            session.warn(f"mailer: line {number} is no reply of a mail server: {_short(text)}")
            continue
        shower.show(text, explanation)
    shower.end()
    if bad:
        raise InputError(f"{bad} {'line is' if bad == 1 else 'lines are'} no reply of a mail server.", EXPECTED)
    return 0


def _lines() -> Iterator[tuple[int, str]]:
    """The lines of stdin that are not empty, numbered from 1. Bytes that are no UTF-8 are replaced: logs hold any."""
    for number, line in enumerate(sys.stdin.buffer, start=1):
        text = line.decode("utf-8", "replace").strip()
        if text:
            yield number, text


def _document(text: str, found: Explanation) -> dict[str, Any]:
    return {
        "reply": text,
        "code": found.code,
        "enhanced": found.enhanced,
        "scope": found.verdict.scope,
        "permanence": found.verdict.permanence,
        "category": found.verdict.category,
        "meaning": found.meaning,
        "advice": found.advice,
        "action": found.action,
        "source": found.source,
    }


def _show_one(session: Session, text: str, found: Explanation) -> None:
    if session.format == "table":
        click.echo(_paragraph(session, text, found), nl=False)
    else:
        emit(session, _document(text, found), columns=COLUMNS)


class _Shower:
    """Shows one explanation after the other, in the form that was asked for."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._writer: RowWriter | None = None
        if session.format != "table":
            self._writer = RowWriter("csv" if session.format == "csv" else "jsonl", [column.key for column in COLUMNS])
        self._shown = 0

    def show_all(self, found: Sequence[tuple[str, Explanation]]) -> None:
        for text, explanation in found:
            self.show(text, explanation)
        self.end()

    def show(self, text: str, found: Explanation) -> None:
        if self._writer is not None:
            self._writer.write(_document(text, found))
            sys.stdout.flush()  # the lines may come from a log that is still being written
        else:
            click.echo(("\n" if self._shown else "") + _paragraph(self._session, text, found), nl=False)
        self._shown += 1

    def end(self) -> None:
        if self._writer is not None:
            self._writer.end()


def _paragraph(session: Session, text: str, found: Explanation) -> str:
    verdict = found.verdict
    about = f"the {verdict.scope}, {verdict.permanence}, {verdict.category}"
    rows = (
        ("means", found.meaning),
        ("about", about),
        ("mailer", found.action),
        ("you", found.advice),
        ("source", found.source),
    )
    width = min(WIDEST, shutil.get_terminal_size((WIDEST, 25)).columns)
    head = printable(text)
    if session.has_colour(sys.stdout):
        head = f"\x1b[1m{head}\x1b[0m"
    lines = [head]
    for title, words in rows:
        lines += textwrap.wrap(
            words, width, initial_indent=f"  {title:<8}", subsequent_indent=" " * 10, break_on_hyphens=False
        )
    return "\n".join(lines) + "\n"


def _short(text: str) -> str:
    text = printable(text)
    return text if len(text) <= 80 else text[:79] + "…"
