"""The log: events with fields, for people on a terminal, as JSON elsewhere; never a secret.

Where a line goes, each only if it is at least of that level:

    stderr       `[log] level`, moved by -v and -q          console or JSON
    file         `[log] level`; with -v, more               JSON, one document a line
    error_file   error                                      people's form, with the traceback

An event below all of these costs about a microsecond: structlog gives it a method that does nothing. Everything else
passes through the `Redactor` as text, as the last thing before it is written, so that a secret cannot get in by way of
a field, a traceback or a library's message.
"""

from __future__ import annotations

import errno
import logging
import os
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, cast

import structlog
from structlog.typing import EventDict, WrappedLogger

from mailer.errors import ConfigError
from mailer.redact import Redactor
from mailer.service.log_form import PREPARED, Form, console_form, json_form

if TYPE_CHECKING:
    from mailer.config.model import Log

__all__ = ["LogFiles", "set_up_log"]

LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


def set_up_log(
    config: Log, *, redactor: Redactor, verbosity: int = 0, colour: bool = False, stderr: IO[str] | None = None
) -> LogFiles:
    """Send every event of this process, and what libraries log from warning on, to stderr and the configured files.

    `verbosity` is -1 with -q (stderr then has errors alone), 1 or more with -v (debug, in the file too); `colour` says
    whether stderr may have colours. Raises ConfigError for a file that cannot be written. Call it once per process,
    before the first event; close what it returns.
    """
    level = LEVELS["debug"] if verbosity > 0 else LEVELS[config.level]
    shown_level = max(level, LEVELS["error"]) if verbosity < 0 else level
    stderr = stderr or sys.stderr
    is_console = config.format == "console" or (config.format == "auto" and _is_terminal(stderr))
    outputs = [_Output(_Stream(stderr), shown_level, console_form(colour=colour) if is_console else json_form())]
    if config.error_file is not None:
        # Opened when there is something to write: a run without errors leaves no empty file behind.
        outputs.append(
            _Output(_File(config.error_file, "error_file", lazily=True), LEVELS["error"], console_form(colour=False))
        )
    if config.file is not None:
        outputs.append(_Output(_File(config.file, "file"), level, json_form()))
    files = LogFiles(outputs, redactor)
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, *PREPARED, files.write],
        wrapper_class=structlog.make_filtering_bound_logger(min(output.level for output in outputs)),
        logger_factory=_Named,
        # A cached logger would go on with the levels and files of the first call, and saves little.
        cache_logger_on_first_use=False,
    )
    files.take_over_libraries()
    return files


class LogFiles:
    """Where the log goes. Safe to use from any thread."""

    def __init__(self, outputs: Sequence[_Output], redactor: Redactor) -> None:
        self._outputs = outputs
        self._redactor = redactor
        self._lock = threading.Lock()
        self._libraries = _Libraries(self)
        self._level_before = logging.WARNING

    def write(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        """The last processor: format the event for each output that wants it, redact the text and write it."""
        level = LEVELS.get(str(event["level"]), logging.ERROR)
        with self._lock:
            for output in self._outputs:
                if level >= output.level:
                    output.write(self._redactor(output.form(event)))
        raise structlog.DropEvent

    def take_over_libraries(self) -> None:
        """Make what libraries log with `logging`, from warning on, events of ours; also Python's own warnings."""
        root = logging.getLogger()
        self._level_before = root.level
        root.addHandler(self._libraries)
        root.setLevel(logging.WARNING)
        logging.captureWarnings(True)

    def reopen(self) -> None:
        """Open the files anew under their names, after they were renamed by logrotate (SIGHUP).

        Where that is not possible the old file goes on being written, and says so.
        """
        failures = []
        with self._lock:
            for output in self._outputs:
                try:
                    output.target.reopen()
                except ConfigError as error:
                    failures.append(error.message)
        for failure in failures:
            structlog.get_logger("log").error("log.not_reopened", reason=failure)

    def close(self) -> None:
        """Close the files and let structlog and `logging` be as they were. Harmless twice."""
        with self._lock:
            for output in self._outputs:
                output.target.close()
        root = logging.getLogger()
        if self._libraries in root.handlers:
            root.removeHandler(self._libraries)
            root.setLevel(self._level_before)
            logging.captureWarnings(False)
            structlog.reset_defaults()


class _Output:
    """One place where lines go."""

    def __init__(self, target: _Stream | _File, level: int, form: Form) -> None:
        self.target = target
        self.level = level
        self.form = form

    def write(self, text: str) -> None:
        self.target.write(text if text.endswith("\n") else text + "\n")


class _Stream:
    """stderr, which is not ours to close."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        # The terminal may be gone, or the disk that stderr is redirected to full. Mail goes on without it: there is
        # nobody left to tell, and an error here would end up in the middle of a message.
        with suppress(OSError, ValueError):
            self._stream.write(text)
            self._stream.flush()

    def reopen(self) -> None:
        pass

    def close(self) -> None:
        pass


class _File:
    """A file that is appended to, made for its owner's group at most: addresses are people's own business."""

    def __init__(self, path: Path, key: str, *, lazily: bool = False) -> None:
        self._path = path
        self._key = key
        self._file: IO[bytes] | None = None
        if lazily:
            self._check()
        else:
            self._file = self._open()

    def _open(self) -> IO[bytes]:
        try:
            # Unbuffered and in append mode: several processes may write to it, and each line goes out in one write.
            return open(self._path, "ab", buffering=0, opener=_private)
        except OSError as error:
            raise self._unusable(error) from error

    def _check(self) -> None:
        """Find out now, and not at the first error, that the file cannot be made."""
        folder = self._path.parent
        if self._path.exists():
            self._open().close()
        elif not os.access(folder, os.W_OK):
            number = errno.EACCES if folder.is_dir() else errno.ENOENT
            raise self._unusable(OSError(number, os.strerror(number)))

    def _unusable(self, error: OSError) -> ConfigError:
        return ConfigError(
            f"[log] {self._key}: {self._path} cannot be written: {error.strerror}.",
            f'Name another file, or none: {self._key} = ""',
        )

    def write(self, text: str) -> None:
        # A full disk, as for stderr. What decides over mail is the flight recorder and the database: they stop.
        with suppress(OSError, ConfigError):
            if self._file is None:
                self._file = self._open()
            self._file.write(text.encode("utf-8", "backslashreplace"))

    def reopen(self) -> None:
        if self._file is None:
            return
        fresh = self._open()
        self._file.close()
        self._file = fresh

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


class _Libraries(logging.Handler):
    """Hands records of `logging` to structlog, so that there is one form, one filter and one redactor."""

    def __init__(self, files: LogFiles) -> None:
        super().__init__(logging.WARNING)
        self._files = files

    def emit(self, record: logging.LogRecord) -> None:
        level = next(name for name, number in reversed(LEVELS.items()) if record.levelno >= number)
        event: EventDict = {"event": record.getMessage(), "logger": record.name}
        if record.exc_info and record.exc_info[0] is not None:
            event["exc_info"] = record.exc_info
        for processor in PREPARED:
            event = cast(EventDict, processor(None, level, event))
        with suppress(structlog.DropEvent):
            self._files.write(None, level, event)


class _Named:
    """structlog's logger proper: only the name that `get_logger("worker")` gave. `LogFiles.write` does the writing."""

    def __init__(self, name: str = "") -> None:
        self.name = name


def _is_terminal(stream: IO[str]) -> bool:
    try:
        return stream.isatty()
    except ValueError:  # closed
        return False


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o640)
