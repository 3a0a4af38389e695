"""Servers that announce chunks and read them as commands: nothing of a message ever reaches them that way.

RFC 3030 has no go-ahead: what follows BDAT is on its way before anybody knows whether it will be read as a text. So the
first chunk of a connection is one line that is the same for everybody, with NOOP behind it, and only what answers both
as a server of chunks would is given more. A server that fails this is not given chunks again.
"""

from __future__ import annotations

import re
from typing import Final

import pytest
from support.scripted_server import Peer, ScriptedServer, scripted_server
from support.smuggled_mail import smuggled_mails
from support.strange_mail import as_expected, assert_same
from support.wire import LOOPS, Parcel, finished, run_on, running_pool, settings_for

from mailer.core.message import Envelope

TAKEN: Final = "answered end-of-data 250"
VICTIM: Final = "victim@elsewhere.test"

# All that a server may be told, in every order; nothing of a message but its first line.
HARMLESS: Final = re.compile(
    r"EHLO .*|MAIL FROM:<s@sender\.test>|RCPT TO:<\d+@relay\.test>|DATA|RSET|NOOP|QUIT|BDAT 19|MIME-Version: 1\.0"
)

# Commands in a text that goes as a chunk, if any does. One with RCPT, in which a second mail could stand, goes as DATA.
SENDS_AS_CHUNK: Final = b"MIME-Version: 1.0\r\nMAIL FROM:<stranger@evil.test>\r\nDATA\r\nsecond\r\n"
# The second mail is all there is of the text: were it read as commands, its first line would be MAIL.
ONLY_COMMANDS: Final = (
    f"MIME-Version: 1.0\r\nMAIL FROM:<stranger@evil.test>\r\nRCPT TO:<{VICTIM}>\r\nDATA\r\nsecond\r\n"
).encode()
MAILS: Final = [SENDS_AS_CHUNK, ONLY_COMMANDS, *smuggled_mails(VICTIM)]


class FalseServer:
    """It announces chunks, answers BDAT with `on_chunk`, reads on, and answers what is no command with `on_nonsense`.

    Either may be `close`: it closes the connection without a word. One that thanks for nonsense, too, does so in one
    write, so that the client has the reply that it did not ask for before it can go on.
    """

    def __init__(self, on_chunk: str, on_nonsense: str) -> None:
        self.kept: dict[str, list[bytes]] = {}
        """What came by DATA, by recipient."""
        self._on_chunk = on_chunk
        self._on_nonsense = on_nonsense

    def play(self, peer: Peer) -> None:
        """One connection."""
        peer.say("220 relay ready")
        recipient = ""
        while (line := peer.line()) is not None:
            verb, _, argument = line.upper().partition(" ")
            reply = "250 ok"
            match verb:
                case "EHLO":
                    reply = "250-relay | 250-PIPELINING | 250 CHUNKING"
                case "MAIL" | "RSET":
                    recipient = ""
                case "RCPT":
                    recipient = argument.lower().removeprefix("to:<").removesuffix(">")
                case "DATA" if recipient:
                    peer.say("354 go on")
                    self.kept.setdefault(recipient, []).append(peer.message().data)
                    recipient = ""
                case "DATA":
                    reply = "503 no recipient"
                case "BDAT" if self._on_nonsense.startswith("250"):
                    chunk, noop = peer.line(), peer.line()
                    assert (chunk, noop) == ("MIME-Version: 1.0", "NOOP")
                    peer.send(f"{self._on_chunk}\r\n{self._on_nonsense}\r\n{reply}\r\n".encode())
                    continue
                case "BDAT":
                    reply = self._on_chunk
                case "NOOP":
                    pass
                case "QUIT":
                    peer.say("221 bye")
                    return
                case _:
                    reply = self._on_nonsense
            if reply == "close":
                return
            peer.say(reply)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize(
    ("on_chunk", "on_nonsense"),
    [
        ("500 what is BDAT?", "500 what?"),
        ("502 not implemented", "500 what?"),
        ("503 not now", "500 what?"),
        ("450 not now", "500 what?"),
        ("554 not like that", "500 what?"),
        ("250 thank you", "500 what?"),
        ("250 thank you", "close"),
        ("250 thank you", "250 and thank you"),
        ("500 what is BDAT?", "close"),
        ("close", "500 what?"),
    ],
)
def test_nothing_of_a_message_is_read_as_a_command(loop: str, on_chunk: str, on_nonsense: str) -> None:
    false = FalseServer(on_chunk, on_nonsense)

    def parcel(n: int) -> Parcel:
        return Parcel(Envelope("s@sender.test", f"{n}@relay.test"), (MAILS[n],))

    async def send(server: ScriptedServer) -> list[str]:
        async with running_pool(
            settings_for(server.port, max_connections=1, messages_per_connection=len(MAILS) + 1)
        ) as pool:
            parcels = [parcel(n) for n in range(len(MAILS))]
            for each in parcels:
                pool.submit(each)
            answers = await finished(*parcels)
            # The one whose first line was to prove it: it goes back, and comes again.
            again = parcel(0)
            pool.submit(again)
            return [*answers, *await finished(again)]

    with scripted_server(false.play) as server:
        answers = run_on(loop, send(server))
    assert [line for line in server.heard if HARMLESS.fullmatch(line) is None] == []
    assert answers == ["untouched", *[TAKEN] * len(MAILS)]
    assert_same({f"{n}@relay.test": as_expected(text) for n, text in enumerate(MAILS)}, false.kept)
    assert len(false.kept) == len(MAILS)
    # One try on the first connection, and none on the next.
    assert server.heard.count("BDAT 19") == 1
    assert server.connections == 2
