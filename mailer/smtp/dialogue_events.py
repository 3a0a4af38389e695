"""What the dialogue speaks of with its caller: messages on their way, bytes to be written, and events."""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar

from mailer.core.message import Phase
from mailer.core.progress import Step
from mailer.core.reply import Reply
from mailer.smtp.state_table import Command
from mailer.smtp.trouble import OutOfStep


class Refusal(NamedTuple):
    """A reply that decided a message, and what it answered."""

    phase: Phase
    reply: Reply


class Transfer:
    """One message's way through the conversation, as far as the dialogue has to know it."""

    __slots__ = ("as_chunk", "is_disordered", "is_wary", "left", "mail", "rcpt", "refusal")

    def __init__(self, mail: bytes, rcpt: bytes, *, as_chunk: bool = False, is_wary: bool = False) -> None:
        """The two commands with their CRLF. `as_chunk`: it is one chunk (RFC 3030) and not DATA.

        `is_wary`: its recipient may well be refused, so nothing is written behind RCPT before that is answered.
        """
        self.mail = mail
        self.rcpt = rcpt
        self.as_chunk = as_chunk
        self.is_wary = is_wary
        self.left = 0
        """Its commands that are decided on and not answered."""
        self.refusal: Refusal | None = None
        """What it was refused with while answers to it are still to come."""
        self.is_disordered = False
        """The refusal says that the order of commands was wrong."""


T = TypeVar("T", bound=Transfer)


class Write(NamedTuple, Generic[T]):
    """Bytes to be written, and what that means."""

    data: bytes
    commands: tuple[Command, ...]
    transfer: T | None = None
    step: Step | None = None
    """To be noted before they go out; if that fails they must not."""
    is_secret: bool = False

    def __repr__(self) -> str:
        # Not what is written: it may be a password, and a repr ends up in tracebacks and logs.
        return f"<Write {' '.join(command.name for command in self.commands)} {len(self.data)} bytes>"


class LoggedIn(NamedTuple):
    """The login was taken."""


class LoginRefused(NamedTuple):
    """It was not; final for this try."""

    reply: Reply


class Decided(NamedTuple, Generic[T]):
    """A reply decided the message."""

    transfer: T
    phase: Phase
    reply: Reply


class Disordered(NamedTuple, Generic[T]):
    """The server says that the commands of a message that was written ahead came in the wrong order.

    That decides nothing. `phase` is of the command that was answered so.
    """

    transfer: T
    phase: Phase
    reply: Reply


class Closing(NamedTuple):
    """The server ends the conversation and has read nothing of what is still open.

    `reply` is what it said, unless that decided a message or was asked for.
    """

    reply: Reply | None


class Unproven(NamedTuple):
    """The server takes no chunks; the conversation is over. What it was to prove it with has not been ended."""

    reply: Reply


class Broken(NamedTuple):
    """Out of step; nothing that comes after it is read."""

    error: OutOfStep


Event = LoggedIn | LoginRefused | Decided[T] | Disordered[T] | Closing | Unproven | Broken
