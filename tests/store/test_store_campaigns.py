"""What an operator does to a campaign: pause, resume, cancel, drop, edit, retry, delete, a start and a deadline."""

from __future__ import annotations

import pytest
from support.store import (
    PUT_OFF,
    REFUSED,
    SENT,
    UNKNOWN,
    Clock,
    all_settled,
    answered,
    campaign_state,
    claim,
    queue,
    recipients,
    register,
    send_all,
    settled,
    snapshot,
    states,
    want,
)

from mailer.core.clock import DAY_US, HOUR_US
from mailer.core.message import OnUncertain, Phase, State
from mailer.core.reply import Reply
from mailer.errors import NotFound, Refused
from mailer.store import Store
from mailer.store.ending import CHUNK, delete
from mailer.store.loading import SILENT_US


async def test_a_paused_campaign_gives_nothing_until_it_is_resumed(store: Store) -> None:
    worker = await register(store)
    await queue(store, "news", recipients(3))
    await store.campaigns.pause("news")
    await store.campaigns.pause("news")
    assert await claim(worker, 9) == ()
    assert (await store.campaigns.find("news")).reason == "paused by the operator"
    assert await store.campaigns.resume("news") == "running"
    assert await store.campaigns.resume("news") == "running"
    assert len(await claim(worker, 9)) == 3


async def test_what_comes_back_while_a_campaign_is_paused_waits_for_the_resume(store: Store, clock: Clock) -> None:
    worker = await register(store)
    await queue(store, "news", recipients(3))
    messages = await claim(worker, 3)
    await store.campaigns.pause("news")
    await worker.exchange(all_settled(messages, PUT_OFF, clock), [])
    clock.forward(HOUR_US)
    assert await claim(worker, 9) == ()
    await store.campaigns.resume("news")
    assert len(await claim(worker, 9)) == 3


async def test_resuming_a_campaign_that_has_nothing_left_finishes_it(store: Store, clock: Clock) -> None:
    worker = await register(store)
    await queue(store, "news", recipients(1))
    messages = await claim(worker, 3)
    await store.campaigns.pause("news")
    await worker.exchange(all_settled(messages, SENT, clock), [])
    assert await campaign_state(store, "news") == "paused"
    assert await store.campaigns.resume("news") == "finished"


async def test_resuming_before_the_start_makes_it_scheduled(store: Store, clock: Clock) -> None:
    await queue(store, "news", recipients(1), snapshot(start_at_us=clock() + HOUR_US), hold=True)
    assert await store.campaigns.resume("news") == "scheduled"
    assert await store.campaigns.resume("news") == "scheduled"


async def test_a_scheduled_campaign_starts_when_its_time_has_come(store: Store, clock: Clock) -> None:
    worker = await register(store)
    await queue(store, "news", recipients(2), snapshot(start_at_us=clock() + HOUR_US))
    clock.forward(HOUR_US - 1)
    assert await store.campaigns.start_due() == []
    assert await claim(worker, 9) == ()
    clock.forward(1)
    assert await store.campaigns.start_due() == ["news"]
    assert await store.campaigns.start_due() == []
    assert len(await claim(worker, 9)) == 2


async def test_cancelling_ends_what_waits_and_what_is_on_the_way_is_recorded(store: Store, clock: Clock) -> None:
    worker = await register(store)
    await queue(store, "news", recipients(CHUNK + 5))
    messages = await claim(worker, 3)
    assert await store.campaigns.waiting("news") == CHUNK + 2
    await store.campaigns.cancel("news")
    assert await campaign_state(store, "news") == "cancelling"
    assert await states(store, "news") == {"cancelled": CHUNK + 2, "sending": 3}

    outcomes = [
        settled(messages[0], SENT, clock),
        settled(messages[1], PUT_OFF, clock),
        settled(messages[2], UNKNOWN, clock),
    ]
    await worker.exchange(outcomes, [])
    assert await store.campaigns.sweep() == 2
    assert await campaign_state(store, "news") == "cancelled"
    assert await states(store, "news") == {"cancelled": CHUNK + 3, "sent": 1, "uncertain": 1}
    await store.campaigns.cancel("news")
    assert (await store.campaigns.find("news")).finished_at_us is not None


async def test_a_message_in_doubt_ends_uncertain_and_not_cancelled_or_failed(store: Store, clock: Clock) -> None:
    worker = await register(store)
    await queue(store, "cancelled", recipients(1))
    await queue(store, "late", recipients(1), snapshot(expires_at_us=clock() + DAY_US))
    await worker.exchange(all_settled(await claim(worker, 2), UNKNOWN, clock), [])
    await store.campaigns.cancel("cancelled")
    clock.forward(DAY_US)
    await store.campaigns.sweep()
    for name in ("cancelled", "late"):
        assert await states(store, name) == {"uncertain": 1}
    (message,) = await store.reading.messages(limit=9, campaign="late")
    assert message.due_at_us is None
    assert message.text == "not accepted before the campaign's deadline"


async def test_what_waits_past_the_deadline_fails_with_the_reason(store: Store, clock: Clock) -> None:
    worker = await register(store)
    await queue(store, "news", recipients(CHUNK + 1), snapshot(expires_at_us=clock() + HOUR_US))
    (message,) = await claim(worker, 1)
    assert await store.campaigns.sweep() == 0
    clock.forward(HOUR_US)
    assert await store.campaigns.sweep() == CHUNK
    assert await campaign_state(store, "news") == "running"
    await worker.exchange([settled(message, SENT, clock)], [])
    assert await campaign_state(store, "news") == "finished"
    assert await states(store, "news") == {"failed": CHUNK, "sent": 1}


async def test_dropping_says_who_was_cancelled_who_had_ended_who_was_on_the_way_and_who_is_unknown(
    store: Store, clock: Clock
) -> None:
    worker = await register(store)
    await queue(store, "news", recipients(4))
    first, _ = await claim(worker, 2)
    await worker.exchange([settled(first, SENT, clock)], [])
    keys = [row.key for row in recipients(4)]
    dropped = await store.campaigns.drop("news", [*keys[:3], keys[2], "who@example.org"])
    assert dropped.already_ended == (keys[0],)
    assert dropped.on_the_way == (keys[1],)
    assert dropped.cancelled == (keys[2],)
    assert dropped.unknown == ("who@example.org",)
    assert await states(store, "news") == {"sent": 1, "sending": 1, "cancelled": 1, "queued": 1}


async def test_dropping_the_last_one_that_waits_finishes_the_campaign(store: Store) -> None:
    await queue(store, "news", recipients(1))
    await store.campaigns.drop("news", [recipients(1)[0].key])
    assert await campaign_state(store, "news") == "finished"


async def test_an_edit_counts_for_what_has_not_been_attempted(store: Store, clock: Clock) -> None:
    worker = await register(store)
    campaign = await queue(store, "news", recipients(3), snapshot("old"))
    first, second = await claim(worker, 2)
    assert await store.campaigns.edit("news", snapshot("new", priority=10, on_uncertain=OnUncertain.HOLD)) == 2
    await worker.exchange([settled(first, PUT_OFF, clock), settled(second, SENT, clock)], [])
    clock.forward(HOUR_US)
    versions = {m.address: m.version for m in await claim(worker, 9)}
    assert versions == {"User0@example.org": 1, "User2@example.org": 2}
    assert (await store.reading.message(second.message_id)).version == 1
    assert (await store.campaigns.content(campaign, 1)).body == '{"subject": "old"}'
    assert (await store.campaigns.content(campaign, 2)).body == '{"subject": "new"}'
    found = await store.campaigns.find("news")
    assert (found.priority, found.on_uncertain) == (10, OnUncertain.HOLD)


async def test_an_edit_of_the_settings_alone_makes_no_new_version(store: Store) -> None:
    await queue(store, "news", recipients(1))
    assert await store.campaigns.edit("news", snapshot(priority=5)) == 1


async def test_an_edit_that_takes_the_start_away_starts_a_scheduled_campaign(store: Store, clock: Clock) -> None:
    await queue(store, "news", recipients(1), snapshot(start_at_us=clock() + HOUR_US))
    await store.campaigns.edit("news", snapshot())
    assert await campaign_state(store, "news") == "running"
    assert len(await claim(await register(store), 9)) == 1


async def test_an_edited_deadline_counts(store: Store, clock: Clock) -> None:
    await queue(store, "news", recipients(1), snapshot(expires_at_us=clock() + HOUR_US))
    await store.campaigns.edit("news", snapshot(expires_at_us=clock() + DAY_US))
    clock.forward(2 * HOUR_US)
    assert await store.campaigns.sweep() == 0
    assert await states(store, "news") == {"queued": 1}


async def test_a_retry_queues_what_failed_but_not_where_the_address_itself_is_wrong(store: Store, clock: Clock) -> None:
    worker = await register(store)
    await queue(store, "news", recipients(3))
    first, second, third = await claim(worker, 3)
    policy = answered(Reply(554, "5.7.1", "blocked"), Phase.END_OF_DATA)
    await worker.exchange(
        [settled(first, REFUSED, clock), settled(second, policy, clock), settled(third, SENT, clock)], []
    )
    assert await campaign_state(store, "news") == "finished"

    assert await store.campaigns.retryable("news", state=State.FAILED) == [second.message_id]
    assert len(await store.campaigns.retryable("news", state=State.FAILED, include_permanent=True)) == 2
    assert await store.campaigns.retryable("news", state=State.FAILED, category="no-such-user") == [first.message_id]
    assert await store.campaigns.retry("news", [second.message_id], State.FAILED) == 1
    assert await store.campaigns.retry("news", [second.message_id], State.FAILED) == 0
    assert await campaign_state(store, "news") == "running"
    (again,) = await claim(worker, 9)
    assert (again.message_id, again.attempts, again.refusals, again.first_refused_at_us) == (
        second.message_id,
        1,
        0,
        None,
    )
    await worker.exchange([settled(again, SENT, clock)], [])
    assert await campaign_state(store, "news") == "finished"


async def test_a_retry_of_held_uncertain_ones_sends_them_again_and_they_stay_in_doubt(
    store: Store, clock: Clock
) -> None:
    worker = await register(store)
    await queue(store, "news", recipients(1), snapshot(on_uncertain=OnUncertain.HOLD))
    await worker.exchange(all_settled(await claim(worker, 1), UNKNOWN, clock), [])
    assert await campaign_state(store, "news") == "finished"
    ids = await store.campaigns.retryable("news", state=State.UNCERTAIN)
    assert await store.campaigns.retry("news", ids, State.UNCERTAIN) == 1
    assert await states(store, "news") == {"uncertain": 1}
    (again,) = await claim(worker, 1)
    assert again.in_doubt
    await worker.exchange([settled(again, REFUSED, clock)], [])
    assert await states(store, "news") == {"uncertain": 1}


async def test_a_retry_touches_only_the_campaign_that_is_named(store: Store, clock: Clock) -> None:
    worker = await register(store)
    await queue(store, "one", recipients(1))
    await queue(store, "two", recipients(1))
    await send_all(worker, clock, REFUSED)
    ids = await store.campaigns.retryable("one", state=State.FAILED, include_permanent=True)
    assert await store.campaigns.retry("two", ids, State.FAILED) == 0


async def test_deleting_removes_everything_recorded_of_a_campaign_that_has_ended(store: Store, clock: Clock) -> None:
    worker = await register(store)
    await queue(store, "news", recipients(CHUNK + 5))
    await queue(store, "other", recipients(3))
    with pytest.raises(Refused, match="only a finished or cancelled one"):
        await store.campaigns.delete("news")
    await send_all(worker, clock)
    assert await store.campaigns.delete("news") == CHUNK + 5
    with pytest.raises(NotFound):
        await store.campaigns.find("news")
    assert (await store.stats()).rows["messages"] == 3
    assert await states(store, "other") == {"sent": 3}


async def test_a_campaign_that_is_being_loaded_is_not_deleted_and_what_a_killed_load_left_goes_with_it(
    store: Store, clock: Clock
) -> None:
    await queue(store, "news", recipients(1))
    await send_all(await register(store), clock)
    load = await store.begin_load("news", loader="x", new=None)
    await load.add(recipients(9))
    with pytest.raises(Refused, match="is being loaded"):
        await store.campaigns.delete("news")
    clock.forward(SILENT_US)
    assert await store.campaigns.delete("news") == 1
    assert (await store.stats()).rows["messages"] == 0


async def test_a_campaign_whose_only_load_was_killed_is_removed_by_deleting_it(store: Store, clock: Clock) -> None:
    load = await store.begin_load("news", loader="x", new=snapshot())
    await load.add(recipients(9))
    clock.forward(SILENT_US)
    assert await store.campaigns.delete("news") == 0
    assert await store.campaigns.find_or_none("news") is None


async def test_a_deletion_that_was_cut_off_is_gone_on_with_and_nobody_adds_to_it_meanwhile(
    store: Store, clock: Clock
) -> None:
    await queue(store, "news", recipients(2 * CHUNK))
    await send_all(await register(store), clock)
    rests = 0

    async def cut_off(seconds: float) -> None:
        nonlocal rests
        rests += 1
        if rests == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await delete(store._database, clock, cut_off, "news")
    with pytest.raises(Refused, match="takes no recipients"):
        await store.begin_load("news", loader="x", new=None)
    assert await store.check() == []
    assert await store.campaigns.delete("news") == CHUNK


@pytest.mark.parametrize("state", ["loading", "finished", "cancelled"])
async def test_what_a_state_forbids_is_refused_with_a_sentence(store: Store, clock: Clock, state: str) -> None:
    if state == "loading":
        load = await store.begin_load("news", loader="x", new=snapshot())
    else:
        await queue(store, "news", recipients(1))
        await (store.campaigns.cancel("news") if state == "cancelled" else send_all(await register(store), clock))
    for action in (store.campaigns.pause, store.campaigns.resume):
        with pytest.raises(Refused, match=f"campaign news is {state}"):
            await action("news")
    if state != "cancelled":
        with pytest.raises(Refused, match=f"campaign news is {state}; it cannot be cancelled"):
            await store.campaigns.cancel("news")
    if state == "loading":
        await load.remove()


async def test_a_campaign_is_found_by_its_name_or_near_ones_are_named(store: Store) -> None:
    await queue(store, "spring", recipients(1))
    assert (await store.campaigns.find("spring")).name == "spring"
    assert await store.campaigns.find_or_none("sprong") is None
    with pytest.raises(NotFound) as caught:
        await store.campaigns.find("sprong")
    assert caught.value.hint == "Did you mean spring?"


async def test_a_wait_of_one_place_is_enough_to_ask_what_is_left(store: Store, clock: Clock) -> None:
    worker = await register(store)
    await queue(store, "news", recipients(4))
    first, second = await claim(worker, 2)
    await worker.exchange([settled(first, PUT_OFF, clock)], [want(0)])
    (left,) = await store.workers.left()
    assert (left.name, left.due, left.later, left.sending) == ("news", 2, 1, 1)
    assert left.next_due_us is not None
    assert left.next_due_us > clock()
    assert second.campaign_id == left.campaign_id
