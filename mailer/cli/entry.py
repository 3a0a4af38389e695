"""One run of the command line: parse, do, and turn whatever goes wrong into a sentence, a hint and an exit code.

This is the only place that does so; everything else raises. `run` returns the exit code and never raises.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

import click

from mailer.cli.app import NoSuchCommand, root
from mailer.cli.session import Session
from mailer.core.nearest import did_you_mean
from mailer.errors import MailerError, UsageError

__all__ = ["run"]

INTERRUPTED: Final = 130  # 128 + SIGINT, what a shell reports for a process that Ctrl-C ended
COMPLETE_VAR: Final = "_MAILER_COMPLETE"  # set by the script that `mailer completion` prints


def run(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Do what `argv` says and return the exit code."""
    session = Session(environ)
    _be_lenient_about_characters()
    try:
        code = _call(argv, session)
        _flush()
    except MailerError as error:
        _show(error, argv, session)
        return error.exit
    except KeyboardInterrupt:
        if sys.stderr is not None and sys.stderr.isatty():
            click.echo(err=True)  # the shell's prompt goes on a line of its own, not behind ^C
        return INTERRUPTED
    except OSError as error:
        failure = _stdout_failure(error)
        if failure is None:
            return _unexpected(error, argv, session)
        _forget_stdout()
        if isinstance(failure, BrokenPipeError):
            return 0  # the reader has seen enough
        unwritten = MailerError(f"cannot write to standard output: {failure.strerror}.", "Is the disk full?")
        _show(unwritten, argv, session)
        return unwritten.exit
    except Exception as error:  # noqa: BLE001 - the last resort: a person gets a sentence, the log the traceback
        return _unexpected(error, argv, session)
    return code


def _call(argv: Sequence[str], session: Session) -> int:
    tree = root()
    completing = session.environ.get(COMPLETE_VAR)
    if completing:
        from click.shell_completion import shell_complete

        return shell_complete(tree, {"obj": session}, "mailer", COMPLETE_VAR, completing)
    try:
        # click takes colours out of what goes to no terminal; None leaves that to it, FORCE_COLOR does not.
        coloured = session.has_colour(None) or None
        with tree.make_context("mailer", list(argv), obj=session, color=coloured) as context:
            result = tree.invoke(context)
    except click.exceptions.Exit as end:  # --help and --version
        return end.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return UsageError.exit
    except click.UsageError as error:
        raise _as_ours(error) from error
    except click.Abort as error:
        # click's prompt says Abort both for Ctrl-C and for the end of input.
        if isinstance(error.__context__, EOFError):
            raise UsageError("the input ended before the question was answered.") from error
        raise KeyboardInterrupt from error
    except click.ClickException as error:
        raise MailerError(_sentence(error.format_message())) from error
    return result if isinstance(result, int) else 0


def _as_ours(error: click.UsageError) -> UsageError:
    path = error.ctx.command_path if error.ctx else "mailer"
    see = f"See `{path} --help`."
    if isinstance(error, NoSuchCommand):
        near = did_you_mean(error.word, error.known, quote="`")
        return UsageError(error.message, near or see)
    if isinstance(error, click.NoSuchOption):
        known = [name for param in error.ctx.command.get_params(error.ctx) for name in param.opts] if error.ctx else []
        near = did_you_mean(error.option_name, known, quote="`")
        return UsageError(f"`{path}` has no option {error.option_name}.", near or see)
    return UsageError(_sentence(error.format_message()), see)


def _sentence(text: str) -> str:
    """click's wording on one line, with the small first letter of a text that follows `mailer: `."""
    text = " ".join(text.replace("\t", " ").split())
    return text[:1].lower() + text[1:]


def _show(error: MailerError, argv: Sequence[str], session: Session) -> None:
    message, hint = session.redactor(error.message), session.redactor(error.hint)
    if _wants_json(argv, session):
        import json

        document = {"error": {"code": error.code, "message": message, "hint": hint or None, "exit": error.exit}}
        click.echo(json.dumps(document, ensure_ascii=False), err=True)
    else:
        lines = [f"mailer: {message}", *(f"  {line}" for line in hint.splitlines())]
        click.echo("\n".join(lines), err=True)
    if session.debug:
        click.echo(session.redactor(_traceback(error)), err=True, nl=False)


def _unexpected(error: BaseException, argv: Sequence[str], session: Session) -> int:
    """A fault of ours. The traceback goes to the error log, and to the screen with --debug."""
    from mailer.cli.fault import note_fault

    written_to = note_fault(session, argv, _traceback(error))
    where = f"The traceback is in {written_to}; " if written_to else ""
    what = " ".join(str(error).split())
    _show(
        UnforeseenError(
            f"an error that should not happen: {type(error).__name__}{': ' if what else ''}{what}",
            f"{where}run the same command with --debug to see it here.",
        ).with_traceback(error.__traceback__),
        argv,
        session,
    )
    return UnforeseenError.exit


class UnforeseenError(MailerError):
    """Something nobody foresaw."""

    code = "unexpected"


def _traceback(error: BaseException) -> str:
    import traceback

    return "".join(traceback.format_exception(error))


def _wants_json(argv: Sequence[str], session: Session) -> bool:
    """Whether errors are to be JSON. The arguments are searched too: parsing may have failed before it saw --json."""
    if session.chosen_format is not None:
        return session.chosen_format in ("json", "jsonl")
    typed = {*argv, *map("=".join, pairwise(argv))}
    return not typed.isdisjoint({"--json", "--format=json", "--format=jsonl"})


def _be_lenient_about_characters() -> None:
    """A character that the terminal's encoding lacks is shown escaped; it must not become an error of its own."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure: Any = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def _flush() -> None:
    """Write out what is still buffered, here where a full disk or a closed pipe can be reported."""
    if sys.stdout is not None:
        sys.stdout.flush()


def _stdout_failure(error: OSError) -> OSError | None:
    """Why our own stdout cannot be written to, or None if `error` came from elsewhere."""
    try:
        _flush()
    except OSError as failure:  # what could not be written is still in its buffer
        return failure
    # A large write passes the buffer by, and leaves nothing in it.
    if isinstance(error, BrokenPipeError):
        return error if _reader_is_gone() else None
    # Other files say their names, or are reported by those who write them.
    is_from_writing = error.filename is None and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
    return error if is_from_writing else None


def _reader_is_gone() -> bool:
    """Whether stdout is a pipe that nobody reads any more."""
    import select

    if sys.stdout is None:
        return False
    poll = select.poll()
    poll.register(sys.stdout, 0)
    return any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0))


def _forget_stdout() -> None:
    """Send the rest of the buffer nowhere, so that the interpreter does not complain about it at exit."""
    import os

    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
