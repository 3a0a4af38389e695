"""`mailer send`: one message by hand, recorded like any other, with the whole conversation on the screen if wanted."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from mailer.cli import app, names
from mailer.cli.campaign import options
from mailer.cli.interruptible import interruptible
from mailer.cli.session import Session
from mailer.errors import ENDED_BADLY, WORK_LEFT, InputError, UsageError

if TYPE_CHECKING:
    from mailer.service.queue_draft import Draft
    from mailer.service.sending import Addressees, SentByHand, SentUnrecorded
    from mailer.smtp import Transcript


@app.command(
    examples=(
        "mailer send ann@example.com --from me@example.com --subject Hello --text hello.txt",
        "mailer send ann@example.com --from me@example.com --subject Hello --text - --transcript",
    ),
    shows=True,
)
@click.argument("to", nargs=-1, required=True, metavar="TO…")
@options.content_options
@click.option("--relay", "relays", metavar="RELAY", type=names.RELAY, multiple=True, help="Only through this relay.")
@click.option("--queue", "only_queue", is_flag=True, help="Leave the sending to a worker.")
@click.option("--transcript", is_flag=True, help="Show the conversation with the server as it happens.")
@click.option("--no-record", is_flag=True, help="Use no database: for trying a relay.")
async def command(
    session: Session, to: tuple[str, ...], only_queue: bool, transcript: bool, no_record: bool, **given: Any
) -> int:
    """Send one message to each TO, each of whom sees only itself, and wait for the answers.

    On a terminal without --text and --html the text is typed, and ended with a line that holds a single dot. Subject
    and bodies are templates, as in a campaign.
    """
    if only_queue and (transcript or no_record):
        raise UsageError(f"--queue and {'--transcript' if transcript else '--no-record'} do not go together.")
    from mailer.service.queue_draft import Wishes, draft_from_files
    from mailer.service.sending import Addressees, name_for_now

    if to.count("-"):
        raise UsageError("TO is an address; a list of recipients is for `mailer campaign queue`.")
    addressees = Addressees(to)
    ground = options.ground_of(session)
    stdin = options.Stdin(text=given["text"], html=given["html"]).read
    if not given["text"] and not given["html"] and session.interactive:
        typed = _typed_text()
        given["text"] = "-"

        def stdin() -> bytes:
            return typed

    files = options.files_of(session, given)
    draft = draft_from_files(name_for_now(ground.now_us), files, Wishes(relays=given["relays"]), ground, stdin=stdin)
    draft.compiled.check_columns(())
    watch = _Watch(session) if transcript else None
    if no_record:
        return await _unrecorded(session, draft, addressees, watch)
    return await _recorded(session, draft, addressees, watch, only_queue=only_queue)


def _typed_text() -> bytes:
    lines: list[str] = []
    with interruptible():
        click.echo("Type the text; end it with a line that holds a single dot (or Ctrl-D).", err=True)
        for line in sys.stdin:
            if line.rstrip("\r\n") == ".":
                break
            lines.append(line)
    if not lines:
        raise InputError("no text was typed; nothing was sent.")
    return "".join(lines).encode("utf-8", "surrogateescape")


class _Watch:
    """The transcript on the screen. Where stdout holds JSON it goes to stderr."""

    def __init__(self, session: Session) -> None:
        self._err = session.format != "table"

    def __call__(self) -> Transcript:
        from mailer.service.expected_replies import ExpectedReplies
        from mailer.smtp import Transcript

        return Transcript(ExpectedReplies(self._write))

    def _write(self, line: str) -> None:
        from mailer.cli.table import printable

        click.echo(printable(line), err=self._err)
        (sys.stderr if self._err else sys.stdout).flush()


async def _unrecorded(session: Session, draft: Draft, to: Addressees, watch: _Watch | None) -> int:
    from random import Random

    from mailer.cli.output import Column, emit
    from mailer.clocks import wall_clock
    from mailer.service.sending import send_unrecorded

    random = Random()  # noqa: S311 - jitter, not secrets
    rows: list[dict[str, Any]] = []
    columns = [Column("address"), Column("relay"), Column("code"), Column("enhanced"), Column("text", may_shrink=True)]
    try:
        async for message in send_unrecorded(draft, to, clock=wall_clock, random=random, transcript=watch):
            rows.append(_unrecorded_document(message))  # noqa: PERF401 - kept when the next one is refused
    finally:
        # Whoever was sent to before one was refused has it: nothing else remembers.
        if rows:
            emit(
                session,
                {"campaign": None, "messages": rows},
                rows=None if session.format == "json" else rows,
                columns=columns,
            )
    return 0


def _unrecorded_document(message: SentUnrecorded) -> dict[str, Any]:
    reply = message.result.reply
    return {
        "address": message.address,
        "relay": message.relay,
        "code": reply.code if reply else None,
        "enhanced": reply.enhanced if reply else None,
        "text": reply.text if reply else message.result.note,
    }


async def _recorded(session: Session, draft: Draft, to: Addressees, watch: _Watch | None, *, only_queue: bool) -> int:
    import asyncio

    from mailer.cli.running import set_up_log, when_in_zone
    from mailer.clocks import wall_clock
    from mailer.service.sending import queue_by_hand, send_by_hand
    from mailer.service.signals import stop_on_signals

    log = set_up_log(session, quiet=True)
    stop = asyncio.Event()
    try:
        async with session.store(create=True) as store:
            if only_queue:
                sent = await queue_by_hand(store, draft, to, wall_clock())
            else:
                with stop_on_signals(lambda _: stop.set(), log.reopen):
                    sent = await send_by_hand(
                        store,
                        session.config,
                        draft,
                        to,
                        wall_clock(),
                        stop,
                        transcript=watch,
                        when=when_in_zone(session),
                    )
    finally:
        log.close()
    _show(session, sent)
    return _code(session, sent)


def _show(session: Session, sent: SentByHand) -> None:
    from mailer.cli.message import summary_columns, summary_document
    from mailer.cli.output import emit

    rows = [summary_document(message) for message in sent.messages]
    if session.format == "json":
        emit(session, {"campaign": sent.campaign, "messages": rows})
        return
    emit(session, {}, rows=rows, columns=summary_columns())


def _code(session: Session, sent: SentByHand) -> int:
    from mailer.core.message import State

    if sent.summary is None:
        return 0
    states = {message.state for message in sent.messages}
    waiting = [message for message in sent.messages if message.due_at_us is not None]
    if waiting:
        for one in sent.summary.left.remainders:
            session.warn(f"{one.campaign}: {one.count:,} left, {one.reason}")
        session.warn("What waits is sent by the next `mailer worker`.")
        return WORK_LEFT
    return ENDED_BADLY if states - {State.SENT, State.SUPPRESSED} else 0
