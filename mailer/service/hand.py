"""What a worker has in hand: claimed and not yet recorded, by relay and by campaign.

The limits are here too. Each relay may have twice as many messages in hand as it has slots, so that no slot waits for
a commit; all of them together never more than `max_in_hand`, which bounds what a death of the worker leaves in doubt.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mailer.core.message import Claimed


@dataclass(frozen=True, slots=True)
class Room:
    """How much one relay can hold."""

    relay: str
    most: int
    weight: int


class Hand:
    """Counts, not messages: those are on their way."""

    def __init__(self, rooms: Iterable[Room], most: int) -> None:
        self._rooms = {room.relay: room for room in rooms}
        self._most = most
        self._by_relay: Counter[str] = Counter()
        self._by_campaign: Counter[int] = Counter()

    def take(self, claimed: Iterable[Claimed]) -> None:
        """These have been claimed."""
        for one in claimed:
            self._by_relay[one.relay] += 1
            self._by_campaign[one.campaign_id] += 1

    def release(self, claimed: Iterable[Claimed]) -> None:
        """The outcomes of these have been recorded."""
        for one in claimed:
            self._by_relay[one.relay] -= 1
            self._by_campaign[one.campaign_id] -= 1
            if not self._by_campaign[one.campaign_id]:
                del self._by_campaign[one.campaign_id]

    @property
    def count(self) -> int:
        """Messages in hand."""
        return self._by_relay.total()

    @property
    def campaigns(self) -> frozenset[int]:
        """The campaigns they are of."""
        return frozenset(self._by_campaign)

    def places(self, leaving: Iterable[Claimed], open_relays: Iterable[str]) -> Mapping[str, int]:
        """Free places by relay, the relay that is served least for its weight first.

        `leaving` are those whose outcomes the coming exchange records; `open_relays` those that take messages now.
        """
        left = self._most
        held = Counter(self._by_relay)
        for one in leaving:
            held[one.relay] -= 1
        left -= held.total()
        free: dict[str, int] = {}
        rooms = sorted(
            (self._rooms[name] for name in open_relays),
            key=lambda room: (held[room.relay] / room.most / room.weight, room.relay),
        )
        for room in rooms:
            free[room.relay] = max(0, min(room.most - held[room.relay], left))
            left -= free[room.relay]
        return free
