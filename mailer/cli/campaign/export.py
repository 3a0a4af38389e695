"""`mailer campaign export`: who got it, who did not, and what the server said."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Literal

import click

from mailer.cli import app, names
from mailer.cli.output import RowWriter, open_output, rfc3339
from mailer.cli.session import Session
from mailer.core.message import State
from mailer.errors import UsageError

if TYPE_CHECKING:
    from mailer.store import ExportRow, Store

COLUMNS: Final = (
    "address",
    "state",
    "code",
    "enhanced",
    "category",
    "advice",
    "text",
    "relay",
    "attempts",
    "first_attempt_at",
    "last_attempt_at",
    "message_id",
)


@app.command(
    examples=(
        "mailer campaign export spring --output spring.csv",
        "mailer campaign export spring --state failed --state uncertain --format jsonl",
    ),
    shows=True,
)
@click.argument("name", type=names.CAMPAIGN)
@click.option(
    "--state", "states", type=click.Choice([state.value for state in State]), multiple=True, help="Only these states."
)
@click.option(
    "--output", metavar="FILE", type=click.Path(path_type=Path), help="Write to FILE instead of standard output."
)
@click.option("--raw", is_flag=True, help="Leave cells that a spreadsheet would run as formulas as they are.")
async def command(session: Session, name: str, states: tuple[str, ...], output: Path | None, raw: bool) -> None:
    """Write every recipient with its state and the server's last words, as CSV unless --format says otherwise.

    The recipient's own fields follow as further columns; one that is named like a column of ours is called fields.NAME.
    """
    if session.chosen_format == "table":
        raise UsageError("an export is csv, jsonl or json, not a table.", "`mailer message list` shows a table.")
    from mailer.core.address import domain_of

    wanted = [State(state) for state in states]
    async with session.store() as store:
        campaign = await store.campaigns.find(name)
        stored = await store.campaigns.content(campaign.id, campaign.version)
        fields: Sequence[str] = ()
        if session.chosen_format in (None, "csv"):
            fields = await _field_names(store, campaign.id, wanted)
        with open_output(output) as file:
            rows = _rows(store, campaign.id, domain_of(stored.author), wanted)
            if session.chosen_format == "json":
                await _write_document(name, rows, file)
            else:
                form: Literal["jsonl", "csv"] = "jsonl" if session.chosen_format == "jsonl" else "csv"
                writer = RowWriter(form, [*COLUMNS, *fields], to=file, raw=raw)
                async for row in rows:
                    writer.write(row)
                writer.end()


async def _field_names(store: Store, campaign_id: int, states: Sequence[State]) -> list[str]:
    """The columns of all recipients' fields, in the order in which they are met: a csv file begins with its header."""
    found: dict[str, None] = {}
    async for row in store.reading.export(campaign_id, states):
        found.update(dict.fromkeys(map(_column, json.loads(row.fields))))
    return list(found)


async def _rows(store: Store, campaign_id: int, domain: str, states: Sequence[State]) -> AsyncIterator[dict[str, Any]]:
    """`domain` is the sender's, under which the Message-IDs are made."""
    from mailer.service.identity import mailer_id, message_id

    async for row in store.reading.export(campaign_id, states):
        yield _row(row, message_id(mailer_id(store.store_id, campaign_id, row.message_id), domain))


def _row(row: ExportRow, message_id: str) -> dict[str, Any]:
    from mailer.core.explain import advice_on

    return {
        "address": row.address,
        "state": row.state.value,
        "code": row.code,
        "enhanced": row.enhanced,
        "category": row.category,
        "advice": advice_on(row.code, row.enhanced),
        "text": row.text,
        "relay": row.relay,
        "attempts": row.attempts,
        "first_attempt_at": rfc3339(row.first_attempt_at_us),
        "last_attempt_at": rfc3339(row.last_attempt_at_us),
        "message_id": message_id,
        **{_column(name): value for name, value in json.loads(row.fields).items()},
    }


def _column(field: str) -> str:
    return f"fields.{field}" if field in COLUMNS else field


async def _write_document(name: str, rows: AsyncIterator[Mapping[str, Any]], file: IO[str]) -> None:
    """One JSON document, written row by row: a campaign may be larger than memory."""
    file.write(f'{{"campaign": {json.dumps(name)}, "messages": [')
    first = True
    async for row in rows:
        file.write(("\n" if first else ",\n") + json.dumps(row))
        first = False
    file.write("\n]}\n")
