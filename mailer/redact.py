"""The last net under secrets: text that is about to be written anywhere is searched for every secret that was resolved.

Nothing of ours puts a password into a log or an error on purpose. What others raise may hold one, and a traceback may
quote it; whoever writes such text passes it through a `Redactor` first.
"""

from __future__ import annotations

import base64
import json
from typing import Final
from urllib.parse import quote

MASK: Final = "***"

# A shorter one would turn every log line into stars, and is no secret to anybody who can guess.
SHORTEST: Final = 4


class Redactor:
    """Replaces the secrets it was told of, in the forms in which they travel, by ***."""

    def __init__(self) -> None:
        self._forms: set[str] = set()
        self._longest_first: tuple[str, ...] = ()

    def add(self, secret: str) -> None:
        """Remember `secret`: as it is, as `repr` and JSON quote it, percent-encoded, in base64 as AUTH LOGIN has it."""
        if len(secret) < SHORTEST:
            return
        encoded = base64.b64encode(secret.encode("utf-8", "surrogateescape")).decode("ascii")
        self._forms |= {secret, repr(secret)[1:-1], quote(secret, safe=""), encoded}
        self._forms |= {json.dumps(secret, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False)}
        # Longest first, so that no form is broken up by another one that it contains.
        self._longest_first = tuple(sorted(self._forms, key=len, reverse=True))

    def __call__(self, text: str) -> str:
        for form in self._longest_first:
            if form in text:
                text = text.replace(form, MASK)
        return text
