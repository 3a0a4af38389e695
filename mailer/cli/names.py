"""Arguments that name something of the user's own, so that the shell can complete them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

import click

from mailer.cli.session import Session

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

__all__ = ["CAMPAIGN", "RELAY"]


class _Name(click.types.StringParamType):
    """Any text; what `known` says there is is offered when the shell asks for completion."""

    def __init__(self, name: str, known: Callable[[Session], Iterable[str]]) -> None:
        """`name` is what a help calls the argument."""
        self.name = name
        self._known = known

    def shell_complete(self, ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        session = ctx.find_object(Session) or Session()
        session.verbosity = -1
        try:
            names = list(self._known(session))
        except Exception:  # noqa: BLE001 - somebody is typing: a broken configuration must not spoil their line
            return []
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def _relays(session: Session) -> list[str]:
    return [relay.name for relay in session.config.relays]


def _campaigns(session: Session) -> list[str]:
    async def names() -> list[str]:
        async with session.store() as store:
            return await store.reading.campaign_names()

    return session.run(names())


RELAY: Final = _Name("relay", _relays)
CAMPAIGN: Final = _Name("campaign", _campaigns)
