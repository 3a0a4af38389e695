"""`mailer worker`: take what is queued and send it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mailer.cli import app
from mailer.cli.max_failed import MAX_FAILED, MaxFailed
from mailer.cli.running import set_up_log, when_in_zone
from mailer.cli.session import Session
from mailer.errors import WORK_LEFT, ConfigError, MailerError, StoreError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mailer.config import Config
    from mailer.service.job import Job
    from mailer.service.left import Outlook
    from mailer.service.log import LogFiles
    from mailer.store import Store


@app.command(examples=("mailer worker", "mailer worker --until-empty --max-failed 1%"), uvloop=True)
@click.option("--until-empty", is_flag=True, help="End when nothing is left to send; waits for retries.")
@click.option("--no-wait", is_flag=True, help="With --until-empty: end when nothing is due now.")
@click.option("--processes", type=click.IntRange(1, 64), default=1, show_default=True, help="Worker processes to run.")
@click.option(
    "--max-failed", type=MAX_FAILED, default="0", help="With --until-empty: N or P% may fail without exit code 5."
)
@click.option("--supervised", hidden=True, metavar="I/N:FD", help="Set by --processes for its children.")
async def command(
    session: Session,
    until_empty: bool,
    no_wait: bool,
    processes: int,
    max_failed: MaxFailed,
    supervised: str | None,
) -> int:
    """Send what is queued, over all relays, until it is stopped.

    SIGTERM or Ctrl-C: what is on its way is brought to an end, within [worker] stop_within. A second one leaves at
    once; the next worker settles what that leaves open. SIGHUP reopens the logs and reads the configuration again, but
    for [database] and [log]; a relay that had stopped is tried again.
    """
    if no_wait and not until_empty:
        raise UsageError("--no-wait means nothing without --until-empty.", "Add --until-empty.")
    if supervised is not None:
        return await _child(session, until_empty=until_empty, wait=not no_wait, supervised=supervised)
    if not session.config.relays:  # before a database is made for nothing, in a folder that may be the wrong one
        raise ConfigError("no relay is configured.", "`mailer init` sets one up in config.toml.")
    from mailer.service.bad_endings import BadEndings

    log = set_up_log(session)
    try:
        async with session.store(create=True) as store:
            before, held_before = await BadEndings.read(store), await _held(store)
            if processes > 1:
                code = await _supervise(session, log, processes, until_empty=until_empty, no_wait=no_wait)
            else:
                from mailer.service.job import Job

                code = await _work(session, log, Job(until_empty=until_empty, wait=not no_wait), None)
            if code or not until_empty:
                return code
            if _say_held(session, held_before, await _held(store)):
                return WORK_LEFT
            return max_failed.judge(session, *(await BadEndings.read(store)).since(before))
    finally:
        log.close()


async def _held(store: Store) -> dict[str, int]:
    """Campaigns with uncertain messages that wait for an operator's word, and how many."""
    from mailer.cli.figures import held

    return {one.name: kept for one in (await store.reading.status()).campaigns if (kept := held(one))}


def _say_held(session: Session, before: Mapping[str, int], after: Mapping[str, int]) -> bool:
    """Name the campaigns in which more messages are held than before; whether there is one."""
    more = {name: kept for name, kept in after.items() if kept > before.get(name, 0)}
    for name, kept in more.items():
        session.warn(f"{name}: {kept:,} left, uncertain and held (`mailer campaign retry {name} --uncertain`)")
    return bool(more)


async def _child(session: Session, *, until_empty: bool, wait: bool, supervised: str) -> int:
    from mailer.service.job import Job, Share

    share, _, fd = supervised.partition(":")
    index, _, of = share.partition("/")
    log = set_up_log(session)
    try:
        return await _work(session, log, Job(until_empty, wait, share=Share(int(index), int(of))), int(fd))
    except StoreError as error:
        if error.can_wait:
            # Not 4, by which a child says that starting it again is hopeless.
            raise MailerError(error.message, error.hint) from error
        raise
    finally:
        log.close()


async def _work(session: Session, log: LogFiles, job: Job, pipe: int | None) -> int:
    """One worker in this process. `pipe` ends when the supervisor does."""
    import asyncio
    from contextlib import suppress

    from mailer.service.running import Reload, run_worker
    from mailer.service.signals import end_of_pipe, stop_on_signals

    stop = asyncio.Event()
    reload = Reload(lambda: _config_again(session))

    def hang_up() -> None:
        log.reopen()
        reload.asked.set()

    async def stop_with_supervisor(fd: int) -> None:
        await end_of_pipe(fd)
        stop.set()

    with stop_on_signals(lambda _: stop.set(), hang_up):
        watcher = asyncio.create_task(stop_with_supervisor(pipe)) if pipe is not None else None
        try:
            async with session.store(create=pipe is None) as store:
                summary = await run_worker(store, session.config, job, stop, reload=reload, when=when_in_zone(session))
        finally:
            if watcher is not None:
                watcher.cancel()
                with suppress(asyncio.CancelledError):
                    await watcher
    if summary.unanswered:
        session.warn(
            f"Stopped; {summary.unanswered} message(s) had not been answered and are uncertain "
            "(`mailer message list --state uncertain`)."
        )
    if summary.was_stopped or not job.until_empty:
        return 0
    return _say_left(session, summary.left)


def _config_again(session: Session) -> Config:
    from mailer.config import load

    return load(session.environ, file=session.config_file, on_secret=session.redactor.add).config


def _say_left(session: Session, left: Outlook) -> int:
    if not left.remainders:
        return 0
    for one in left.remainders:
        session.warn(f"{one.campaign}: {one.count:,} left, {one.reason}")
    return WORK_LEFT


async def _supervise(session: Session, log: LogFiles, processes: int, *, until_empty: bool, no_wait: bool) -> int:
    import signal
    import sys

    from mailer.service.signals import stop_on_signals
    from mailer.service.supervisor import Supervisor

    options = [*(["--until-empty"] if until_empty else []), *(["--no-wait"] if no_wait else [])]
    if session.loaded.file is not None:
        options += ["--config", str(session.loaded.file)]
    options += {-1: ["-q"]}.get(session.verbosity, ["-v"] * max(0, session.verbosity))

    def command(index: int, fd: int) -> list[str]:
        return [sys.executable, "-m", "mailer", "worker", *options, "--supervised", f"{index}/{processes}:{fd}"]

    supervisor = Supervisor(command, processes, restart_ended=not until_empty)

    def hang_up() -> None:
        log.reopen()
        supervisor.pass_on(signal.SIGHUP)

    # A second Ctrl-C is the second one for the children, too: they leave at once as well.
    with stop_on_signals(supervisor.pass_on, hang_up, leave=supervisor.pass_on):
        return await supervisor.run()
