"""One message of a campaign, for looking at or trying out: a draft and the recipient whose fields it is made with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from mailer.content import BadRow, Rendered
from mailer.core.address import BadAddress, address_key, domain_of
from mailer.core.message import Composed
from mailer.errors import InputError, NotFound
from mailer.service.queue_draft import Draft, Ground, draft_from_store
from mailer.service.queue_rows import BadRows, RowCheck, Rows, describe, encode_fields
from mailer.store import Store

__all__ = ["Specimen", "specimen_from_rows", "specimen_from_store"]

# Shown as the recipient where none is named: example.com belongs to nobody (RFC 2606).
SOMEBODY: Final = "somebody@example.com"
# What a trial says of itself, before the subject.
TRIAL_PREFIX: Final = "[test] "


@dataclass(frozen=True)
class Specimen:
    """A draft with one recipient."""

    draft: Draft
    address: str
    fields: Mapping[str, Any]

    def render(self) -> Rendered:
        """Subject, To, text and HTML as this recipient would see them. Raises InputError."""
        return self.draft.compiled.preview(self.address, self.fields)

    def compose(self, now_us: int, *, to: str | None = None) -> Composed:
        """The whole message, under nobody's identity. With `to` it is a trial: addressed there and marked as such."""
        check = RowCheck(self.draft.compiled, domain_of(self.draft.author))
        date = datetime.fromtimestamp(now_us / 1_000_000, UTC)
        prefix = TRIAL_PREFIX if to is not None else ""
        return check.compose(to or self.address, self.fields, date=date, subject_prefix=prefix)


async def specimen_from_store(store: Store, name: str, ground: Ground, recipient: str | None) -> Specimen:
    """Of campaign `name`, with the fields of `recipient` or of its first one. Raises NotFound."""
    campaign = await store.campaigns.find(name)
    stored = await store.campaigns.content(campaign.id, campaign.version)
    draft = draft_from_store(campaign, stored, ground)
    found = await store.reading.recipient(campaign.id, _key(recipient))
    if found is None:
        if recipient is None:
            raise NotFound(f"campaign {name} has no recipients.", f"`mailer campaign add {name}` adds some.")
        raise NotFound(f"campaign {name} has no recipient {recipient}.", f"`mailer campaign export {name}` lists them.")
    return Specimen(draft, found[0], json.loads(found[1]))


def specimen_from_rows(draft: Draft, rows: Rows | None, recipient: str | None) -> Specimen:
    """Of a draft, with the row of `recipient` or the first one that can be used; without rows, with no fields.

    Raises InputError when no row fits, and when a template needs a field that is not there.
    """
    key = _key(recipient)
    if rows is None:
        draft.compiled.check_columns(())
        return Specimen(draft, recipient or SOMEBODY, {})
    if rows.columns is not None:
        draft.compiled.check_columns(rows.columns)
    check = RowCheck(draft.compiled, domain_of(draft.author))
    bad = BadRows(rows.where, None)
    for row in rows:
        if isinstance(row, BadRow):
            bad.add(row)
        elif key is None or row.key == key:
            problem = check.problem(row.address, row.fields, encode_fields(row.fields))
            if problem is None:
                return Specimen(draft, row.address, row.fields)
            bad.add(BadRow(row.row, row.address, problem))
            if key is not None:
                raise InputError(f"{rows.where}, {describe(bad.first[-1])}", "Another --recipient may do.")
    if recipient is not None:
        raise InputError(f"{rows.where}: {recipient} does not stand in it.", "Name one of its addresses.")
    raise bad.nobody()


def _key(address: str | None) -> str | None:
    if address is None:
        return None
    try:
        return address_key(address)
    except BadAddress as error:
        raise InputError(f"{address!r} is no address: {error}.") from None
