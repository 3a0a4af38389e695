"""Addresses: what one may look like, how two are compared, and how one is written on the wire.

The shape is RFC 5321 section 4.1.2 (Mailbox): a dot-string or a quoted string, `@`, a domain. Letters beyond ASCII are
taken in both halves (RFC 6531). Two things of the standard are not taken, for no list of recipients has them: address
literals (`user@[192.0.2.1]`), and blanks and angle brackets in a quoted string, which more than one server misreads as
the end of the address.

A letter with an accent may be written as one character or as two, and looks the same (what comes from a Mac often has
two). Mail servers compare bytes, and mailboxes are made with one: before anything else a local part is brought into
that form (NFC, as RFC 6532 section 3.1 asks; not NFKC, which it warns of, since that changes how names are spelt). What
an operator wrote is shown, and given to templates, as it was written.
"""

from __future__ import annotations

import re
import unicodedata
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

# RFC 5321 section 4.5.3.1: octets, counted as they travel.
MAX_LOCAL_BYTES: Final = 64
MAX_DOMAIN_BYTES: Final = 255
MAX_ADDRESS_BYTES: Final = 254  # a path of 256 octets holds the two angle brackets as well

# atext of RFC 5322 section 3.2.3, and every character beyond ASCII (checked for being printable by itself).
_ATOM: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\x80-\U0010ffff-]+"
_DOT_STRING: Final = re.compile(rf"{_ATOM}(\.{_ATOM})*")
# qtext and quoted pairs of RFC 5321 section 4.1.2, without blank, `<` and `>`.
_QUOTED_STRING: Final = re.compile(r'"([\x21\x23-\x3b=\x3f-\x5b\x5d-\x7e\x80-\U0010ffff]|\\[\x21-\x3b=\x3f-\x7e])+"')
_LABEL: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)
# Control characters, line and paragraph separators, lone surrogates. Format characters stay: names in some scripts and
# emoji need the zero width joiner.
_NOT_IN_A_NAME: Final = frozenset({"Cc", "Zl", "Zp", "Cs"})
_ANGLE: Final = re.compile(r"(?P<name>[^<>]*)<(?P<address>[^<>]*)>\s*")
# Domains in other scripts take 20 µs each way, several times a message; those of a list are few.
_DOMAINS_KEPT: Final = 1_000


class BadAddress(ValueError):
    """This is no address. The text says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Mailbox:
    """`Name <address>`; the name may be empty."""

    name: str
    address: str


def check_address(address: str) -> None:
    """Raises BadAddress, with what is wrong, unless `address` is a bare address that can be sent to."""
    local, domain = _split(address)
    _check_local(local)
    length = len(local.encode()) + 1 + len(_a_labels(domain))
    if length > MAX_ADDRESS_BYTES:
        raise BadAddress(f"it is longer than {MAX_ADDRESS_BYTES} bytes")


def address_key(address: str) -> str:
    """The form in which addresses are compared: lower case in NFC, the domain as A-labels. Raises BadAddress."""
    check_address(address)
    local, domain = _split(address)
    return f"{_lower(local)}@{_a_labels(domain)}"


def wire_address(address: str) -> str:
    """The form for MAIL and RCPT: the local part as it was written but in NFC, the domain as A-labels.

    Raises BadAddress. A domain in any script is ASCII here, so it is the local part alone that may ask for SMTPUTF8.
    """
    check_address(address)
    local, domain = _split(address)
    return f"{local}@{_a_labels(domain)}"


def header_address(address: str) -> str:
    """The form for a header: as on the wire; but if that is not ASCII, with the domain in its own script, too.

    Raises BadAddress. RFC 6531 section 3.2 allows both forms of the domain there and section 3.7 prefers its letters.
    Who can read the first half of such an address can read the second, and mail readers do not decode `xn--` in an
    address; an address that is ASCII must be readable by those who know nothing of this, and keeps its A-labels.
    """
    wire = wire_address(address)
    if wire.isascii():
        return wire
    local, domain = _split(wire)
    return f"{local}@{_own_script(domain)}"


def domain_of(address: str) -> str:
    """The domain as A-labels in lower case. Raises BadAddress."""
    return _a_labels(_split(address)[1])


def parse_mailbox(text: str) -> Mailbox:
    """One mailbox: `Name <a@b>`, `"Name, Inc." <a@b>` or `a@b`. Raises BadAddress; for a list of several, too."""
    if any(unicodedata.category(char) in _NOT_IN_A_NAME for char in text):
        raise BadAddress("it holds a control character or a line break")
    stripped = text.strip()
    found = _ANGLE.fullmatch(stripped)
    if found is None:
        if any(char in stripped for char in "<>,") and not stripped.startswith('"'):
            raise BadAddress("expected one address, as in Name <name@example.com>")
        check_address(stripped)
        return Mailbox("", stripped)
    address = found["address"].strip()
    check_address(address)
    return Mailbox(_display_name(found["name"].strip()), address)


def _display_name(name: str) -> str:
    if name.startswith('"'):
        if len(name) < 2 or not name.endswith('"') or re.fullmatch(r'"([^"\\]|\\.)*"', name) is None:
            raise BadAddress("its name has a quote that is not closed")
        return re.sub(r"\\(.)", r"\1", name[1:-1])
    if "@" in name or '"' in name:
        raise BadAddress("expected one address; a name with `@` or a quote in it stands in quotes")
    return name


def _split(address: str) -> tuple[str, str]:
    local, at, domain = address.rpartition("@")
    if not at:
        raise BadAddress("it has no `@`" if address else "it is empty")
    return local if local.isascii() else unicodedata.normalize("NFC", local), domain


def _check_local(local: str) -> None:
    if not local:
        raise BadAddress("nothing stands before the `@`")
    if _DOT_STRING.fullmatch(local) is None and _QUOTED_STRING.fullmatch(local) is None:
        if any(char.isspace() or not char.isprintable() for char in local):
            raise BadAddress("it holds a blank or a control character")
        if ".." in local or local.startswith(".") or local.endswith("."):
            raise BadAddress("it has a dot where none may be")
        raise BadAddress("it holds a character that an address cannot have")
    if not local.isascii() and not local.isprintable():
        if any(char.isspace() for char in local):
            raise BadAddress("it holds a blank or a control character")
        raise BadAddress("it holds a character that nobody sees, or half a character")
    # Lower case can be longer (İ): the key of an address is held to the same limit.
    if max(len(local.encode()), len(_lower(local).encode())) > MAX_LOCAL_BYTES:
        raise BadAddress(f"what stands before the `@` is longer than {MAX_LOCAL_BYTES} bytes")


def _lower(local: str) -> str:
    lowered = local.lower()
    return lowered if lowered.isascii() else unicodedata.normalize("NFC", lowered)


def _a_labels(domain: str) -> str:
    """Lower case, and letters beyond ASCII as punycode (RFC 5891)."""
    if not domain:
        raise BadAddress("nothing stands behind the `@`")
    ascii_domain = domain.lower() if domain.isascii() else _punycode(domain)
    if len(ascii_domain) > MAX_DOMAIN_BYTES or not all(_LABEL.fullmatch(label) for label in ascii_domain.split(".")):
        raise BadAddress(f"there can be no domain {domain!r}")
    return ascii_domain


@lru_cache(_DOMAINS_KEPT)
def _punycode(domain: str) -> str:
    import idna  # only lists with such domains pay for it

    try:
        return idna.encode(domain, uts46=True).decode("ascii").lower()
    except (idna.IDNAError, UnicodeError):
        raise BadAddress(f"there can be no domain {domain!r}") from None


@lru_cache(_DOMAINS_KEPT)
def _own_script(domain: str) -> str:
    """`domain`, of A-labels, in its own script; a label that stands for nothing stays as it is."""
    import idna

    labels = domain.split(".")
    for at, label in enumerate(labels):
        if label.startswith("xn--"):
            with suppress(idna.IDNAError, UnicodeError):
                labels[at] = idna.ulabel(label)
    return ".".join(labels)
