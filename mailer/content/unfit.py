"""One row that no message can be made for."""

from __future__ import annotations

from mailer.errors import InputError


class Unfit(InputError):
    """This recipient's message cannot be composed, or must not be sent as it would come out. The message says why."""


__all__ = ["Unfit"]
