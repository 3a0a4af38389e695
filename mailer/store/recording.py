"""Applying outcomes to the messages whose claims are open, and keeping the tallies true.

An exchange does it for a live worker, a recovery for a dead one: the same rule, in the transaction of either.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import Final

from mailer.core.clock import MINUTE_US, SECOND_US
from mailer.core.message import Outcome, State
from mailer.store.sqlite import Transaction

CAMPAIGN_BUCKET_US: Final = 10 * SECOND_US


async def record(
    tx: Transaction, worker_id: int, outcomes: Iterable[Outcome], now: int, tally: Counter[tuple[int, str]]
) -> int:
    """Apply the outcomes whose claims are open; how many were. Counts go to `tally`, for `settle_tally`."""
    by_claim = {outcome.claim: outcome for outcome in outcomes}
    if not by_claim:
        return 0
    closed = await tx.all("close_claims", worker=worker_id, claims=json.dumps(list(by_claim)))
    attempts, changes, waiting = [], [], []
    back: dict[int, int] = {}
    ended: Counter[int] = Counter()
    traffic: dict[tuple[str, int], list[int]] = {}
    for claim, relay, claimed_at in closed:
        outcome = by_claim[claim]
        attempt = outcome.attempt
        if attempt is not None:
            attempts.append([
                outcome.message_id, attempt.n, attempt.started_at_us, attempt.duration_us, attempt.relay, attempt.phase,
                attempt.code, storable(attempt.enhanced), storable(attempt.text), attempt.category,
                storable(attempt.tls), storable(attempt.note), claim,
            ])  # fmt: skip
            ended[outcome.campaign_id] += 1
        changes.append([
            outcome.message_id, outcome.state, outcome.due_at_us, storable(outcome.reason), outcome.refusals,
            outcome.losses, outcome.first_refused_at_us, int(outcome.in_doubt), int(attempt is not None),
            outcome.version,
        ])  # fmt: skip
        tally[outcome.lane_id, State.SENDING] -= 1
        tally[outcome.lane_id, outcome.state] += 1
        if outcome.newly_in_doubt:
            tally[outcome.lane_id, "in_doubt"] += 1
        if outcome.due_at_us is not None:
            waiting.append(outcome.message_id)
            back[outcome.lane_id] = min(outcome.due_at_us, back.get(outcome.lane_id, outcome.due_at_us))
        if attempt is None:
            traffic.setdefault((relay, claimed_at // MINUTE_US * MINUTE_US), [0, 0])[0] -= 1
        elif outcome.state is State.SENT:
            traffic.setdefault((relay, now // MINUTE_US * MINUTE_US), [0, 0])[1] += 1
    if attempts:
        await tx.run("insert_attempts", worker=worker_id, rows=json.dumps(attempts))
    if changes:
        await tx.run("apply_outcomes", rows=json.dumps(changes))
    if waiting:
        await tx.run("insert_ready", ids=json.dumps(waiting))
        await tx.run("wake_waiting", rows=json.dumps(list(back.items())))
    if ended:
        at = now // CAMPAIGN_BUCKET_US * CAMPAIGN_BUCKET_US
        await tx.run("add_campaign_traffic", at=at, rows=json.dumps(list(ended.items())))
    if traffic:
        rows = [[relay, at, *counts] for (relay, at), counts in traffic.items()]
        await tx.run("add_relay_traffic", rows=json.dumps(rows))
    return len(closed)


async def settle_tally(tx: Transaction, tally: Counter[tuple[int, str]], now: int) -> None:
    """Add `tally` to the counts, and finish the campaigns in which nothing waits or is being sent any more."""
    rows = [[lane, state, count] for (lane, state), count in tally.items() if count]
    if not rows:
        return
    counts = await tx.all("add_tally", rows=json.dumps(rows))
    quiet = [lane for lane, state, count in counts if state == State.SENDING and count == 0]
    if quiet:
        await tx.all("finish_campaigns", lanes=json.dumps(quiet), now=now)


def storable(text: str | None) -> str | None:
    """`text` with U+FFFD for what SQLite would not give back: half characters, which it cannot decode, and NUL.

    A server says what it likes, and what is recorded once must be readable for ever.
    """
    if text is None or (text.isascii() and "\0" not in text):
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\0", "\ufffd")
