"""What a reply means: for whom, for how long, and in one word why.

The first digit decides between yes, not now and never (RFC 5321 section 4.2.1). Whom it is about follows from where in
the conversation it came: before MAIL it speaks of the relay and of us, from MAIL on of this message, with a few codes
that speak of the login or of the connection wherever they stand.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from mailer.core.message import Phase
from mailer.core.reply import Reply


class Scope(StrEnum):
    """Whom a reply is about."""

    MESSAGE = "message"
    DESTINATION = "destination"
    RELAY = "relay"


class Permanence(StrEnum):
    """For how long it holds."""

    SUCCESS = "success"
    TEMPORARY = "temporary"
    PERMANENT = "permanent"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one reply means."""

    scope: Scope
    permanence: Permanence
    category: str


# Codes about the login (RFC 4954 section 6), which a server may also give to MAIL when it wants AUTH first.
_ABOUT_THE_LOGIN: Final = frozenset({432, 454, 530, 534, 535, 538})
_BEFORE_MAIL: Final = frozenset({Phase.CONNECT, Phase.TLS, Phase.AUTH})


def judge(reply: Reply, phase: Phase) -> Verdict:
    """The verdict on `reply`, which came at `phase`."""
    permanence = _permanence(reply.code)
    about_relay = (
        phase in _BEFORE_MAIL
        or reply.code in _ABOUT_THE_LOGIN
        # Service not available, closing the channel (RFC 5321 section 4.2.2): to a MAIL it cannot be about the message.
        or (reply.code == 421 and phase is Phase.MAIL)
    )
    return Verdict(Scope.RELAY if about_relay else Scope.MESSAGE, permanence, "accepted" if permanence is Permanence.SUCCESS else "other")


def _permanence(code: int) -> Permanence:
    if 200 <= code < 300:
        return Permanence.SUCCESS
    # 3xx and 1xx decide nothing; where one comes in the place of an answer, trying again later is the safe reading.
    return Permanence.PERMANENT if code >= 500 else Permanence.TEMPORARY
