"""What `queue` and `add` answer, and how Ctrl-C in the middle of a load is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mailer.cli.output import RowWriter, emit, open_output, rfc3339
from mailer.errors import UsageError

if TYPE_CHECKING:
    from mailer.cli.session import Session
    from mailer.content import BadRow
    from mailer.service.queueing import Queued

__all__ = ["bad_rows_to", "interruptible", "show_queued", "tell_warnings"]

BAD_COLUMNS: Final = ("row", "reason", "text")


def show_queued(session: Session, queued: Queued, zone: str, *, bad_file: Path | None) -> None:
    """The answer, and on stderr what should be known besides."""
    from mailer.service.queue_when import in_zone

    times = {
        "start_at": queued.start_at_us,
        "expires_at": queued.deadline_us,
        "estimated_finish_at": queued.estimate.finish_at_us,
    }
    counts: dict[str, Any] = {
        "campaign": queued.campaign,
        "added": queued.added,
        "already": queued.already,
        "duplicates": queued.duplicates,
        "suppressed": queued.suppressed,
        "bad": queued.bad,
    }
    if session.format == "table":
        # A person gets the times on their own clock, with its offset.
        shown = {name: in_zone(at, zone) for name, at in times.items() if at is not None}
        emit(session, counts | {"state": queued.state} | shown)
    else:
        finish = rfc3339(times.pop("estimated_finish_at"))
        emit(
            session,
            counts
            | {"estimated_finish_at": finish, "state": queued.state}
            | {name: rfc3339(at) for name, at in times.items()},
        )
        for word, at in (("It starts at", queued.start_at_us), ("Its deadline is", queued.deadline_us)):
            if at is not None:
                session.note(f"{word} {in_zone(at, zone)}.")
    if queued.bad:
        session.note(f"{queued.bad:,} rows cannot be used and were skipped; {bad_file} says why.")


def tell_warnings(session: Session, sentences: list[str]) -> None:
    """Sentences that must not be missed."""
    for sentence in sentences:
        session.warn(f"mailer: warning: {sentence}")


@contextmanager
def bad_rows_to(path: Path | None) -> Iterator[Callable[[BadRow], None] | None]:
    """A place for the rows that cannot be used: a CSV file with row, reason and text; None without a path."""
    if path is None:
        yield None
        return
    if str(path) == "-":
        raise UsageError("--skip-bad needs a file: the answer goes to standard output.")
    with open_output(path) as file:
        writer = RowWriter("csv", BAD_COLUMNS, to=file)
        yield lambda row: writer.write({"row": row.row, "reason": row.reason, "text": row.text})
        writer.end()


@contextmanager
def interruptible(session: Session) -> Iterator[None]:
    """Say what Ctrl-C in the middle of a load has left: nothing that is ever sent."""
    try:
        yield
    except KeyboardInterrupt:
        session.warn("mailer: interrupted; nobody was queued by this command. The same command takes it up again.")
        raise
