"""What a reply means: for whom, for how long, and in one word why.

The first digit decides between yes, not now and never (RFC 5321 section 4.2.1). Whom it is about follows from where in
the conversation it came: before MAIL it speaks of the relay and of us, from MAIL on of this message, with a few codes
that speak of the login or of the connection wherever they stand. The word comes from the table in `replies.toml`: the
enhanced status code's where it has one, else the reply code's.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final

from mailer.core import replies
from mailer.core.message import Phase
from mailer.core.replies import Category, KnownCode
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
    category: Category


# Codes about the login (RFC 4954 section 6), which a server may also give to MAIL when it wants AUTH first.
ABOUT_THE_LOGIN: Final = frozenset({432, 454, 530, 534, 535, 538})
_BEFORE_MAIL: Final = frozenset({Phase.CONNECT, Phase.TLS, Phase.AUTH})

# Far more than the different replies that servers give; a server that makes up codes without end costs no memory.
_REMEMBERED: Final = 2_048


def judge(reply: Reply, phase: Phase) -> Verdict:
    """The verdict on `reply`, which came at `phase`."""
    return verdict_of(reply.code, reply.enhanced, phase)


@lru_cache(maxsize=_REMEMBERED)
def verdict_of(code: int | None, enhanced: str | None, phase: Phase | None) -> Verdict:
    """The verdict on a reply with these codes, one of which may be missing.

    Where the phase is not known it is what the codes usually mean.
    """
    permanence = _permanence(code, enhanced, phase)
    return Verdict(_scope(code, enhanced, phase), permanence, _category(code, enhanced, phase, permanence))


def speaking(code: int | None, enhanced: str | None) -> tuple[KnownCode, ...]:
    """What the table has on these codes, the one that says most first; empty if it knows neither."""
    subject, basic = replies.of_subject(enhanced), replies.of_code(code)
    exact = replies.of_enhanced(enhanced) or subject
    # Beside the login's own codes servers put any policy code (`535 5.7.3`, `454 4.7.1`): the reply code is clearer.
    about_login = code in ABOUT_THE_LOGIN and (exact is None or not exact.about_relay)
    says_nothing = enhanced is not None and enhanced.partition(".")[2] == replies.UNDEFINED
    order = (basic, exact) if about_login or says_nothing else (exact, basic)
    return tuple(known for known in order if known is not None)


def _permanence(code: int | None, enhanced: str | None, phase: Phase | None) -> Permanence:
    digit = str(code) if code is not None else enhanced or ""
    if digit.startswith("2"):
        return Permanence.SUCCESS
    if digit.startswith("3") and phase is None:
        return Permanence.SUCCESS  # as a reply it says yes, go on
    # Where a 3xx or 1xx comes in the place of an answer it decides nothing: trying again later is the safe reading.
    return Permanence.PERMANENT if digit >= "5" else Permanence.TEMPORARY


def _scope(code: int | None, enhanced: str | None, phase: Phase | None) -> Scope:
    if phase is None:
        known = speaking(code, enhanced)
        about_relay = bool(known) and known[0].about_relay
    else:
        about_relay = (
            phase in _BEFORE_MAIL
            or code in ABOUT_THE_LOGIN
            # Service not available, closing the channel (RFC 5321 section 4.2.2): to MAIL it is not about the message.
            or (code == 421 and phase is Phase.MAIL)
        )
    return Scope.RELAY if about_relay else Scope.MESSAGE


def _category(code: int | None, enhanced: str | None, phase: Phase | None, permanence: Permanence) -> Category:
    if permanence is Permanence.SUCCESS and not str(code).startswith("3"):
        return Category.ACCEPTED
    for known in speaking(code, enhanced):
        category = known.category_at(phase)
        # `accepted` for a refusal is a server's slip, such as 550 5.1.5; the next code may say more.
        if category is not None and category is not Category.ACCEPTED:
            return category
    return Category.TEMPORARY_SERVER_PROBLEM if permanence is Permanence.TEMPORARY else Category.OTHER
