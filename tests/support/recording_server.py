"""A small SMTP server of our own that writes down everything it accepts, in a process of its own.

It shares no code with the project, so what it says is a second witness. It insists on AUTH LOGIN in three steps (an
initial response is answered with 501), and treats each recipient by the number in its address `user<N>@…`:

    N % 6 == 0      550 5.1.1 to every RCPT
    N % 3 == 1      450 4.2.0 to the first two attempts, then accepted
    else            accepted

Every reply that decides a message is a line in the log, written before the reply is sent: `accepted user5@x.test`,
`deferred …`, `refused …`, `login`. With --hold-end N the reply to every Nth end of data is delayed by a tenth of a
second, so that a kill finds messages whose end of data is unanswered.

    python recording_server.py --log FILE [--hold-end N]      prints the port on its first line, ends with stdin
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import re
import sys
from collections import Counter
from pathlib import Path
from typing import TextIO

USER = "me@sender.test"
PASSWORD = "correct horse"
_NUMBER = re.compile(rb"user(\d+)@")
_ADDRESS = re.compile(rb"<([^>]*)>")


class Session(asyncio.Protocol):
    """One connection."""

    def __init__(self, log: TextIO, tries: Counter[bytes], hold_end: int) -> None:
        self.log = log
        self.tries = tries
        self.hold_end = hold_end
        self.buffer = b""
        self.mode = "command"
        self.is_logged_in = False
        self.recipient = b""
        self.ends = 0
        self.user = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.say(b"220 recorder.test ESMTP")

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while True:
            if self.mode == "data":
                end = self.buffer.find(b"\r\n.\r\n")
                if end < 0:
                    return
                self.buffer = self.buffer[end + 5 :]
                self.mode = "command"
                self.end_of_data()
                continue
            line, found, rest = self.buffer.partition(b"\r\n")
            if not found:
                return
            self.buffer = rest
            self.command(line)

    def command(self, line: bytes) -> None:
        if self.mode == "user":
            self.user, self.mode = base64.b64decode(line), "password"
            self.say(b"334 UGFzc3dvcmQ6")
            return
        if self.mode == "password":
            self.mode = "command"
            right = (self.user, base64.b64decode(line)) == (USER.encode(), PASSWORD.encode())
            self.is_logged_in = right
            self.note(b"login" if right else b"wrong login")
            self.say(b"235 2.7.0 welcome" if right else b"535 5.7.8 wrong user name or password")
            return
        verb = line.split(b" ", 1)[0].upper()
        if verb == b"EHLO":
            self.say(b"250-recorder.test\r\n250-SIZE 1000000\r\n250-ENHANCEDSTATUSCODES\r\n250 AUTH LOGIN")
        elif verb == b"AUTH":
            if line.upper() != b"AUTH LOGIN":
                self.say(b"501 5.5.4 no initial response here")
                return
            self.mode = "user"
            self.say(b"334 VXNlcm5hbWU6")
        elif verb == b"QUIT":
            self.say(b"221 2.0.0 bye")
            self.transport.close()
        elif verb == b"RSET":
            self.say(b"250 2.0.0 ok")
        elif not self.is_logged_in:
            self.say(b"530 5.7.0 log in first")
        elif verb == b"MAIL":
            self.say(b"250 2.1.0 ok")
        elif verb == b"RCPT":
            self.rcpt(line)
        elif verb == b"DATA":
            self.mode = "data"
            self.say(b"354 go on")
        else:
            self.say(b"502 5.5.1 what is that?")

    def rcpt(self, line: bytes) -> None:
        address = _ADDRESS.findall(line)[0]
        number = int(_NUMBER.findall(address)[0])
        self.recipient = address
        self.tries[address] += 1
        if number % 6 == 0:
            self.note(b"refused " + address)
            self.say(b"550 5.1.1 no such user here")
        elif number % 3 == 1 and self.tries[address] <= 2:
            self.note(b"deferred " + address)
            self.say(b"450 4.2.0 try again later")
        else:
            self.say(b"250 2.1.5 ok")

    def end_of_data(self) -> None:
        self.note(b"accepted " + self.recipient)
        self.ends += 1
        reply = b"250 2.0.0 taken as %d" % self.ends
        if self.hold_end and self.ends % self.hold_end == 0:
            asyncio.get_running_loop().call_later(0.1, self.say, reply)
        else:
            self.say(reply)

    def note(self, line: bytes) -> None:
        self.log.write(line.decode() + "\n")
        self.log.flush()

    def say(self, line: bytes) -> None:
        self.transport.write(line + b"\r\n")


async def main() -> None:
    """Serve until stdin ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--hold-end", type=int, default=0)
    options = parser.parse_args()
    loop = asyncio.get_running_loop()
    tries: Counter[bytes] = Counter()
    with options.log.open("a", encoding="utf-8") as log:
        server = await loop.create_server(lambda: Session(log, tries, options.hold_end), "127.0.0.1", 0)
        sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)
        server.close()


if __name__ == "__main__":
    asyncio.run(main())
