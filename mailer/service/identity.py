"""What a message is called on the wire: the same on every attempt, so that a receiver can recognise a duplicate."""

from __future__ import annotations

from hashlib import blake2b


def mailer_id(store_id: str, campaign_id: int, message_id: int) -> str:
    """The value of `X-Mailer-Id`, and the left side of Message-ID: 32 hex digits that say nothing of the recipient.

    It stays where a relay replaces Message-ID. Campaign ids are never used again, so it is unique within a database,
    and the store's own id makes it unique between databases.
    """
    return blake2b(f"{store_id}/{campaign_id}/{message_id}".encode(), digest_size=16).hexdigest()


def message_id(mailer_id: str, domain: str) -> str:
    """The Message-ID header under the sender's domain (RFC 5322 section 3.6.4)."""
    return f"<{mailer_id}@{domain}>"
