"""What one try makes of a message: the rule that a live worker and a recovery apply alike.

1. A 2xx to the end of data: sent, whatever was in doubt before.
2. A verdict about the message: permanent ends it, temporary puts it off and counts towards its age.
3. A verdict about the relay or the destination: the message goes back to its lane, uncharged; the try is recorded. It
   is due at once if it came before the recipient was named (the relay stops or pauses by itself), else after a while:
   a relay that refuses one recipient so and takes the others must not be asked again and again.
4. A connection lost in the middle: the first time uncharged, then charged like a temporary refusal.
5. End of data begun and no reply: uncertain. The campaign's policy decides whether it is sent again or held.
6. A message that was ever in doubt does not end failed: it ends uncertain, for nobody knows.
"""

from __future__ import annotations

from datetime import timedelta
from random import Random

from mailer.core.duration import format_duration
from mailer.core.message import Attempt, Claimed, Ending, Event, OnUncertain, Outcome, Phase, Result, State, move
from mailer.core.retry import RetryPolicy, next_due_us, wait_us
from mailer.core.verdict import Permanence, Scope, Verdict, judge


def settle(claimed: Claimed, result: Result, retry: RetryPolicy, now_us: int, random: Random) -> Outcome:
    """What becomes of `claimed` after `result`. `now_us` is the wall clock, in microseconds UTC."""
    match result.ending:
        case Ending.UNTOUCHED:
            return _back(claimed, claimed.due_at_us, None)
        case Ending.EXPIRED:
            return _ended(claimed, None, result.note)
        case Ending.UNFIT:
            return _ended(claimed, _attempt(claimed, result, None), result.note)
        case Ending.UNKNOWN:
            return _uncertain(claimed, _attempt(claimed, result, None), retry, now_us, random)
        case Ending.LOST:
            return _lost(claimed, _attempt(claimed, result, None), retry, now_us, random)
        case Ending.ANSWERED:
            if result.reply is None or result.phase is None:
                raise ValueError("an answered try has a reply and a phase")
            verdict = judge(result.reply, result.phase)
            return _answered(claimed, _attempt(claimed, result, verdict), verdict, retry, now_us, random)


def _answered(
    claimed: Claimed, attempt: Attempt, verdict: Verdict, retry: RetryPolicy, now_us: int, random: Random
) -> Outcome:
    if verdict.scope is not Scope.MESSAGE:
        named = attempt.phase in (Phase.RCPT, Phase.DATA, Phase.END_OF_DATA)
        return _back(claimed, now_us + (wait_us(retry, attempt.n, random) if named else 0), attempt)
    if verdict.permanence is Permanence.PERMANENT:
        return _ended(claimed, attempt, "")
    if verdict.permanence is Permanence.SUCCESS and attempt.phase is Phase.END_OF_DATA:
        return _outcome(claimed, move(State.SENDING, Event.ACCEPTED), None, attempt)
    # Not now; or a 2xx where it means nothing, such as 250 to DATA: the message was not taken (RFC 5321 section 4.3.2).
    return _put_off(claimed, attempt, retry, now_us, random)


def _put_off(claimed: Claimed, attempt: Attempt, retry: RetryPolicy, now_us: int, random: Random) -> Outcome:
    """A charged temporary failure: wait, or give up for age or deadline."""
    refusals = claimed.refusals + 1
    first = claimed.first_refused_at_us if claimed.first_refused_at_us is not None else now_us
    due = next_due_us(retry, refusals, first, now_us, random)
    if due is None:
        age = format_duration(timedelta(microseconds=retry.give_up_after_us))
        return _ended(claimed, attempt, f"gave up {age} after the first refusal", refusals, first)
    if claimed.expires_at_us is not None and due >= claimed.expires_at_us:
        return _ended(claimed, attempt, "the next attempt would come after the campaign's deadline", refusals, first)
    return _waits(claimed, due, attempt, refusals=refusals, first_refused_at_us=first)


def _lost(claimed: Claimed, attempt: Attempt, retry: RetryPolicy, now_us: int, random: Random) -> Outcome:
    if claimed.losses == 0:
        due = now_us + wait_us(retry, 1, random)
        if claimed.expires_at_us is not None and due >= claimed.expires_at_us:
            return _ended(claimed, attempt, "the next attempt would come after the campaign's deadline", losses=1)
        return _waits(claimed, due, attempt, losses=1)
    charged = _put_off(claimed, attempt, retry, now_us, random)
    return _outcome(
        claimed,
        charged.state,
        charged.due_at_us,
        attempt,
        reason=charged.reason,
        refusals=charged.refusals,
        losses=claimed.losses + 1,
        first_refused_at_us=charged.first_refused_at_us,
    )


def _uncertain(claimed: Claimed, attempt: Attempt, retry: RetryPolicy, now_us: int, random: Random) -> Outcome:
    state = move(State.SENDING, Event.IN_DOUBT)
    refusals = claimed.refusals + 1
    first = claimed.first_refused_at_us if claimed.first_refused_at_us is not None else now_us
    due: int | None = None
    reason = "held for the operator: nobody knows whether the relay took it"
    if claimed.on_uncertain is OnUncertain.RESEND:
        due = next_due_us(retry, refusals, first, now_us, random)
        reason = "" if due is not None else "too old to be sent again; nobody knows whether the relay took it"
        if due is not None and claimed.expires_at_us is not None and due >= claimed.expires_at_us:
            due, reason = None, "the resend would come after the campaign's deadline"
    return _outcome(
        claimed, state, due, attempt, reason=reason, refusals=refusals, first_refused_at_us=first, in_doubt=True
    )


def _ended(
    claimed: Claimed,
    attempt: Attempt | None,
    reason: str,
    refusals: int | None = None,
    first_refused_at_us: int | None = None,
    losses: int | None = None,
) -> Outcome:
    event = Event.IN_DOUBT if claimed.in_doubt else Event.REFUSED
    return _outcome(
        claimed,
        move(State.SENDING, event),
        None,
        attempt,
        reason=reason,
        refusals=refusals,
        losses=losses,
        first_refused_at_us=first_refused_at_us,
    )


def _back(claimed: Claimed, due_at_us: int, attempt: Attempt | None) -> Outcome:
    """To its lane as if it had not been claimed; an attempt that was not about the message is still recorded."""
    return _outcome(claimed, claimed.waited_as, due_at_us, attempt)


def _waits(
    claimed: Claimed,
    due_at_us: int,
    attempt: Attempt,
    *,
    refusals: int | None = None,
    losses: int | None = None,
    first_refused_at_us: int | None = None,
) -> Outcome:
    # A message in doubt stays uncertain while it waits: `deferred` would say that nobody can have it yet.
    event = Event.IN_DOUBT if claimed.in_doubt else Event.PUT_OFF
    return _outcome(
        claimed,
        move(State.SENDING, event),
        due_at_us,
        attempt,
        refusals=refusals,
        losses=losses,
        first_refused_at_us=first_refused_at_us,
    )


def _outcome(
    claimed: Claimed,
    state: State,
    due_at_us: int | None,
    attempt: Attempt | None,
    *,
    reason: str = "",
    refusals: int | None = None,
    losses: int | None = None,
    first_refused_at_us: int | None = None,
    in_doubt: bool = False,
) -> Outcome:
    return Outcome(
        claim=claimed.claim,
        message_id=claimed.message_id,
        campaign_id=claimed.campaign_id,
        lane_id=claimed.lane_id,
        version=claimed.version,
        state=state,
        due_at_us=due_at_us,
        attempt=attempt,
        reason=reason,
        refusals=claimed.refusals if refusals is None else refusals,
        losses=claimed.losses if losses is None else losses,
        first_refused_at_us=claimed.first_refused_at_us if first_refused_at_us is None else first_refused_at_us,
        in_doubt=claimed.in_doubt or in_doubt,
        newly_in_doubt=in_doubt and not claimed.in_doubt,
    )


def _attempt(claimed: Claimed, result: Result, verdict: Verdict | None) -> Attempt:
    reply = result.reply
    return Attempt(
        n=claimed.attempts + 1,
        started_at_us=result.started_at_us,
        relay=result.relay,
        phase=result.phase,
        code=reply.code if reply else None,
        enhanced=reply.enhanced if reply else None,
        text=reply.text if reply else "",
        category=verdict.category if verdict else None,
        duration_us=result.duration_us,
        tls=result.tls,
        note=result.note,
    )
