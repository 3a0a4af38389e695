"""`mailer demo`: everything at once on this machine, to see it work."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Final

import click

from mailer.cli import app
from mailer.cli.session import Session
from mailer.errors import MailerError

if TYPE_CHECKING:
    import asyncio
    import signal

    from mailer.config import Loaded
    from mailer.demo.folder import Folder
    from mailer.demo.run import Story
    from mailer.demo.serving import Count
    from mailer.store import Status

STOPPED: Final = 128  # plus the number of the signal, as a shell reports it


@app.command(examples=("mailer demo", "mailer demo --no-progress"))
def command(session: Session) -> int:
    """Show everything at once on this machine: a campaign of 2,000 through a local SMTP server with AUTH LOGIN.

    The server refuses some recipients at first and some for good. Nothing leaves the machine, nobody gets mail. Takes
    about a quarter of a minute. The folder with the database is kept, so that you can look around in it.
    """
    return session.run(_demo(session), uvloop=True)


async def _demo(session: Session) -> int:
    import asyncio

    from mailer.config import load
    from mailer.demo.account import Account
    from mailer.demo.folder import make_folder
    from mailer.demo.serving import serving
    from mailer.service.log import set_up_log
    from mailer.service.signals import stop_on_signals

    folder, account = make_folder(), Account()
    click.echo("mailer demo: everything on this machine; nothing leaves it.\n")
    click.echo(f"Folder    {folder.path} (kept: configuration, list, letters, database, logs)")
    stop = asyncio.Event()
    signals: list[signal.Signals] = []

    def stopped_by(number: signal.Signals) -> None:
        signals.append(number)
        stop.set()

    async with serving(account, folder.server_log) as server:
        folder.write_config(server.port, account)
        # Without the variables of this shell: MAILER_DATABASE__URL would send the demo into another database.
        environ = {name: value for name, value in session.environ.items() if not name.startswith("MAILER_")}
        loaded = load(environ, file=folder.config, on_secret=session.redactor.add)
        click.echo(f"Server    127.0.0.1:{server.port}, wants AUTH LOGIN, delivers nowhere")
        log = set_up_log(loaded.config.log, redactor=session.redactor, verbosity=-1)
        try:
            with stop_on_signals(stopped_by, log.reopen):
                last, told = await _run(session, folder, loaded, stop)
        finally:
            log.close()
        count = await server.end()
    if signals:
        click.echo(f"\nStopped. What was on its way has ended; the rest is queued in {folder.path}.")
        return STOPPED + signals[0]
    _tell(session, loaded, last, told)
    _compare(last, count)
    _tell_next(folder)
    return 0


async def _run(session: Session, folder: Folder, loaded: Loaded, stop: asyncio.Event) -> tuple[Status, Story | None]:
    """Queue, send and watch; how everything stands afterwards, and one recipient's story."""
    from mailer.cli.known import Known
    from mailer.cli.live import open_display
    from mailer.cli.trouble import troubles
    from mailer.demo.run import queue_sample, send_sample, story
    from mailer.store import Store

    config, zone = loaded.config, loaded.zone
    known = Known.of(config)
    async with (
        await Store.open(known.database, create=True, synchronous=config.database.synchronous) as store,
        await Store.open(known.database, create=False) as reader,
    ):
        begun = time.monotonic()
        queued = await queue_sample(folder, config, zone, store)
        click.echo(
            f"Campaign  {queued.campaign}, {queued.added:,} recipients queued in {time.monotonic() - begun:.1f} s\n"
        )
        begun = time.monotonic()
        with open_display(session, known) as display:
            is_first = True

            def show(status: Status) -> None:
                nonlocal is_first
                # The worker has not registered yet at the first look: that is no trouble.
                trouble = [] if is_first else troubles(status, known, status.at_us)
                is_first = False
                display.show(status, trouble if status.workers else [])

            await send_sample(store, reader, config, stop, show)
        if not stop.is_set():
            click.echo(f"\nEverything has ended after {time.monotonic() - begun:.1f} s.\n")
        last = await reader.reading.status()
        return last, None if stop.is_set() else await story(reader, config, zone)


def _tell(session: Session, loaded: Loaded, last: Status, told: Story | None) -> None:
    """The final table, one message's attempts and a sample."""
    from mailer.cli.known import Known
    from mailer.cli.message import attempts_table
    from mailer.cli.status_view import tables
    from mailer.cli.table import printable

    width = session.width_of(sys.stdout)
    colour = session.has_colour(sys.stdout)
    click.echo(tables(last, Known.of(loaded.config), [], now_us=last.at_us, colour=colour, width=width))
    if told is None:
        return
    summary = told.message.summary
    click.echo(f"One of them, {summary.address}, message {summary.id}:\n")
    click.echo(attempts_table(session, told.message))
    click.echo("What that recipient got, as text:\n")
    lines = [
        f"To: {told.rendered.to}",
        f"Subject: {told.rendered.subject}",
        "",
        *(told.rendered.text or "").splitlines(),
    ]
    click.echo("".join(f"  | {printable(line)}".rstrip() + "\n" for line in lines))


def _compare(last: Status, count: Count) -> None:
    """Two counts that have to agree: the database's, and the server's own. Raises MailerError if they do not."""
    from mailer.core.message import State

    sent = sum(campaign.counts[State.SENT] for campaign in last.campaigns)
    if (count.messages, count.recipients) != (sent, sent):
        raise MailerError(
            f"the database says {sent:,} sent, but the server took {count.messages:,} messages for "
            f"{count.recipients:,} recipients.",
            "That must never happen: please report it, with the demo's folder.",
        )
    click.echo(
        f"The server's own count agrees: it took {count.messages:,} messages for {count.recipients:,} recipients, "
        f"none twice, after {count.refusals:,} refusals.\n"
    )


def _tell_next(folder: Folder) -> None:
    import shlex

    mailer = _how_to_call()
    click.echo("What to type next:\n")
    click.echo(f"  cd {shlex.quote(str(folder.path))}")
    for arguments, what in (
        ("status", "the table again"),
        ("message list --state failed", "who did not get it, and the server's words"),
        ("campaign export spring", "everybody, as a spreadsheet"),
        ("explain '550 5.1.1 no such user'", "what a reply means"),
        ("--help", "everything else; `init` sets up your own relay"),
    ):
        click.echo(f"  {f'{mailer} {arguments}':{len(mailer) + 34}}  # {what}")


def _how_to_call() -> str:
    """What to type for this very program."""
    import shlex
    import shutil
    from pathlib import Path

    beside = Path(sys.executable).with_name("mailer")
    found = shutil.which("mailer")
    if found is not None and Path(found).resolve() == beside.resolve():
        return "mailer"
    return shlex.quote(str(beside)) if beside.exists() else f"{shlex.quote(sys.executable)} -m mailer"
