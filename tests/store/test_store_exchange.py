"""The exchange: what is claimed in which order, what is recorded, and that it may be repeated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from support.store import (
    ACCEPTED,
    LEASE_US,
    LOST,
    PUT_OFF,
    REFUSED,
    RELAY_STOPPED,
    SENT,
    START_US,
    UNKNOWN,
    UNTOUCHED,
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
    tampered,
    want,
)

from mailer.core.clock import DAY_US, HOUR_US, MINUTE_US, SECOND_US
from mailer.core.message import Claimed, Ending, Result, State
from mailer.core.reply import Reply
from mailer.store import Exchanger, Fenced, Route, Store, Want
from mailer.store.exchange import TURN


async def lose_answer(worker: Exchanger, *args: object, **options: object) -> None:
    """An exchange that commits and whose answer never arrives."""
    answered_n, seen_claim = worker.answered_n, worker._seen_claim
    await worker.exchange(*args, **options)  # type: ignore[arg-type]
    worker.answered_n, worker._seen_claim = answered_n, seen_claim


def by_campaign(messages: Sequence[Claimed]) -> Counter[int]:
    return Counter(message.campaign_id for message in messages)


async def test_what_is_claimed_is_handed_out_once_with_all_that_is_needed_to_send_it(
    store: Store, clock: Clock
) -> None:
    worker = await register(store)
    campaign = await queue(store, "news", recipients(2), snapshot(expires_at_us=clock() + DAY_US))
    first, second = await claim(worker, 5)
    assert (first.claim, second.claim) == (1, 2)
    assert first == Claimed(
        claim=1,
        message_id=1,
        campaign_id=campaign,
        lane_id=first.lane_id,
        relay="qq",
        version=1,
        address="User0@example.org",
        fields='{"name": "User 0"}',
        attempts=0,
        refusals=0,
        losses=0,
        first_refused_at_us=None,
        in_doubt=False,
        waited_as=State.QUEUED,
        due_at_us=START_US,
        expires_at_us=clock() + DAY_US,
        on_uncertain=first.on_uncertain,
    )
    assert await claim(worker, 5) == ()
    assert await states(store, "news") == {"sending": 2}


async def test_a_campaign_starts_with_its_first_claim_and_is_finished_with_its_last_outcome(
    store: Store, clock: Clock
) -> None:
    worker = await register(store)
    await queue(store, "news", recipients(2))
    clock.forward(SECOND_US)
    messages = await claim(worker, 5)
    assert (await store.campaigns.find("news")).started_at_us == START_US + SECOND_US
    clock.forward(SECOND_US)
    await worker.exchange([settled(messages[0], SENT, clock)], [])
    assert await campaign_state(store, "news") == "running"
    await worker.exchange([settled(messages[1], REFUSED, clock)], [])
    found = await store.campaigns.find("news")
    assert (found.state, found.finished_at_us) == ("finished", START_US + 2 * SECOND_US)
    assert await states(store, "news") == {"sent": 1, "failed": 1}


@pytest.mark.parametrize(
    ("result", "state", "attempts", "in_doubt", "waits"),
    [
        (SENT, "sent", 1, False, False),
        (REFUSED, "failed", 1, False, False),
        (PUT_OFF, "deferred", 1, False, True),
        (LOST, "deferred", 1, False, True),
        (UNKNOWN, "uncertain", 1, True, True),
        (RELAY_STOPPED, "queued", 1, False, True),
        (UNTOUCHED, "queued", 0, False, True),
        (Result(Ending.UNFIT, note="no"), "failed", 1, False, False),
        (Result(Ending.EXPIRED, note="too late"), "failed", 0, False, False),
    ],
)
async def test_an_outcome_is_recorded_with_its_attempt(
    store: Store, clock: Clock, result: Result, state: str, attempts: int, in_doubt: bool, waits: bool
) -> None:
    worker = await register(store)
    await queue(store, "news", recipients(1))
    (message,) = await claim(worker, 1)
    await worker.exchange([settled(message, result, clock)], [])
    found = await store.reading.message(message.message_id)
    assert (found.summary.state, found.summary.attempts, found.in_doubt) == (state, attempts, in_doubt)
    assert (found.summary.due_at_us is not None) == waits
    assert len(found.attempts) == attempts
    if result.reply is not None:
        (attempt,) = found.attempts
        assert (attempt.n, attempt.code, attempt.enhanced) == (1, result.reply.code, result.reply.enhanced)
        assert (attempt.text, attempt.phase, attempt.relay) == (result.reply.text, result.phase, "qq")


async def test_a_message_that_was_put_off_is_claimed_again_when_it_is_due_and_not_before(
    store: Store, clock: Clock
) -> None:
    worker = await register(store)
    await queue(store, "news", recipients(1))
    (message,) = await claim(worker, 1)
    outcome = settled(message, PUT_OFF, clock)
    assert outcome.due_at_us is not None
    answer = await worker.exchange([outcome], [want(1)])
    assert answer.messages == ()
    assert answer.next_due_us == outcome.due_at_us

    clock.now_us = outcome.due_at_us - 1
    assert await claim(worker, 1) == ()
    clock.forward(1)
    (again,) = await claim(worker, 1)
    assert (again.attempts, again.refusals, again.waited_as) == (1, 1, State.DEFERRED)
    assert again.first_refused_at_us == START_US


async def test_what_comes_back_untouched_is_as_if_it_had_never_been_claimed(store: Store, clock: Clock) -> None:
    worker = await register(store)
    await queue(store, "news", recipients(1))
    (message,) = await claim(worker, 1)
    (again,) = (await worker.exchange([settled(message, UNTOUCHED, clock)], [want(1)])).messages
    assert (again.message_id, again.claim) == (message.message_id, message.claim + 1)
    assert (again.attempts, again.due_at_us, again.waited_as) == (0, message.due_at_us, State.QUEUED)


async def test_new_messages_and_due_retries_are_taken_one_for_one(store: Store, clock: Clock) -> None:
    worker = await register(store)
    await queue(store, "news", recipients(40))
    await worker.exchange(all_settled(await claim(worker, 20), PUT_OFF, clock), [])
    clock.forward(HOUR_US)
    attempts = [message.attempts for message in await claim(worker, 12)]
    assert attempts.count(0) == attempts.count(1) == 6
    rest = [message.attempts for message in await claim(worker, 40)]
    assert len(rest) == 28


async def test_lanes_take_turns_so_that_a_huge_campaign_does_not_starve_a_small_one(store: Store) -> None:
    worker = await register(store)
    huge = await queue(store, "huge", recipients(400))
    small = await queue(store, "small", recipients(20))
    got = by_campaign([m for _ in range(5) for m in await claim(worker, TURN)])
    assert got[small] == 2 * TURN or got[huge] == 2 * TURN


async def test_one_exchange_gives_all_that_is_asked_for_although_some_lanes_have_little(store: Store) -> None:
    """A worker that gets less than it asked for concludes that nothing more is due."""
    worker = await register(store)
    await queue(store, "huge", recipients(200))
    for n in range(4):
        await queue(store, f"small{n}", recipients(1))
    assert len(await claim(worker, 80)) == 80


async def test_weights_share_the_relay_as_ten_to_three_to_one(store: Store) -> None:
    worker = await register(store)
    ids = {
        priority: await queue(store, f"p{priority + 10}", recipients(2_000), snapshot(priority=priority))
        for priority in (10, 0, -10)
    }
    got: Counter[int] = Counter()
    for _ in range(140):
        got += by_campaign(await claim(worker, TURN))
    assert got[ids[10]] / got[ids[-10]] == pytest.approx(10, rel=0.15)
    assert got[ids[0]] / got[ids[-10]] == pytest.approx(3.16, rel=0.15)


async def test_a_lane_that_slept_has_saved_up_no_turns(store: Store, clock: Clock) -> None:
    worker = await register(store)
    late = await queue(store, "late", recipients(100))
    await store.campaigns.pause("late")
    await queue(store, "busy", recipients(2_000))
    for _ in range(100):
        await claim(worker, TURN)
    await store.campaigns.resume("late")
    got = by_campaign([m for _ in range(6) for m in await claim(worker, TURN)])
    assert got[late] <= 4 * TURN


async def test_a_lane_that_had_the_line_for_itself_does_not_pay_for_it_later(store: Store, clock: Clock) -> None:
    worker = await register(store)
    old = await queue(store, "old", recipients(800))
    while messages := await claim(worker, 80):
        await worker.exchange(all_settled(messages, PUT_OFF, clock), [])
    await queue(store, "new", recipients(800))
    clock.forward(HOUR_US)
    got = by_campaign([m for _ in range(6) for m in await claim(worker, TURN)])
    assert got[old] >= 2 * TURN


async def test_a_relay_gets_only_what_it_may_carry(store: Store) -> None:
    worker = await register(store)
    await queue(store, "theirs", recipients(1), snapshot(author="boss@example.net"))
    ours = await queue(store, "ours", recipients(1), snapshot(relays=("qq",)))
    seen: list[Route] = []

    def carries(route: Route) -> bool:
        seen.append(route)
        return route.author == "news@example.com"

    answer = await worker.exchange([], [Want("qq", 9, carries)])
    assert [message.campaign_id for message in answer.messages] == [ours]
    assert [(route.author, route.relays) for route in seen] == [("boss@example.net", ()), ("news@example.com", ("qq",))]
    assert worker.route(seen[1].id) == seen[1]


async def test_several_relays_are_served_in_one_exchange(store: Store) -> None:
    worker = await register(store)
    await queue(store, "news", recipients(5))
    answer = await worker.exchange([], [want(2, "qq"), want(0, "none"), want(9, "163")])
    assert Counter(message.relay for message in answer.messages) == {"qq": 2, "163": 3}


# Limits


async def test_a_rate_is_held_and_says_when_it_allows_more(store: Store, clock: Clock) -> None:
    worker = await register(store)
    await queue(store, "news", recipients(50))
    limit = want(10, interval_us=250_000)
    answer = await worker.exchange([], [limit])
    assert len(answer.messages) == 1
    assert answer.next_due_us == clock() + 250_000
    clock.forward(250_000)
    assert len((await worker.exchange([], [limit])).messages) == 1
    clock.forward(HOUR_US)  # unused rate is made up for, but not for more than a second
    assert len((await worker.exchange([], [limit])).messages) == 5


async def test_a_rate_is_shared_by_all_workers(store: Store, clock: Clock) -> None:
    workers = [await register(store, digit * 32) for digit in "abc"]
    await queue(store, "news", recipients(500))
    count = 0
    for _ in range(100):
        for worker in workers:
            count += len((await worker.exchange([], [want(10, interval_us=100_000)])).messages)
        clock.forward(50_000)
    assert count in (50, 51)


async def test_a_daily_limit_holds_for_any_24_hours(store: Store, clock: Clock) -> None:
    worker = await register(store)
    await queue(store, "news", recipients(50))
    answer = await worker.exchange([], [want(10, daily_limit=3)])
    assert len(answer.messages) == 3
    assert answer.next_due_us is not None
    clock.forward(12 * HOUR_US)
    assert (await worker.exchange([], [want(10, daily_limit=3)])).messages == ()
    assert answer.next_due_us >= START_US + DAY_US
    clock.now_us = answer.next_due_us
    assert len((await worker.exchange([], [want(10, daily_limit=3)])).messages) == 3


@pytest.mark.parametrize("limits", [{"interval_us": 250_000}, {"daily_limit": 3}], ids=["rate", "day"])
async def test_a_clock_that_was_years_ahead_and_is_set_right_stops_no_relay(
    store: Store, clock: Clock, limits: dict[str, Any]
) -> None:
    worker = await register(store)
    await queue(store, "news", recipients(50))
    clock.forward(10 * 365 * DAY_US)
    assert (await worker.exchange([], [want(10, **limits)])).messages
    clock.now_us = START_US
    assert (await worker.exchange([], [want(10, **limits)])).messages


async def test_what_comes_back_untouched_gives_its_place_in_the_day_back(store: Store, clock: Clock) -> None:
    worker = await register(store)
    await queue(store, "news", recipients(50))
    limit = want(10, daily_limit=3)
    messages = (await worker.exchange([], [limit])).messages
    clock.forward(5 * MINUTE_US)
    outcomes = [*all_settled(messages[:2], UNTOUCHED, clock), settled(messages[2], REFUSED, clock)]
    assert len((await worker.exchange(outcomes, [limit])).messages) == 2
    assert (await store.reading.status()).relays[0].claimed_24h == 3


# Repeating


async def test_an_exchange_whose_answer_was_lost_hands_the_same_messages_out_again(store: Store, clock: Clock) -> None:
    worker = await register(store)
    await queue(store, "news", recipients(10))
    messages = await claim(worker, 3)
    outcomes = all_settled(messages, SENT, clock)
    await lose_answer(worker, outcomes, [want(4)])

    answer = await worker.exchange(outcomes, [want(4)])
    assert [m.claim for m in answer.messages] == [4, 5, 6, 7]
    assert await states(store, "news") == {"sent": 3, "sending": 4, "queued": 3}


async def test_claims_of_a_lost_answer_take_up_the_places_of_the_next(store: Store, clock: Clock) -> None:
    worker = await register(store)
    await queue(store, "news", recipients(20))
    for _ in range(3):
        await lose_answer(worker, [], [want(5)])
    assert len((await worker.exchange([], [want(6)])).messages) == 6
    assert len((await worker.exchange([], [want(6)])).messages) == 6


async def test_outcomes_count_once_however_often_they_come(store: Store, clock: Clock) -> None:
    worker = await register(store)
    await queue(store, "news", recipients(1))
    (message,) = await claim(worker, 1)
    outcome = settled(message, PUT_OFF, clock)
    for _ in range(3):
        await worker.exchange([outcome, outcome], [])
    found = await store.reading.message(message.message_id)
    assert len(found.attempts) == found.summary.attempts == 1


async def test_a_late_outcome_of_an_older_claim_changes_nothing(store: Store, clock: Clock) -> None:
    worker = await register(store)
    await queue(store, "news", recipients(1))
    (message,) = await claim(worker, 1)
    (again,) = (await worker.exchange([settled(message, UNTOUCHED, clock)], [want(1)])).messages
    await worker.exchange([settled(message, REFUSED, clock)], [])
    assert await states(store, "news") == {"sending": 1}
    await worker.exchange([settled(again, SENT, clock)], [])
    assert await states(store, "news") == {"sent": 1}


async def test_another_workers_claim_cannot_be_settled_by_its_number(store: Store, clock: Clock) -> None:
    mine, other = await register(store, "a" * 32), await register(store, "b" * 32)
    await queue(store, "news", recipients(1))
    (message,) = await claim(mine, 1)
    await other.exchange([settled(message, REFUSED, clock)], [])
    assert await states(store, "news") == {"sending": 1}


async def test_messages_of_a_lost_answer_whose_campaign_was_paused_since_are_withdrawn(store: Store) -> None:
    worker = await register(store)
    campaign = await queue(store, "news", recipients(3))
    await lose_answer(worker, [], [want(3)])
    await store.campaigns.pause("news")
    answer = await worker.exchange([], [want(3)])
    assert len(answer.messages) == 3
    assert answer.withdrawn == {campaign}


async def test_campaigns_paused_or_cancelled_since_are_named(store: Store) -> None:
    worker = await register(store)
    ids = [await queue(store, name, recipients(1)) for name in ("running", "paused", "cancelled")]
    await claim(worker, 9)
    await store.campaigns.pause("paused")
    await store.campaigns.cancel("cancelled")
    assert (await worker.exchange([], [], ids)).withdrawn == set(ids[1:])


# Fencing


async def test_a_worker_that_was_taken_for_dead_is_fenced(store: Store, clock: Clock) -> None:
    worker = await register(store)
    await queue(store, "news", recipients(1))
    (message,) = await claim(worker, 1)
    await store.workers.recover(worker.worker_id, [], lambda c, at, deaths: settled(c, UNTOUCHED, clock))
    with pytest.raises(Fenced):
        await worker.exchange([settled(message, SENT, clock)], [want(1)])
    assert await states(store, "news") == {"queued": 1}


async def test_a_worker_notices_that_the_database_has_gone_back_in_time(store: Store) -> None:
    worker = await register(store)
    for _ in range(3):
        await worker.exchange([], [])
    await tampered(store, "UPDATE worker SET exchange_n = exchange_n - 1")
    with pytest.raises(Fenced, match="gone back in time"):
        await worker.exchange([], [])


async def test_every_exchange_renews_the_lease(store: Store, clock: Clock) -> None:
    worker = await register(store)
    clock.forward(MINUTE_US)
    await worker.exchange([], [])
    (row,) = await store.workers.live()
    assert (row.heartbeat_at_us, row.lease_until_us) == (clock(), clock() + LEASE_US)
    assert row.exchange_n == 1


# A command that sends its own campaign


async def held(store: Store, count: int, name: str = "send/1") -> int:
    load = await store.begin_load(name, loader="send", new=snapshot(), kind="send")
    await load.add(recipients(count))
    assert await load.release(hold=True, reason="sent by `mailer send`") == "paused"
    return load.campaign_id


async def test_a_command_sends_its_own_campaign_while_it_is_closed_to_everybody_else(
    store: Store, clock: Clock
) -> None:
    campaign = await held(store, 3)
    await queue(store, "other", recipients(5))
    other, mine = await register(store, "a" * 32), await register(store, "b" * 32)
    assert len(await claim(other, 9)) == 5
    answer = await mine.exchange([], [want(9)], only_campaign=campaign)
    assert len(answer.messages) == 3
    answer = await mine.exchange(
        all_settled(answer.messages, SENT, clock), [want(9)], [campaign], only_campaign=campaign
    )
    assert answer.messages == ()
    assert answer.withdrawn == frozenset()
    assert await campaign_state(store, "send/1") == "paused"
    assert await store.campaigns.resume("send/1") == "finished"


async def test_what_is_left_of_it_is_sent_by_other_workers_once_it_is_resumed(store: Store, clock: Clock) -> None:
    campaign = await held(store, 2)
    mine = await register(store, "a" * 32)
    first, second = (await mine.exchange([], [want(9)], only_campaign=campaign)).messages
    put_off = settled(second, PUT_OFF, clock)
    answer = await mine.exchange([settled(first, SENT, clock), put_off], [want(9)], only_campaign=campaign)
    assert answer.next_due_us == put_off.due_at_us
    assert await store.campaigns.resume("send/1") == "running"

    clock.forward(HOUR_US)
    other = await register(store, "b" * 32)
    assert [m.message_id for m in await claim(other, 9)] == [second.message_id]


async def test_a_killed_command_leaves_its_campaign_paused_and_nothing_is_sent_twice(
    store: Store, clock: Clock
) -> None:
    campaign = await held(store, 3)
    killed = await register(store, "a" * 32)
    messages = (await killed.exchange([], [want(2)], only_campaign=campaign)).messages
    await killed.exchange([settled(messages[0], SENT, clock)], [], only_campaign=campaign)
    await store.workers.recover(killed.worker_id, [], lambda c, at, deaths: settled(c, UNTOUCHED, clock))
    assert await states(store, "send/1") == {"sent": 1, "queued": 2}
    assert await claim(await register(store, "b" * 32), 9) == ()
    assert await store.campaigns.resume("send/1") == "running"
    assert len(await claim(await register(store, "c" * 32), 9)) == 2


async def test_it_stops_when_its_campaign_is_cancelled(store: Store) -> None:
    campaign = await held(store, 5)
    mine = await register(store)
    await mine.exchange([], [want(2)], only_campaign=campaign)
    await store.campaigns.cancel("send/1")
    answer = await mine.exchange([], [want(2)], [campaign], only_campaign=campaign)
    assert answer.messages == ()
    assert answer.withdrawn == {campaign}


async def test_it_takes_only_what_its_relay_may_carry(store: Store) -> None:
    campaign = await held(store, 1)
    mine = await register(store)
    nobody = Want("qq", 9, lambda route: False)
    assert (await mine.exchange([], [nobody], only_campaign=campaign)).messages == ()


# What servers say


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("no \udc80\udcff bytes", "no \ufffd\ufffd bytes"),
        ("cut\0off", "cut\ufffdoff"),
        ("\ud83d", "\ufffd"),
        ("用户不存在 \U0001f600", "用户不存在 \U0001f600"),
    ],
)
async def test_whatever_a_server_says_can_be_read_again(store: Store, clock: Clock, said: str, kept: str) -> None:
    worker = await register(store)
    await queue(store, "news", recipients(1))
    (message,) = await claim(worker, 1)
    result = replace(answered(Reply(550, None, said)), tls=said, note=said)
    await worker.exchange([replace(settled(message, result, clock), reason=said)], [])
    found = await store.reading.message(message.message_id)
    (attempt,) = found.attempts
    assert (attempt.text, attempt.tls, attempt.note, found.reason) == (kept, kept, kept, kept)


async def test_the_accepted_reply_is_kept_word_for_word(store: Store, clock: Clock) -> None:
    worker = await register(store)
    await queue(store, "news", recipients(1))
    await send_all(worker, clock)
    ((message,),) = (await store.reading.messages(limit=1),)
    assert (message.code, message.enhanced, message.text) == (250, "2.0.0", ACCEPTED.text)
