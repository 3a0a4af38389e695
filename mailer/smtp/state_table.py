"""What a reply leads to: the command it answers, the kind of reply, the move. The conversation is these two tables.

`AFTER` holds while nothing has been refused of the message a command belongs to. A refusal does not always end it: what
was written ahead is answered all the same (RFC 2920 section 3.1), and `AFTER_REFUSAL` says what those answers lead to.
A pair that stands in neither is out of step: the conversation ends there, and no byte behind it is read.

`tools/draw-dialogue` draws docs/dialogue.md from both.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Final

from mailer.core.message import Phase


class Mode(IntEnum):
    """How far the client writes ahead of the answers."""

    STEP = 1
    """Not at all."""
    PIPELINED = 2
    """A message's end and the commands of the next one are one write (RFC 2920)."""
    CHUNKED = 3
    """Several whole messages are on their way (RFC 3030), once the server has proven that it takes chunks."""


class Command(IntEnum):
    """What a reply is awaited to. Those from MAIL to END belong to a message, in this order."""

    AUTH = 0
    QUIT = 1
    RSET = 2
    MAIL = 3
    RCPT = 4
    DATA = 5
    PROOF = 6
    """A first chunk that is not the last one: one constant line of the message."""
    NOOP = 7
    """Behind the proof: a server that took the chunk for a command would answer that line here."""
    BODY = 8
    """Not a command: 354 has come and the end of data is not written. Only a server that gives up answers here."""
    DOT = 9
    """The lone dot to a 354 that came although the message had been refused: nothing of it was sent."""
    END = 10
    """The end of data: the dot behind a message, or its last chunk."""


class Kind(IntEnum):
    """What a reply says, as far as the conversation is concerned (RFC 5321 section 4.2.1)."""

    YES = 0
    GO_ON = 1
    NO = 2
    UNKNOWN = 3
    """500 to 504: it does not know the command. Where a row does not name it, it is a NO."""
    CLOSING = 4
    """421: it closes the connection, whatever it was asked (RFC 5321 section 3.8)."""


class Move(IntEnum):
    """What a reply leads to."""

    ASK_LOGIN = 0
    NEXT = 1
    """The message's next command, unless that is on the wire already."""
    GIVE_BODY = 2
    TAKEN = 3
    """The server has the message: that decides it."""
    REFUSED = 4
    """The refusal is kept. It decides the message once nothing of it is left to be answered."""
    GIVEN_UP = 5
    """The reply decides the message, unless a refusal did before, and the server reads nothing more."""
    NOT_PROVEN = 6
    """The server takes no chunks, whatever it announced. The conversation ends."""
    SKIP = 7
    """Nothing: it was to be expected."""
    SAY_DOT = 8
    TAKEN_ANYWAY = 9
    """The server has a message that it had refused: that decides it, and the conversation cannot be trusted."""
    CLOSED = 10


AFTER: Final[Mapping[Command, Mapping[Kind, Move]]] = {
    Command.AUTH: dict.fromkeys((Kind.YES, Kind.GO_ON, Kind.NO, Kind.CLOSING), Move.ASK_LOGIN),
    Command.QUIT: {Kind.YES: Move.CLOSED, Kind.NO: Move.CLOSED, Kind.CLOSING: Move.CLOSED},
    Command.RSET: {Kind.YES: Move.SKIP, Kind.CLOSING: Move.CLOSED},
    Command.MAIL: {Kind.YES: Move.NEXT, Kind.NO: Move.REFUSED, Kind.CLOSING: Move.GIVEN_UP},
    Command.RCPT: {Kind.YES: Move.NEXT, Kind.NO: Move.REFUSED, Kind.CLOSING: Move.GIVEN_UP},
    Command.DATA: {Kind.GO_ON: Move.GIVE_BODY, Kind.NO: Move.REFUSED, Kind.CLOSING: Move.GIVEN_UP},
    Command.PROOF: {
        Kind.YES: Move.NEXT,
        Kind.NO: Move.REFUSED,
        Kind.UNKNOWN: Move.NOT_PROVEN,
        Kind.CLOSING: Move.GIVEN_UP,
    },
    Command.NOOP: {Kind.YES: Move.GIVE_BODY, Kind.NO: Move.NOT_PROVEN, Kind.CLOSING: Move.GIVEN_UP},
    Command.BODY: {Kind.NO: Move.GIVEN_UP, Kind.CLOSING: Move.GIVEN_UP},
    Command.END: {Kind.YES: Move.TAKEN, Kind.NO: Move.REFUSED, Kind.CLOSING: Move.GIVEN_UP},
}

AFTER_REFUSAL: Final[Mapping[Command, Mapping[Kind, Move]]] = {
    Command.RCPT: {Kind.YES: Move.SKIP, Kind.NO: Move.SKIP, Kind.CLOSING: Move.GIVEN_UP},
    # RFC 2920 section 3.1: a 354 although no recipient is valid is answered with a lone dot.
    Command.DATA: {Kind.GO_ON: Move.SAY_DOT, Kind.NO: Move.SKIP, Kind.CLOSING: Move.GIVEN_UP},
    Command.DOT: {Kind.YES: Move.SKIP, Kind.NO: Move.SKIP, Kind.CLOSING: Move.GIVEN_UP},
    # A chunk without a recipient is refused by servers that know chunks, too: only NOOP tells.
    Command.PROOF: {Kind.YES: Move.SKIP, Kind.NO: Move.SKIP, Kind.CLOSING: Move.GIVEN_UP},
    Command.NOOP: {Kind.YES: Move.SKIP, Kind.NO: Move.NOT_PROVEN, Kind.CLOSING: Move.GIVEN_UP},
    Command.END: {Kind.YES: Move.TAKEN_ANYWAY, Kind.NO: Move.SKIP, Kind.CLOSING: Move.GIVEN_UP},
}

PHASE: Final[Mapping[Command, Phase]] = {
    Command.AUTH: Phase.AUTH,
    Command.MAIL: Phase.MAIL,
    Command.RCPT: Phase.RCPT,
    Command.DATA: Phase.DATA,
    Command.PROOF: Phase.DATA,
    Command.NOOP: Phase.DATA,
    Command.BODY: Phase.DATA,
    Command.DOT: Phase.DATA,
    Command.END: Phase.END_OF_DATA,
}

# Commands as sentences name them.
NAMES: Final[Mapping[Command, str]] = {
    Command.AUTH: "AUTH",
    Command.QUIT: "QUIT",
    Command.RSET: "RSET",
    Command.MAIL: "MAIL",
    Command.RCPT: "RCPT",
    Command.DATA: "DATA",
    Command.PROOF: "a first chunk",
    Command.NOOP: "NOOP",
    Command.BODY: "a message that has not ended",
    Command.DOT: "a lone dot",
    Command.END: "the end of a message",
}


def _kind(code: int) -> Kind | None:
    """By the first digit, with what is more than a digit's word. 1xx has no place in SMTP."""
    if code == 421:
        return Kind.CLOSING
    if 500 <= code <= 504:
        return Kind.UNKNOWN
    return (None, None, Kind.YES, Kind.GO_ON, Kind.NO, Kind.NO)[code // 100]


KIND_OF: Final = tuple(_kind(code) for code in range(600))


def _compiled(table: Mapping[Command, Mapping[Kind, Move]]) -> tuple[tuple[Move | None, ...], ...]:
    """The same table, looked up by position."""
    rows = (
        {Kind.UNKNOWN: row[Kind.NO], **row} if Kind.NO in row else row for row in (table.get(c, {}) for c in Command)
    )
    return tuple(tuple(row.get(kind) for kind in Kind) for row in rows)


BY_POSITION: Final = _compiled(AFTER)
BY_POSITION_AFTER_REFUSAL: Final = _compiled(AFTER_REFUSAL)
