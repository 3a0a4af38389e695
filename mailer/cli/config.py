"""`mailer config show`: every value in force and where it came from."""

from __future__ import annotations

from typing import Any

from mailer.cli import app
from mailer.cli.output import Column, emit
from mailer.cli.session import Session

COLUMNS = (Column("key"), Column("value", may_shrink=True), Column("source", may_shrink=True))


@app.command(examples=("mailer config show", "mailer config show --json"), shows=True)
def show(session: Session) -> None:
    """Show every value of the configuration and where it came from; secrets are ***.

    The source is the file, an environment variable, a relay's preset, or the default.
    """
    from mailer.config import settings

    loaded = session.loaded
    rows = [{"key": each.key, "value": each.value, "source": each.source} for each in settings(loaded)]
    if session.format == "table":
        rows = [{**row, "value": _as_written(row["value"])} for row in rows]
        if loaded.file is None:
            session.note("There is no configuration file; all values are defaults. `mailer init` writes one.")
    emit(session, {"file": str(loaded.file) if loaded.file else None, "settings": rows}, rows=rows, columns=COLUMNS)


def _as_written(value: Any) -> Any:
    """A value as it would stand in the file: a port has no thousands separator."""
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
    return value


command = app.group(
    "Show the configuration.",
    examples=("mailer config show", "mailer config show --format csv"),
    commands={"show": "mailer.cli.config:show"},
)
