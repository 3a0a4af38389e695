"""Messages that are refused while what follows them is on the wire already: whom a reply is about, and how it goes on.

A refusal decides its message; what had been written of it is answered all the same (RFC 2920 section 3.1), and the next
message goes over the same connection. The rows read as `support.conversations` says; the server closes behind them.
"""

from __future__ import annotations

import pytest
from support.conversations import Mode, converse, outcomes, rows_of
from support.modes import CHUNKED, PIPELINED
from support.scripted_server import Peer
from support.wire import run_on

LOOPS = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])

SENT = "answered end-of-data 250"
UNKNOWN = "unknown end-of-data"

PIPELINED_REFUSALS = {
    "354 after a refused recipient is answered with a lone dot": (
        """
        C: mail1 rcpt1 data
        S: 250 550 354
        C: dot rset mail2 rcpt2 data
        S: 554 250 250 250 354
        C: text2
        S: 250
        """,
        ["answered rcpt 550", SENT],
    ),
    "a server that takes the lone dot has taken nothing": (
        """
        C: mail1 rcpt1 data
        S: 250 550 354
        C: dot rset mail2 rcpt2 data
        S: 250 250 250 250 354
        C: text2
        S: 250
        """,
        ["answered rcpt 550", SENT],
    ),
    "DATA is refused with its recipient": (
        """
        C: mail1 rcpt1 data
        S: 250 550 503
        C: rset mail2 rcpt2 data
        S: 250 250 250 354
        C: text2
        S: 250
        """,
        ["answered rcpt 550", SENT],
    ),
    "a refused sender": (
        """
        C: mail1 rcpt1 data
        S: 550 503 503
        C: rset mail2 rcpt2 data
        S: 250 250 250 354
        C: text2
        S: 250
        """,
        ["answered mail 550", SENT],
    ),
    "354 after a refused sender": (
        """
        C: mail1 rcpt1 data
        S: 550 503 354
        C: dot rset mail2 rcpt2 data
        S: 503 250 250 250 354
        C: text2
        S: 250
        """,
        ["answered mail 550", SENT],
    ),
    "refused DATA": (
        """
        C: mail1 rcpt1 data
        S: 250 250 451
        C: rset mail2 rcpt2 data
        S: 250 250 250 354
        C: text2
        S: 250
        """,
        ["answered data 451", SENT],
    ),
    "a refused text": (
        """
        C: mail1 rcpt1 data
        S: 250 250 354
        C: text1 rset mail2 rcpt2 data
        S: 554 250 250 250 354
        C: text2
        S: 250
        """,
        ["answered end-of-data 554", SENT],
    ),
    "two refused recipients in a row": (
        """
        C: mail1 rcpt1 data
        S: 250 250 354
        C: text1 rset mail2 rcpt2 data
        S: 250 250 250 550 354
        C: dot rset mail3 rcpt3 data
        S: 554 250 250 450 354
        C: dot rset mail4 rcpt4 data
        S: 554 250 250 250 354
        C: text4
        S: 250
        """,
        [SENT, "answered rcpt 550", "answered rcpt 450", SENT],
    ),
    "the last one is refused": (
        """
        C: mail1 rcpt1 data
        S: 250 250 354
        C: text1 rset mail2 rcpt2 data
        S: 250 250 250 550 354
        C: dot
        S: 554
        """,
        [SENT, "answered rcpt 550"],
    ),
    "a refusal stands although nothing comes after it": (
        """
        C: mail1 rcpt1 data
        S: 250 550
        """,
        ["answered rcpt 550", "untouched"],
    ),
    "a refusal stands although its lone dot is not answered": (
        """
        C: mail1 rcpt1 data
        S: 250 550 354
        C: dot rset mail2 rcpt2 data
        """,
        ["answered rcpt 550", "untouched"],
    ),
    "421 to DATA behind a refusal": (
        """
        C: mail1 rcpt1 data
        S: 250 550 421
        """,
        ["answered rcpt 550", "untouched"],
    ),
    "421 to a lone dot": (
        """
        C: mail1 rcpt1 data
        S: 250 550 354
        C: dot rset mail2 rcpt2 data
        S: 421
        """,
        ["answered rcpt 550", "untouched"],
    ),
}

# One message that has proven the rest, and the first group of four. Then the fifth goes out when the first is answered.
WINDOW = """
    C: mail1 rcpt1 proof1
    S: 250 250 250 250
    C: rest1 next2 next3 next4
"""
FIFTH = (
    WINDOW
    + """
    S: 250
    C: next5
"""
)
TAKEN = "250 250 250 250"

CHUNKED_REFUSALS = {
    "a refused recipient in the middle": (
        f"{FIFTH} S: 250 250 550 554 {TAKEN} {TAKEN} {TAKEN}",
        [SENT, "answered rcpt 550", SENT, SENT, SENT],
    ),
    "a refused sender in the middle": (
        f"{FIFTH} S: {TAKEN} 250 550 503 503 {TAKEN} {TAKEN}",
        [SENT, SENT, "answered mail 550", SENT, SENT],
    ),
    "two refused recipients in a row": (
        f"{FIFTH} S: 250 250 550 554 250 250 450 554 {TAKEN} {TAKEN}",
        [SENT, "answered rcpt 550", "answered rcpt 450", SENT, SENT],
    ),
    "a refused sender and a refused recipient in a row": (
        f"{FIFTH} S: {TAKEN} 250 450 503 503 250 250 550 554 {TAKEN}",
        [SENT, SENT, "answered mail 450", "answered rcpt 550", SENT],
    ),
    "all but the first are refused": (
        f"{FIFTH} S: {'250 250 550 554 ' * 4}",
        [SENT, *["answered rcpt 550"] * 4],
    ),
    "a refused text in the middle": (
        f"{FIFTH} S: 250 250 250 552 {TAKEN} {TAKEN} {TAKEN}",
        [SENT, "answered end-of-data 552", SENT, SENT, SENT],
    ),
    "a refused recipient before anything is proven": (
        """
        C: mail1 rcpt1 proof1
        S: 250 550 554 250
        C: rset mail2 rcpt2 proof2
        S: 250 250 250 250 250
        C: rest2 next3
        S: 250 250 250 250 250
        """,
        ["answered rcpt 550", SENT, SENT],
    ),
    "a refused sender before anything is proven": (
        """
        C: mail1 rcpt1 proof1
        S: 550 503 503 250
        C: rset mail2 rcpt2 proof2
        S: 250 250 250 250 250
        C: rest2
        S: 250
        """,
        ["answered mail 550", SENT],
    ),
    "the first text is refused": (
        f"{WINDOW} S: 554 {TAKEN} {TAKEN} {TAKEN}",
        ["answered end-of-data 554", SENT, SENT, SENT],
    ),
    "a refusal stands although nothing comes after it": (
        f"{FIFTH} S: 250 250 550",
        [SENT, "answered rcpt 550", UNKNOWN, UNKNOWN, UNKNOWN],
    ),
    "421 behind a refusal": (
        f"{FIFTH} S: 250 250 550 421",
        [SENT, "answered rcpt 550", "untouched", "untouched", "untouched"],
    ),
    "421 behind a refused message": (
        f"{FIFTH} S: 250 250 550 554 421",
        [SENT, "answered rcpt 550", "untouched", "untouched", "untouched"],
    ),
    "a server that takes what it has refused has taken it, and is not believed any more": (
        f"{FIFTH} S: 250 250 550 250",
        [SENT, SENT, UNKNOWN, UNKNOWN, UNKNOWN],
    ),
    "what is about the relay ends nothing that is on its way": (
        f"{FIFTH} S: 250 530 503 503 {TAKEN} {TAKEN} {TAKEN} \n C: quit \n S: 221",
        [SENT, "answered mail 530", SENT, SENT, SENT],
    ),
}


def play_and_close(rows: str, briefs: list[str], ehlo: str, loop: str) -> list[str]:
    mode = Mode(ehlo, rows_of(rows, messages=len(briefs)))

    def play(peer: Peer) -> None:
        converse(peer, mode.rows)
        peer.end()
        peer.hold()

    return list(run_on(loop, outcomes(mode, play)))


@LOOPS
@pytest.mark.parametrize(("rows", "briefs"), PIPELINED_REFUSALS.values(), ids=PIPELINED_REFUSALS.keys())
def test_refused_with_its_data_command_on_the_wire(rows: str, briefs: list[str], loop: str) -> None:
    assert play_and_close(rows, briefs, PIPELINED, loop) == briefs


@LOOPS
@pytest.mark.parametrize(("rows", "briefs"), CHUNKED_REFUSALS.values(), ids=CHUNKED_REFUSALS.keys())
def test_refused_in_a_window(rows: str, briefs: list[str], loop: str) -> None:
    assert play_and_close(rows, briefs, CHUNKED, loop) == briefs
