"""What EHLO calls us where nobody has said: this machine's name, or its address (RFC 5321 section 4.1.4)."""

from __future__ import annotations

import re
import socket
from typing import Final

_LABEL: Final = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
# At least one dot, and no number at the end: that would be an address without its brackets (RFC 3696 section 2).
_HOST_NAME: Final = re.compile(rf"(?=.{{1,253}}\Z)({_LABEL}\.)+(?![0-9]+\Z){_LABEL}")

# Names that every machine may bear, or only its own neighbours know (RFC 6761, RFC 6762). Many servers refuse them.
_NO_NAMES: Final = frozenset({"localhost", "localdomain", "local", "invalid"})


def own_name(address: str) -> str:
    """This machine's full name, or an address literal of `address`: our end of the connection, without a zone."""
    # Without asking DNS: that may take seconds, and a name that only DNS knows is not this machine's own.
    name = socket.gethostname()
    if is_full_name(name):
        return name
    return f"[IPv6:{address}]" if ":" in address else f"[{address}]"


def is_full_name(name: str) -> bool:
    """Whether others could know a machine by `name`."""
    return bool(_HOST_NAME.fullmatch(name)) and name.rpartition(".")[2].lower() not in _NO_NAMES
