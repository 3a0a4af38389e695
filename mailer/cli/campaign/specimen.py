"""One message of a campaign, however it was named: for `preview` and `test`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mailer.cli.campaign.options import Stdin, files_of, given_content, ground_of, wishes_of
from mailer.cli.campaign.recipients import open_recipients
from mailer.errors import UsageError

if TYPE_CHECKING:
    from mailer.cli.session import Session
    from mailer.service.specimen import Specimen

__all__ = ["specimen_of"]


def specimen_of(session: Session, name: str | None, recipient: str | None, given: Mapping[str, Any]) -> Specimen:
    """Of campaign `name`, or of what the options of `queue` describe; nothing is stored.

    Raises UsageError when both or neither were typed.
    """
    described = given_content(given)
    if name is not None:
        if described or given["recipients"]:
            raise UsageError("name a campaign, or describe one with the options of `queue`; not both.")
        return session.run(_stored(session, name, recipient))
    if not described:
        raise UsageError("it is not said of what.", "Name a campaign, or describe one with the options of `queue`.")
    return _described(session, recipient, given)


async def _stored(session: Session, name: str, recipient: str | None) -> Specimen:
    from mailer.service.specimen import specimen_from_store

    async with session.store() as store:
        return await specimen_from_store(store, name, ground_of(session), recipient)


def _described(session: Session, recipient: str | None, given: Mapping[str, Any]) -> Specimen:
    from mailer.service.queue_draft import draft_from_files
    from mailer.service.specimen import specimen_from_rows

    source = given["recipients"]
    stdin = Stdin(text=given["text"], html=given["html"], recipients=source)
    # Templates may show the campaign's name; it has none yet.
    draft = draft_from_files(
        "preview", files_of(session, given), wishes_of(given), ground_of(session), stdin=stdin.read
    )
    if source is None:
        return specimen_from_rows(draft, None, recipient)
    with open_recipients(session, source, encoding=given["encoding"], address_column=given["address_column"]) as rows:
        return specimen_from_rows(draft, rows, recipient)
