"""MAIL and RCPT for one message, or why this relay cannot be given it."""

from __future__ import annotations

from mailer.core.message import Envelope
from mailer.errors import MailerError
from mailer.smtp.dialogue import Transaction
from mailer.smtp.session import Features
from mailer.smtp.settings import RelaySettings


class Misfit(MailerError):
    """The message cannot go through this relay, whenever it is tried."""

    code = "unfit"


def transaction(settings: RelaySettings, features: Features, envelope: Envelope, size_bytes: int) -> Transaction:
    """The two commands. `size_bytes` as RFC 1870 counts: CRLF as two, added dots not at all. Raises Misfit."""
    sender, recipient = envelope.sender, envelope.recipient
    # The last guard against a second command in an address; whoever made the envelope has checked it, too.
    if not (sender.isprintable() and recipient.isprintable() and recipient):
        raise Misfit("the sender's or the recipient's address holds a control character or is empty")
    limit = features.size_limit
    if limit is not None and size_bytes > limit:
        raise Misfit(
            f"the message has {size_bytes:,} bytes, and relay {settings.name} takes at most {limit:,} (its SIZE limit)"
        )
    parameters = f" SIZE={size_bytes}" if features.has_size else ""
    if not (sender.isascii() and recipient.isascii()):
        if not features.has_smtputf8:
            address = sender if recipient.isascii() else recipient
            raise Misfit(
                f"the address {address} has letters beyond ASCII before its @, "
                f"and relay {settings.name} does not offer SMTPUTF8"
            )
        parameters += " SMTPUTF8"
    return Transaction(f"MAIL FROM:<{sender}>{parameters}\r\n".encode(), f"RCPT TO:<{recipient}>\r\n".encode())
