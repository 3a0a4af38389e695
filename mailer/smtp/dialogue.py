"""The conversation from AUTH on, without I/O: bytes in, events and bytes out.

Theory of operation
- Commands are answered in the order in which they were written (RFC 5321 section 2.1, RFC 2920 section 3.1). `_open` is
  the line of those that were written and have no answer yet, `_transfers` that of the messages they belong to. There is
  no other notion of where we are: the three modes differ in how much is written before its turn, and nothing else.
- A command enters the line when it is taken to be written, not when it is decided on. So an answer that was sent before
  its command could be read matches nothing and ends the conversation, instead of answering the next command.
- What a reply leads to stands in `state_table`.
- Messages are decided in the order in which they were begun, so a reply about a message is about the first of the line.
- A message that is refused before its end keeps its refusal until the server has answered all that was written of it.
- Every write that speaks of a message names the step that has to be noted before it goes out (core.progress).
- Nothing here raises for what a server says.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Generic

from mailer.core.message import FIRST_LINE, Phase
from mailer.core.progress import Step
from mailer.core.reply import Reply
from mailer.smtp.auth import Login, LoginEnd
from mailer.smtp.dialogue_events import (
    Broken,
    Closing,
    Decided,
    Disordered,
    Event,
    LoggedIn,
    LoginRefused,
    Refusal,
    T,
    Unproven,
    Write,
)
from mailer.smtp.reply_parser import ReplyParser
from mailer.smtp.state_table import (
    BY_POSITION,
    BY_POSITION_AFTER_REFUSAL,
    KIND_OF,
    NAMES,
    PHASE,
    Command,
    Kind,
    Mode,
    Move,
)
from mailer.smtp.trouble import OutOfStep, quoted

# What is written of a message at once, when commands may be written ahead.
_ENVELOPE: Final[tuple[Command, ...]] = (Command.MAIL, Command.RCPT)
_WITH_DATA: Final[tuple[Command, ...]] = (*_ENVELOPE, Command.DATA)
_WITH_PROOF: Final[tuple[Command, ...]] = (*_ENVELOPE, Command.PROOF, Command.NOOP)

# The first chunk of a connection. A server that reads it as commands meets one line that no field can have a part in,
# and answers it: then the answer to NOOP is not NOOP's.
PROOF: Final = b"BDAT %d\r\n%bNOOP\r\n" % (len(FIRST_LINE), FIRST_LINE)


class Dialogue(Generic[T]):
    """One connection's conversation. Ask for `take_writes` after every call that is not a question."""

    __slots__ = (
        "_filling",
        "_has_begun",
        "_is_over",
        "_is_proven",
        "_limit",
        "_login",
        "_on_reply",
        "_open",
        "_parser",
        "_transfers",
        "_unwritten",
        "body_of",
        "has_more",
        "mode",
        "replies",
    )

    def __init__(
        self, mode: Mode = Mode.STEP, window: int = 1, on_reply: Callable[[Reply], None] | None = None
    ) -> None:
        """`window`: messages that may be on their way at once."""
        self.mode = mode
        self.body_of: T | None = None
        """The message whose text the server waits for: the caller writes all but its last piece, then calls `end`."""
        self.replies = 0
        """Read so far."""
        self.has_more = False
        """The server went on talking after it had said that it closes."""
        self._limit = {Mode.STEP: 1, Mode.PIPELINED: min(window, 2), Mode.CHUNKED: window}[mode]
        self._parser = ReplyParser()
        self._open: deque[Command] = deque()
        self._transfers: deque[T] = deque()
        self._filling: T | None = None  # begun, and its end of data not said
        self._unwritten: list[Write[T]] = []
        self._login: Login | None = None
        self._has_begun = False
        self._is_proven = False
        self._is_over = False
        self._on_reply = on_reply

    @property
    def awaits(self) -> Command | None:
        """The oldest command without an answer."""
        return self._open[0] if self._open else None

    @property
    def unanswered(self) -> Sequence[Command]:
        """What was written and has no answer, the oldest first."""
        return self._open

    @property
    def transfers(self) -> Sequence[T]:
        """The messages that have begun and are not decided, the oldest first."""
        return self._transfers

    @property
    def unwritten(self) -> Sequence[Write[T]]:
        """What `take_writes` would give."""
        return self._unwritten

    @property
    def is_proven(self) -> bool:
        """Whether the server has shown that it takes chunks."""
        return self._is_proven

    @property
    def is_idle(self) -> bool:
        """Nothing is on its way."""
        return not (self._open or self._transfers or self._unwritten)

    @property
    def is_over(self) -> bool:
        """Nothing more is read."""
        return self._is_over

    @property
    def may_begin(self) -> bool:
        """Whether there is room for one more message."""
        if self.mode is Mode.STEP:
            return self.is_idle and not self._is_over
        return self._filling is None and len(self._transfers) < self._limit and not self._is_over

    # What the client wants

    def log_in(self, login: Login) -> None:
        """Begin a login. Ends with LoggedIn or LoginRefused."""
        self._login = login
        self._unwritten.append(Write(login.first_line(), (Command.AUTH,), is_secret=True))

    def begin(self, transfer: T) -> None:
        """Begin a message, when it may begin. Ends with Decided, unless the conversation ends before."""
        if not self.may_begin:
            raise ValueError("there is no room for another message")
        self._transfers.append(transfer)
        self._filling = transfer
        if self.mode is Mode.STEP:
            self._say(transfer, Command.MAIL, transfer.mail)
            return
        if transfer.is_wary:
            commands, data = _ENVELOPE, transfer.mail + transfer.rcpt
        elif not transfer.as_chunk:
            commands, data = _WITH_DATA, transfer.mail + transfer.rcpt + b"DATA\r\n"
        elif self._is_proven:
            commands, data = _ENVELOPE, transfer.mail + transfer.rcpt
            self.body_of = transfer
        else:
            # RFC 3030 section 2 would have the answers to MAIL and RCPT come first. A server that takes commands ahead
            # must discard a chunk that it refuses, so nothing but a round trip is to be had from waiting.
            commands, data = _WITH_PROOF, transfer.mail + transfer.rcpt + PROOF
        transfer.left = len(commands)
        if self._has_begun:
            # RFC 2920 section 3.1 lets MAIL follow the end of data, but not every server is up to that: Dovecot's
            # submission service (2.3) crashes and takes the answer with it, unless a RSET stands between. And whatever
            # became of the message before, no sender and no recipient of it may be left over (RFC 3030 section 2):
            # the text of this one may be on its way before anybody could look.
            commands, data = (Command.RSET, *commands), b"RSET\r\n" + data
        self._has_begun = True
        self._unwritten.append(Write(data, commands, transfer, Step.ON_WIRE))

    def end(self, last_of_body: bytes) -> None:
        """End the data of `body_of`: all of it that is not yet written, with the lone dot or as the last chunk."""
        transfer = self.body_of
        if transfer is None:
            raise ValueError("there is no body to end")
        self.body_of = self._filling = None
        transfer.left += 1
        self._unwritten.append(Write(last_of_body, (Command.END,), transfer, Step.END_BEGUN))

    def quit(self) -> None:
        """Say good-bye. Ends with Closing."""
        self._unwritten.append(Write(b"QUIT\r\n", (Command.QUIT,)))

    def take_writes(self) -> list[Write[T]]:
        """What is to be written now, in order. From here on the answers to it are expected."""
        writes, self._unwritten = self._unwritten, []
        line = self._open
        for write in writes:
            if line and line[-1] is Command.BODY:
                line.pop()  # the end of data takes its place
            line.extend(write.commands)
        return writes

    # What the server says

    def receive(self, data: bytes) -> list[Event[T]]:
        """What `data` brings about, in order."""
        events: list[Event[T]] = []
        if self._is_over:
            return events
        parser = self._parser
        replies = parser.feed(data)
        for n, reply in enumerate(replies, 1):
            self.replies += 1
            if self._on_reply is not None:
                self._on_reply(reply)
            self._take(reply, events)
            if self._is_over:
                self.has_more = n < len(replies)
                return events
        if parser.error is not None:
            self._break(parser.error, events)
        return events

    def _take(self, reply: Reply, events: list[Event[T]]) -> None:
        kind = KIND_OF[reply.code]
        line = self._open
        if not line:
            if kind is Kind.CLOSING:
                self._end()
                events.append(Closing(reply))
            else:
                self._break(OutOfStep(f"the server sent a reply that nobody asked for: {quoted(reply)}", reply), events)
            return
        command = line[0]
        if command < Command.MAIL:
            move = BY_POSITION[command][kind] if kind is not None else None
            if move is None:
                self._out_of_step(command, reply, events)
                return
            line.popleft()
            if move is not Move.SKIP:
                self._make(move, command, reply, events)
            return
        transfer = self._transfers[0]
        rows = BY_POSITION if transfer.refusal is None else BY_POSITION_AFTER_REFUSAL
        move = rows[command][kind] if kind is not None else None
        if move is None or (command is Command.END and transfer.as_chunk and _is_about_address(reply)):
            self._out_of_step(command, reply, events)
            return
        line.popleft()
        transfer.left -= 1
        if move is not Move.NEXT or self.mode is Mode.STEP or (transfer.is_wary and command is Command.RCPT):
            self._make_of(transfer, move, command, reply, events)

    def _make_of(self, transfer: T, move: Move, command: Command, reply: Reply, events: list[Event[T]]) -> None:
        """A move about a message."""
        match move:
            case Move.TAKEN:
                self._decide(transfer, Refusal(Phase.END_OF_DATA, reply), events)
            case Move.NEXT:
                following = Command.RCPT if command is Command.MAIL else Command.DATA
                self._say(transfer, following, transfer.rcpt if following is Command.RCPT else b"DATA\r\n")
            case Move.GIVE_BODY:
                self.body_of = transfer
                if command is Command.NOOP:
                    self._is_proven = True
                else:
                    self._open.append(Command.BODY)
            case Move.REFUSED:
                transfer.refusal = Refusal(PHASE[command], reply)
                # What came before it was taken, so the order was right. If the server says that it was not, then it did
                # not read in order what was written ahead; or it means something else, and says so again step by step.
                transfer.is_disordered = (
                    reply.code == 503 and command in (Command.RCPT, Command.DATA) and self.mode is not Mode.STEP
                )
                self._decide_if_answered(transfer, command, events)
            case Move.SKIP:
                self._decide_if_answered(transfer, command, events)
            case Move.SAY_DOT:
                self._filling = None
                transfer.left += 1
                self._unwritten.append(Write(b".\r\n", (Command.DOT,)))
            case Move.GIVEN_UP:
                self._decide(transfer, transfer.refusal or Refusal(PHASE[command], reply), events)
                self._end()
                events.append(Closing(None))
            case Move.NOT_PROVEN:
                if transfer.refusal is not None and transfer.refusal.phase is Phase.DATA:
                    transfer.refusal = None  # of the chunk itself, which is then no word about the message
                if transfer.refusal is not None:
                    self._decide(transfer, transfer.refusal, events)
                self._end()
                events.append(Unproven(reply))
            case Move.TAKEN_ANYWAY:
                self._decide(transfer, Refusal(PHASE[command], reply), events)
                # Without the reply: it was about this message, and not about the next.
                self._break(OutOfStep(f"the server took a message that it had refused: {quoted(reply)}"), events)

    def _make(self, move: Move, command: Command, reply: Reply, events: list[Event[T]]) -> None:
        """A move that is about no message."""
        match move:
            case Move.CLOSED:
                self._end()
                events.append(Closing(None if command is Command.QUIT else reply))
            case Move.ASK_LOGIN:
                self._ask_login(reply, events)

    def _decide_if_answered(self, transfer: T, command: Command, events: list[Event[T]]) -> None:
        refusal = transfer.refusal
        if transfer.left or refusal is None:
            return
        self._decide(transfer, refusal, events)
        # A server that took MAIL holds its sender until an end of data. Written ahead, every MAIL has RSET in front.
        if self.mode is Mode.STEP and command in (Command.RCPT, Command.DATA):
            self._unwritten.append(Write(b"RSET\r\n", (Command.RSET,)))

    def _decide(self, transfer: T, refusal: Refusal, events: list[Event[T]]) -> None:
        self._transfers.popleft()
        if self._filling is transfer:
            self._filling = self.body_of = None
        if transfer.is_disordered and refusal is transfer.refusal:
            events.append(Disordered(transfer, refusal.phase, refusal.reply))
        else:
            events.append(Decided(transfer, refusal.phase, refusal.reply))

    def _ask_login(self, reply: Reply, events: list[Event[T]]) -> None:
        if self._login is None:
            raise ValueError("an answer to AUTH without a login")
        login = self._login
        said = login.answer(reply)
        if said is LoginEnd.IN:
            self._login = None
            events.append(LoggedIn())
        elif said is LoginEnd.REFUSED:
            self._login = None
            events.append(LoginRefused(reply))
        else:
            self._unwritten.append(Write(said, (Command.AUTH,), is_secret=True))

    def _say(self, transfer: T, command: Command, data: bytes) -> None:
        transfer.left += 1
        self._unwritten.append(Write(data, (command,), transfer, Step.ON_WIRE))

    def _end(self) -> None:
        self._is_over = True
        self._unwritten = []
        self.body_of = None

    def _break(self, error: OutOfStep, events: list[Event[T]]) -> None:
        self._end()
        events.append(Broken(error))

    def _out_of_step(self, command: Command, reply: Reply, events: list[Event[T]]) -> None:
        # The command stays in the line: whoever judges what is left open needs to know what it was.
        self._break(OutOfStep(f"the server answered {NAMES[command]} with {quoted(reply)}", reply), events)


def _is_about_address(reply: Reply) -> bool:
    """Whether a 2xx is the answer to MAIL or RCPT, by its enhanced code (RFC 3463 section 3.2).

    Among chunks all answers are 250. With one too many, of a proxy for instance, each command would be answered by the
    reply to the one before it, and a message be taken by the word for its recipient.
    """
    return reply.enhanced is not None and reply.enhanced.startswith("2.1.")
