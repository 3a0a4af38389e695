"""Arguments that name something of the user's own, so that the shell can complete them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import click

from mailer.cli.session import Session

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

__all__ = ["CAMPAIGN", "RELAY"]


class _Name(click.types.StringParamType):
    """Any text; what exists is offered when the shell asks for completion."""

    def known(self, session: Session) -> Iterable[str]:
        raise NotImplementedError

    def shell_complete(self, ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        session = ctx.find_object(Session) or Session()
        session.verbosity = -1
        try:
            names = list(self.known(session))
        except Exception:  # noqa: BLE001 - somebody is typing: a broken configuration must not spoil their line
            return []
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]


class _Relay(_Name):
    name = "relay"

    def known(self, session: Session) -> Iterable[str]:
        return [relay.name for relay in session.config.relays]


class _Campaign(_Name):
    name = "campaign"

    def known(self, session: Session) -> Iterable[str]:
        return session.run(_campaigns(session))


async def _campaigns(session: Session) -> list[str]:
    async with session.store() as store:
        return await store.reading.campaign_names()


RELAY: Final = _Relay()
CAMPAIGN: Final = _Campaign()
