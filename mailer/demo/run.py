"""The run of the demo: queue the sample campaign and send it, through the same doors as the commands use."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from mailer.clocks import wall_clock
from mailer.config import Config
from mailer.content import ContentFiles, Rendered, open_recipients
from mailer.core.address import address_key
from mailer.demo.account import DIFFICULT
from mailer.demo.folder import CAMPAIGN, SENDER, SUBJECT, Folder
from mailer.service.job import Job
from mailer.service.queue_draft import Draft, Ground, Wishes, draft_from_files
from mailer.service.queueing import Queued, queue
from mailer.service.running import Summary, run_worker
from mailer.service.specimen import specimen_from_store
from mailer.store import MessageDetail, Status, Store

__all__ = ["Story", "queue_sample", "send_sample", "story"]

# How often the table is redrawn while the worker of this very process sends.
SHOW_EVERY_S: Final = 0.5


async def queue_sample(folder: Folder, config: Config, zone: str, store: Store) -> Queued:
    """Queue the letters in `folder` for everybody on its list."""
    with open_recipients(folder.recipients, stdin=None, encoding=None, address_column=None) as rows:
        return await queue(_draft(folder, config, zone), rows, lambda: _Borrowed(store), clock=wall_clock)


def _draft(folder: Folder, config: Config, zone: str) -> Draft:
    files = ContentFiles(
        sender=SENDER,
        subject=SUBJECT,
        text=folder.text,
        html=folder.html,
        attach=(),
        inline=(),
        headers=(),
        reply_to=None,
        to_name=None,
        variables={},
        list_name=None,
    )
    return draft_from_files(CAMPAIGN, files, Wishes(), Ground(config, zone, wall_clock()), stdin=_no_stdin)


async def send_sample(
    store: Store, reader: Store, config: Config, stop: asyncio.Event, show: Callable[[Status], None]
) -> Summary:
    """Run a worker until everything has ended or `stop` is set, and hand its status to `show` twice a second.

    `reader` is the same database on a connection of its own: looking must not hold up the worker's exchanges.
    """
    showing = asyncio.create_task(_show_again_and_again(reader, show), name="show")
    try:
        return await run_worker(store, config, Job(until_empty=True), stop)
    finally:
        showing.cancel()
        await asyncio.gather(showing, return_exceptions=True)
        show(await reader.reading.status())


async def _show_again_and_again(reader: Store, show: Callable[[Status], None]) -> None:
    while True:
        show(await reader.reading.status())
        await asyncio.sleep(SHOW_EVERY_S)


@dataclass(frozen=True, slots=True)
class Story:
    """One recipient's message, with every attempt, and what it looks like."""

    message: MessageDetail
    rendered: Rendered


async def story(store: Store, config: Config, zone: str) -> Story:
    """That of the recipient who was refused twice before the message was taken."""
    [summary] = await store.reading.messages(limit=1, campaign=CAMPAIGN, address_key=address_key(DIFFICULT.address))
    ground = Ground(config, zone, wall_clock())
    specimen = await specimen_from_store(store, CAMPAIGN, ground, DIFFICULT.address)
    return Story(await store.reading.message(summary.id), specimen.render())


class _Borrowed:
    """A store that is open already, as a context manager that leaves it open."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def __aenter__(self) -> Store:
        return self._store

    async def __aexit__(self, *_: object) -> None:
        return None


def _no_stdin() -> bytes:
    raise ValueError("the sample campaign reads nothing from standard input")
