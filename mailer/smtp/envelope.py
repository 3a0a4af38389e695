"""MAIL and RCPT for one message, or why this relay cannot be given it."""

from __future__ import annotations

from typing import NamedTuple

from mailer.core.message import Envelope
from mailer.errors import MailerError
from mailer.smtp.session import Features
from mailer.smtp.settings import RelaySettings


class Transaction(NamedTuple):
    """One message's two commands, complete with CRLF."""

    mail: bytes
    rcpt: bytes


class Misfit(MailerError):
    """The message cannot go through this relay, whenever it is tried."""

    code = "unfit"


def transaction(
    settings: RelaySettings,
    features: Features,
    envelope: Envelope,
    size_bytes: int,
    utf8_address: str | None = None,
) -> Transaction:
    """The two commands. `size_bytes` as RFC 1870 counts: CRLF as two, added dots not at all. Raises Misfit.

    `utf8_address` is `Composed.utf8_address`: what stands in the header asks for SMTPUTF8 as the envelope does.
    """
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
    if utf8_address is not None or not (sender.isascii() and recipient.isascii()):
        address = utf8_address or (sender if recipient.isascii() else recipient)
        if not features.has_smtputf8:
            raise Misfit(
                f"the address {address} has letters beyond ASCII before its @, "
                f"and relay {settings.name} does not offer SMTPUTF8"
            )
        # RFC 6531 wants both (section 1.2), although a body that is 7-bit does not need the first (section 3.6): the
        # header is 8-bit, and a server that knows only the older extension must not clear its eighth bits. Who offers
        # SMTPUTF8 must offer 8BITMIME (section 3.1, 8); one that does not would refuse the word.
        parameters += " BODY=8BITMIME SMTPUTF8" if features.has_8bitmime else " SMTPUTF8"
    return Transaction(f"MAIL FROM:<{sender}>{parameters}\r\n".encode(), f"RCPT TO:<{recipient}>\r\n".encode())
