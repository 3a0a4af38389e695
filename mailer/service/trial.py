"""Sending one message at once through one relay, recorded nowhere: of a campaign, by hand, or to see a relay work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from email.utils import formatdate, make_msgid
from random import Random

from mailer.config import Relay, carries
from mailer.core.address import domain_of, header_address, parse_mailbox, wire_address
from mailer.core.clock import SECOND_US, Clock
from mailer.core.explain import advice_on
from mailer.core.message import Composed, Ending, Envelope, Phase, Result
from mailer.core.progress import Step
from mailer.core.verdict import Permanence, judge
from mailer.errors import ConfigError, RelayError
from mailer.service.relays import relay_settings
from mailer.smtp import RelayPool, RelaySettings, Transcript

__all__ = ["send_short_message", "send_trial", "short_message", "trial_sender"]


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


async def send_short_message(
    relay: Relay,
    recipient: str,
    default_sender: str | None,
    *,
    clock: Clock,
    random: Random,
    transcript: Callable[[], Transcript] | None = None,
) -> Result:
    """Send a message that says which relay it came through. Raises as `send_trial` and `trial_sender` do.

    `recipient` is an address as it goes over the wire, `default_sender` is `[defaults] from`.
    """
    sender = trial_sender(relay, default_sender)
    composed = short_message(relay, sender, recipient, clock())
    envelope = Envelope(sender, recipient)
    return await send_trial(relay, envelope, composed, clock=clock, random=random, transcript=transcript)


def trial_sender(relay: Relay, default_sender: str | None) -> str:
    """Whom the short message is from: `[defaults] from` if `relay` may carry it, else whatever address the relay has.

    Raises ConfigError when it has none.
    """
    known = [parse_mailbox(default_sender).address] if default_sender is not None else []
    known += [sender for sender in relay.allowed_senders or () if not sender.startswith("@")]
    known += [relay.username] if relay.username and "@" in relay.username else []
    sender = next((address for address in known if carries(relay, address)), None)
    if sender is None:
        raise ConfigError(
            f'relay "{relay.name}": it is not known whom a message through it may be from.',
            'Set [defaults] from = "Name <name@example.com>" to an address that it may carry.',
        )
    return wire_address(sender)


def short_message(relay: Relay, sender: str, recipient: str, now_us: int) -> Composed:
    """A message to a person who wants to see that `relay` works."""
    utf8_address = next((header_address(each) for each in (recipient, sender) if not each.isascii()), None)
    message = EmailMessage(policy=(SMTP if utf8_address is None else SMTPUTF8).clone(cte_type="7bit"))
    message["MIME-Version"] = "1.0"  # FIRST_LINE
    message["From"], message["To"] = header_address(sender), header_address(recipient)
    message["Subject"] = f"mailer relay check: {relay.name}"
    message["Date"] = formatdate(now_us / SECOND_US)
    message["Message-ID"] = make_msgid(domain=domain_of(sender))
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no holiday notices in answer
    endpoint = relay_settings(relay).endpoint
    message.set_content(f"This message shows that mailer can send through the relay {relay.name} ({endpoint}).\n")
    data = message.as_bytes()
    return Composed((data,), len(data), utf8_address)


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
