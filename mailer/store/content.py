"""What a campaign sends and how: the snapshot that is stored, its versions and attachments, the route it takes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from mailer.core.message import OnUncertain
from mailer.store.sqlite import Database, Transaction


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Content and settings of a campaign as they stood when the operator pressed return."""

    body: str
    """The content, canonical JSON; opaque here."""
    digest: str
    blobs: Mapping[str, bytes]
    """Attachments by their SHA-256."""
    settings: str
    """What the operator asked for besides the content, canonical JSON; opaque here."""
    author: str
    envelope_from: str
    relays: tuple[str, ...]
    priority: int
    on_uncertain: OnUncertain
    start_at_us: int | None
    expires_at_us: int | None


def weight_of(priority: int) -> int:
    """A lane's weight: priorities 10, 0 and -10 are as 10 : 3 : 1."""
    return round(1_000 * 10 ** (priority / 20))


async def put_attachments(database: Database, blobs: Mapping[str, bytes]) -> None:
    """Store what is not there yet, one a transaction: 25 MB are a transaction of their own."""
    async with database.reading() as tx:
        missing = await _missing(tx, blobs)
    for digest in missing:
        async with database.transaction() as tx:
            await tx.run("insert_attachment", digest=digest, data=blobs[digest])


async def route_of(tx: Transaction, new: Snapshot) -> int:
    """The route of a snapshot, made if it is the first of its kind."""
    relays = json.dumps(list(new.relays), ensure_ascii=False)
    return await tx.number("find_route", author=new.author, envelope_from=new.envelope_from, relays=relays)


async def insert_content(tx: Transaction, campaign: int, version: int, new: Snapshot, now: int) -> None:
    """Write a content version. Its attachments are there already (`put_attachments`), unless one was removed since."""
    await tx.run("insert_content", campaign=campaign, version=version, digest=new.digest, body=new.body, now=now)
    for digest in await _missing(tx, new.blobs):
        await tx.run("insert_attachment", digest=digest, data=new.blobs[digest])
    for digest in new.blobs:
        await tx.run("insert_content_attachment", campaign=campaign, version=version, digest=digest)


async def _missing(tx: Transaction, blobs: Mapping[str, bytes]) -> list[str]:
    return [row[0] for row in await tx.all("missing_attachments", digests=json.dumps(list(blobs)))]
