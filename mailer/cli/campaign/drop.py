"""`mailer campaign drop`: recipients who are not to get it after all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from mailer.cli import app, names
from mailer.cli.campaign.options import recipients_options
from mailer.cli.campaign.recipients import open_recipients
from mailer.cli.output import Column, emit
from mailer.cli.session import Session
from mailer.errors import InputError, UsageError

if TYPE_CHECKING:
    from mailer.store import Dropped

COLUMNS: Final = (Column("address"), Column("what"))
# What the fields of the answer mean, in words.
WORDS: Final = {
    "cancelled": "cancelled",
    "on_the_way": "was on the way already",
    "already_ended": "had ended already",
    "unknown": "is not in the campaign",
}


@app.command(
    examples=(
        "mailer campaign drop spring bob@example.com eve@example.com",
        "mailer campaign drop spring --recipients unsubscribed.txt",
    ),
    shows=True,
)
@click.argument("name", type=names.CAMPAIGN)
@click.argument("addresses", metavar="ADDRESS…", nargs=-1)
@recipients_options
def command(
    session: Session,
    name: str,
    addresses: tuple[str, ...],
    recipients: str | None,
    encoding: str | None,
    address_column: str | None,
) -> None:
    """Cancel the messages to these addresses that still wait, and say who was on the way already."""
    if not addresses and recipients is None:
        raise UsageError("nobody is named.", "Name addresses, or a file with --recipients FILE.")
    keys = [_key(address) for address in addresses]
    if recipients is not None:
        keys += _keys_in(session, recipients, encoding, address_column)
    dropped = session.run(_drop(session, name, keys))
    groups = {
        "cancelled": dropped.cancelled,
        "on_the_way": dropped.on_the_way,
        "already_ended": dropped.already_ended,
        "unknown": dropped.unknown,
    }
    rows = [{"address": key, "what": WORDS[group]} for group, found in groups.items() for key in found]
    document = {"campaign": name} | {group: list(found) for group, found in groups.items()}
    emit(session, document, rows=rows, columns=COLUMNS)
    session.note(
        f"{len(dropped.cancelled):,} cancelled, {len(dropped.on_the_way):,} on the way already, "
        f"{len(dropped.already_ended):,} had ended, {len(dropped.unknown):,} not in the campaign."
    )


async def _drop(session: Session, name: str, keys: list[str]) -> Dropped:
    async with session.store() as store:
        return await store.campaigns.drop(name, keys)


def _key(address: str) -> str:
    from mailer.core.address import BadAddress, address_key

    try:
        return address_key(address)
    except BadAddress as error:
        raise InputError(f"{address!r} is no address: {error}.") from None


def _keys_in(session: Session, recipients: str, encoding: str | None, address_column: str | None) -> list[str]:
    """The addresses of a file. Raises InputError if one of them cannot be read: nobody is dropped by half."""
    from mailer.content import BadRow
    from mailer.service.queue_rows import BadRows, describe

    keys = []
    with open_recipients(session, recipients, encoding=encoding, address_column=address_column) as rows:
        bad = BadRows(rows.where, None)
        for row in rows:
            if isinstance(row, BadRow):
                bad.add(row)
            else:
                keys.append(row.key)
    if bad.count:
        raise InputError(
            f"{rows.where}: {bad.count:,} rows hold no address that can be used, so nobody was dropped.",
            "\n".join(describe(row) for row in bad.first),
        )
    return keys
