"""A file of recipients as it is named on the command line, opened."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from mailer.cli.session import Session

if TYPE_CHECKING:
    from mailer.content import RecipientFile

__all__ = ["open_recipients"]

# A list of this size is kept in memory; a longer one goes to a temporary file.
IN_MEMORY: Final = 8 * 1024 * 1024


@contextmanager
def open_recipients(
    session: Session, name: str, *, encoding: str | None, address_column: str | None
) -> Iterator[RecipientFile]:
    """The file called `name`, or standard input for `-`. Raises InputError for what is wrong with it as a whole.

    An encoding that was found out by looking is said: it may have been taken for another one.
    """
    from mailer.content import open_recipients as open_them

    with ExitStack() as stack:
        if name == "-":
            opened = open_them(
                None, stdin=stack.enter_context(_whole_stdin()), encoding=encoding, address_column=address_column
            )
        else:
            opened = open_them(Path(name), stdin=None, encoding=encoding, address_column=address_column)
        rows = stack.enter_context(opened)
        if encoding is None and not rows.encoding.startswith(("utf-8", "utf-16")):
            session.note(f"{rows.where} is read as {rows.encoding}; --encoding names another.")
        yield rows


@contextmanager
def _whole_stdin() -> Iterator[BinaryIO]:
    """Standard input, read to its end here: while another program is still writing it, Ctrl-C must work, and no load
    may stand open in the database."""
    with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY) as kept:
        shutil.copyfileobj(sys.stdin.buffer, kept)
        kept.seek(0)
        yield kept  # type: ignore[misc] # a SpooledTemporaryFile is a BinaryIO in all but its base class
