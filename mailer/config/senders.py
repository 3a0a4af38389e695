"""Which addresses a relay may carry, for the envelope sender and the header From alike."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from mailer.core.address import address_key

if TYPE_CHECKING:
    from mailer.config.model import Relay

__all__ = ["carries", "describe_senders", "may_take"]


def carries(relay: Relay, address: str) -> bool:
    """Whether `relay` may send for `address` (a bare address, not `Name <…>`). Raises BadAddress if it is none.

    `senders` decides; where it is empty a personal mailbox carries its own address alone, any other relay everything.
    Addresses are compared without case and with their domain in IDNA form; `@domain` means that domain, not those
    below it. The empty envelope sender of a bounce (RFC 5321 section 4.5.5) goes through every relay.
    """
    allowed = relay.allowed_senders
    if allowed is None or not address:
        return True
    key = address_key(address)
    domain = key[key.rindex("@") :]
    return any(_sender_key(sender) == (domain if sender.startswith("@") else key) for sender in allowed)


def may_take(relay: Relay, author: str, envelope_from: str, named: Collection[str]) -> bool:
    """Whether `relay` may carry what is from both addresses and for `named` relays (empty: any). Raises BadAddress."""
    return (not named or relay.name in named) and carries(relay, author) and carries(relay, envelope_from)


def describe_senders(relay: Relay) -> str:
    """What `relay` may carry, in words: `any address`, `me@qq.com, @example.com`."""
    return "any address" if relay.allowed_senders is None else ", ".join(relay.allowed_senders)


def _sender_key(sender: str) -> str:
    # A domain alone has no key of its own; any local part serves to bring it into the same form.
    return address_key("x" + sender)[1:] if sender.startswith("@") else address_key(sender)
