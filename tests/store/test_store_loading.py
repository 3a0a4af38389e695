"""Loading recipients: all or nothing, however it ends."""

from __future__ import annotations

from typing import Any

import pytest
from support.store import Clock, campaign_state, claim, queue, recipients, register, send_all, snapshot, states

from mailer.core.clock import HOUR_US, SECOND_US
from mailer.errors import NotFound, Refused
from mailer.store import Load, Store, Want, loading
from mailer.store.loading import CHUNK, SILENT_US


async def begin(store: Store, name: str = "news", **changes: Any) -> Load:
    return await store.begin_load(name, loader="here/1", new=snapshot(**changes))


async def test_nothing_can_be_claimed_before_the_release(store: Store) -> None:
    worker = await register(store)
    load = await begin(store)
    await load.add(recipients(3))
    assert await claim(worker, 10) == ()
    assert await campaign_state(store, "news") == "loading"

    assert await load.release(hold=False) == "running"
    assert [m.address for m in await claim(worker, 10)] == [
        "User0@example.org",
        "User1@example.org",
        "User2@example.org",
    ]


async def test_messages_are_sent_in_the_order_of_the_file_across_transactions(store: Store) -> None:
    worker = await register(store)
    await queue(store, "news", recipients(CHUNK + 10))
    got = await claim(worker, CHUNK + 10)
    assert [m.address for m in got] == [row.address for row in recipients(CHUNK + 10)]


@pytest.mark.parametrize("longest_s", [0.0, 1_000.0])
async def test_no_row_is_lost_when_transactions_become_shorter_or_longer(
    store: Store, monkeypatch: pytest.MonkeyPatch, longest_s: float
) -> None:
    monkeypatch.setattr(loading, "LONGEST_LOCK_S", longest_s)
    load = await begin(store)
    await load.add(recipients(2 * CHUNK + 7))
    await load.add(recipients(CHUNK, first=2 * CHUNK + 7))
    await load.release(hold=False)
    assert await states(store, "news") == {"queued": 3 * CHUNK + 7}


async def test_an_address_that_is_repeated_in_the_file_is_counted_and_queued_once(store: Store) -> None:
    load = await begin(store)
    await load.add([*recipients(3), *recipients(2)])
    await load.add(recipients(2, first=1))
    await load.release(hold=False)
    assert (load.added, load.already, load.duplicates) == (3, 0, 4)
    assert await states(store, "news") == {"queued": 3}


async def test_the_first_of_two_rows_with_the_same_address_is_the_one_that_counts(store: Store) -> None:
    load = await begin(store)
    first, second = recipients(2)
    await load.add([first, type(second)("USER0@example.org", first.key, "other", "{}")])
    await load.release(hold=False)
    assert await store.reading.recipient(load.campaign_id) == (first.address, first.fields)


async def test_the_same_list_again_adds_nobody_and_a_longer_one_the_new_ones(store: Store) -> None:
    await queue(store, "news", recipients(3))
    load = await begin(store)
    await load.add(recipients(5))
    assert (load.added, load.already, load.duplicates) == (2, 3, 0)
    assert await load.release(hold=False) == "running"
    assert await states(store, "news") == {"queued": 5}


@pytest.mark.parametrize(
    ("hold", "start_in_us", "state"),
    [(True, None, "paused"), (True, HOUR_US, "paused"), (False, HOUR_US, "scheduled"), (False, -1, "running")],
)
async def test_a_released_campaign_is_in_the_state_that_was_asked_for(
    store: Store, clock: Clock, hold: bool, start_in_us: int | None, state: str
) -> None:
    start_at = None if start_in_us is None else clock() + start_in_us
    load = await begin(store, start_at_us=start_at)
    await load.add(recipients(1))
    assert await load.release(hold=hold, reason="held by a test") == state
    found = await store.campaigns.find("news")
    assert (found.state, found.reason) == (state, "held by a test" if hold else "")
    assert bool(await claim(await register(store), 1)) == (state == "running")


async def test_a_campaign_without_recipients_is_finished_when_it_is_released(store: Store) -> None:
    load = await begin(store)
    await load.release(hold=False)
    assert await campaign_state(store, "news") == "finished"


async def test_adding_to_a_finished_campaign_makes_it_running_again(store: Store, clock: Clock) -> None:
    worker = await register(store)
    await queue(store, "news", recipients(2))
    await send_all(worker, clock)
    assert await campaign_state(store, "news") == "finished"

    load = await store.begin_load("news", loader="x", new=None)
    await load.add(recipients(3))
    assert await load.release(hold=False) == "running"
    assert [m.address for m in await claim(worker, 9)] == ["User2@example.org"]


async def test_adding_nobody_new_leaves_a_finished_campaign_finished(store: Store, clock: Clock) -> None:
    worker = await register(store)
    await queue(store, "news", recipients(2))
    await send_all(worker, clock)
    load = await store.begin_load("news", loader="x", new=None)
    await load.add(recipients(2))
    assert await load.release(hold=False) == "finished"


async def test_adding_to_a_paused_campaign_leaves_it_paused_and_resuming_sends_the_new_ones_too(store: Store) -> None:
    await queue(store, "news", recipients(2))
    await store.campaigns.pause("news")
    load = await store.begin_load("news", loader="x", new=None)
    await load.add(recipients(4))
    assert await load.release(hold=False) == "paused"
    worker = await register(store)
    assert await claim(worker, 9) == ()
    await store.campaigns.resume("news")
    assert len(await claim(worker, 9)) == 4


async def test_adding_to_a_campaign_that_does_not_exist_is_refused_with_a_near_name(store: Store) -> None:
    await queue(store, "spring-news", recipients(1))
    with pytest.raises(NotFound) as caught:
        await store.begin_load("spring-new", loader="x", new=None)
    assert "spring-news" in caught.value.hint


async def test_a_second_load_is_refused_while_the_first_gives_signs_of_life(store: Store, clock: Clock) -> None:
    load = await begin(store)
    clock.forward(SILENT_US - SECOND_US)
    await load.add(recipients(1))
    clock.forward(SILENT_US - SECOND_US)
    with pytest.raises(Refused, match="is being loaded by here/1") as caught:
        await begin(store)
    assert "in 1 s" in caught.value.hint
    await load.release(hold=False)


async def test_a_killed_load_is_never_sent_and_the_same_command_takes_it_up_again(store: Store, clock: Clock) -> None:
    killed = await begin(store)
    await killed.add(recipients(CHUNK + 5))
    clock.forward(SILENT_US)

    again = await begin(store)
    await again.add(recipients(3))
    await again.release(hold=False)
    assert await states(store, "news") == {"queued": 3}
    assert len(await claim(await register(store), 50)) == 3


async def test_a_sign_of_life_from_a_clock_that_was_set_back_since_keeps_nobody_waiting(
    store: Store, clock: Clock
) -> None:
    clock.forward(HOUR_US)
    await (await begin(store)).add(recipients(1))
    clock.forward(-HOUR_US)
    load = await begin(store)
    await load.add(recipients(2))
    await load.release(hold=False)
    assert await states(store, "news") == {"queued": 2}


async def test_what_can_be_done_with_a_campaign_whose_loader_was_killed_is_said(store: Store) -> None:
    await (await begin(store)).add(recipients(1))
    with pytest.raises(Refused, match="it cannot be paused") as refused:
        await store.campaigns.pause("news")
    assert "`mailer campaign delete news`" in refused.value.hint


async def test_a_killed_load_into_a_running_campaign_is_removed_and_the_campaign_stays(
    store: Store, clock: Clock
) -> None:
    await queue(store, "news", recipients(2))
    killed = await store.begin_load("news", loader="x", new=None)
    await killed.add(recipients(9))
    clock.forward(SILENT_US)
    again = await store.begin_load("news", loader="y", new=None)
    await again.add(recipients(3))
    assert (again.added, again.already) == (1, 2)
    await again.release(hold=False)
    assert await states(store, "news") == {"queued": 3}


async def test_a_loader_that_wakes_up_after_it_was_taken_for_dead_writes_nothing_more(
    store: Store, clock: Clock
) -> None:
    sleeper = await begin(store)
    await sleeper.add(recipients(2))
    clock.forward(SILENT_US)
    other = await begin(store)
    with pytest.raises(Refused, match="another command took over"):
        await sleeper.add(recipients(9))
    with pytest.raises(Refused, match="another command took over"):
        await sleeper.release(hold=False)
    with pytest.raises(Refused, match="another command took over"):
        await sleeper.remove()
    await other.add(recipients(1))
    await other.release(hold=False)
    assert await states(store, "news") == {"queued": 1}


async def test_a_refused_load_takes_everything_back_and_the_new_campaign_with_it(store: Store) -> None:
    load = await begin(store, blobs={"ab": b"attachment"})
    await load.add(recipients(CHUNK + 1))
    await load.remove()
    assert await store.campaigns.find_or_none("news") is None
    assert (await store.stats()).rows["messages"] == 0


async def test_a_refused_load_into_an_existing_campaign_takes_back_only_its_own(store: Store) -> None:
    await queue(store, "news", recipients(2))
    load = await store.begin_load("news", loader="x", new=None)
    await load.add(recipients(5))
    await load.remove()
    assert await states(store, "news") == {"queued": 2}


async def test_a_load_takes_back_all_of_its_own_although_newer_messages_were_removed_before(store: Store) -> None:
    gone = await begin(store, "gone")
    await gone.add(recipients(10))
    load = await begin(store)
    await gone.remove()
    await load.add(recipients(3))
    await load.remove()
    assert (await store.stats()).rows["messages"] == 0


async def test_a_load_into_a_campaign_that_was_cancelled_meanwhile_is_refused_and_can_be_removed(store: Store) -> None:
    await queue(store, "news", recipients(2))
    load = await store.begin_load("news", loader="x", new=None)
    await load.add(recipients(5))
    await store.campaigns.cancel("news")
    with pytest.raises(Refused, match="was cancelled meanwhile"):
        await load.release(hold=False)
    await load.remove()
    assert await states(store, "news") == {"cancelled": 2}
    with pytest.raises(Refused, match="takes no recipients"):
        await store.begin_load("news", loader="x", new=None)


async def test_attachments_are_kept_once_and_go_with_the_last_campaign_that_has_them(
    store: Store, clock: Clock
) -> None:
    blobs = {"ab": b"\x00attachment", "cd": b""}
    first = await queue(store, "one", recipients(1), snapshot(blobs=blobs))
    second = await queue(store, "two", recipients(1), snapshot(blobs=blobs))
    await send_all(await register(store), clock)
    await store.campaigns.delete("one")
    content = await store.campaigns.content(second, 1)
    assert content.blobs == blobs
    with pytest.raises(NotFound):
        await store.campaigns.content(first, 1)


async def test_the_stored_content_is_what_was_queued(store: Store) -> None:
    new = snapshot("Hello", relays=("qq", "163"), settings='{"today": "2026-01-01"}')
    found = await store.campaigns.content(await queue(store, "news", recipients(1), new), 1)
    assert (found.name, found.kind, found.digest, found.body) == ("news", "campaign", new.digest, new.body)
    assert (found.settings, found.author, found.envelope_from) == (new.settings, new.author, new.envelope_from)
    assert (found.relays, found.blobs) == (("qq", "163"), {})


async def test_lanes_that_a_load_makes_follow_an_edit_that_came_in_between(store: Store) -> None:
    await queue(store, "news", recipients(1))
    load = await store.begin_load("news", loader="x", new=None)
    await store.campaigns.edit("news", snapshot(author="other@example.com"))
    await load.add(recipients(2))
    await load.release(hold=False)
    worker = await register(store)
    only_new = Want("qq", 9, lambda route: route.author == "other@example.com")
    await worker.exchange([], [only_new])  # meets the routes
    assert await states(store, "news") == {"sending": 2}


async def test_a_load_that_was_given_up_can_be_taken_up_again_at_once(store: Store) -> None:
    load = await store.begin_load("news", loader="here/1", new=snapshot())
    await load.add(recipients(3))
    await load.give_up()
    again = await store.begin_load("news", loader="here/2", new=snapshot())
    await again.add(recipients(2))
    await again.release(hold=False)
    assert (await store.reading.status("news")).campaigns[0].total == 2
