"""The dialogue without I/O, step by step: conversations as RFC 5321 writes them, and what each brings about.

How to read them: `support.dialogues`. What is written ahead is in `test_smtp_dialogue_ahead`.
"""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.dialogues import end_body, name_of, new_transfer, play

from mailer.core.progress import Step
from mailer.smtp.auth_login import AuthLogin, LoginMemory
from mailer.smtp.dialogue import Dialogue
from mailer.smtp.dialogue_events import Decided, Disordered, Transfer
from mailer.smtp.state_table import AFTER, AFTER_REFUSAL, NAMES, PHASE, Command, Kind, Mode

DIALOGUES = {
    "a message": """
        begin
        C: MAIL FROM:<a@b>
        S: 250 sender ok
        C: RCPT TO:<c@d>
        S: 250 recipient ok
        C: DATA
        S: 354 go on
        => body
        C: .
        S: 250 2.0.0 queued as 7
        => end-of-data 250""",
    "251 and 252 take the recipient, too": """
        begin
        C: MAIL FROM:<a@b>
        S: 250 ok
        C: RCPT TO:<c@d>
        S: 251 will forward
        C: DATA
        S: 354 go on
        => body
        C: .
        S: 250 ok
        => end-of-data 250""",
    "a refused sender leaves nothing to reset": """
        begin
        C: MAIL FROM:<a@b>
        S: 550 not you
        => mail 550
        begin
        C: MAIL FROM:<a@b>""",
    "a refused recipient is followed by RSET, for the server still holds the sender": """
        begin
        C: MAIL FROM:<a@b>
        S: 250 ok
        C: RCPT TO:<c@d>
        S: 550 5.1.1 no such user
        => rcpt 550
        C: RSET
        S: 250 ok""",
    "a refused DATA is followed by RSET": """
        begin
        C: MAIL FROM:<a@b>
        S: 250 ok
        C: RCPT TO:<c@d>
        S: 250 ok
        C: DATA
        S: 451 not now
        => data 451
        C: RSET
        S: 250 ok""",
    "a refused message leaves nothing to reset": """
        begin
        C: MAIL FROM:<a@b>
        S: 250 ok
        C: RCPT TO:<c@d>
        S: 250 ok
        C: DATA
        S: 354 go on
        => body
        C: .
        S: 554 5.7.1 spam
        => end-of-data 554""",
    "421 to MAIL decides the message and ends the connection": """
        begin
        C: MAIL FROM:<a@b>
        S: 421 too many
        => mail 421, closing""",
    "250 and then 421 in one packet: the message is taken": """
        begin
        C: MAIL FROM:<a@b>
        S: 250 ok
        C: RCPT TO:<c@d>
        S: 250 ok
        C: DATA
        S: 354 go on
        => body
        C: .
        S: 250 taken / 421 closing
        => end-of-data 250, closing 421""",
    "421 while nothing is asked ends the connection": """
        S: 421 idle for too long
        => closing 421""",
    "a server that gives up in the middle of a body has decided": """
        begin
        C: MAIL FROM:<a@b>
        S: 250 ok
        C: RCPT TO:<c@d>
        S: 250 ok
        C: DATA
        S: 354 go on / 552 too much
        => data 552, closing""",
    "250 before the end of a body is out of step": """
        begin
        C: MAIL FROM:<a@b>
        S: 250 ok
        C: RCPT TO:<c@d>
        S: 250 ok
        C: DATA
        S: 354 go on / 250 taken
        => broken""",
    "250 to DATA is out of step": """
        begin
        C: MAIL FROM:<a@b>
        S: 250 ok
        C: RCPT TO:<c@d>
        S: 250 ok
        C: DATA
        S: 250 ok
        => broken""",
    "354 to MAIL is out of step": """
        begin
        C: MAIL FROM:<a@b>
        S: 354 go on
        => broken""",
    "354 to the end of data is out of step": """
        begin
        C: MAIL FROM:<a@b>
        S: 250 ok
        C: RCPT TO:<c@d>
        S: 250 ok
        C: DATA
        S: 354 go on
        => body
        C: .
        S: 354 go on
        => broken""",
    "answers sent ahead of their questions answer nothing": """
        begin
        C: MAIL FROM:<a@b>
        S: 250 ok / 250 ok / 354 go on / 250 taken
        => broken""",
    "a reply that nobody asked for is out of step": """
        S: 250 hello
        => broken""",
    "what is no reply is out of step, and what came before it counts": """
        begin
        C: MAIL FROM:<a@b>
        S: 550 no / what?
        => mail 550, broken""",
    "a refused RSET is out of step": """
        begin
        C: MAIL FROM:<a@b>
        S: 250 ok
        C: RCPT TO:<c@d>
        S: 450 later
        => rcpt 450
        C: RSET
        S: 500 what
        => broken""",
    "QUIT": """
        quit
        C: QUIT
        S: 221 bye
        => closing""",
    "QUIT is good-bye whatever the server makes of it": """
        quit
        C: QUIT
        S: 500 what
        => closing""",
    "nothing is read after the end": """
        quit
        C: QUIT
        S: 221 bye / 250 and another thing / what?
        => closing
        S: 250 hello""",
    "a login": """
        login
        C: AUTH LOGIN bWU=
        S: 334 UGFzc3dvcmQ6
        C: c2VjcmV0
        S: 235 welcome
        => logged in""",
    "a refused login": """
        login
        C: AUTH LOGIN bWU=
        S: 535 no
        => login refused 535""",
    "421 to a login": """
        login
        C: AUTH LOGIN bWU=
        S: 421 too many
        => login refused 421""",
}


@pytest.mark.parametrize("script", DIALOGUES.values(), ids=DIALOGUES.keys())
def test_dialogue(script: str) -> None:
    play(script)


def test_the_tables_speak_of_every_command() -> None:
    assert set(AFTER) | {Command.DOT} == set(Command)
    # What can still be open of a message that has been refused: all that comes behind MAIL, and no body.
    assert set(AFTER_REFUSAL) == {command for command in Command if command > Command.MAIL} - {Command.BODY}
    # 421 may come at any time (RFC 5321 section 3.8).
    assert all(Kind.CLOSING in row for row in [*AFTER.values(), *AFTER_REFUSAL.values()])
    assert set(NAMES) == set(Command)
    assert set(PHASE) == set(Command) - {Command.QUIT, Command.RSET}


def test_every_write_of_a_message_names_the_step_to_be_noted_before_it() -> None:
    dialogue: Dialogue[Transfer] = Dialogue()
    dialogue.begin(new_transfer())
    steps = []
    for reply in (b"250 ok\r\n", b"250 ok\r\n", b"354 go on\r\n", b"250 ok\r\n"):
        steps += [write.step for write in dialogue.take_writes()]
        dialogue.receive(reply)
        end_body(dialogue)
    assert steps == [Step.ON_WIRE, Step.ON_WIRE, Step.ON_WIRE, Step.END_BEGUN]


@pytest.mark.parametrize("mode", Mode)
def test_a_message_cannot_begin_in_the_middle_of_another(mode: Mode) -> None:
    dialogue: Dialogue[Transfer] = Dialogue(mode, window=4)
    dialogue.begin(new_transfer(mode))
    with pytest.raises(ValueError, match="no room"):
        dialogue.begin(new_transfer(mode))
    with pytest.raises(ValueError, match="no body"):
        dialogue.end(b".\r\n")


def test_what_is_written_does_not_show_in_a_repr() -> None:
    dialogue: Dialogue[Transfer] = Dialogue()
    dialogue.log_in(AuthLogin("me", "secret", LoginMemory()))
    assert "bWU=" not in repr(dialogue.take_writes())


_SAID = st.sampled_from(
    [
        b"250 ok\r\n",
        b"250 ok\r\n",
        b"250-ok\r\n250 ok\r\n",
        b"354 go on\r\n",
        b"421 bye\r\n",
        b"450 later\r\n",
        b"503 what\r\n",
        b"550 no\r\n",
        b"150 hm\r\n",
        b"what\r\n",
    ]
)


def converse(mode: Mode, replies: list[bytes], cuts: list[int]) -> tuple[list[str], list[int], bytes]:
    """Send messages as long as there is room: the events, the numbers of the messages decided, what was written."""
    dialogue: Dialogue[Transfer] = Dialogue(mode, window=3)
    cut = itertools.cycle(cuts or [0])
    names: list[str] = []
    begun: list[Transfer] = []
    decided: list[int] = []
    written = b""
    for reply in [*replies, b""]:
        while dialogue.may_begin:
            begun.append(new_transfer(mode))
            dialogue.begin(begun[-1])
            end_body(dialogue)
        written += b"".join(write.data for write in dialogue.take_writes())
        at = next(cut) % (len(reply) + 1)
        for event in dialogue.receive(reply[:at]) + dialogue.receive(reply[at:]):
            names.append(name_of(event))
            if isinstance(event, Decided | Disordered):
                decided.append(begun.index(event.transfer))
        end_body(dialogue)
    # What is not decided is still in the line, in order.
    assert [begun.index(transfer) for transfer in dialogue.transfers] == [
        n for n in range(len(begun)) if n not in decided
    ]
    return names, decided, written


@pytest.mark.parametrize("mode", Mode)
@given(replies=st.lists(_SAID, max_size=40), cuts=st.lists(st.integers(0, 60), max_size=10))
def test_any_sequence_of_replies_decides_each_message_at_most_once_and_in_order_however_it_is_cut(
    mode: Mode, replies: list[bytes], cuts: list[int]
) -> None:
    names, decided, written = converse(mode, replies, cuts)
    assert (names, decided, written) == converse(mode, replies, [])
    assert decided == list(range(len(decided)))
    ends = {"broken", "closing", "closing 421"} | {name for name in names if name.startswith("no chunks")}
    assert not ends.intersection(names[:-1])


@pytest.mark.parametrize("mode", Mode)
@given(replies=st.lists(_SAID, max_size=40))
def test_a_message_is_taken_only_by_a_2xx_to_its_own_end(mode: Mode, replies: list[bytes]) -> None:
    """Counted by somebody else: the n-th reply answers the n-th command, whatever the dialogue makes of it."""
    dialogue: Dialogue[Transfer] = Dialogue(mode, window=3)
    commands: list[tuple[Command, Transfer | None]] = []
    for answered, reply in enumerate(replies):
        while dialogue.may_begin:
            dialogue.begin(new_transfer(mode))
            end_body(dialogue)
        for write in dialogue.take_writes():
            commands += [(command, write.transfer) for command in write.commands]
        for event in dialogue.receive(reply):
            if isinstance(event, Decided) and event.phase == "end-of-data" and event.reply.code < 300:
                assert commands[answered] == (Command.END, event.transfer)
        end_body(dialogue)
        if dialogue.is_over:
            break


@pytest.mark.parametrize("mode", Mode)
@given(pieces=st.lists(st.binary(max_size=30), max_size=20))
def test_random_bytes_raise_nothing(mode: Mode, pieces: list[bytes]) -> None:
    dialogue: Dialogue[Transfer] = Dialogue(mode, window=3)
    dialogue.begin(new_transfer(mode))
    for piece in pieces:
        dialogue.take_writes()
        dialogue.receive(piece)
        end_body(dialogue)
