"""Conversations written as RFC 5321 writes them, played to a dialogue.

    C: line         what the dialogue has to write at that point; between two other lines it is all that it writes
    S: line         what the server sends; several replies in one packet have ` / ` between them
    => events       what the last packet brought about; without this line, nothing
    begin           begin the next message (by chunk if the mode is chunked; `begin by DATA` never)
    full            no further message may begin now
    login, quit     log in, say good-bye

The end of a body is said as soon as the server waits for it: a lone dot, or as one last chunk of three octets.
"""

from __future__ import annotations

from mailer.smtp.auth_login import AuthLogin, LoginMemory
from mailer.smtp.dialogue import Dialogue
from mailer.smtp.dialogue_events import (
    Broken,
    Closing,
    Decided,
    Disordered,
    Event,
    LoggedIn,
    LoginRefused,
    Transfer,
    Unproven,
)
from mailer.smtp.state_table import Mode

MAIL = b"MAIL FROM:<a@b>\r\n"
RCPT = b"RCPT TO:<c@d>\r\n"
LAST_CHUNK = b"BDAT 3 LAST\r\nx\r\n"


def new_transfer(mode: Mode = Mode.STEP) -> Transfer:
    """A message; in chunks where the mode has them."""
    return Transfer(MAIL, RCPT, as_chunk=mode is Mode.CHUNKED)


def end_body(dialogue: Dialogue[Transfer]) -> bool:
    """End the body that the server waits for, if it waits for one."""
    transfer = dialogue.body_of
    if transfer is None:
        return False
    dialogue.end(LAST_CHUNK if transfer.as_chunk else b".\r\n")
    return True


def name_of(event: Event[Transfer]) -> str:
    """An event as scripts name it."""
    match event:
        case Decided(_, phase, reply):
            return f"{phase} {reply.code}"
        case Disordered(_, phase, reply):
            return f"disordered {phase} {reply.code}"
        case Closing(reply):
            return f"closing {reply.code}" if reply else "closing"
        case Unproven(reply):
            return f"no chunks {reply.code}"
        case LoginRefused(reply):
            return f"login refused {reply.code}"
        case LoggedIn():
            return "logged in"
        case Broken():
            return "broken"


def play(script: str, mode: Mode = Mode.STEP, window: int = 4) -> None:
    """Play all of it. Raises AssertionError where the dialogue does something else."""
    dialogue: Dialogue[Transfer] = Dialogue(mode, window)
    events: list[str] = []
    written = b""
    begun: list[Transfer] = []

    def take() -> bytes:
        return b"".join(write.data for write in dialogue.take_writes())

    for line in filter(None, map(str.strip, script.splitlines())):
        if line.startswith("C:"):
            written += take()
            expected = line[3:].encode() + b"\r\n"
            assert written.startswith(expected), (line, written)
            written = written.removeprefix(expected)
            assert events == [], line
            continue
        if line.startswith("=>"):
            assert line == "=> " + ", ".join(events)
            events = []
            continue
        if line in ("begin", "begin by DATA", "full"):
            assert events == [], line
        else:
            written += take()
            assert (events, written) == ([], b""), line
        match line.split():
            case ["begin", *how]:
                begun.append(new_transfer(Mode.STEP if how else mode))
                dialogue.begin(begun[-1])
                end_body(dialogue)
            case ["full"]:
                assert not dialogue.may_begin
            case ["quit"]:
                dialogue.quit()
            case ["login"]:
                dialogue.log_in(AuthLogin("me", "secret", LoginMemory()))
            case ["S:", *_]:
                said = dialogue.receive(line[3:].replace(" / ", "\r\n").encode() + b"\r\n")
                for event in said:
                    if isinstance(event, Decided | Disordered):
                        assert event.transfer is begun.pop(0), "messages are decided in the order they were begun in"
                events = [name_of(event) for event in said]
                if end_body(dialogue):
                    events.append("body")
            case _:
                raise ValueError(line)
    assert (events, written + take()) == ([], b"")
