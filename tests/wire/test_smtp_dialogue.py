"""The dialogue without I/O: conversations written as RFC 5321 writes them, and what each brings about.

`C:` is what the dialogue has to write at that point, nothing more and nothing less; `S:` what the server sends, several
replies in one packet with ` / ` between them; `=>` the events of the last packet. `begin` begins the next message,
`quit` says good-bye; the end of a body is written as soon as it is wanted.
"""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.core.progress import Step
from mailer.smtp.auth import AuthLogin, LoginMemory
from mailer.smtp.dialogue import (
    AFTER,
    BodyWanted,
    Broken,
    Closing,
    Command,
    Decided,
    Dialogue,
    Event,
    Kind,
    LoggedIn,
    LoginRefused,
    Ready,
    Transaction,
)

ENVELOPE = Transaction(b"MAIL FROM:<a@b>\r\n", b"RCPT TO:<c@d>\r\n")

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
        => end-of-data 250, ready""",
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
        => end-of-data 250, ready""",
    "a refused sender leaves nothing to reset": """
        begin
        C: MAIL FROM:<a@b>
        S: 550 not you
        => mail 550, ready
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
        S: 250 ok
        => ready""",
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
        S: 250 ok
        => ready""",
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
        => end-of-data 554, ready""",
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
        => end-of-data 250, ready, closing 421""",
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
        => body, data 552, closing""",
    "250 before the end of a body is out of step": """
        begin
        C: MAIL FROM:<a@b>
        S: 250 ok
        C: RCPT TO:<c@d>
        S: 250 ok
        C: DATA
        S: 354 go on / 250 taken
        => body, broken""",
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
        => mail 550, ready, broken""",
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


def name_of(event: Event) -> str:
    match event:
        case Decided(phase, reply):
            return f"{phase} {reply.code}"
        case Closing(reply):
            return f"closing {reply.code}" if reply else "closing"
        case LoginRefused(reply):
            return f"login refused {reply.code}"
        case LoggedIn():
            return "logged in"
        case Ready():
            return "ready"
        case BodyWanted():
            return "body"
        case Broken():
            return "broken"


def play(script: str) -> None:
    dialogue = Dialogue()
    events: list[Event] = []
    written: list[bytes] = []

    def settle() -> None:
        """Nothing may be left that the script does not speak of."""
        assert events == []
        assert written == []
        written.extend(write.data for write in dialogue.take_writes())

    for line in filter(None, map(str.strip, script.splitlines())):
        if not line.startswith("=>"):
            if line.startswith("C:"):
                written.extend(write.data for write in dialogue.take_writes())
                assert written.pop(0) == line[3:].encode() + b"\r\n"
                assert events == []
                continue
            settle()
        if line == "begin":
            dialogue.begin(ENVELOPE)
        elif line == "quit":
            dialogue.quit()
        elif line == "login":
            dialogue.log_in(AuthLogin("me", "secret", LoginMemory()))
        elif line.startswith("S:"):
            events = dialogue.receive(line[3:].replace(" / ", "\r\n").encode() + b"\r\n")
        else:
            assert line == "=> " + ", ".join(map(name_of, events))
            if isinstance(events[-1], BodyWanted):
                dialogue.end(b".\r\n")
            events = []
    settle()
    assert written == []


@pytest.mark.parametrize("script", DIALOGUES.values(), ids=DIALOGUES.keys())
def test_dialogue(script: str) -> None:
    play(script)


def test_the_table_speaks_of_every_command() -> None:
    assert set(AFTER) == set(Command)
    assert all(Kind.CLOSING in row for row in AFTER.values())  # 421 may come at any time (RFC 5321 section 3.8)


def test_every_write_of_a_message_names_the_step_to_be_noted_before_it() -> None:
    dialogue = Dialogue()
    dialogue.begin(ENVELOPE)
    steps = []
    for reply in (b"250 ok\r\n", b"250 ok\r\n", b"354 go on\r\n", b"250 ok\r\n"):
        steps += [write.step for write in dialogue.take_writes()]
        if isinstance(next(iter(dialogue.receive(reply)), None), BodyWanted):
            dialogue.end(b"text\r\n.\r\n")
    assert steps == [Step.ON_WIRE, Step.ON_WIRE, Step.ON_WIRE, Step.END_BEGUN]


def test_a_message_cannot_begin_in_the_middle_of_another() -> None:
    dialogue = Dialogue()
    dialogue.begin(ENVELOPE)
    with pytest.raises(ValueError, match="nothing is open"):
        dialogue.begin(ENVELOPE)
    with pytest.raises(ValueError, match="no body"):
        dialogue.end(b".\r\n")


def test_what_is_written_does_not_show_in_a_repr() -> None:
    dialogue = Dialogue()
    dialogue.log_in(AuthLogin("me", "secret", LoginMemory()))
    assert "bWU=" not in repr(dialogue.take_writes())


def test_an_error_about_an_unexpected_reply_quotes_a_part_of_it() -> None:
    (event,) = Dialogue().receive(b"250 " + b"x" * 5000 + b"\r\n")
    assert isinstance(event, Broken)
    assert len(event.error.message) < 300


_SAID = st.sampled_from(
    [
        b"250 ok\r\n",
        b"250-ok\r\n250 ok\r\n",
        b"354 go on\r\n",
        b"421 bye\r\n",
        b"450 later\r\n",
        b"550 no\r\n",
        b"150 hm\r\n",
        b"what\r\n",
    ]
)


def converse(replies: list[bytes], cuts: list[int]) -> tuple[list[str], int, int]:
    """Send messages for as long as the server lets us, each reply cut at some place: events, begun, decided."""
    dialogue, begun, cut = Dialogue(), 0, itertools.cycle(cuts or [0])
    events: list[Event] = [Ready()]
    names: list[str] = []
    remaining = iter(replies)
    while True:
        for event in events:
            names.append(name_of(event))
            match event:
                case Ready():
                    dialogue.begin(ENVELOPE)
                    begun += 1
                case BodyWanted():
                    dialogue.end(b".\r\n")
                case _:
                    pass
        dialogue.take_writes()
        reply = next(remaining, None)
        if reply is None or dialogue.is_over:
            return names, begun, sum(name.split(" ")[0] in ("mail", "rcpt", "data", "end-of-data") for name in names)
        at = next(cut) % len(reply)
        events = dialogue.receive(reply[:at]) + dialogue.receive(reply[at:])


@given(st.lists(_SAID, max_size=30), st.lists(st.integers(0, 60), max_size=10))
def test_any_sequence_of_replies_decides_each_message_at_most_once_however_it_is_cut(
    replies: list[bytes], cuts: list[int]
) -> None:
    names, begun, decided = converse(replies, cuts)
    assert (names, begun, decided) == converse(replies, [])
    # Only the last one can be open still: a message begins when the one before it is decided.
    assert begun - decided in (0, 1)
    assert names[:-1].count("broken") == 0


@given(st.lists(st.binary(max_size=30), max_size=20))
def test_random_bytes_raise_nothing(pieces: list[bytes]) -> None:
    dialogue = Dialogue()
    dialogue.begin(ENVELOPE)
    for piece in pieces:
        dialogue.take_writes()
        dialogue.receive(piece)
