"""`mailer db check`: each invariant finds the row that breaks it, and a sound database has none."""

from __future__ import annotations

import sqlite3

import pytest
from support.store import PUT_OFF, REFUSED, SENT, UNKNOWN, Clock, claim, queue, recipients, register, settled, tampered

from mailer.store import Store
from mailer.store.check import INVARIANTS

BREAKS = {
    "check_tally": "UPDATE tally SET count = count + 1 WHERE state = 'queued'",
    "check_ready_is_waiting": "UPDATE ready SET due_at = due_at + 1 WHERE message_id = 6",
    "check_waiting_is_ready": "DELETE FROM ready WHERE message_id = 6",
    "check_claims": "DELETE FROM claim",
    "check_claims_are_of_live_workers": "UPDATE worker SET state = 'dead'",
    "check_attempts": "UPDATE message SET attempts = attempts + 1 WHERE id = 1",
    "check_sent_was_accepted": "UPDATE attempt SET code = 451 WHERE message_id = 1",
    "check_lanes": "UPDATE message SET lane_id = 99 WHERE id = 6",
    "check_lane_states": "UPDATE lane SET state = 'closed', wake_at = NULL",
    "check_finished": "UPDATE campaign SET state = 'finished'",
    "check_doubt": "UPDATE message SET state = 'failed' WHERE id = 4",
}


async def some_of_each(store: Store, clock: Clock) -> None:
    """Messages 1 to 6: sent, failed, deferred, uncertain, sending, queued."""
    worker = await register(store)
    await queue(store, "news", recipients(6))
    messages = await claim(worker, 5)
    results = (SENT, REFUSED, PUT_OFF, UNKNOWN)
    await worker.exchange([settled(m, r, clock) for m, r in zip(messages, results, strict=False)], [])
    assert await store.check() == []


def test_there_is_a_break_for_every_invariant() -> None:
    assert BREAKS.keys() == INVARIANTS.keys()


@pytest.mark.parametrize("invariant", BREAKS)
async def test_a_row_broken_by_hand_is_found(broken_store: Store, clock: Clock, invariant: str) -> None:
    await some_of_each(broken_store, clock)
    await tampered(broken_store, BREAKS[invariant])
    found = await broken_store.check()
    assert INVARIANTS[invariant] in {finding.rule for finding in found}
    assert all(finding.row and finding.what for finding in found)


async def test_a_claim_of_a_message_that_is_not_sending_is_found(broken_store: Store, clock: Clock) -> None:
    await some_of_each(broken_store, clock)
    await tampered(broken_store, "UPDATE message SET state = 'queued' WHERE id = 5")
    assert ("message 5", "is claimed but queued") in {(f.row, f.what) for f in await broken_store.check()}


async def test_a_lane_that_sleeps_on_waiting_messages_is_found(broken_store: Store, clock: Clock) -> None:
    await some_of_each(broken_store, clock)
    await tampered(broken_store, "UPDATE lane SET state = 'idle', wake_at = NULL")
    assert "is idle in a campaign that is running" in {f.what for f in await broken_store.check()}


async def test_a_reference_that_leads_nowhere_is_found(broken_store: Store, clock: Clock) -> None:
    await some_of_each(broken_store, clock)
    with sqlite3.connect(broken_store.path) as raw:
        raw.execute("PRAGMA foreign_keys = OFF")
        raw.execute("UPDATE campaign SET route_id = 77")
    raw.close()
    assert "every reference leads somewhere" in {f.rule for f in await broken_store.check()}


async def test_at_most_five_rows_a_rule_are_named(broken_store: Store) -> None:
    await queue(broken_store, "news", recipients(20))
    await tampered(broken_store, "DELETE FROM ready")
    assert len(await broken_store.check()) == 5
