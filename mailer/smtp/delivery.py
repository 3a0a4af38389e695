"""What a relay pool asks of one message on its way."""

from __future__ import annotations

from typing import Protocol

from mailer.core.message import Composed, Envelope, Result
from mailer.core.progress import Step


class Delivery(Protocol):
    """One message, implemented by whoever sends. The pool calls `finish` exactly once, whatever happens."""

    @property
    def envelope(self) -> Envelope:
        """Its sender and recipient, as they go on the wire."""

    def compose(self) -> Composed:
        """Its bytes. Called right before its MAIL; a MailerError ends it UNFIT, with the error's sentence as note."""

    def note(self, step: Step) -> None:
        """Called with ON_WIRE and END_BEGUN before the bytes that they speak of are written.

        If it raises MailerError, those bytes are not written, the connection is closed and the message ends UNTOUCHED.
        """

    def may_end(self) -> bool:
        """Asked in the event-loop step that writes the end of data. False: it is not, and the message is UNTOUCHED."""

    def finish(self, result: Result) -> None:
        """What the try met, in the step in which it became known."""
