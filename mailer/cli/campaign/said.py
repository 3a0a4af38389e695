"""How a command that changes a campaign answers: a sentence for people, a document for programs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mailer.cli.output import emit

if TYPE_CHECKING:
    from mailer.cli.session import Session

__all__ = ["say"]


def say(session: Session, sentence: str, document: Mapping[str, Any]) -> None:
    """`sentence` on stderr for a person, `document` on stdout for a program."""
    if session.format == "table":
        session.note(sentence)
    else:
        emit(session, document)
