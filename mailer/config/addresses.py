"""The kinds of values that say where we are in a network: our name in EHLO, the address that we send from."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Annotated, Final

from pydantic import AfterValidator

from mailer.config.values import WrongValueError

__all__ = ["EhloName", "SourceAddress", "ip_version"]

_LABEL: Final = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
# The name is written into a command (RFC 5321 section 4.1.1.1): a domain or an address literal, nothing else.
_DOMAIN: Final = re.compile(rf"({_LABEL}\.)*(?![0-9]+\Z){_LABEL}")
_LITERAL: Final = re.compile(r"\[(IPv6:)?([0-9A-Fa-f.:]+)\]")


def ip_version(text: str) -> int | None:
    """4 or 6 for an IP address without brackets and zone, None for anything else."""
    try:
        return None if "%" in text else ip_address(text).version
    except ValueError:
        return None


def _ehlo_name(name: str) -> str:
    literal = _LITERAL.fullmatch(name)
    is_right = ip_version(literal[2]) == (6 if literal[1] else 4) if literal else _DOMAIN.fullmatch(name)
    if not is_right or len(name) > 255:  # RFC 5321 section 4.5.3.1.2
        raise WrongValueError(
            'expected a host name such as "mail.example.com", '
            'or an address such as "[192.0.2.7]" or "[IPv6:2001:db8::7]"'
        )
    return name


def _source_address(address: str) -> str:
    bare = address[1:-1] if address.startswith("[") and address.endswith("]") else address
    if ip_version(bare) is None or ip_address(bare).is_multicast:
        raise WrongValueError('expected an address of this machine, such as "192.0.2.7" or "2001:db8::7"')
    return bare


EhloName = Annotated[str, AfterValidator(_ehlo_name)]
SourceAddress = Annotated[str, AfterValidator(_source_address)]
