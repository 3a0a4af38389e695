"""A progress bar on stderr, where somebody sees it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from mailer.cli.session import Session

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

__all__ = ["Bar", "progress"]


class Bar(Protocol):
    """What a command tells about how far it is. It costs next to nothing where no bar is shown."""

    def update(self, done: int, total: int | None = None) -> None:
        """So many are done in all, of so many if the total became known."""


@contextmanager
def progress(session: Session, title: str, *, total: int | None = None, unit: str = "") -> Iterator[Bar]:
    """A bar for as long as the block runs; it vanishes at its end.

    Shown only where stderr is a terminal, without -q and --no-progress. `unit` is a word ("recipients"), or "bytes",
    which are then shown as kB and MB.
    """
    if not session.shows_progress:
        yield _Silent()
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    counted: list[ProgressColumn] = [DownloadColumn()] if unit == "bytes" else [MofNCompleteColumn(), TextColumn(unit)]
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        *counted,
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as shown:
        yield _Shown(shown, shown.add_task(title, total=total))


class _Silent:
    def update(self, done: int, total: int | None = None) -> None:
        pass


class _Shown:
    def __init__(self, shown: RichProgress, task: TaskID) -> None:
        self._shown = shown
        self._task = task

    def update(self, done: int, total: int | None = None) -> None:
        self._shown.update(self._task, completed=done, total=total)
