"""What comes out of a file of recipients: those who can be mailed, and rows that cannot be used."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from mailer.core.address import address_key, check_address, domain_of
from mailer.core.destination import destination_of

__all__ = ["AddressBook", "BadRow", "Recipient"]

# Room for the domains of any list that was not made up; a made-up one costs time, never memory without end.
_DOMAINS_KEPT: Final = 50_000
# A local part that needs no second look: a dot-string of letters, digits and what people really use.
_PLAIN_LOCAL: Final = re.compile(r"[A-Za-z0-9_+-]+(?:\.[A-Za-z0-9_+-]+)*", re.ASCII)
# Of the longest local part and the longest address; within both nothing has to be counted in bytes.
_SURELY_SHORT: Final = 64


@dataclass(frozen=True, slots=True)
class Recipient:
    """One who can be mailed."""

    row: int
    """The line of the file on which it stands, or begins."""
    address: str
    key: str
    """The form in which addresses are compared."""
    destination: str
    """The destination group."""
    fields: dict[str, Any]


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be used."""

    row: int
    text: str
    reason: str


class AddressBook:
    """Checks addresses, with the answers for domains it has met before."""

    def __init__(self) -> None:
        self._domains: dict[str, tuple[str, str]] = {}

    def look_up(self, address: str) -> tuple[str, str]:
        """The key and the destination group of `address`. Raises BadAddress with what is wrong with it."""
        local, _, domain = address.rpartition("@")
        known = self._domains.get(domain)
        if known is None or _PLAIN_LOCAL.fullmatch(local) is None or len(address) > _SURELY_SHORT:
            return self._slowly(address, domain)
        return f"{local.lower()}@{known[0]}", known[1]

    def _slowly(self, address: str, domain: str) -> tuple[str, str]:
        check_address(address)
        if len(self._domains) >= _DOMAINS_KEPT:
            self._domains.clear()
        wire_domain = domain_of(address)
        destination = destination_of(wire_domain)
        self._domains[domain] = (wire_domain, destination)
        return address_key(address), destination
