"""What one run of the command line knows: its options, its environment, and its configuration once it is needed."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

if TYPE_CHECKING:
    from mailer.config import Config, Loaded
    from mailer.redact import Redactor
    from mailer.store import Store

__all__ = ["FORMATS", "Format", "Session"]

Format = Literal["table", "json", "jsonl", "csv"]
FORMATS: Final[tuple[Format, ...]] = ("table", "json", "jsonl", "csv")

T = TypeVar("T")


class Session:
    """One per process. Options write into it while they are parsed; commands read from it."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self.environ: Mapping[str, str] = os.environ if environ is None else environ
        self.config_file: Path | None = None
        self.chosen_format: Format | None = None
        self.verbosity = 0
        """-1 with -q, 0, or the number of -v."""
        self.wants_progress = True
        self.may_ask = True
        self.debug = False

    # What is shown

    @property
    def format(self) -> Format:
        """How data is to be written; a table unless something else was asked for."""
        return self.chosen_format or "table"

    @property
    def quiet(self) -> bool:
        return self.verbosity < 0

    @property
    def interactive(self) -> bool:
        """Somebody is there to answer a question: both ends are a terminal and --no-input was not given."""
        return self.may_ask and _is_terminal(sys.stdin) and _is_terminal(sys.stderr)

    @property
    def shows_progress(self) -> bool:
        """Bars are wanted and would be seen."""
        dumb = self.environ.get("TERM") == "dumb"
        return self.wants_progress and not self.quiet and not dumb and _is_terminal(sys.stderr)

    def has_colour(self, stream: Any) -> bool:
        """Whether text on `stream` may be coloured: NO_COLOR, then FORCE_COLOR, then TERM and the terminal decide."""
        if self.environ.get("NO_COLOR"):
            return False
        if self.environ.get("FORCE_COLOR"):
            return True
        return self.environ.get("TERM") != "dumb" and _is_terminal(stream)

    def width_of(self, stream: Any) -> int | None:
        """Columns of the terminal that `stream` is, or None where it is none and nothing needs to be cut."""
        if not _is_terminal(stream):
            return None
        import shutil

        return shutil.get_terminal_size().columns

    def note(self, text: str) -> None:
        """Say something in passing, on stderr; not with -q."""
        if not self.quiet:
            self.warn(text)

    def warn(self, text: str) -> None:
        """Say on stderr what must not be missed, even with -q."""
        import click

        click.echo(text, err=True)

    # What is configured

    @cached_property
    def redactor(self) -> Redactor:
        """Knows every secret that was resolved in this process, to keep it out of logs and tracebacks."""
        from mailer.redact import Redactor

        return Redactor()

    @cached_property
    def loaded(self) -> Loaded:
        """The configuration with the place each value came from. Raises ConfigError."""
        # pydantic looks through every installed package for plugins: a tenth of the time of `mailer status`, for none.
        os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
        from mailer.config import load

        loaded = load(self.environ, file=self.config_file, on_secret=self.redactor.add)
        for warning in loaded.warnings:
            self.warn(f"mailer: warning: {warning}")
        return loaded

    @property
    def config(self) -> Config:
        """The configuration, read when it is first asked for. Raises ConfigError."""
        return self.loaded.config

    # What runs

    def run(self, coroutine: Coroutine[Any, Any, T], *, uvloop: bool = False) -> T:
        """Run `coroutine` on a new event loop, on uvloop's if that was asked for and is installed."""
        import asyncio

        loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None
        if uvloop:
            # Without the optional extra asyncio's own loop does the same, slower.
            with suppress(ImportError):
                from uvloop import new_event_loop

                loop_factory = new_event_loop
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            return runner.run(coroutine)

    def store(self, *, create: bool = False) -> AbstractAsyncContextManager[Store]:
        """The database that the configuration names, open while the context lasts.

        With `create` a missing one is made, and its path is said. Raises StoreError: missing, locked, to be upgraded.
        """
        return self._open_store(create=create)

    @asynccontextmanager
    async def _open_store(self, *, create: bool) -> AsyncIterator[Store]:
        from mailer.store import Store

        database = self.config.database
        path = database.path
        is_new = create and not path.exists()
        async with await Store.open(
            path,
            create=create,
            synchronous=database.synchronous,
            lock_wait_s=database.lock_wait.total_seconds(),
        ) as store:
            if is_new:
                self.note(f"Created the database {path}.")
            yield store


def _is_terminal(stream: Any) -> bool:
    try:
        return stream is not None and bool(stream.isatty())
    except ValueError:  # closed
        return False
