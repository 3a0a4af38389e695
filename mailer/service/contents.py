"""Compiled campaigns: made when the first message of a content version is in hand, kept while there is room.

A worker has many campaigns in hand at once, and each message needs its own compiled. The cache is bounded in bytes, for
attachments make one campaign as large as a thousand others; what is dropped is compiled anew when it is needed again.
"""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from dataclasses import dataclass
from datetime import date
from typing import Final

from mailer.content import Compiled, Content, Occasion, compile_content
from mailer.core.address import domain_of, wire_address
from mailer.errors import InputError, MailerError
from mailer.store import Store, StoredContent

# Two campaigns with attachments of 25 MB each fit, or some thousand without any.
MOST_BYTES: Final = 96 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Usable:
    """A content version that messages can be composed from."""

    compiled: Compiled
    envelope_from: str
    domain: str
    """Domain of the From address, under which Message-IDs are made."""


@dataclass(frozen=True, slots=True)
class Unusable:
    """A content version that cannot be compiled; its messages cannot be sent. Queueing prevents this."""

    reason: str


class Contents:
    """The compiled campaigns of one worker."""

    def __init__(self, store: Store, *, most_bytes: int = MOST_BYTES) -> None:
        self._store = store
        self._most_bytes = most_bytes
        self._bytes = 0
        self._kept: OrderedDict[tuple[int, int], Usable | Unusable] = OrderedDict()

    async def get(self, campaign_id: int, version: int) -> Usable | Unusable:
        """The compiled content. Raises StoreError when the database is not usable."""
        key = (campaign_id, version)
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
            return found
        stored = await self._store.campaigns.content(campaign_id, version)
        # In a thread: encoding an attachment of 25 MB takes longer than the event loop may be held up.
        made = await asyncio.to_thread(make_usable, stored)
        self._kept[key] = made
        self._bytes += _size(made)
        while self._bytes > self._most_bytes and len(self._kept) > 1:
            _, dropped = self._kept.popitem(last=False)
            self._bytes -= _size(dropped)
        return made


def make_usable(stored: StoredContent) -> Usable | Unusable:
    """Compile what the store holds."""
    try:
        compiled = compile_content(
            Content.from_json(stored.body), stored.blobs, Occasion(stored.name, today_of(stored.settings))
        )
    except MailerError as error:
        return Unusable(f"its content cannot be used: {error.message}")
    sender = stored.envelope_from
    return Usable(compiled, wire_address(sender) if sender else "", domain_of(stored.author))


def today_of(settings: str) -> date:
    """The date on which a campaign was queued, in its zone: what its templates call `today`."""
    try:
        return date.fromisoformat(json.loads(settings)["today"])
    except (ValueError, LookupError, TypeError) as error:
        raise InputError("the campaign's settings hold no date", "Run `mailer db check`.") from error


def _size(made: Usable | Unusable) -> int:
    return made.compiled.size_bytes if isinstance(made, Usable) else 0
