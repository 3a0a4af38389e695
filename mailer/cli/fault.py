"""Where the traceback of an unforeseen error goes when there is no log yet: the configured error file."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from mailer import __version__
from mailer.cli.session import Session
from mailer.errors import MailerError


def note_fault(session: Session, argv: Sequence[str], traceback: str) -> Path | None:
    """Append the traceback with time and command to `[log] error_file`; its path, or None if it cannot be written."""
    try:
        path = session.config.log.error_file
    except (MailerError, OSError):
        path = Path("error.log")
    if path is None:
        return None
    head = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} mailer {__version__} unexpected error in: mailer {shlex.join(argv)}"
    try:
        with path.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(session.redactor(f"{head}\n{traceback}\n"))
    except OSError:
        return None
    return path
