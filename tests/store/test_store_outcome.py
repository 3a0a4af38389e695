"""The rule and the store agree: whatever sequence of tries a message meets, every invariant of the database holds."""

from __future__ import annotations

from random import Random
from typing import Final

import pytest
from support.store import RELAY_STOPPED, RETRY, Clock, queue, recipients, register, settled, want

from mailer.core.message import Ending, Phase, Result, State
from mailer.core.outcome import settle
from mailer.core.reply import Reply
from mailer.store import Store

RECIPIENTS: Final = 12


def some_result(random: Random) -> Result:
    """Any end that a try can have, answers about the relay and about the message alike."""
    ending = random.choice(list(Ending))
    if ending is Ending.ANSWERED:
        code = random.choice([250, 354, 421, 450, 454, 530, 535, 550, 554])
        return Result(ending, random.choice(list(Phase)), Reply(code, None, "words"), relay="qq")
    return Result(ending, random.choice([None, Phase.MAIL, Phase.DATA]), relay="qq", note="why")


@pytest.mark.parametrize("seed", range(8))
async def test_any_sequence_of_tries_leaves_a_database_that_passes_its_check(
    store: Store, clock: Clock, seed: int
) -> None:
    random = Random(seed)
    worker = await register(store)
    await queue(store, "spring", recipients(RECIPIENTS))
    wants = [want(RECIPIENTS)]
    answer = await worker.exchange([], wants)
    tries: dict[int, int] = {}
    for _ in range(400):
        outcomes = []
        for claimed in answer.messages:
            assert claimed.attempts == tries.get(claimed.message_id, 0)  # grows by each recorded try, and by no other
            outcome = settle(claimed, some_result(random), RETRY, clock.now_us, random)
            tries[claimed.message_id] = claimed.attempts + (outcome.attempt is not None)
            outcomes.append(outcome)
        answer = await worker.exchange(outcomes, wants)
        assert await store.check() == []
        if not answer.messages:
            if answer.next_due_us is None:
                break
            clock.now_us = max(clock.now_us, answer.next_due_us)
            answer = await worker.exchange([], wants)
    assert not answer.messages
    assert await store.check() == []
    (campaign,) = (await store.reading.status("spring")).campaigns
    assert (campaign.state, campaign.total) == ("finished", RECIPIENTS)
    rows = await store.reading.messages(limit=100)
    assert {row.state for row in rows} <= {State.SENT, State.FAILED, State.UNCERTAIN}
    assert {row.id: row.attempts for row in rows} == tries


async def test_what_the_relay_costs_goes_back_as_queued_behind_nobody_and_counts_as_a_retry(
    store: Store, clock: Clock
) -> None:
    worker = await register(store)
    await queue(store, "spring", recipients(RECIPIENTS))
    (claimed,) = (await worker.exchange([], [want(1)])).messages
    await worker.exchange([settled(claimed, RELAY_STOPPED, clock)], [])
    assert await store.check() == []
    detail = await store.reading.message(claimed.message_id)
    assert (detail.summary.state, detail.summary.attempts) == (State.QUEUED, 1)
    # Retries and new messages are taken one for one, a due retry first.
    (again,) = (await worker.exchange([], [want(1)])).messages
    assert (again.message_id, again.attempts, again.refusals) == (claimed.message_id, 1, 0)
