"""`mailer message list|show`: single messages, and every word that a server said about them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from mailer.cli import app, names
from mailer.cli.session import Session
from mailer.core.message import State
from mailer.errors import UsageError

if TYPE_CHECKING:
    from mailer.cli.output import Column
    from mailer.core.message import Attempt
    from mailer.store import MessageDetail, MessageSummary

command = app.group(
    "Single messages, with every attempt and what the server said.",
    examples=("mailer message list --campaign spring --state failed", "mailer message show 1204"),
    commands={"list": "mailer.cli.message:list_", "show": "mailer.cli.message:show"},
)

# Two screens full. More is asked for with --limit, or taken page by page with --after.
LIMIT: Final = 50
MOST: Final = 10_000


@app.command(
    examples=("mailer message list --state failed --since 24h", "mailer message list --address ann@example.com --json"),
    shows=True,
)
@click.option("--address", metavar="A", help="Messages to this address, in any campaign.")
@click.option("--campaign", metavar="NAME", type=names.CAMPAIGN, help="Messages of this campaign.")
@click.option(
    "--state", "states", multiple=True, type=click.Choice([str(state) for state in State]), help="Repeatable."
)
@click.option("--category", metavar="C", help="What the last reply meant, e.g. no-such-user, mailbox-full.")
@click.option("--relay", metavar="R", type=names.RELAY, help="Last tried through this relay.")
@click.option("--code", metavar="N", type=click.IntRange(100, 999), help="The last reply's code.")
@click.option("--since", metavar="T", help="Last tried since then: a time, or an age such as 2h.")
@click.option("--limit", type=click.IntRange(1, MOST), default=LIMIT, show_default=True, help="Messages on a page.")
@click.option("--after", metavar="ID", help="The next page: what comes after this message.")
async def list_(
    session: Session,
    address: str | None,
    campaign: str | None,
    states: tuple[str, ...],
    category: str | None,
    relay: str | None,
    code: int | None,
    since: str | None,
    limit: int,
    after: str | None,
) -> None:
    """List messages, newest first, each with its last reply.

    All filters must match. In JSON, `next` is the ID for --after, or null on the last page.
    """
    from mailer.cli.output import emit

    filters: dict[str, Any] = {
        "address_key": _address_key(address),
        "campaign": campaign,
        "states": [State(state) for state in states],
        "category": None if category is None else checked_category(category),
        "relay": relay,
        "code": code,
        "since_us": _since(session, since),
        "after": None if after is None else _id(after, "--after"),
    }
    async with session.store() as store:
        found = await store.reading.messages(limit=limit + 1, **filters)
    shown = found[:limit]
    more = str(shown[-1].id) if len(found) > limit else None
    rows = [summary_document(message) for message in shown]
    columns = summary_columns()
    if session.format == "table":
        if not rows:
            session.note("No message matches.")
            return
        rows = [row | {"code": None if row["code"] is None else str(row["code"])} for row in rows]
    emit(session, {"messages": rows, "next": more}, rows=None if session.format == "json" else rows, columns=columns)
    if more is not None and session.format != "json":
        session.note(f"There are more: add --after {more}")


@app.command(examples=("mailer message show 1204", "mailer message show 1204 --json"), shows=True)
@click.argument("message_id", metavar="ID")
async def show(session: Session, message_id: str) -> None:
    """Show one message with every attempt, in order, in the server's own words."""
    from mailer.cli.output import emit
    from mailer.core.address import domain_of
    from mailer.service import identity

    async with session.store() as store:
        detail = await store.reading.message(_id(message_id, "ID"))
        content = await store.campaigns.content(detail.campaign_id, detail.version)
        mailer_id = identity.mailer_id(store.store_id, detail.campaign_id, detail.summary.id)
    shown = document(detail, identity.message_id(mailer_id, domain_of(content.author)))
    if session.format == "table":
        click.echo(_as_table(session, shown), nl=False)
    else:
        emit(session, shown)


def document(detail: MessageDetail, message_id: str) -> dict[str, Any]:
    """What `mailer message show --json` prints; docs/json/message-show.schema.json describes it."""
    import json

    return {
        **summary_document(detail.summary),
        "message_id": message_id,
        "version": detail.version,
        "in_doubt": detail.in_doubt,
        "fields": json.loads(detail.fields),
        "attempts": [_attempt(attempt) for attempt in detail.attempts],
    }


def summary_columns() -> list[Column]:
    """The columns of a table of messages."""
    from mailer.cli.output import Column

    return [
        Column("id", right=True),
        Column("campaign", may_shrink=True),
        Column("address", may_shrink=True),
        Column("state"),
        Column("due_at", in_table=False),
        Column("attempts", "TRIES", right=True),
        Column("code"),
        Column("enhanced"),
        Column("category"),
        Column("text", may_shrink=True),
        Column("relay"),
    ]


def summary_document(message: MessageSummary) -> dict[str, Any]:
    """One message of `mailer message list --json`."""
    from mailer.cli.output import rfc3339

    return {
        "id": str(message.id),
        "campaign": message.campaign,
        "address": message.address,
        "state": str(message.state),
        "due_at": rfc3339(message.due_at_us),
        "attempts": message.attempts,
        "code": message.code,
        "enhanced": message.enhanced,
        "category": message.category,
        "text": message.text,
        "relay": message.relay,
    }


def _attempt(attempt: Attempt) -> dict[str, Any]:
    from mailer.cli.output import rfc3339

    return {
        "n": attempt.n,
        "started_at": rfc3339(attempt.started_at_us),
        "relay": attempt.relay,
        "phase": None if attempt.phase is None else str(attempt.phase),
        "code": attempt.code,
        "enhanced": attempt.enhanced,
        "text": attempt.text,
        "category": attempt.category,
        "milliseconds": round(attempt.duration_us / 1_000, 1),
        "tls": attempt.tls,
        "note": attempt.note,
    }


def _as_table(session: Session, shown: dict[str, Any]) -> str:
    """The message's own lines, then a table of attempts, then each attempt's words in full."""
    import sys

    from mailer.cli.output import Column
    from mailer.cli.table import render

    width = session.width_of(sys.stdout)
    colour = session.has_colour(sys.stdout)
    said = [attempt["text"] for attempt in shown["attempts"][-1:]]
    told = {
        "message": shown["id"],
        "campaign": shown["campaign"],
        "to": shown["address"],
        "state": shown["state"] + (" (an earlier attempt ended in doubt)" if shown["in_doubt"] else ""),
        "due": shown["due_at"],
        "because": shown["text"] if shown["text"] not in ("", *said) else None,
        "Message-ID": shown["message_id"],
        "content": f"version {shown['version']}",
        "fields": shown["fields"],
    }
    pairs = [{"key": key, "value": value} for key, value in told.items() if value is not None]
    text = render(pairs, [Column("key", ""), Column("value", "", may_shrink=True)], colour=colour, width=width)
    return text + "\n" + _attempts_table(shown["attempts"], colour=colour, width=width)


def attempts_table(session: Session, detail: MessageDetail) -> str:
    """A message's attempts, for people: a table, and under it what was said in each."""
    import sys

    width = session.width_of(sys.stdout)
    return _attempts_table(
        [_attempt(attempt) for attempt in detail.attempts], colour=session.has_colour(sys.stdout), width=width
    )


def _attempts_table(attempts: list[dict[str, Any]], *, colour: bool, width: int | None) -> str:
    from mailer.cli.table import Column, printable, render

    if not attempts:
        return "No attempt yet.\n"
    columns = [
        Column("n", "TRY", right=True),
        Column("started_at"),
        Column("relay"),
        Column("phase"),
        Column("code"),
        Column("enhanced"),
        Column("category"),
        Column("milliseconds", "MS", right=True),
        Column("tls", "TLS", may_shrink=True),
    ]
    rows = [row | {"code": None if row["code"] is None else str(row["code"])} for row in attempts]
    text = render(rows, columns, colour=colour, width=width)
    words = [(row["n"], part) for row in rows for part in (*row["text"].split("\n"), row["note"]) if part]
    return text + "".join(["\n", *(f"{n}: {printable(part)}\n" for n, part in words)] if words else [])


def _id(text: str, what: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise UsageError(f"{what}: {text!r} is no message id.", "`mailer message list` shows ids.")
    return int(text)


def _address_key(address: str | None) -> str | None:
    from mailer.core.address import BadAddress, address_key

    if address is None:
        return None
    try:
        return address_key(address)
    except BadAddress as error:
        raise UsageError(f"--address: {address!r} is no address: {error}.") from error


def checked_category(category: str, *, of_success: bool = True) -> str:
    """`category` itself. Raises UsageError if there is none of that name; `of_success` allows `accepted`."""
    from mailer.core.nearest import did_you_mean
    from mailer.core.replies import Category

    known = [str(one) for one in Category if of_success or one is not Category.ACCEPTED]
    if category not in known:
        hint = did_you_mean(category, known, quote="`") or f"Known: {', '.join(known)}."
        raise UsageError(f"--category: there is no category {category!r}.", hint)
    return category


def _since(session: Session, since: str | None) -> int | None:
    if since is None:
        return None
    from datetime import timedelta

    from mailer.clocks import wall_clock
    from mailer.core.duration import parse_duration
    from mailer.service.queue_when import parse_instant

    try:
        return wall_clock() - parse_duration(since) // timedelta(microseconds=1)
    except ValueError:
        return parse_instant(since, session.loaded.zone, option="--since")
