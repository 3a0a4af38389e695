"""What is known of reply codes in general: `replies.toml`, read when the first reply has to be judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any, Final

from mailer.core.message import Phase

UNDEFINED: Final = "0.0"
"""Subject and detail that say nothing (RFC 3463 section 3.1)."""


class Category(StrEnum):
    """Why, in one word. The word is the same in the database, in JSON and on the screen."""

    NO_SUCH_USER = "no-such-user"
    MAILBOX_FULL = "mailbox-full"
    POLICY_BLOCK = "policy-block"
    RATE_LIMITED = "rate-limited"
    GREYLISTED = "greylisted"
    BAD_DOMAIN = "bad-domain"
    MESSAGE_TOO_BIG = "message-too-big"
    AUTH_PROBLEM = "auth-problem"
    TEMPORARY_SERVER_PROBLEM = "temporary-server-problem"
    OTHER = "other"
    ACCEPTED = "accepted"


@dataclass(frozen=True, slots=True)
class KnownCode:
    """One code of the table."""

    meaning: str
    advice: str
    category: Category | None
    """None: the code that stands beside it decides."""
    at: Mapping[Phase, Category]
    """Other categories for single phases."""
    about_relay: bool
    """Whether it speaks of the relay where the phase is not known."""
    source: str

    def category_at(self, phase: Phase | None) -> Category | None:
        """The category where `phase` is known, or the general one."""
        return self.at.get(phase, self.category) if phase is not None else self.category


def of_code(code: int | None) -> KnownCode | None:
    """What is known of a reply code, or None if no standard defines it."""
    return None if code is None else _codes().get(code)


def of_enhanced(enhanced: str | None) -> KnownCode | None:
    """What is known of an enhanced status code, whatever its class, or None if it is in no registry."""
    return None if enhanced is None else _enhanced().get(enhanced.partition(".")[2])


def of_subject(enhanced: str | None) -> KnownCode | None:
    """What the subject alone says (`X.7.0` for `5.7.509`): codes that nobody registered are common."""
    return None if enhanced is None else _enhanced().get(enhanced.split(".")[1] + ".0")


def load() -> None:
    """Read the table now (30 ms), so that the first reply of a running worker does not have to wait for it."""
    _codes()
    _enhanced()


def codes() -> tuple[int, ...]:
    """All reply codes in the table."""
    return tuple(_codes())


def enhanced_codes() -> tuple[str, ...]:
    """All enhanced status codes in the table, as `subject.detail`."""
    return tuple(_enhanced())


@cache
def _codes() -> Mapping[int, KnownCode]:
    return {int(code): _known(entry) for code, entry in _table()["code"].items()}


@cache
def _enhanced() -> Mapping[str, KnownCode]:
    return {code: _known(entry) for code, entry in _table()["enhanced"].items()}


@cache
def _table() -> Mapping[str, Mapping[str, Any]]:
    import tomllib  # a command that judges no reply does not pay for it
    from importlib.resources import files

    return tomllib.loads(files("mailer.core").joinpath("replies.toml").read_text("utf-8"))


def _known(entry: Mapping[str, Any]) -> KnownCode:
    return KnownCode(
        meaning=entry["meaning"],
        advice=entry["advice"],
        category=Category(entry["category"]) if "category" in entry else None,
        at={Phase(phase): Category(category) for phase, category in entry.get("at", {}).items()},
        about_relay=entry.get("scope") == "relay",
        source=entry["source"],
    )
