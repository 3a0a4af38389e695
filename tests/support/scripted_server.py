"""An SMTP server that plays what it is told, replies and faults byte by byte, on a free loopback port.

A script is what is said on one connection, a line each, and reads like the examples in RFC 5321:

    S: 220 relay ready
    C: EHLO *
    S: 250-relay | 250 SIZE 1000
    C: MAIL FROM:<*>
    S: 250 ok
    C: RCPT TO:<a@b.example>
    S: 250 ok
    C: DATA
    S: 354 go on
    C: .
    S: 250 taken
    close

`C:` reads one line and compares it with the pattern (`*` and `?` as in file names); `C: .` reads a message up to its
lone dot and keeps it. `S:` sends; ` | ` stands between the lines of one reply. The faults:

    raw: text             send these bytes as they are, with Python's escapes (`\\r\\n`, `\\x00`) and no line end added
    bytewise              from here on send every byte by itself
    tls                   TLS from here on (at the start: implicit TLS; after `S: 220` to STARTTLS: STARTTLS)
    read: N               read N bytes of whatever comes, and no more
    close                 close; what the client sent and was not read makes this a reset
    reset                 close with a reset in any case
    hold                  say nothing more until the client goes away
    then: NAME            set the event `server.events[NAME]`, for a test to wait for
    wait: NAME            wait for that event, for a test to let it go on

The n-th connection plays the n-th script, those beyond the last play the last one again. A client that says something
else than expected ends its connection, and the `with` block raises AssertionError with both.

    with scripted_server(HELLO + MESSAGE + BYE) as server:
        ...                                        # server.port, server.heard, server.messages

It runs in threads of its own, so it serves asyncio, uvloop and other processes alike. For what a script cannot say,
give a function that takes a `Peer` instead of a text.
"""

from __future__ import annotations

import codecs
import fnmatch
import socket
import ssl
import struct
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

# How long a peer may keep the server waiting: only a test that hangs gets there.
PATIENCE_S = 20.0

HELLO = """
S: 220 relay ready
C: EHLO *
S: 250-relay | 250-SIZE 100000000 | 250-AUTH PLAIN LOGIN | 250 HELP
"""
LOGIN = """
C: AUTH LOGIN *
S: 334 UGFzc3dvcmQ6
C: *
S: 235 welcome
"""
ENVELOPE = """
C: MAIL FROM:<*>*
S: 250 sender ok
C: RCPT TO:<*>
S: 250 recipient ok
"""
DATA = """
C: DATA
S: 354 go on
C: .
"""
MESSAGE = ENVELOPE + DATA + "S: 250 taken\n"
BYE = """
C: QUIT
S: 221 bye
close
"""


class Unexpected(Exception):
    """The client said something else than the script expects."""


@dataclass(frozen=True, slots=True)
class Taken:
    """One message as the server read it, dots undoubled, without the lone dot."""

    mail: str
    rcpt: str
    data: bytes


class Peer:
    """The server's end of one connection."""

    def __init__(self, server: ScriptedServer, sock: socket.socket) -> None:
        self.server = server
        self._sock = sock
        self._buffer = b""
        self._is_bytewise = False
        self._mail = ""
        self._rcpt = ""

    def say(self, reply: str) -> None:
        """Send a reply; ` | ` stands between its lines."""
        self.send("".join(f"{line}\r\n" for line in reply.split(" | ")).encode())

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        for piece in [data[n : n + 1] for n in range(len(data))] if self._is_bytewise else [data]:
            self._sock.sendall(piece)

    def send_bytewise(self) -> None:
        """From here on send every byte by itself."""
        self._is_bytewise = True
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def line(self) -> str | None:
        """The next line of the client's, without its end, or None if it has gone."""
        while b"\r\n" not in self._buffer:
            if not self._read():
                return None
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        text = line.decode("utf-8", "replace")
        self.server.heard.append(text)
        return text

    def expect(self, pattern: str) -> str:
        """The next line, which has to match. Raises Unexpected."""
        line = self.line()
        if line is None:
            raise Unexpected(f"expected {pattern!r}, but the client had gone")
        if not fnmatch.fnmatchcase(line, pattern.replace("[", "[[]")):
            raise Unexpected(f"expected {pattern!r}, got {line!r}")
        if line.startswith("MAIL FROM:"):
            self._mail = line
        elif line.startswith("RCPT TO:"):
            self._rcpt = line
        return line

    def message(self) -> Taken:
        """Read a message up to its lone dot, and keep it. Raises Unexpected if the client goes before that."""
        lines: list[bytes] = []
        while True:
            while b"\r\n" not in self._buffer:
                if not self._read():
                    raise Unexpected("expected a message, but the client had gone before its lone dot")
            line, _, self._buffer = self._buffer.partition(b"\r\n")
            if line == b".":
                break
            lines.append(line[1:] if line.startswith(b".") else line)
        taken = Taken(self._mail, self._rcpt, b"".join(line + b"\r\n" for line in lines))
        self.server.messages.append(taken)
        return taken

    def read(self, size: int) -> bytes:
        """Exactly so many bytes, of whatever comes, and no more are taken from the socket."""
        while len(self._buffer) < size:
            piece = self._sock.recv(size - len(self._buffer))
            if not piece:
                break
            self._buffer += piece
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def unread(self) -> bytes:
        """What has come and was not read; it stays unread. Does not wait, and knows nothing of TLS."""
        self._sock.setblocking(False)
        with suppress(BlockingIOError):
            self._buffer += self._sock.recv(65536)
        self._sock.settimeout(PATIENCE_S)
        return self._buffer

    def start_tls(self) -> None:
        """Speak TLS from here on."""
        if self.server.context is None:
            raise ValueError("a script with `tls` needs scripted_server(context=…)")
        self._sock = self.server.context.wrap_socket(self._sock, server_side=True, suppress_ragged_eofs=False)

    def hold(self) -> None:
        """Say nothing more until the client goes."""
        while self._read():
            pass

    def end(self) -> None:
        """Say nothing more; what the client says can still be read."""
        self._sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close; unread input makes it a reset."""
        self._sock.close()

    def reset(self) -> None:
        """Close with a reset: nothing that is still on its way arrives."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._sock.close()

    def interrupt(self) -> None:
        """Wake whoever reads or writes here, from another thread: the test is over."""
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def _read(self) -> bool:
        try:
            data = self._sock.recv(65536)
        except (ConnectionError, ssl.SSLError):
            return False
        self._buffer += data
        return bool(data)


Play = Callable[[Peer], None]


class ScriptedServer:
    """A running one."""

    def __init__(self, scripts: tuple[str | Play, ...], context: ssl.SSLContext | None, host: str) -> None:
        self.host = host
        self.context = context
        self.heard: list[str] = []
        """Every line that was read, of all connections in the order of reading; not those of messages."""
        self.messages: list[Taken] = []
        self.problems: list[str] = []
        self.connections = 0
        """How many have been accepted."""
        self.events: dict[str, threading.Event] = defaultdict(threading.Event)
        self._scripts = [script if callable(script) else _play_of(script) for script in scripts]
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family, backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self._threads: list[threading.Thread] = []
        self._open: set[Peer] = set()
        self._acceptor = threading.Thread(target=self._accept, name="scripted server", daemon=True)
        self._acceptor.start()

    def stop(self) -> None:
        """Stop listening, end what is open, and wait for the threads."""
        # Closing a listener does not wake the thread that waits in accept; shutting it down does.
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._acceptor.join(PATIENCE_S)
        self._listener.close()
        for event in list(self.events.values()):
            event.set()
        for peer in list(self._open):
            peer.interrupt()
        for thread in self._threads:
            thread.join(PATIENCE_S)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            play = self._scripts[min(self.connections, len(self._scripts) - 1)]
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(play, sock), name="scripted peer", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, play: Play, sock: socket.socket) -> None:
        sock.settimeout(PATIENCE_S)
        # What is said goes out at once: a second reply would wait for the first one's receipt, and a reset forget it.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer = Peer(self, sock)
        self._open.add(peer)
        try:
            play(peer)
        except Unexpected as problem:
            self.problems.append(str(problem))
        except OSError:
            pass  # the client went away in the middle of our words, which scripts with faults are made for
        finally:
            self._open.discard(peer)
            with suppress(OSError):
                peer.close()


@contextmanager
def scripted_server(
    *scripts: str | Play, context: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> Iterator[ScriptedServer]:
    """Run one, and raise AssertionError at the end if a client said something that its script did not expect."""
    server = ScriptedServer(scripts, context, host)
    try:
        yield server
    finally:
        server.stop()
    assert not server.problems, "; ".join(server.problems)


def _play_of(script: str) -> Play:
    steps = [line.strip() for line in script.splitlines() if line.strip() and not line.strip().startswith("#")]

    def play(peer: Peer) -> None:
        for step in steps:
            _step(peer, step)

    return play


def _step(peer: Peer, step: str) -> None:
    verb, _, rest = step.partition(":")
    rest = rest.strip()
    match verb.strip():
        case "S":
            peer.say(rest)
        case "C" if rest == ".":
            peer.message()
        case "C":
            peer.expect(rest)
        case "raw":
            peer.send(codecs.escape_decode(rest.encode())[0])
        case "bytewise":
            peer.send_bytewise()
        case "tls":
            peer.start_tls()
        case "read":
            peer.read(int(rest))
        case "close":
            peer.close()
        case "reset":
            peer.reset()
        case "hold":
            peer.hold()
        case "then":
            peer.server.events[rest].set()
        case "wait":
            peer.server.events[rest].wait(PATIENCE_S)
        case _:
            raise ValueError(f"a script has no step {step!r}")
