"""`mailer status`: how far every campaign is, what the relays and workers do, and what is in the way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mailer.cli import app, names
from mailer.cli.max_failed import MAX_FAILED, MaxFailed
from mailer.cli.session import Session
from mailer.errors import WORK_LEFT, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from mailer.cli.known import Known
    from mailer.cli.wait import Able
    from mailer.store import CampaignStatus, Status, Store


@app.command(examples=("mailer status", "mailer status spring --watch"), shows=True)
@click.argument("name", required=False, type=names.CAMPAIGN)
@click.option("--watch", is_flag=True, help="Redraw until everything has ended, or until Ctrl-C.")
@click.option("--wait", is_flag=True, help="Wait until it has ended, or only an operator can move it on.")
@click.option("--max-failed", type=MAX_FAILED, default="0", help="With --wait: N or P% may fail without exit code 5.")
async def command(session: Session, name: str | None, watch: bool, wait: bool, max_failed: MaxFailed) -> int:
    """Show counts, rate and time left of every campaign, with relays, workers and what is in the way.

    With --wait the exit code is 5 if messages ended badly meanwhile, and 6 if something is left that only an operator
    can move on: a campaign that is paused or held, a relay that is stopped.
    """
    if watch and session.format in ("json", "csv"):
        raise UsageError(
            f"--watch shows again and again, and --format {session.format} is one document.",
            "Take --format jsonl, a document a line, or --wait, which shows the end.",
        )
    from mailer.cli.known import Known

    known = Known.of(session.config)
    async with session.store() as store:
        if wait:
            return await _wait(session, store, known, name, max_failed, watch=watch)
        if watch:
            from mailer.cli.figures import is_ended

            await _watch(session, store, known, name, lambda status: all(map(is_ended, status.campaigns)))
            return 0
        _show(session, known, await store.reading.status(name))
        return 0


async def _wait(
    session: Session, store: Store, known: Known, name: str | None, max_failed: MaxFailed, *, watch: bool
) -> int:
    from mailer.cli.figures import is_ended
    from mailer.cli.wait import blocked, is_over
    from mailer.service.bad_endings import BadEndings

    before = await BadEndings.read(store, name)
    first = await store.reading.status(name)
    # Without a name: what goes on now. One that ended long ago, or is queued later, is not what is waited for.
    waited_for = {campaign.id for campaign in first.campaigns if name is not None or not is_ended(campaign)}
    able = await _able(session, store, first, waited_for)
    if watch:
        last = await _watch(session, store, known, name, lambda status: is_over(status, waited_for, able))
    else:
        last = await _until_over(session, store, known, name, lambda status: is_over(status, waited_for, able))
        _show(session, known, last)
    left = blocked(last, waited_for, able)
    for sentence in left:
        session.warn(sentence)
    if left:
        return WORK_LEFT
    return max_failed.judge(session, *(await BadEndings.read(store, name)).since(before))


async def _able(session: Session, store: Store, status: Status, waited_for: Collection[int]) -> Able:
    """Which relays may carry each of the campaigns that are waited for."""
    from mailer.config import may_take

    found: dict[int, list[str]] = {}
    for campaign in status.campaigns:
        if campaign.id in waited_for:
            stored = await store.campaigns.content(campaign.id, campaign.version)
            found[campaign.id] = [
                relay.name
                for relay in session.config.relays
                if may_take(relay, stored.author, stored.envelope_from, stored.relays)
            ]

    def able(campaign: CampaignStatus) -> Collection[str]:
        return found[campaign.id]

    return able


async def _watch(
    session: Session, store: Store, known: Known, name: str | None, is_over: Callable[[Status], bool]
) -> Status:
    """Show again and again until `is_over`; the last status."""
    import asyncio

    from mailer.cli.live import EVERY_S, Documents, open_display

    with Documents(known) if session.format == "jsonl" else open_display(session, known) as display:
        while True:
            status = await store.reading.status(name)
            display.show(status, _trouble(status, known))
            if is_over(status):
                return status
            await asyncio.sleep(EVERY_S)


async def _until_over(
    session: Session, store: Store, known: Known, name: str | None, is_over: Callable[[Status], bool]
) -> Status:
    """Wait without showing anything but new trouble, on stderr."""
    import asyncio

    from mailer.cli.live import EVERY_S, trouble_key

    said: set[str] = set()
    while True:
        status = await store.reading.status(name)
        if is_over(status):
            return status
        for sentence in _trouble(status, known):
            if trouble_key(sentence) not in said:
                said.add(trouble_key(sentence))
                session.note(sentence)
        await asyncio.sleep(EVERY_S)


def _show(session: Session, known: Known, status: Status) -> None:
    """The status, once, in the form that was asked for."""
    import sys

    from mailer.cli.output import emit
    from mailer.cli.status_view import CAMPAIGN_COLUMNS, document, tables

    trouble = _trouble(status, known)
    if session.format != "table":
        shown = document(status, known, trouble)
        emit(session, shown, rows=shown["campaigns"] if session.format == "csv" else None, columns=CAMPAIGN_COLUMNS)
        return
    width = session.width_of(sys.stdout)
    colour = session.has_colour(sys.stdout)
    click.echo(tables(status, known, trouble, now_us=status.at_us, colour=colour, width=width), nl=False)


def _trouble(status: Status, known: Known) -> list[str]:
    from mailer.cli.trouble import troubles

    wal = known.database.with_name(known.database.name + "-wal")
    try:
        wal_bytes = wal.stat().st_size
    except OSError:  # no worker has written yet, or the last one folded it back
        wal_bytes = 0
    return troubles(status, known, status.at_us, wal_bytes=wal_bytes)
