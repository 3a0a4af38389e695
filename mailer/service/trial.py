"""Sending one message at once through one relay, recorded nowhere: what `mailer campaign test` does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING

from mailer.core.clock import Clock
from mailer.core.explain import advice_on
from mailer.core.message import Composed, Ending, Envelope, Phase, Result
from mailer.core.progress import Step
from mailer.core.verdict import Permanence, judge
from mailer.errors import RelayError
from mailer.service.relays import relay_settings
from mailer.smtp import RelayPool, RelaySettings, Transcript

if TYPE_CHECKING:
    from mailer.config import Relay

__all__ = ["send_trial"]


async def send_trial(
    relay: Relay,
    envelope: Envelope,
    composed: Composed,
    *,
    clock: Clock,
    random: Random,
    transcript: Callable[[], Transcript] | None = None,
) -> Result:
    """Send `composed` through `relay` and return what it met: a 2xx to its end of data.

    Raises RelayError, with the server's words where there are any, when the relay cannot be used or does not take it,
    and ConfigError when its password is not where the configuration says.
    """
    changed = asyncio.Event()
    trial = _Trial(envelope, composed, changed)
    pool = RelayPool(
        await _with_password(relay), clock=clock, random=random, on_change=changed.set, transcript=transcript
    )
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(pool.run())
        pool.submit(trial)
        try:
            while trial.result is None and pool.state == "ready":
                await changed.wait()
                changed.clear()
            # A relay that had to pause would try again; who waits at a terminal is told instead.
            pool.withdraw(lambda _delivery: True)
        finally:
            await pool.close()
    if trial.result is None or trial.result.ending is Ending.UNTOUCHED:
        raise RelayError(f'relay "{relay.name}": {pool.reason or "it cannot be used now."}', _check_hint(relay))
    _raise_unless_accepted(relay, trial.result)
    return trial.result


async def _with_password(relay: Relay) -> RelaySettings:
    """The relay's settings, its password fetched already: one that is missing is no fault of the relay."""
    settings = relay_settings(relay)
    if settings.password is None:
        return settings
    secret = await settings.password()

    async def password() -> str:
        return secret

    return replace(settings, password=password)


@dataclass
class _Trial:
    """The message on its way. Implements `mailer.smtp.Delivery`; nothing of it is recorded."""

    envelope: Envelope
    composed: Composed
    changed: asyncio.Event
    result: Result | None = None

    def compose(self) -> Composed:
        """Its bytes."""
        return self.composed

    def note(self, step: Step) -> None:
        """Nothing outlives this process."""

    def may_end(self) -> bool:
        """Nobody else could be sending it."""
        return True

    def finish(self, result: Result) -> None:
        """Keep the result and tell whoever waits."""
        self.result = result
        self.changed.set()


def _raise_unless_accepted(relay: Relay, result: Result) -> None:
    reply = result.reply
    if reply is not None and result.ending is Ending.ANSWERED:
        phase = result.phase or Phase.END_OF_DATA
        if judge(reply, phase).permanence is Permanence.SUCCESS and phase is Phase.END_OF_DATA:
            return
        said = " ".join(part for part in (str(reply.code), reply.enhanced, " ".join(reply.text.split())) if part)
        raise RelayError(
            f'relay "{relay.name}" did not take it, at {phase.value}: {said}', advice_on(reply.code, reply.enhanced)
        )
    what = "the connection was lost" if result.ending is Ending.LOST else "it is not known whether the relay took it"
    raise RelayError(f'relay "{relay.name}": {result.note or what}.', _check_hint(relay))


def _check_hint(relay: Relay) -> str:
    return f"`mailer relay check {relay.name}` looks at it step by step."
