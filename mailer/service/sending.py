"""Sending a message by hand: a small campaign that its own command sends, at once and before anybody else.

Its lanes stay closed to all workers while the command runs. Whatever is left when it ends is opened to them: a message
that was put off is retried by whichever worker is there. If the command is killed, the campaign stays paused and says
so, and nothing of it is lost.

Where no record of it is wanted there is no campaign and no database: each message is composed and handed over in turn.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Final

from mailer.config import Config
from mailer.content import BadRow, Recipient
from mailer.core.address import BadAddress, address_key, check_address, domain_of, wire_address
from mailer.core.clock import SECOND_US, Clock
from mailer.core.destination import destination_of
from mailer.core.message import Envelope, Result
from mailer.errors import InputError
from mailer.service.identity import message_id
from mailer.service.job import Job
from mailer.service.queue_draft import Draft
from mailer.service.queueing import loader_name
from mailer.service.running import Summary, run_worker
from mailer.service.trial import send_trial
from mailer.smtp import Transcript
from mailer.store import MessageSummary, NewRow, Store

__all__ = [
    "Addressees",
    "SentByHand",
    "SentUnrecorded",
    "name_for_now",
    "queue_by_hand",
    "send_by_hand",
    "send_unrecorded",
]

BEING_SENT: Final = "being sent by `mailer send`; `mailer campaign resume` hands it to the workers"


@dataclass(frozen=True, slots=True)
class SentByHand:
    """What became of it."""

    campaign: str
    messages: tuple[MessageSummary, ...]
    summary: Summary | None
    """None where it was only queued."""


@dataclass(frozen=True, slots=True)
class SentUnrecorded:
    """One message that was taken, of which nothing is kept."""

    address: str
    relay: str
    result: Result


class Addressees:
    """The addresses of a command line as recipients. Raises InputError for one that is none."""

    columns: tuple[str, ...] = ()

    def __init__(self, addresses: Sequence[str]) -> None:
        self._rows: list[Recipient | BadRow] = []
        seen: set[str] = set()
        for n, address in enumerate(addresses, 1):
            try:
                check_address(address)
                key = address_key(address)
            except BadAddress as error:
                raise InputError(
                    f"{address!r} is no address: {error}.", "An address is like name@example.com; names come later."
                ) from None
            if key not in seen:
                self._rows.append(Recipient(n, address, key, destination_of(domain_of(address)), {}))
            seen.add(key)

    def __iter__(self) -> Iterator[Recipient | BadRow]:
        return iter(self._rows)

    def rows(self) -> list[NewRow]:
        """The same for the store."""
        return [NewRow(row.address, row.key, row.destination, "{}") for row in self._rows if isinstance(row, Recipient)]


def name_for_now(now_us: int) -> str:
    """`send/<UTC time>-<4 hex>`, a name that no campaign of an operator's can have."""
    at = datetime.fromtimestamp(now_us // SECOND_US, UTC)
    return f"send/{at:%Y-%m-%dT%H:%M:%SZ}-{secrets.token_hex(2)}"


async def queue_by_hand(store: Store, draft: Draft, to: Addressees, now_us: int) -> SentByHand:
    """Queue it for the workers."""
    load = await store.begin_load(draft.name, loader=loader_name(), new=draft.snapshot(now_us), kind="send")
    await load.add(to.rows())
    await load.release(hold=False)
    return SentByHand(draft.name, tuple(await _messages(store, draft.name)), None)


async def send_by_hand(
    store: Store,
    config: Config,
    draft: Draft,
    to: Addressees,
    now_us: int,
    stop: asyncio.Event,
    *,
    transcript: Callable[[], Transcript] | None = None,
    when: Callable[[int], str] = str,
) -> SentByHand:
    """Queue it, try every message once, and leave to the workers what has to wait."""
    load = await store.begin_load(draft.name, loader=loader_name(), new=draft.snapshot(now_us), kind="send")
    await load.add(to.rows())
    await load.release(hold=True, reason=BEING_SENT)
    job = Job(until_empty=True, wait=False, only_campaign=load.campaign_id, transcript=transcript)
    try:
        summary = await run_worker(store, config, job, stop, when=when)
    finally:
        await store.campaigns.resume(draft.name)
    return SentByHand(draft.name, tuple(await _messages(store, draft.name)), summary)


async def send_unrecorded(
    draft: Draft,
    to: Addressees,
    *,
    clock: Clock,
    random: Random,
    transcript: Callable[[], Transcript] | None = None,
) -> AsyncIterator[SentUnrecorded]:
    """Send it to one after the other, through the first relay that may carry it; each as it is taken.

    Raises as `send_trial` does at the first that is not taken; those before it are sent.
    """
    relay = draft.carriers[0]
    for row in to.rows():
        identity = secrets.token_hex(16)  # as long as one of a recorded message
        composed = draft.compiled.compose(
            row.address,
            {},
            message_id=message_id(identity, domain_of(draft.author)),
            mailer_id=identity,
            date=datetime.fromtimestamp(clock() / SECOND_US, UTC),
        )
        sender = draft.settings.envelope_from
        envelope = Envelope(wire_address(sender) if sender else "", wire_address(row.address))
        result = await send_trial(relay, envelope, composed, clock=clock, random=random, transcript=transcript)
        yield SentUnrecorded(row.address, relay.name, result)


async def _messages(store: Store, name: str) -> list[MessageSummary]:
    return list(reversed(await store.reading.messages(limit=10_000, campaign=name)))
