"""The conversation from AUTH on, without I/O: bytes in, events and bytes out.

Theory of operation
- Commands are answered in the order in which they were written (RFC 5321 section 2.1, RFC 2920 section 3.1). `_open` is
  the line of those that were written and have no answer yet. There is no other notion of where we are: step by step is
  a line of at most one, a pipelining client has a longer one, and the table is the same.
- A command enters the line when it is taken to be written, not when it is decided on. So an answer that was sent before
  its command could be read matches nothing and ends the conversation, instead of answering the next command.
- What a reply leads to stands in `AFTER`: the command it answers, the kind of reply, the move. A pair that is not there
  is out of step: the event is `Broken`, and no byte after it is read.
- Every write that speaks of a message names the step that has to be noted before it goes out (core.progress).
- Nothing here raises for what a server says.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from enum import Enum, auto
from typing import Final, NamedTuple

from mailer.core.message import Phase
from mailer.core.progress import Step
from mailer.core.reply import Reply
from mailer.smtp.auth import Login, LoginEnd
from mailer.smtp.reply_parser import ReplyParser
from mailer.smtp.trouble import OutOfStep, quoted

MAX_UNREAD_REPLY: Final = 200  # characters of an unexpected reply that an error quotes


class Command(Enum):
    """What a reply is awaited to."""

    AUTH = auto()
    MAIL = auto()
    RCPT = auto()
    DATA = auto()
    BODY = auto()
    """Not a command: 354 has come and the end of data is not written. Only a server that gives up answers here."""
    END = auto()
    """The end of data."""
    RSET = auto()
    QUIT = auto()


class Kind(Enum):
    """What a reply says, as far as the conversation is concerned (RFC 5321 section 4.2.1)."""

    YES = auto()
    GO_ON = auto()
    NO = auto()
    CLOSING = auto()
    """421: it closes the connection, whatever it was asked (RFC 5321 section 3.8)."""


class Move(Enum):
    """What a reply leads to."""

    ASK_LOGIN = auto()
    SEND_RCPT = auto()
    SEND_DATA = auto()
    SEND_BODY = auto()
    DECIDED = auto()
    """The reply decides the message, and the server waits for the next one."""
    DECIDED_RESET = auto()
    """The reply decides the message, and the server still holds its sender: RSET before the next."""
    DECIDED_CUT = auto()
    """The reply decides the message, but the server still reads text: only the end of the connection ends that."""
    READY = auto()
    CLOSED = auto()


AFTER: Final[Mapping[Command, Mapping[Kind, Move]]] = {
    Command.AUTH: dict.fromkeys(Kind, Move.ASK_LOGIN),
    Command.MAIL: {Kind.YES: Move.SEND_RCPT, Kind.NO: Move.DECIDED, Kind.CLOSING: Move.DECIDED_CUT},
    Command.RCPT: {Kind.YES: Move.SEND_DATA, Kind.NO: Move.DECIDED_RESET, Kind.CLOSING: Move.DECIDED_CUT},
    Command.DATA: {Kind.GO_ON: Move.SEND_BODY, Kind.NO: Move.DECIDED_RESET, Kind.CLOSING: Move.DECIDED_CUT},
    Command.BODY: {Kind.NO: Move.DECIDED_CUT, Kind.CLOSING: Move.DECIDED_CUT},
    Command.END: {Kind.YES: Move.DECIDED, Kind.NO: Move.DECIDED, Kind.CLOSING: Move.DECIDED_CUT},
    Command.RSET: {Kind.YES: Move.READY, Kind.CLOSING: Move.CLOSED},
    Command.QUIT: {Kind.YES: Move.CLOSED, Kind.NO: Move.CLOSED, Kind.CLOSING: Move.CLOSED},
}

PHASE: Final[Mapping[Command, Phase]] = {
    Command.AUTH: Phase.AUTH,
    Command.MAIL: Phase.MAIL,
    Command.RCPT: Phase.RCPT,
    Command.DATA: Phase.DATA,
    Command.BODY: Phase.DATA,
    Command.END: Phase.END_OF_DATA,
}


class Transaction(NamedTuple):
    """One message's two commands, complete with CRLF."""

    mail: bytes
    rcpt: bytes


class Write(NamedTuple):
    """Bytes to be written, and what that means."""

    data: bytes
    command: Command
    step: Step | None = None
    """To be noted before they go out; if that fails they must not."""
    is_secret: bool = False

    def __repr__(self) -> str:
        # Not what is written: it may be a password, and a repr ends up in tracebacks and logs.
        return f"<Write {self.command.name} {len(self.data)} bytes>"


class LoggedIn(NamedTuple):
    """The login was taken."""


class LoginRefused(NamedTuple):
    """It was not; final for this try."""

    reply: Reply
    kept_asking: bool
    """The server asked for more than there is to be said, and we cancelled."""


class BodyWanted(NamedTuple):
    """354: the caller writes the body, then calls `end`."""


class Decided(NamedTuple):
    """A reply decided the message."""

    phase: Phase
    reply: Reply


class Ready(NamedTuple):
    """The next message may begin."""


class Closing(NamedTuple):
    """The server ends the conversation; `reply` is what it said, unless that decided a message or was asked for."""

    reply: Reply | None


class Broken(NamedTuple):
    """Out of step; nothing that comes after it is read."""

    error: OutOfStep


Event = LoggedIn | LoginRefused | BodyWanted | Decided | Ready | Closing | Broken

_READY: Final = Ready()
_BODY_WANTED: Final = BodyWanted()


class Dialogue:
    """One connection's conversation. Ask for `take_writes` after every call that is not a question."""

    __slots__ = ("_is_over", "_login", "_on_reply", "_open", "_parser", "_transaction", "_unwritten")

    def __init__(self, on_reply: Callable[[Reply], None] | None = None) -> None:
        self._parser = ReplyParser()
        self._open: deque[Command] = deque()
        self._unwritten: list[Write] = []
        self._transaction: Transaction | None = None
        self._login: Login | None = None
        self._is_over = False
        self._on_reply = on_reply

    @property
    def awaits(self) -> Command | None:
        """The oldest command without an answer."""
        return self._open[0] if self._open else None

    @property
    def has_writes(self) -> bool:
        """Whether `take_writes` would give anything."""
        return bool(self._unwritten)

    @property
    def is_over(self) -> bool:
        """Nothing more is read."""
        return self._is_over

    # What the client wants

    def log_in(self, login: Login) -> None:
        """Begin a login. Ends with LoggedIn or LoginRefused."""
        self._login = login
        self._say(login.first_line(), Command.AUTH, is_secret=True)

    def begin(self, transaction: Transaction) -> None:
        """Begin a message, when Ready. Ends with Decided, unless the conversation ends before."""
        if self._open or self._unwritten:
            raise ValueError("a message begins only when nothing is open")
        self._transaction = transaction
        self._say(transaction.mail, Command.MAIL, Step.ON_WIRE)

    def end(self, last_of_body: bytes) -> None:
        """End the message's data, after BodyWanted. `last_of_body` is all that is not yet written, and the lone dot."""
        if self.awaits is not Command.BODY:
            raise ValueError("there is no body to end")
        self._say(last_of_body, Command.END, Step.END_BEGUN)

    def quit(self) -> None:
        """Say good-bye. Ends with Closing."""
        self._say(b"QUIT\r\n", Command.QUIT)

    def take_writes(self) -> list[Write]:
        """What is to be written now, in order. From here on the answers to it are expected."""
        writes, self._unwritten = self._unwritten, []
        for write in writes:
            if write.command is Command.END:
                self._open.popleft()  # BODY: the end of data takes its place
            self._open.append(write.command)
        return writes

    # What the server says

    def receive(self, data: bytes) -> list[Event]:
        """What `data` brings about, in order."""
        events: list[Event] = []
        if self._is_over:
            return events
        parser = self._parser
        for reply in parser.feed(data):
            if self._on_reply is not None:
                self._on_reply(reply)
            self._take(reply, events)
            if self._is_over:
                return events
        if parser.error is not None:
            self._break(parser.error, events)
        return events

    def _take(self, reply: Reply, events: list[Event]) -> None:
        kind = _kind(reply.code)
        if not self._open:
            if kind is Kind.CLOSING:
                self._end()
                events.append(Closing(reply))
            else:
                self._break(OutOfStep(f"the server sent a reply that nobody asked for: {_short(reply)}", reply), events)
            return
        command = self._open.popleft()
        move = AFTER[command].get(kind) if kind is not None else None
        if move is None:
            # Put back: whoever judges what is left open needs to know what it was.
            self._open.appendleft(command)
            self._break(OutOfStep(f"the server answered {_NAMES[command]} with {_short(reply)}", reply), events)
            return
        self._make(move, command, reply, events)

    def _make(self, move: Move, command: Command, reply: Reply, events: list[Event]) -> None:
        match move:
            case Move.SEND_RCPT:
                self._say(self._current.rcpt, Command.RCPT, Step.ON_WIRE)
            case Move.SEND_DATA:
                self._say(b"DATA\r\n", Command.DATA, Step.ON_WIRE)
            case Move.SEND_BODY:
                self._open.append(Command.BODY)
                events.append(_BODY_WANTED)
            case Move.DECIDED:
                self._transaction = None
                events.append(Decided(PHASE[command], reply))
                events.append(_READY)
            case Move.DECIDED_RESET:
                self._transaction = None
                events.append(Decided(PHASE[command], reply))
                self._say(b"RSET\r\n", Command.RSET)
            case Move.DECIDED_CUT:
                self._transaction = None
                self._end()
                events.append(Decided(PHASE[command], reply))
                events.append(Closing(None))
            case Move.READY:
                events.append(_READY)
            case Move.CLOSED:
                self._end()
                events.append(Closing(None if command is Command.QUIT else reply))
            case Move.ASK_LOGIN:
                self._ask_login(reply, events)

    def _ask_login(self, reply: Reply, events: list[Event]) -> None:
        if self._login is None:
            raise ValueError("an answer to AUTH without a login")
        login = self._login
        said = login.answer(reply)
        if said is LoginEnd.IN:
            self._login = None
            events.append(LoggedIn())
        elif said is LoginEnd.REFUSED:
            self._login = None
            events.append(LoginRefused(reply, login.is_cancelled))
        else:
            self._say(said, Command.AUTH, is_secret=True)

    @property
    def _current(self) -> Transaction:
        if self._transaction is None:
            raise ValueError("no message has begun")
        return self._transaction

    def _say(self, data: bytes, command: Command, step: Step | None = None, *, is_secret: bool = False) -> None:
        self._unwritten.append(Write(data, command, step, is_secret))

    def _end(self) -> None:
        self._is_over = True
        self._unwritten = []

    def _break(self, error: OutOfStep, events: list[Event]) -> None:
        self._end()
        events.append(Broken(error))


# Commands as sentences name them.
_NAMES: Final[Mapping[Command, str]] = {
    Command.AUTH: "AUTH",
    Command.MAIL: "MAIL",
    Command.RCPT: "RCPT",
    Command.DATA: "DATA",
    Command.BODY: "a message that has not ended",
    Command.END: "the end of a message",
    Command.RSET: "RSET",
    Command.QUIT: "QUIT",
}


def command_name(command: Command) -> str:
    """A command as a sentence names it."""
    return _NAMES[command]


def _kind(code: int) -> Kind | None:
    if code == 421:
        return Kind.CLOSING
    return (None, None, Kind.YES, Kind.GO_ON, Kind.NO, Kind.NO)[code // 100]


def _short(reply: Reply) -> str:
    return quoted(reply)[:MAX_UNREAD_REPLY]
