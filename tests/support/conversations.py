"""Conversations in each mode that break anywhere, and what becomes of the messages then.

A conversation is a table, a row for each group of pieces that the client writes and for each reply:

    C: mail1 rcpt1 data            | MAIL 300 | lost mail
    S: 250                         | RCPT 300 | lost rcpt

Behind each row stands what is awaited then, for how many seconds at most, and what becomes of the messages if nothing
comes any more: `sent` is a 250 to the end of data, and messages that are not named are untouched. Nothing is awaited
where it is the client's turn.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from support.modes import CHUNKED, PIPELINED, STEP_BY_STEP, expect, greet, parcel_of, replies
from support.scripted_server import Peer, ScriptedServer, scripted_server
from support.wire import HandTimers, Parcel, Pauses, finished, running_pool, settings_for, until

from mailer.smtp import Transcript


@dataclass(frozen=True)
class Row:
    """One row of a conversation."""

    speaker: str
    """`C` or `S`."""
    said: str
    """Pieces, or codes."""
    awaits: str
    """A command as commands are called, or nothing."""
    wait_s: int
    briefs: list[str]
    """What becomes of each message if this is the end."""


def rows_of(table: str, messages: int = 0) -> list[Row]:
    """The rows of a conversation about so many messages."""
    rows: list[Row] = []
    for line in filter(None, map(str.strip, table.splitlines())):
        said, awaited, ends = (*map(str.strip, line.split("|")), "", "")[:3]
        awaits, _, wait = awaited.partition(" ")
        briefs = [_BRIEFS.get(end, end) for end in map(str.strip, ends.split(",")) if end]
        briefs += ["untouched"] * (messages - len(briefs))
        rows.append(Row(said[0], said[2:].strip(), awaits, int(wait or 0), briefs))
    return rows


_BRIEFS: Final = {"sent": "answered end-of-data 250", "unknown": "unknown end-of-data"}


@dataclass(frozen=True)
class Mode:
    """A way to speak, and a conversation in it."""

    ehlo: str
    rows: list[Row]
    proof: str = ""
    """A conversation before it, of two messages, that shows the client what the server can do."""


MODES = {
    "step by step": Mode(
        STEP_BY_STEP,
        rows_of(
            """
            C: mail1  | MAIL 300 | lost mail
            S: 250    |          | lost rcpt
            C: rcpt1  | RCPT 300 | lost rcpt
            S: 250    |          | lost data
            C: data   | DATA 120 | lost data
            S: 354    |          | lost data
            C: text1  | END 600  | unknown
            S: 250    |          | sent
            C: mail2  | MAIL 300 | sent, lost mail
            S: 250    |          | sent, lost rcpt
            C: rcpt2  | RCPT 300 | sent, lost rcpt
            S: 250    |          | sent, lost data
            C: data   | DATA 120 | sent, lost data
            S: 354    |          | sent, lost data
            C: text2  | END 600  | sent, unknown
            S: 250    |          | sent, sent
            """,
            messages=3,
        ),
    ),
    "pipelined": Mode(
        PIPELINED,
        rows_of(
            """
            C: mail1 rcpt1 data             | MAIL 300 | lost mail
            S: 250                          | RCPT 300 | lost rcpt
            S: 250                          | DATA 120 | lost data
            S: 354                          |          | lost data
            C: text1 rset mail2 rcpt2 data  | END 600  | unknown
            S: 250                          | RSET 300 | sent, lost mail
            S: 250                          | MAIL 300 | sent, lost mail
            S: 250                          | RCPT 300 | sent, lost rcpt
            S: 250                          | DATA 120 | sent, lost data
            S: 354                          |          | sent, lost data
            C: text2 rset mail3 rcpt3 data  | END 600  | sent, unknown
            S: 250                          | RSET 300 | sent, sent, lost mail
            S: 250                          | MAIL 300 | sent, sent, lost mail
            S: 250                          | RCPT 300 | sent, sent, lost rcpt
            S: 250                          | DATA 120 | sent, sent, lost data
            S: 354                          |          | sent, sent, lost data
            C: text3                        | END 600  | sent, sent, unknown
            S: 250                          |          | sent, sent, sent
            """,
            messages=3,
        ),
        proof="""
            C: mail0 rcpt0 data
            S: 250 250 354
            C: text0 rset mail0 rcpt0 data
            S: 250 250 250 250 354
            C: text0
            S: 250
            """,
    ),
    "chunked": Mode(
        CHUNKED,
        rows_of(
            """
            C: mail1 rcpt1 proof1      | MAIL 300  | lost mail
            S: 250                     | RCPT 300  | lost rcpt
            S: 250                     | PROOF 120 | lost data
            S: 250                     | NOOP 120  | lost data
            S: 250                     |           | lost end-of-data
            C: rest1 next2 next3 next4 | END 600   | unknown, unknown, unknown, unknown
            S: 250                     |           | sent, unknown, unknown, unknown
            C: next5                   | RSET 300  | sent, unknown, unknown, unknown, unknown
            S: 250                     | MAIL 300  | sent, unknown, unknown, unknown, unknown
            S: 250                     | RCPT 300  | sent, unknown, unknown, unknown, unknown
            S: 250                     | END 600   | sent, unknown, unknown, unknown, unknown
            S: 250                     |           | sent, sent, unknown, unknown, unknown
            C: next6                   | RSET 300  | sent, sent, unknown, unknown, unknown, unknown
            S: 250                     | MAIL 300  | sent, sent, unknown, unknown, unknown, unknown
            S: 250                     | RCPT 300  | sent, sent, unknown, unknown, unknown, unknown
            S: 250                     | END 600   | sent, sent, unknown, unknown, unknown, unknown
            S: 250                     | RSET 300  | sent, sent, sent, unknown, unknown, unknown
            S: 250                     | MAIL 300  | sent, sent, sent, unknown, unknown, unknown
            S: 250                     | RCPT 300  | sent, sent, sent, unknown, unknown, unknown
            S: 250                     | END 600   | sent, sent, sent, unknown, unknown, unknown
            S: 250                     | RSET 300  | sent, sent, sent, sent, unknown, unknown
            S: 250                     | MAIL 300  | sent, sent, sent, sent, unknown, unknown
            S: 250                     | RCPT 300  | sent, sent, sent, sent, unknown, unknown
            S: 250                     | END 600   | sent, sent, sent, sent, unknown, unknown
            S: 250                     | RSET 300  | sent, sent, sent, sent, sent, unknown
            S: 250                     | MAIL 300  | sent, sent, sent, sent, sent, unknown
            S: 250                     | RCPT 300  | sent, sent, sent, sent, sent, unknown
            S: 250                     | END 600   | sent, sent, sent, sent, sent, unknown
            S: 250                     |           | sent, sent, sent, sent, sent, sent
            """,
            messages=6,
        ),
        proof="""
            C: mail0 rcpt0 proof0
            S: 250 250 250 250
            C: rest0 next0
            S: 250 250 250 250 250
            """,
    ),
}


@dataclass
class Talk:
    """A conversation under way."""

    server: ScriptedServer
    parcels: list[Parcel]
    timers: HandTimers
    transcript: list[str]

    @property
    def replies_read(self) -> int:
        """How many of the server's `replies` the client has read."""
        return sum(line.startswith("S: ") and line.endswith(" ok") for line in self.transcript)


def converse(peer: Peer, rows: list[Row]) -> None:
    """Play the server's part."""
    for row in rows:
        if row.speaker == "C":
            expect(peer, row.said)
        else:
            replies(peer, row.said)


async def outcomes(
    mode: Mode, play: Callable[[Peer], None], meanwhile: Callable[[Talk], Awaitable[None]] | None = None
) -> list[str]:
    """What becomes of each message if `play` is the server's part on a connection of its own, and it ends there."""

    def prove(peer: Peer) -> None:
        greet(peer, mode.ehlo)
        converse(peer, rows_of(mode.proof))
        peer.close()

    def play_on(peer: Peer) -> None:
        greet(peer, mode.ehlo)
        play(peer)

    parcels = [parcel_of(n) for n in range(1, len(mode.rows[0].briefs) + 1)]
    plays = [prove, play_on] if mode.proof else [play_on]
    transcript: list[str] = []
    timers = HandTimers()
    # What is not decided on that connection waits for a next one, which never opens.
    with scripted_server(*plays, "hold") as server:
        async with running_pool(
            settings_for(server.port, max_connections=1),
            sleep=Pauses(),
            timers=timers,
            transcript=lambda: Transcript(transcript.append),
        ) as pool:
            if mode.proof:
                proofs = [parcel_of(0), parcel_of(0)]
                for parcel in proofs:
                    pool.submit(parcel)
                await finished(*proofs)
                await until(lambda: pool.connections == 0)
                transcript.clear()
            for parcel in parcels:
                pool.submit(parcel)
            await until(lambda: pool.connections == 1)
            if meanwhile is not None:
                await meanwhile(Talk(server, parcels, timers, transcript))
            await until(lambda: pool.connections == 0)
    return [parcel.brief for parcel in parcels]
