"""How far one message has come on the wire: the four steps a worker notes before it takes them."""

from __future__ import annotations

from enum import IntEnum


class Step(IntEnum):
    """The last step a worker is known to have begun with a message, in the order they are taken.

    A step is noted before the bytes it speaks of are written, so after a crash the message may have come
    *less* far than its last step says, never further. The numbers are kept on disk: they never change meaning.
    """

    COMPOSING = 1
    """Its text is being made. Nothing about it has been sent."""

    ON_WIRE = 2
    """Its envelope or a part of its text may have been sent. No end of data has: the server cannot have taken it."""

    END_BEGUN = 3
    """Its end of data may have been sent. The server may have taken it (RFC 5321 6.1); only a reply can tell."""

    ANSWERED = 4
    """The reply that decides the attempt has come, at whatever phase, and is noted beside the step."""


__all__ = ["Step"]
