"""Every place a connection can end in, every way it can end, every mode: what becomes of each message.

The oldest message that is open is LOST before its end of data and UNKNOWN behind it; of later ones those that had ended
are UNKNOWN, too, and the others UNTOUCHED. After 421 nothing that is still open has been read. What is to be expected
stands in the tables of `support.conversations`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from support.conversations import MODES, Mode, Row, converse, outcomes
from support.modes import standing_still
from support.scripted_server import Peer
from support.wire import run_on

LOOPS = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
MODE = pytest.mark.parametrize("mode", MODES.values(), ids=MODES.keys())

# The phase of a reply to what is awaited; RSET belongs to none.
PHASES = {"MAIL": "mail", "RCPT": "rcpt", "DATA": "data", "PROOF": "data", "NOOP": "data", "END": "end-of-data"}


def half_a_reply(peer: Peer) -> None:
    peer.send(b"25")
    peer.end()


WAYS: dict[str, Callable[[Peer], None]] = {
    "end": Peer.end,
    "half a reply": half_a_reply,
    "reset": Peer.reset,
    "input unread": Peer.close,
}


def cut(rows: list[Row], how: str, loop: asyncio.AbstractEventLoop) -> Callable[[Peer], None]:
    """Play these rows, and end. What the client would answer comes together with the end."""
    replies_from = max(n for n, row in enumerate(rows, 1) if row.speaker == "C")

    def play(peer: Peer) -> None:
        if how == "input unread":
            converse(peer, rows[:-1])
            peer.read(1)
        else:
            converse(peer, rows[:replies_from])
        with standing_still(loop):
            if how != "input unread":
                converse(peer, rows[replies_from:])
            WAYS[how](peer)
        if how in ("end", "half a reply"):
            peer.hold()

    return play


def points(mode: Mode, how: str) -> list[int]:
    """Where to end a conversation: behind so many rows."""
    return [n for n, row in enumerate(mode.rows, 1) if row.speaker == "C" or how != "input unread"]


def shown(mode: Mode, n: int, briefs: list[str]) -> str:
    return f"{n} {mode.rows[n - 1].speaker}: {mode.rows[n - 1].said}: {', '.join(briefs)}"


@LOOPS
@MODE
@pytest.mark.parametrize("how", WAYS)
def test_a_connection_that_ends_anywhere(how: str, mode: Mode, loop: str) -> None:
    async def main(n: int) -> list[str]:
        return await outcomes(mode, cut(mode.rows[:n], how, asyncio.get_running_loop()))

    where = points(mode, how)
    assert [shown(mode, n, run_on(loop, main(n))) for n in where] == [
        shown(mode, n, mode.rows[n - 1].briefs) for n in where
    ]


@LOOPS
@MODE
def test_421_in_place_of_any_reply_answers_the_oldest_command_and_later_messages_were_not_read(
    mode: Mode, loop: str
) -> None:
    def expected(row: Row) -> list[str]:
        sent = [brief for brief in row.briefs if brief.startswith("answered")]
        answered = [f"answered {PHASES[row.awaits]} 421"] if row.awaits in PHASES else []
        return [*sent, *answered, *["untouched"] * (len(row.briefs) - len(sent + answered))]

    async def main(rows: list[Row]) -> list[str]:
        def play(peer: Peer) -> None:
            converse(peer, rows)
            peer.say("421 closing")
            peer.hold()

        return await outcomes(mode, play)

    where = [n for n, row in enumerate(mode.rows, 1) if row.awaits]
    assert [shown(mode, n, run_on(loop, main(mode.rows[:n]))) for n in where] == [
        shown(mode, n, expected(mode.rows[n - 1])) for n in where
    ]
