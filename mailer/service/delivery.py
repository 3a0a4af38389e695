"""One claimed message on its way: what the relay pool asks of it, and what becomes of it.

The pool knows SMTP and nothing of queues; the store knows queues and nothing of SMTP. A delivery stands between them:
it composes, notes each step in the flight recorder before its bytes go out, refuses to end a message once the lease
has no margin, and makes an outcome of the result.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from random import Random

from mailer.core.address import wire_address
from mailer.core.clock import SECOND_US, Clock
from mailer.core.message import Claimed, Composed, Ending, Envelope, Outcome, Result
from mailer.core.outcome import settle
from mailer.core.progress import Step
from mailer.core.retry import RetryPolicy
from mailer.errors import MailerError, StoreError
from mailer.service.contents import Usable
from mailer.service.identity import mailer_id, message_id
from mailer.store.flight import FlightRecorder

EXPIRED_NOTE = "not accepted before the campaign's deadline"


class Expired(MailerError):
    """The campaign's deadline passed before the message's turn came."""

    code = "expired"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all deliveries of a worker share."""

    recorder: FlightRecorder
    store_id: str
    retry: RetryPolicy
    clock: Clock
    random: Random
    may_end: Callable[[], bool]
    """Asked in the step that would write an end of data."""
    done: Callable[[WorkerDelivery, Outcome, Result], None]
    """Told once, when the message has come to an end here."""


class WorkerDelivery:
    """A message in a worker's hands. Implements `mailer.smtp.Delivery`."""

    __slots__ = ("_content", "_has_slot", "_refusal", "_shared", "claimed", "envelope", "is_ended")

    def __init__(self, claimed: Claimed, content: Usable, shared: Surroundings) -> None:
        self.claimed = claimed
        self.envelope = Envelope(content.envelope_from, wire_address(claimed.address))
        self.is_ended = False
        self._content = content
        self._shared = shared
        self._has_slot = False  # in the flight recorder
        self._refusal: MailerError | None = None

    def compose(self) -> Composed:
        """The message's bytes. Raises MailerError when it cannot be made or must not be sent any more."""
        try:
            return self._compose()
        except MailerError as error:
            self._refusal = error
            raise

    def _compose(self) -> Composed:
        claimed, shared = self.claimed, self._shared
        now = shared.clock()
        if claimed.expires_at_us is not None and claimed.expires_at_us <= now:
            raise Expired(EXPIRED_NOTE)
        shared.recorder.begin(claimed.claim, claimed.message_id)
        self._has_slot = True
        identity = mailer_id(shared.store_id, claimed.campaign_id, claimed.message_id)
        return self._content.compiled.compose(
            claimed.address,
            json.loads(claimed.fields),
            message_id=message_id(identity, self._content.domain),
            mailer_id=identity,
            date=datetime.fromtimestamp(now // SECOND_US, UTC),
        )

    def note(self, step: Step) -> None:
        """Note a step before it is taken. Raises StoreError if it could not be noted: then it must not be taken."""
        self._shared.recorder.note(self.claimed.claim, step)

    def may_end(self) -> bool:
        """Whether the end of data may be written now."""
        return self._shared.may_end()

    def finish(self, result: Result) -> None:
        """What the try met. Exactly once."""
        if self.is_ended:
            raise ValueError(f"claim {self.claimed.claim} was finished twice")
        self.is_ended = True
        if result.ending is Ending.UNFIT and isinstance(self._refusal, Expired):
            result = replace(result, ending=Ending.EXPIRED)
        elif result.ending is Ending.UNFIT and isinstance(self._refusal, StoreError):
            # The flight recorder could not take it: that is no fault of the message.
            result = replace(result, ending=Ending.UNTOUCHED)
        self._note_end(result)
        shared = self._shared
        outcome = settle(self.claimed, result, shared.retry, shared.clock(), shared.random)
        shared.done(self, outcome, result)

    def _note_end(self, result: Result) -> None:
        """Keep what came of it where the death of this process cannot reach it until the exchange has committed."""
        if not self._has_slot:
            return
        recorder, claim = self._shared.recorder, self.claimed.claim
        # If it fails, the result is in our hands still; the next exchange records it, and `recorder.failure` stops all
        # sending.
        with suppress(StoreError):
            if result.ending is Ending.ANSWERED:
                recorder.note(claim, Step.ANSWERED, phase=result.phase, reply=result.reply)
            elif result.ending is Ending.UNTOUCHED:
                recorder.let_go(claim)
            # Of an end of data without an answer the file says just that. A loss stays as well: what crashes on a
            # message is one, and the death that follows has to count against it.
