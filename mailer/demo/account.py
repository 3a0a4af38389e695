"""The one account of the demo's server, and the recipient whose story is worth telling."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Final

from mailer.demo.fates import Fate, fate_of
from mailer.demo.people import Person, people

__all__ = ["DIFFICULT", "USERNAME", "Account"]

USERNAME: Final = "demo@example.com"


def _difficult() -> Person:
    """The first with a Chinese name who is refused twice before the message is taken."""
    return next(one for one in people() if one.language == "zh" and fate_of(one.number) is Fate.MAILBOX_FULL)


DIFFICULT: Final = _difficult()


@dataclass(frozen=True, slots=True)
class Account:
    """Who may send through the server. A new password for every run: it lies in a file of the demo's folder."""

    username: str = USERNAME
    password: str = field(default_factory=lambda: secrets.token_urlsafe(18), repr=False)
