"""What the showing commands read: status, messages by filter and page, one message, exports."""

from __future__ import annotations

import pytest
from support.store import (
    GREYLISTED,
    PUT_OFF,
    REFUSED,
    SENT,
    START_US,
    UNKNOWN,
    Clock,
    all_settled,
    claim,
    queue,
    recipients,
    register,
    send_all,
    settled,
    snapshot,
)

from mailer.core.clock import DAY_US, MINUTE_US, SECOND_US
from mailer.core.message import Claimed, Phase, State
from mailer.core.verdict import judge
from mailer.errors import NotFound
from mailer.store import Store
from mailer.store.reading import PAGE


async def some_of_each(store: Store, clock: Clock) -> dict[str, Claimed]:
    """A campaign with a message in every state that a worker makes; by state."""
    worker = await register(store)
    await queue(store, "news", recipients(6))
    sent, failed, deferred, uncertain, sending = await claim(worker, 5)
    outcomes = [
        settled(sent, SENT, clock),
        settled(failed, REFUSED, clock),
        settled(deferred, PUT_OFF, clock),
        settled(uncertain, UNKNOWN, clock),
    ]
    await worker.exchange(outcomes, [])
    return {"sent": sent, "failed": failed, "deferred": deferred, "uncertain": uncertain, "sending": sending}


async def test_status_counts_every_state(store: Store, clock: Clock) -> None:
    await some_of_each(store, clock)
    (campaign,) = (await store.reading.status()).campaigns
    assert {state for state, count in campaign.counts.items() if count == 1} == {
        State.SENT, State.FAILED, State.DEFERRED, State.UNCERTAIN, State.SENDING, State.QUEUED,
    }  # fmt: skip
    assert (campaign.total, campaign.to_do, campaign.in_doubt) == (6, 3, 1)
    assert (campaign.name, campaign.state, campaign.kind) == ("news", "running", "campaign")
    assert (campaign.created_at_us, campaign.started_at_us, campaign.finished_at_us) == (START_US, START_US, None)


async def test_status_of_one_campaign_shows_no_other(store: Store) -> None:
    await queue(store, "one", recipients(1))
    await queue(store, "two", recipients(2))
    status = await store.reading.status("two")
    assert [(c.name, c.total) for c in status.campaigns] == [("two", 2)]
    with pytest.raises(NotFound):
        await store.reading.status("three")


async def test_the_rate_is_that_of_the_last_half_minute_and_ends_with_the_campaign(store: Store, clock: Clock) -> None:
    worker = await register(store)
    await queue(store, "news", recipients(700))
    for _ in range(60):
        await worker.exchange(all_settled(await claim(worker, 10), SENT, clock), [])
        clock.forward(SECOND_US)
    status = await store.reading.status()
    assert status.campaigns[0].rate_per_second == pytest.approx(10, rel=0.2)
    assert status.relays[0].rate_per_second == pytest.approx(10, rel=0.2)
    assert status.relays[0].sent_24h == 600
    await store.campaigns.pause("news")
    assert (await store.reading.status()).campaigns[0].rate_per_second == 0, "what is paused has none"
    await store.campaigns.resume("news")
    await send_all(worker, clock)
    assert (await store.reading.status()).campaigns[0].rate_per_second == 0


async def test_what_was_sent_more_than_a_day_ago_is_not_counted(store: Store, clock: Clock) -> None:
    worker = await register(store)
    await queue(store, "news", recipients(2))
    await worker.exchange(all_settled(await claim(worker, 1), SENT, clock), [])
    clock.forward(DAY_US + MINUTE_US)
    await send_all(worker, clock)
    (relay,) = (await store.reading.status()).relays
    assert (relay.sent_24h, relay.claimed_24h) == (1, 1)


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, ["queued", "sending", "uncertain", "deferred", "failed", "sent"]),
        ({"states": [State.FAILED]}, ["failed"]),
        ({"states": [State.SENT, State.QUEUED]}, ["queued", "sent"]),
        ({"code": 550}, ["failed"]),
        ({"code": 250}, ["sent"]),
        ({"category": judge(GREYLISTED, Phase.RCPT).category}, ["deferred"]),
        ({"relay": "qq"}, ["uncertain", "deferred", "failed", "sent"]),
        ({"relay": "163"}, []),
        ({"since_us": START_US}, ["uncertain", "deferred", "failed", "sent"]),
        ({"since_us": START_US + 1}, []),
        ({"campaign": "news", "code": 550, "states": [State.FAILED]}, ["failed"]),
        ({"campaign": "other"}, []),
        ({"address_key": "user1@example.org"}, ["failed"]),
        ({"address_key": "user1@example.org", "campaign": "other"}, []),
        ({"address_key": "user1@example.org", "states": [State.SENT]}, []),
        ({"limit": 2}, ["queued", "sending"]),
    ],
)
async def test_messages_are_listed_newest_first_by_everything_that_is_asked_for(
    store: Store, clock: Clock, filters: dict[str, object], expected: list[str]
) -> None:
    await some_of_each(store, clock)
    await queue(store, "other", [])
    found = await store.reading.messages(**{"limit": 50, **filters})  # type: ignore[arg-type]
    assert [message.state for message in found] == expected


async def test_pages_go_on_after_the_last_message_shown(store: Store) -> None:
    await queue(store, "news", recipients(7))
    seen: list[int] = []
    after = None
    while page := await store.reading.messages(limit=3, after=after):
        seen += [message.id for message in page]
        after = seen[-1]
    assert seen == [7, 6, 5, 4, 3, 2, 1]


async def test_one_message_shows_every_attempt_in_order(store: Store, clock: Clock) -> None:
    worker = await register(store)
    campaign = await queue(store, "news", recipients(1))
    for result in (PUT_OFF, UNKNOWN, SENT):
        (message,) = await claim(worker, 1)
        await worker.exchange([settled(message, result, clock)], [])
        clock.forward(DAY_US // 2)
    found = await store.reading.message(message.message_id)
    assert [(a.n, a.code, a.phase) for a in found.attempts] == [
        (1, 450, "rcpt"),
        (2, None, "end-of-data"),
        (3, 250, "end-of-data"),
    ]
    assert (found.campaign_id, found.version, found.in_doubt) == (campaign, 1, True)
    assert found.summary.state is State.SENT
    with pytest.raises(NotFound, match="no message 99"):
        await store.reading.message(99)


async def test_an_export_has_everybody_in_order_of_address_over_pages(store: Store, clock: Clock) -> None:
    campaign = await queue(store, "news", recipients(PAGE + 3))
    await send_all(await register(store), clock)
    rows = [row async for row in store.reading.export(campaign)]
    assert len(rows) == PAGE + 3
    assert [row.address.lower() for row in rows] == sorted(row.address.lower() for row in rows)
    assert (rows[0].state, rows[0].code, rows[0].attempts, rows[0].first_attempt_at_us) == (
        State.SENT,
        250,
        1,
        START_US,
    )
    assert [row async for row in store.reading.export(campaign, [State.FAILED])] == []


async def test_an_export_tells_first_and_last_attempt_and_our_reason_where_no_server_spoke(
    store: Store, clock: Clock
) -> None:
    worker = await register(store)
    campaign = await queue(store, "news", recipients(2), snapshot(expires_at_us=clock() + DAY_US))
    for _ in range(2):
        (message,) = await claim(worker, 1)
        outcome = settled(message, PUT_OFF, clock)
        await worker.exchange([outcome], [])
    clock.forward(DAY_US)
    await store.campaigns.sweep()
    first, second = [row async for row in store.reading.export(campaign)]
    assert (first.attempts, first.text) == (1, "greylisted, try later")
    assert first.first_attempt_at_us == first.last_attempt_at_us == START_US
    assert first.reason == second.reason == "not accepted before the campaign's deadline"


async def test_the_first_recipient_or_a_named_one_is_found_for_a_preview(store: Store) -> None:
    campaign = await queue(store, "news", recipients(3))
    assert await store.reading.recipient(campaign) == ("User0@example.org", '{"name": "User 0"}')
    assert await store.reading.recipient(campaign, "user2@example.org") == ("User2@example.org", '{"name": "User 2"}')
    assert await store.reading.recipient(campaign, "user9@example.org") is None


async def test_names_come_newest_first(store: Store) -> None:
    for name in ("one", "two"):
        await queue(store, name, recipients(1))
    assert await store.reading.campaign_names() == ["two", "one"]
