"""What can go wrong, each with a sentence for the person who reads it, a hint and an exit code.

One family. A room raises the class that names the kind of trouble; `mailer.cli` is the one place that prints it and
turns it into an exit code. The text says what happened and where (file, row, key); the hint says what to do next.
Neither ever holds a secret.
"""

from __future__ import annotations

from typing import ClassVar, Final

__all__ = [
    "ENDED_BADLY",
    "WORK_LEFT",
    "ConfigError",
    "InputError",
    "MailerError",
    "NotFound",
    "Refused",
    "RelayError",
    "StoreError",
    "UsageError",
]


# Exit codes of a command that did what it was told, and has something to say of the mail all the same.
ENDED_BADLY: Final = 5  # more messages ended badly than --max-failed allows
WORK_LEFT: Final = 6  # something is left that only an operator, or a later time, can move on


class MailerError(Exception):
    """Base of everything mailer raises on purpose.

    `code` is a stable word for machines (the JSON form of an error carries it); `exit` the exit code of the command.
    """

    code: ClassVar[str] = "failed"
    exit: ClassVar[int] = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(MailerError):
    """The command was typed wrongly, or something that cannot be undone was not confirmed."""

    code = "usage"
    exit = 2


class InputError(MailerError):
    """A file or value from outside cannot be used: recipients, a template, an attachment."""

    code = "bad-input"


class NotFound(MailerError):
    """A campaign, message, relay or file that was named does not exist."""

    code = "not-found"


class Refused(MailerError):
    """The command is understood but the state of things forbids it, e.g. adding to a cancelled campaign."""

    code = "refused"


class RelayError(MailerError):
    """A relay cannot be used: not reachable, wrong credentials, no TLS."""

    code = "relay"


class ConfigError(MailerError):
    """The configuration is wrong. The message names the file, the key and what was expected."""

    code = "config"
    exit = 3


class StoreError(MailerError):
    """The database is not usable: missing, locked, read-only, full, corrupt, of another version.

    `can_wait` says whether trying again later can help (locked, full) or somebody has to act first.
    """

    code = "database"
    exit = 4

    def __init__(self, message: str, hint: str = "", *, can_wait: bool = False) -> None:
        super().__init__(message, hint)
        self.can_wait = can_wait
