"""The tree of commands, loaded only as far as what was typed.

How to add a command
--------------------
1. Write one module per command (or per group) in `mailer/cli/`, with an object named `command`:

       import click
       from mailer.cli import app
       from mailer.cli.session import Session

       @app.command(examples=("mailer status", "mailer status spring --json"), shows=True)
       @click.argument("name", required=False, type=names.CAMPAIGN)
       async def command(session: Session, name: str | None) -> int | None:
           '''Counts, rate and time left of every campaign.'''      # first sentence: the line in `mailer --help`

   The function gets the session first, may be `async`, and returns the exit code (None is 0). It raises a
   `mailer.errors.MailerError` for whatever went wrong; it never prints an error or calls `sys.exit`.
   Whatever is heavy (pydantic, asyncio, jinja2, rich, the store) is imported inside the function.
2. Add a line to `COMMANDS` below. For a group write `command = app.group("…", examples=(…), commands={…})` in its
   module; `commands` is such a table again, so that its subcommands may be spread over several modules. A value is
   `module` (its `command`) or `module:name`.
3. Show data with `mailer.cli.output.emit`; `shows=True` gives `--format`. Ask with `output.confirm`; show a bar with
   `mailer.cli.progress.progress`; say something with `session.note`.

Global options are accepted before and after the command and end up in the session; see `mailer.cli.options`.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

import click

from mailer import __version__
from mailer.cli.options import GLOBAL_OPTIONS, check_format
from mailer.cli.session import Session

__all__ = ["Command", "Group", "command", "group", "root"]

COMMANDS: Final[Mapping[str, str]] = {
    "init": "mailer.cli.init",
    "config": "mailer.cli.config",
    "demo": "mailer.cli.demo",
    "send": "mailer.cli.send",
    "campaign": "mailer.cli.campaign",
    "worker": "mailer.cli.worker",
    "status": "mailer.cli.status",
    "message": "mailer.cli.message",
    "relay": "mailer.cli.relay",
    "db": "mailer.cli.db",
    "explain": "mailer.cli.explain",
    "completion": "mailer.cli.completion",
}
"""Name → module, in the order of `mailer --help`."""

Body = Callable[..., int | None] | Callable[..., Coroutine[Any, Any, int | None]]


class Command(click.Command):
    """A click command that takes the global options and ends its help with two examples."""

    def __init__(self, *args: Any, examples: tuple[str, str], shows: bool, **more: Any) -> None:
        super().__init__(*args, **more)
        self.examples = examples
        self.shows = shows

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        return [*super().get_params(ctx), *GLOBAL_OPTIONS]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        _write_options(self, ctx, formatter)

    def format_epilog(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        _write_examples(self.examples, formatter)

    def invoke(self, ctx: click.Context) -> Any:
        check_format(ctx, shows=self.shows)
        return super().invoke(ctx)


class Group(click.Group):
    """A group whose commands are imported when they are named."""

    def __init__(self, *args: Any, examples: tuple[str, str], table: Mapping[str, str], **more: Any) -> None:
        super().__init__(*args, **more)
        self.examples = examples
        self._table = table

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        return [*super().get_params(ctx), *GLOBAL_OPTIONS]

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(self._table)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        place = self._table.get(cmd_name)
        if place is None:
            return None
        module, _, attribute = place.partition(":")
        found = getattr(importlib.import_module(module), attribute or "command")
        if not isinstance(found, Command | Group):
            raise TypeError(f"{place} is not a command made with mailer.cli.app")
        found.name = cmd_name
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        found = self.get_command(ctx, args[0])
        if found is None and not ctx.resilient_parsing:
            raise NoSuchCommand(args[0], self, ctx)
        return (args[0] if found else None), found, args[1:]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self.format_commands(ctx, formatter)
        _write_options(self, ctx, formatter)

    def format_epilog(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        _write_examples(self.examples, formatter)


class NoSuchCommand(click.UsageError):
    """A word that names no command of its group."""

    def __init__(self, word: str, of: Group, ctx: click.Context) -> None:
        super().__init__(f"there is no command `{ctx.command_path} {word}`.", ctx)
        self.word = word
        self.known = of.list_commands(ctx)


def command(
    *, examples: tuple[str, str], shows: bool = False, hidden: bool = False, uvloop: bool = False
) -> Callable[[Body], Command]:
    """Make a command of the function below; its docstring is the help.

    `examples` are two whole command lines, shown at the end of the help and parsed by a test. `shows` says that the
    command writes data through `output.emit`, and so takes `--format`; `uvloop` that it sends, and so runs on the
    faster event loop where that is installed.
    """

    def decorate(body: Body) -> Command:
        @functools.wraps(body)
        @click.pass_context
        def call(ctx: click.Context, /, *args: Any, **kwargs: Any) -> int | None:
            session = ctx.find_object(Session)
            if session is None:
                raise RuntimeError("a command was called outside mailer.cli.entry.run")
            result = body(session, *args, **kwargs)
            return result if result is None or isinstance(result, int) else session.run(result, uvloop=uvloop)

        return click.command(cls=Command, examples=examples, shows=shows, hidden=hidden)(call)

    return decorate


def group(help_text: str, *, examples: tuple[str, str], commands: Mapping[str, str]) -> Group:
    """A group of lazily loaded commands; its first sentence is the line in the help of the group above."""
    return Group(
        help=help_text,
        examples=examples,
        table=commands,
        no_args_is_help=True,
        subcommand_metavar="COMMAND …",
    )


def root() -> Group:
    """The whole command line."""
    made = Group(
        name="mailer",
        help="Bulk mail in which every recipient ends in exactly one recorded state.",
        examples=('mailer explain "550 5.1.1 no such user"', "mailer --version"),
        table=COMMANDS,
        no_args_is_help=True,
        subcommand_metavar="COMMAND …",
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    made.params.append(_version_option())
    return made


def _version_option() -> click.Option:
    def show(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
        if value and not ctx.resilient_parsing:
            click.echo(f"mailer {__version__}")
            ctx.exit()

    return click.Option(
        ["--version"], is_flag=True, expose_value=False, is_eager=True, help="Show the version.", callback=show
    )


def _write_options(made: click.Command, ctx: click.Context, formatter: click.HelpFormatter) -> None:
    """The command's own options first, then those that every command takes."""
    own: list[tuple[str, str]] = []
    everywhere: list[tuple[str, str]] = []
    for param in made.get_params(ctx):
        record = param.get_help_record(ctx)
        # An argument stands in the usage line and is explained in the text; newer clicks give it an empty record.
        if record is not None and record[1]:
            (everywhere if param in GLOBAL_OPTIONS else own).append(record)
    for title, records in (("Options", own), ("Global options", everywhere)):
        if records:
            with formatter.section(title):
                formatter.write_dl(records)


def _write_examples(examples: tuple[str, str], formatter: click.HelpFormatter) -> None:
    # Written as they are: a wrapped command line can no longer be copied.
    formatter.write("\nExamples:\n" + "".join(f"  {example}\n" for example in examples))
