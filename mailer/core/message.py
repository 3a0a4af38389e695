"""A message: its states, what moves it between them, and the plain data that passes between the rooms.

The life of a message is the table `MOVES`, read from top to bottom; a state with an empty row is final until an
operator acts. Everything else in this file is data: what a worker is handed (`Claimed`), what one try met on the wire
(`Result`), what is recorded of it (`Attempt`) and what becomes of the message (`Outcome`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from mailer.core.reply import Reply


class State(StrEnum):
    """Where a message stands. The word is the same in the database, in JSON and on the screen."""

    QUEUED = "queued"
    SENDING = "sending"
    SENT = "sent"
    DEFERRED = "deferred"
    FAILED = "failed"
    UNCERTAIN = "uncertain"
    SUPPRESSED = "suppressed"
    CANCELLED = "cancelled"
    BOUNCED = "bounced"


class Event(StrEnum):
    """What can happen to a message."""

    CLAIMED = "claimed"
    ACCEPTED = "accepted"
    REFUSED = "refused"
    PUT_OFF = "put off"
    IN_DOUBT = "in doubt"
    RELEASED = "released"
    SUPPRESSED = "suppressed"
    CANCELLED = "cancelled"
    RETURNED = "returned"
    RETRIED = "retried by the operator"


MOVES: Final[Mapping[State, Mapping[Event, State]]] = {
    State.QUEUED: {
        Event.CLAIMED: State.SENDING,
        Event.CANCELLED: State.CANCELLED,
        Event.REFUSED: State.FAILED,  # its deadline passed while it waited
    },
    State.SENDING: {
        Event.ACCEPTED: State.SENT,
        Event.REFUSED: State.FAILED,
        Event.PUT_OFF: State.DEFERRED,
        Event.IN_DOUBT: State.UNCERTAIN,
        Event.RELEASED: State.QUEUED,
        Event.SUPPRESSED: State.SUPPRESSED,
    },
    State.SENT: {Event.RETURNED: State.BOUNCED},
    State.DEFERRED: {
        Event.CLAIMED: State.SENDING,
        Event.CANCELLED: State.CANCELLED,
        Event.REFUSED: State.FAILED,  # age or deadline
    },
    State.FAILED: {Event.RETRIED: State.QUEUED},
    State.UNCERTAIN: {
        Event.CLAIMED: State.SENDING,  # the resend; until then the message stays uncertain
        Event.RETRIED: State.UNCERTAIN,  # waits for a resend from now on
        Event.ACCEPTED: State.SENT,  # the last three: late evidence about the attempt that was in doubt
        Event.REFUSED: State.FAILED,
        Event.PUT_OFF: State.DEFERRED,
    },
    State.SUPPRESSED: {Event.RETRIED: State.QUEUED},
    State.CANCELLED: {},
    State.BOUNCED: {},
}


def move(state: State, event: Event) -> State:
    """The state after `event`. Raises ValueError for a move that the table does not have, and changes nothing."""
    try:
        return MOVES[state][event]
    except KeyError:
        raise ValueError(f"a message that is {state} cannot be {event}") from None


class Phase(StrEnum):
    """How far into the conversation something happened."""

    CONNECT = "connect"
    TLS = "tls"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    END_OF_DATA = "end-of-data"


class OnUncertain(StrEnum):
    """What a campaign does with a message whose end of data was never answered."""

    RESEND = "resend"
    HOLD = "hold"


@dataclass(frozen=True, slots=True)
class Envelope:
    """Who the relay is told the message is from and for (RFC 5321 section 2.3.1). The sender may be empty."""

    sender: str
    recipient: str


@dataclass(frozen=True, slots=True)
class Claimed:
    """A message in a worker's hands, under its claim number."""

    claim: int
    message_id: int
    campaign_id: int
    lane_id: int
    relay: str
    """The relay it was claimed for."""
    version: int
    """The version of the campaign's content it is sent with."""
    address: str
    fields: str
    """The recipient's template fields, a JSON object."""
    attempts: int
    """Attempts recorded so far; the next one is number `attempts + 1`."""
    refusals: int
    """Attempts that were charged to the message: they decide how long it waits for the next."""
    losses: int
    """Connections lost in the middle of this message; the first one is not charged."""
    first_refused_at_us: int | None
    """When the message's age began, or None while nothing was charged to it."""
    in_doubt: bool
    """An earlier attempt ended without a known answer. Never forgotten."""
    waited_as: State
    """The state it was claimed from, and goes back to when it is released."""
    due_at_us: int
    expires_at_us: int | None
    """The campaign's deadline for being accepted, or None."""
    on_uncertain: OnUncertain


class Ending(StrEnum):
    """How one try ended."""

    ANSWERED = "answered"
    """A reply decided it."""
    LOST = "lost"
    """No reply: the connection was lost, or timed out, after the first byte and before the end of data had begun."""
    UNKNOWN = "unknown"
    """The end of data had begun and no reply came: the relay may or may not have the message."""
    UNTOUCHED = "untouched"
    """Nothing of it reached the wire; it goes back as if it had never been claimed."""
    UNFIT = "unfit"
    """It could not be composed, or must not be sent as it is; `note` says why. Permanent."""
    EXPIRED = "expired"
    """Its deadline had passed when its turn came."""


@dataclass(frozen=True, slots=True)
class Result:
    """What one try met."""

    ending: Ending
    phase: Phase | None = None
    reply: Reply | None = None
    relay: str | None = None
    started_at_us: int = 0
    duration_us: int = 0
    tls: str | None = None
    """Protocol and cipher, such as `TLSv1.3 TLS_AES_256_GCM_SHA384`, or None for plain text."""
    note: str = ""
    """Our own words where the server said nothing, e.g. `connection reset by peer`."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One recorded try: append-only, every reply ever received."""

    n: int
    started_at_us: int
    relay: str | None
    phase: Phase | None
    code: int | None
    enhanced: str | None
    text: str
    category: str | None
    duration_us: int
    tls: str | None
    note: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What becomes of a claimed message. Applied only while its claim number still stands; twice is harmless."""

    claim: int
    message_id: int
    campaign_id: int
    lane_id: int
    version: int
    state: State
    due_at_us: int | None
    """When it is due again; None if it does not wait."""
    attempt: Attempt | None
    reason: str
    """Our own words for a state that no reply explains (gave up after 2 days, deadline passed); else empty."""
    refusals: int
    losses: int
    first_refused_at_us: int | None
    in_doubt: bool
    newly_in_doubt: bool
    """`in_doubt` was set by this very attempt."""


# How every message begins. A chunk has no go-ahead (RFC 3030): a server that does not know BDAT after all reads what
# follows as commands, and a stranger's field would be one. This line says nothing of anybody and is no command, so it
# can go first, alone, and prove that chunks are taken. It is one line for all messages, whatever is in them.
FIRST_LINE: Final = b"MIME-Version: 1.0\r\n"


@dataclass(frozen=True, slots=True)
class Composed:
    """A message for the wire: CRLF line ends throughout, ends in CRLF, no line over 998 octets, not dot-stuffed.

    What `content` makes of a campaign begins with `FIRST_LINE`, and no line of it begins with a dot: there is nothing
    to stuff.
    """

    chunks: tuple[bytes, ...]
    """Written one after the other; static parts are the same bytes object for every recipient of a campaign."""
    size_bytes: int
    utf8_address: str | None = None
    """An address in its header with letters beyond ASCII before its `@`, which stands there in UTF-8: only a relay
    that offers SMTPUTF8 may be given this message (RFC 6531 section 3.4). None: the whole message is ASCII."""
