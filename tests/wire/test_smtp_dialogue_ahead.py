"""The dialogue without I/O where commands are written before their turn: pipelined (RFC 2920) and chunked (RFC 3030).

How to read them: `support.dialogues`.
"""

from __future__ import annotations

import pytest
from support.dialogues import MAIL, RCPT, name_of, play

from mailer.smtp.dialogue import Dialogue
from mailer.smtp.dialogue_events import Transfer
from mailer.smtp.state_table import Mode

FIRST = """
    begin
    C: MAIL FROM:<a@b>
    C: RCPT TO:<c@d>
    C: DATA
    S: 250 ok / 250 ok / 354 go on
    => body
"""
PROOF = """
    C: MAIL FROM:<a@b>
    C: RCPT TO:<c@d>
    C: BDAT 19
    C: MIME-Version: 1.0
    C: NOOP
"""
PROVEN = f"""
    begin
    full
    {PROOF}
    S: 250 ok / 250 ok / 250 19 octets / 250 ok
    => body
"""
CHUNK = """
    C: RSET
    C: MAIL FROM:<a@b>
    C: RCPT TO:<c@d>
    C: BDAT 3 LAST
    C: x
"""
OK = "250 ok / 250 ok / 250 ok / 250 taken"

PIPELINED = {
    "RFC 2920 3.1: an envelope is one group, and DATA its last command": f"""
        {FIRST}
        C: .
        S: 250 taken
        => end-of-data 250""",
    "RFC 2920 3.1: the end of a message and the next envelope are one group, too, with RSET between": f"""
        {FIRST}
        begin
        full
        C: .
        C: RSET
        C: MAIL FROM:<a@b>
        C: RCPT TO:<c@d>
        C: DATA
        S: 250 taken / 250 reset / 250 ok / 250 ok / 354 go on
        => end-of-data 250, body
        C: .
        S: 250 taken
        => end-of-data 250""",
    "a message that comes while the end of the last one is unanswered begins at once": f"""
        {FIRST}
        C: .
        S: 250-a long / 250-answer
        begin
        C: RSET
        C: MAIL FROM:<a@b>
        C: RCPT TO:<c@d>
        C: DATA
        S: 250 taken
        => end-of-data 250""",
    "RFC 2920 3.1: 354 although the recipient was refused is answered with a lone dot": """
        begin
        C: MAIL FROM:<a@b>
        C: RCPT TO:<c@d>
        C: DATA
        S: 250 ok / 550 5.1.1 no such user / 354 go on
        C: .
        S: 554 no valid recipients
        => rcpt 550
        begin
        C: RSET
        C: MAIL FROM:<a@b>
        C: RCPT TO:<c@d>
        C: DATA""",
    "a server that takes the empty message has taken none of ours": """
        begin
        C: MAIL FROM:<a@b>
        C: RCPT TO:<c@d>
        C: DATA
        S: 250 ok / 550 no / 354 go on
        C: .
        S: 250 taken
        => rcpt 550""",
    "the next message goes behind the lone dot": """
        begin
        C: MAIL FROM:<a@b>
        C: RCPT TO:<c@d>
        C: DATA
        S: 250 ok / 550 no / 354 go on
        begin
        C: .
        C: RSET
        C: MAIL FROM:<a@b>
        C: RCPT TO:<c@d>
        C: DATA
        S: 554 nobody / 250 reset / 250 ok / 250 ok / 354 go on
        => rcpt 550, body
        C: .""",
    "a refused recipient and a refused DATA: the first one decides": """
        begin
        C: MAIL FROM:<a@b>
        C: RCPT TO:<c@d>
        C: DATA
        S: 250 ok / 450 later / 503 no recipients
        => rcpt 450
        begin
        C: RSET
        C: MAIL FROM:<a@b>
        C: RCPT TO:<c@d>
        C: DATA
        S: 250 reset / 250 ok / 250 ok / 354 go on
        => body
        C: .""",
    "a refused sender: what was written behind it is answered, too": """
        begin
        C: MAIL FROM:<a@b>
        C: RCPT TO:<c@d>
        C: DATA
        S: 550 not you / 503 no sender / 503 no recipients
        => mail 550
        begin
        C: RSET
        C: MAIL FROM:<a@b>
        C: RCPT TO:<c@d>
        C: DATA""",
    "the answers may come one by one": """
        begin
        C: MAIL FROM:<a@b>
        C: RCPT TO:<c@d>
        C: DATA
        S: 250 ok
        S: 550 no
        full
        S: 503 no recipients
        => rcpt 550""",
    "a refused DATA": """
        begin
        C: MAIL FROM:<a@b>
        C: RCPT TO:<c@d>
        C: DATA
        S: 250 ok / 250 ok / 451 busy
        => data 451""",
    "a refused message: the next envelope was not in vain": f"""
        {FIRST}
        begin
        C: .
        C: RSET
        C: MAIL FROM:<a@b>
        C: RCPT TO:<c@d>
        C: DATA
        S: 554 spam / 250 reset / 250 ok / 250 ok / 354 go on
        => end-of-data 554, body
        C: .""",
    "421 answers the oldest command; what was written behind it was not read": f"""
        {FIRST}
        begin
        C: .
        C: RSET
        C: MAIL FROM:<a@b>
        C: RCPT TO:<c@d>
        C: DATA
        S: 421 bye
        => end-of-data 421, closing""",
    "250 and 421: the first message is taken, the second one decided": f"""
        {FIRST}
        begin
        C: .
        C: RSET
        C: MAIL FROM:<a@b>
        C: RCPT TO:<c@d>
        C: DATA
        S: 250 taken / 250 reset / 421 bye
        => end-of-data 250, mail 421, closing""",
    "250 and 421 to what comes before the next envelope: nothing of that was read": f"""
        {FIRST}
        begin
        C: .
        C: RSET
        C: MAIL FROM:<a@b>
        C: RCPT TO:<c@d>
        C: DATA
        S: 250 taken / 421 bye
        => end-of-data 250, closing 421""",
    "421 in place of the answers to what a refusal had made void: the refusal decides": """
        begin
        C: MAIL FROM:<a@b>
        C: RCPT TO:<c@d>
        C: DATA
        S: 250 ok / 550 no / 421 bye
        => rcpt 550, closing""",
    "503 to a recipient although the sender was taken decides nothing: the order was right": """
        begin
        C: MAIL FROM:<a@b>
        C: RCPT TO:<c@d>
        C: DATA
        S: 250 ok / 503 MAIL first / 503 RCPT first
        => disordered rcpt 503""",
    "the same to DATA": """
        begin
        C: MAIL FROM:<a@b>
        C: RCPT TO:<c@d>
        C: DATA
        S: 250 ok / 250 ok / 503 RCPT first
        => disordered data 503""",
    "354 in place of 250": """
        begin
        C: MAIL FROM:<a@b>
        C: RCPT TO:<c@d>
        C: DATA
        S: 354 go on
        => broken""",
    "one answer too many": f"""
        {FIRST}
        C: .
        S: 250 taken / 250 and another
        => end-of-data 250, broken""",
    "an answer to a body before its end was written": """
        begin
        C: MAIL FROM:<a@b>
        C: RCPT TO:<c@d>
        C: DATA
        S: 250 ok / 250 ok / 354 go on / 250 taken
        => broken""",
}

CHUNKED = {
    "a first chunk of one constant line, and NOOP behind it": f"""
        {PROVEN}
        C: BDAT 3 LAST
        C: x
        S: 250 taken
        => end-of-data 250""",
    "RFC 3030 2: once proven a message is one write, and nothing waits": f"""
        {PROVEN}
        begin
        begin
        begin
        full
        C: BDAT 3 LAST
        C: x
        {CHUNK} {CHUNK} {CHUNK}
        S: 250 taken / {OK}
        => end-of-data 250, end-of-data 250
        begin
        {CHUNK}
        S: {OK} / {OK}
        => end-of-data 250, end-of-data 250
        S: {OK}
        => end-of-data 250""",
    "500 to the proof: it reads chunks as commands": f"""
        begin
        {PROOF}
        S: 250 ok / 250 ok / 500 BDAT? / 500 MIME-Version? / 250 ok
        => no chunks 500""",
    "250 to the proof and its line read as a command: the answer to NOOP tells": f"""
        begin
        {PROOF}
        S: 250 ok / 250 ok / 250 whatever / 500 MIME-Version? / 250 ok
        => no chunks 500""",
    "a refusal in place of the proof is about the message": f"""
        begin
        {PROOF}
        S: 250 ok / 250 ok / 554 5.7.1 policy / 250 ok
        => data 554
        begin
        C: RSET
        {PROOF}""",
    "a refusal in place of the proof and a line read as a command is not about the message": f"""
        begin
        {PROOF}
        S: 250 ok / 250 ok / 554 what is this / 500 MIME-Version? / 250 ok
        => no chunks 500""",
    "503 in a window puts one message back, and the others are answered": f"""
        {PROVEN}
        begin
        begin
        C: BDAT 3 LAST
        C: x
        {CHUNK} {CHUNK}
        S: 250 taken / 250 ok / 250 ok / 503 AUTH first / 503 no recipients / {OK}
        => end-of-data 250, disordered rcpt 503, end-of-data 250""",
    "a refused recipient proves nothing, and the next message tries again": f"""
        begin
        {PROOF}
        S: 250 ok / 550 no / 554 no recipients / 250 ok
        => rcpt 550
        begin
        C: RSET
        {PROOF}
        S: 250 reset / 250 ok / 250 ok / 250 ok / 250 ok
        => body
        C: BDAT 3 LAST
        C: x""",
    "a refused recipient and a line read as a command": f"""
        begin
        {PROOF}
        S: 250 ok / 550 no / 500 BDAT? / 500 MIME-Version? / 250 ok
        => rcpt 550, no chunks 500""",
    "a refused recipient in a window decides when its chunk is answered, and the others go on": f"""
        {PROVEN}
        begin
        begin
        C: BDAT 3 LAST
        C: x
        {CHUNK} {CHUNK}
        S: 250 taken / 250 ok / 250 ok / 550 no
        => end-of-data 250
        S: 554 no recipients / {OK}
        => rcpt 550, end-of-data 250""",
    "a message that is taken after its recipient was refused is taken, and the server not trusted": f"""
        {PROVEN}
        begin
        C: BDAT 3 LAST
        C: x
        {CHUNK}
        S: 250 taken / 250 ok / 250 ok / 550 no / 250 taken all the same
        => end-of-data 250, end-of-data 250, broken""",
    "421 in a window": f"""
        {PROVEN}
        begin
        begin
        C: BDAT 3 LAST
        C: x
        {CHUNK} {CHUNK}
        S: 250 taken / 250 ok / 250 ok / 250 ok / 421 bye
        => end-of-data 250, end-of-data 421, closing""",
    "421 to RSET decides nothing": f"""
        {PROVEN}
        begin
        C: BDAT 3 LAST
        C: x
        {CHUNK}
        S: 250 taken / 421 bye
        => end-of-data 250, closing 421""",
    "a refused RSET is out of step": f"""
        {PROVEN}
        begin
        C: BDAT 3 LAST
        C: x
        {CHUNK}
        S: 250 taken / 500 what
        => end-of-data 250, broken""",
    "a message that goes as DATA stands in the window like any other": f"""
        {PROVEN}
        begin by DATA
        full
        C: BDAT 3 LAST
        C: x
        C: RSET
        C: MAIL FROM:<a@b>
        C: RCPT TO:<c@d>
        C: DATA
        S: 250 taken / 250 ok / 250 ok / 250 ok / 354 go on
        => end-of-data 250, body
        begin
        C: .
        {CHUNK}
        S: 250 taken / {OK}
        => end-of-data 250, end-of-data 250""",
}


@pytest.mark.parametrize("script", PIPELINED.values(), ids=PIPELINED.keys())
def test_pipelined(script: str) -> None:
    play(script, Mode.PIPELINED)


@pytest.mark.parametrize("script", CHUNKED.values(), ids=CHUNKED.keys())
def test_chunked(script: str) -> None:
    play(script, Mode.CHUNKED)


def test_a_window_of_one_writes_no_message_ahead() -> None:
    play(
        f"""
        {FIRST}
        full
        C: .
        full
        S: 250 taken
        => end-of-data 250
        begin
        C: RSET
        C: MAIL FROM:<a@b>
        C: RCPT TO:<c@d>
        C: DATA""",
        Mode.PIPELINED,
        window=1,
    )


def test_nothing_is_written_behind_a_recipient_that_may_well_be_refused() -> None:
    """`is_wary`: a server counts DATA behind a refused recipient as one more mistake of the client's."""
    dialogue: Dialogue[Transfer] = Dialogue(Mode.CHUNKED, window=4)
    dialogue.begin(Transfer(MAIL, RCPT, is_wary=True))
    assert [write.data for write in dialogue.take_writes()] == [MAIL + RCPT]
    dialogue.receive(b"250 ok\r\n250 ok\r\n")
    assert [write.data for write in dialogue.take_writes()] == [b"DATA\r\n"]
    dialogue.receive(b"354 go on\r\n")
    dialogue.end(b".\r\n")
    dialogue.begin(Transfer(MAIL, RCPT, is_wary=True))
    assert [write.data for write in dialogue.take_writes()] == [b".\r\n", b"RSET\r\n" + MAIL + RCPT]
    events = dialogue.receive(b"250 taken\r\n250 reset\r\n250 ok\r\n550 no\r\n")
    assert [name_of(event) for event in events] == ["end-of-data 250", "rcpt 550"]
    assert dialogue.may_begin
