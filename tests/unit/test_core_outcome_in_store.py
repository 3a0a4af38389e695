"""The rule and the store agree: whatever sequence of tries a message meets, every invariant of the database holds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from typing import Final

import pytest

from mailer.core.clock import DAY_US, HOUR_US, MINUTE_US, SECOND_US
from mailer.core.message import Ending, OnUncertain, Phase, Result, State
from mailer.core.outcome import settle
from mailer.core.reply import Reply
from mailer.core.retry import RetryPolicy
from mailer.store import NewRow, Snapshot, Store, Want

RETRY: Final = RetryPolicy(first_us=5 * MINUTE_US, factor=2.0, longest_us=4 * HOUR_US, give_up_after_us=2 * DAY_US)
RECIPIENTS: Final = 12
LEASE_US: Final = 365 * DAY_US  # nobody is taken for dead here


class Time:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now_us = 1_800_000_000 * SECOND_US

    def __call__(self) -> int:
        return self.now_us


async def no_rest(_seconds: float) -> None:
    """Nobody else waits for this database."""


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
async def store(tmp_path: Path, time: Time) -> AsyncIterator[Store]:
    path = tmp_path / "mailer.db"
    async with await Store.open(path, create=True, synchronous="off", clock=time, rest=no_rest) as opened:
        snapshot = Snapshot(
            body="{}",
            digest="0" * 64,
            blobs={},
            settings="{}",
            author="a@example.com",
            envelope_from="a@example.com",
            relays=(),
            priority=0,
            on_uncertain=OnUncertain.RESEND,
            start_at_us=None,
            expires_at_us=None,
        )
        load = await opened.begin_load("spring", loader="test", new=snapshot)
        await load.add([NewRow(f"u{n}@example.com", f"u{n}@example.com", "other", "{}") for n in range(RECIPIENTS)])
        await load.release(hold=False)
        yield opened


def some_result(random: Random) -> Result:
    """Any end that a try can have, answers about the relay and about the message alike."""
    ending = random.choice(list(Ending))
    if ending is Ending.ANSWERED:
        code = random.choice([250, 354, 421, 450, 454, 530, 535, 550, 554])
        return Result(ending, random.choice(list(Phase)), Reply(code, None, "words"), relay="qq")
    return Result(ending, random.choice([None, Phase.MAIL, Phase.DATA]), relay="qq", note="why")


@pytest.mark.parametrize("seed", range(8))
async def test_any_sequence_of_tries_leaves_a_database_that_passes_its_check(
    store: Store, time: Time, seed: int
) -> None:
    random = Random(seed)
    worker = await store.workers.register(
        incarnation="00" * 16,
        host="here",
        pid=1,
        boot_id="boot",
        processes=1,
        slots=4,
        state_dir="/nowhere",
        lease_us=LEASE_US,
    )
    want = [Want("qq", RECIPIENTS, lambda _route: True)]
    answer = await worker.exchange([], want)
    tries: dict[int, int] = {}
    for _ in range(400):
        outcomes = []
        for claimed in answer.messages:
            assert claimed.attempts == tries.get(claimed.message_id, 0)  # grows by each recorded try, and by no other
            outcome = settle(claimed, some_result(random), RETRY, time.now_us, random)
            tries[claimed.message_id] = claimed.attempts + (outcome.attempt is not None)
            outcomes.append(outcome)
        answer = await worker.exchange(outcomes, want)
        assert await store.check() == []
        if not answer.messages:
            if answer.next_due_us is None:
                break
            time.now_us = max(time.now_us, answer.next_due_us)
            answer = await worker.exchange([], want)
    assert not answer.messages
    assert await store.check() == []
    (campaign,) = (await store.reading.status("spring")).campaigns
    assert (campaign.state, campaign.total) == ("finished", RECIPIENTS)
    rows = await store.reading.messages(limit=100)
    assert {row.state for row in rows} <= {State.SENT, State.FAILED, State.UNCERTAIN}
    assert {row.id: row.attempts for row in rows} == tries


async def test_what_the_relay_costs_goes_back_as_queued_behind_nobody_and_counts_as_a_retry(
    store: Store, time: Time
) -> None:
    worker = await store.workers.register(
        incarnation="00" * 16,
        host="here",
        pid=1,
        boot_id="boot",
        processes=1,
        slots=4,
        state_dir="/nowhere",
        lease_us=LEASE_US,
    )
    (claimed,) = (await worker.exchange([], [Want("qq", 1, lambda _route: True)])).messages
    refused = Result(Ending.ANSWERED, Phase.AUTH, Reply(535, "5.7.8", "bad password"), relay="qq")
    outcome = settle(claimed, refused, RETRY, time.now_us, Random(1))
    await worker.exchange([outcome], [])
    assert await store.check() == []
    detail = await store.reading.message(claimed.message_id)
    assert (detail.summary.state, detail.summary.attempts) == (State.QUEUED, 1)
    # Retries and new messages are taken one for one, a due retry first.
    (again,) = (await worker.exchange([], [Want("qq", 1, lambda _route: True)])).messages
    assert (again.message_id, again.attempts, again.refusals) == (claimed.message_id, 1, 0)
