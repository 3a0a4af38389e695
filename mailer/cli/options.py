"""The options that every command takes, before or after its name. Each one writes what it was given into the session.

The inner one wins: in `mailer --format csv status --json` the answer is JSON.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click

from mailer.cli.session import FORMATS, Format, Session

__all__ = ["GLOBAL_OPTIONS", "check_format"]


def check_format(ctx: click.Context, *, shows: bool) -> None:
    """Refuse `--format table|jsonl|csv` on a command that shows nothing; `--json` is allowed, its errors are JSON."""
    chosen = _session(ctx).chosen_format
    if not shows and chosen not in (None, "json"):
        raise click.UsageError(f"`{ctx.command_path}` shows no data, so --format {chosen} means nothing.", ctx)


def _option(*names: str, **more: Any) -> click.Option:
    return click.Option(list(names), expose_value=False, **more)


def _session(ctx: click.Context) -> Session:
    return ctx.ensure_object(Session)


def _config(ctx: click.Context, _param: click.Parameter, value: Path | None) -> None:
    if value is not None:
        _session(ctx).config_file = value


def _format(ctx: click.Context, _param: click.Parameter, value: Format | None) -> None:
    if value is not None:
        _session(ctx).chosen_format = value


def _json(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value:
        _session(ctx).chosen_format = "json"


def _quiet(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value:
        _session(ctx).verbosity = -1


def _verbose(ctx: click.Context, _param: click.Parameter, value: int) -> None:
    if value:
        _session(ctx).verbosity = value


def _no_progress(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value:
        _session(ctx).wants_progress = False


def _no_input(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value:
        _session(ctx).may_ask = False


def _debug(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value:
        _session(ctx).debug = True


GLOBAL_OPTIONS: Final[tuple[click.Option, ...]] = (
    _option(
        "--config",
        metavar="FILE",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Configuration to use instead of $MAILER_CONFIG, ./config.toml, ….",
        callback=_config,
    ),
    _option("--format", type=click.Choice(FORMATS), help="How to write what is shown.", callback=_format),
    _option("--json", is_flag=True, help="Results and errors as JSON; the same as --format json.", callback=_json),
    _option("-q", "--quiet", is_flag=True, help="Only results and errors.", callback=_quiet),
    _option("-v", "--verbose", count=True, help="Say more about what is done.", callback=_verbose),
    _option("--no-progress", is_flag=True, help="No progress bars.", callback=_no_progress),
    _option("--no-input", is_flag=True, help="Never ask; fail where a question would be needed.", callback=_no_input),
    _option("--debug", is_flag=True, help="Show the traceback of an error.", callback=_debug),
)
