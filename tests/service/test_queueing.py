"""Queueing below the command line: all or nobody, however it is interrupted, and one command at a time."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.store import Clock, campaign_state, claim, no_rest, register, states

from mailer.config import load
from mailer.content import ContentFiles, RecipientFile, open_recipients
from mailer.core.clock import SECOND_US
from mailer.errors import InputError, MailerError, NotFound, Refused
from mailer.service.queue_draft import Draft, Ground, Wishes, draft_from_files
from mailer.service.queue_edit import Changes, edit
from mailer.service.queue_rows import BadRows, RowCheck, chunks, good_rows
from mailer.service.queueing import CHUNK, Queued, queue
from mailer.store import Store, loading

CONFIG = '[defaults]\nzone = "UTC"\n[[relay]]\nname = "qq"\nhost = "127.0.0.1"\ntls = "none"\nauth = "none"\n'
MANY = 3 * CHUNK


class Desk:
    """A folder with what is to be queued, and the store that it goes to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = Clock()
        self.database = folder / "mailer.db"
        (folder / "config.toml").write_text(CONFIG)
        (folder / "text.txt").write_text("Dear {{ name }}\n")
        self.write_list(MANY)

    def write_list(self, count: int, more: str = "") -> None:
        """A list of `count` recipients."""
        rows = "".join(f"user{n}@example.org,User {n}\n" for n in range(count))
        (self.folder / "list.csv").write_text(f"email,name\n{rows}{more}")

    def ground(self) -> Ground:
        """The desk's configuration, and its present."""
        return Ground(load({}, file=self.folder / "config.toml", cwd=self.folder).config, "UTC", self.clock())

    def draft(self, subject: str = "Hello {{ name }}", **wishes: Any) -> Draft:
        """What is to be queued as `spring`."""
        files = ContentFiles(
            sender="news@example.com",
            subject=subject,
            text=self.folder / "text.txt",
            html=None,
            attach=(),
            inline=(),
            headers=(),
            reply_to=None,
            to_name=None,
            variables={},
            list_name=None,
        )
        return draft_from_files("spring", files, Wishes(**wishes), self.ground(), stdin=bytes)

    @contextmanager
    def recipients(self) -> Iterator[RecipientFile]:
        """The list, opened."""
        with open_recipients(self.folder / "list.csv", stdin=None, encoding=None, address_column=None) as rows:
            yield rows

    @asynccontextmanager
    async def open(self, rest: Any = no_rest) -> AsyncIterator[Store]:
        """The store, under the desk's clock."""
        async with await Store.open(
            self.database, create=True, synchronous="off", clock=self.clock, rest=rest
        ) as store:
            yield store

    async def queue(
        self, draft: Draft | None = None, *, rest: Any = no_rest, on_progress: Callable[[], None] = lambda: None
    ) -> Queued:
        """Queue the list."""
        with self.recipients() as rows:
            return await queue(
                draft or self.draft(), rows, lambda: self.open(rest), clock=self.clock, on_progress=on_progress
            )


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


async def test_all_are_queued_and_a_worker_can_have_them(desk: Desk) -> None:
    queued = await desk.queue()
    assert (queued.added, queued.already, queued.state) == (MANY, 0, "running")
    async with desk.open() as store:
        assert len(await claim(await register(store), 50)) == 50


async def test_progress_is_told_for_every_chunk(desk: Desk) -> None:
    told: list[int] = []
    await desk.queue(on_progress=lambda: told.append(1))
    assert len(told) == MANY // CHUNK


async def test_nobody_can_have_a_message_before_the_last_row_is_in(desk: Desk) -> None:
    claimed: list[int] = []

    async def a_worker_looks(_seconds: float) -> None:
        async with desk.open() as store:
            claimed.append(len(await claim(await register(store, os.urandom(16).hex()), 50)))

    await desk.queue(rest=a_worker_looks)
    assert len(claimed) >= MANY // CHUNK
    assert set(claimed) == {0}


async def test_on_a_slow_disk_the_transactions_become_shorter_and_nobody_is_lost(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "LONGEST_LOCK_S", 0.0)  # every transaction takes longer
    rests: list[float] = []

    async def rest(seconds: float) -> None:
        rests.append(seconds)

    queued = await desk.queue(rest=rest)
    assert queued.added == MANY
    assert len(rests) > MANY // CHUNK
    async with desk.open() as store:
        assert await states(store, "spring") == {"queued": MANY}


# Interrupted


class CancelledOnce:
    """Cancels the task that calls it for the `n`th time: Ctrl-C."""

    def __init__(self, n: int) -> None:
        self.left = n

    def __call__(self) -> None:
        self.left -= 1
        task = asyncio.current_task()
        if self.left == 0 and task is not None:
            task.cancel()


async def test_an_interrupted_load_is_never_sent_and_the_same_command_takes_it_up_at_once(desk: Desk) -> None:
    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(desk.queue(on_progress=CancelledOnce(2)))
    async with desk.open() as store:
        assert await campaign_state(store, "spring") == "loading"
        assert await claim(await register(store), 50) == ()
    queued = await desk.queue()
    assert (queued.added, queued.already, queued.state) == (MANY, 0, "running")
    async with desk.open() as store:
        assert await states(store, "spring") == {"queued": MANY}
        assert await store.check() == []


async def test_an_interruption_that_comes_too_late_is_overruled(desk: Desk) -> None:
    queued = await asyncio.create_task(desk.queue(on_progress=CancelledOnce(MANY // CHUNK)))
    assert (queued.added, queued.state) == (MANY, "running")


async def test_an_interrupted_load_into_a_running_campaign_leaves_that_as_it_was(desk: Desk) -> None:
    desk.write_list(10)
    await desk.queue()
    desk.write_list(MANY)
    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(desk.queue(on_progress=CancelledOnce(1)))
    async with desk.open() as store:
        assert len(await claim(await register(store), 50)) == 10
    assert (await desk.queue()).added == MANY - 10


async def leave_as_killed(desk: Desk) -> None:
    """Write half of the list and vanish."""
    async with desk.open() as store:
        load = await store.begin_load("spring", loader="elsewhere", new=desk.draft().snapshot(desk.clock()))
        with desk.recipients() as rows:
            check = RowCheck(desk.draft().compiled, "example.com")
            await load.add(next(chunks(good_rows(rows, check, BadRows(rows.where, None)), CHUNK)))


async def test_after_a_kill_the_same_command_finishes_the_job_once_the_dead_load_has_been_silent(desk: Desk) -> None:
    await leave_as_killed(desk)
    desk.clock.forward(9 * SECOND_US)
    with pytest.raises(Refused, match="is being loaded by elsewhere") as caught:
        await desk.queue()
    assert "in 1 s" in caught.value.hint
    desk.clock.forward(2 * SECOND_US)
    assert (await desk.queue()).added == MANY
    async with desk.open() as store:
        assert await states(store, "spring") == {"queued": MANY}
        assert await store.check() == []


async def test_after_a_kill_another_content_under_the_same_name_is_no_difference(desk: Desk) -> None:
    """The campaign has never existed for anybody: nothing of it was released."""
    await leave_as_killed(desk)
    desk.clock.forward(11 * SECOND_US)
    await desk.queue(desk.draft(subject="Another"))
    async with desk.open() as store:
        campaign = await store.campaigns.find("spring")
        assert '"Another"' in (await store.campaigns.content(campaign.id, campaign.version)).body


# Refused


async def test_a_bad_row_among_the_first_leaves_no_trace(desk: Desk) -> None:
    desk.write_list(5, "nobody,N\n")
    with pytest.raises(InputError, match="1 row cannot be used"):
        await desk.queue()
    assert not desk.database.exists()


async def test_a_bad_row_at_the_end_takes_everything_back(desk: Desk) -> None:
    desk.write_list(MANY, "nobody,N\n")
    with pytest.raises(InputError, match="1 row cannot be used"):
        await desk.queue()
    async with desk.open() as store:
        with pytest.raises(NotFound):
            await store.campaigns.find("spring")
        assert (await store.stats()).rows["messages"] == 0
        assert await store.check() == []


async def test_a_bad_row_in_a_longer_list_leaves_the_campaign_as_it_was(desk: Desk) -> None:
    desk.write_list(10)
    await desk.queue()
    desk.write_list(MANY, "nobody,N\n")
    with pytest.raises(InputError):
        await desk.queue()
    async with desk.open() as store:
        assert await states(store, "spring") == {"queued": 10}
        assert await store.check() == []


async def test_of_two_commands_with_different_content_one_is_refused_and_nothing_is_mixed(desk: Desk) -> None:
    drafts = [desk.draft(subject="One"), desk.draft(subject="Two")]
    results = await asyncio.gather(*(desk.queue(draft) for draft in drafts), return_exceptions=True)
    refused = [result for result in results if isinstance(result, MailerError)]
    [winner] = [n for n, result in enumerate(results) if isinstance(result, Queued)]
    assert len(refused) == 1
    assert isinstance(refused[0], Refused)
    async with desk.open() as store:
        campaign = await store.campaigns.find("spring")
        stored = await store.campaigns.content(campaign.id, campaign.version)
        assert stored.digest == drafts[winner].content.digest
        assert await states(store, "spring") == {"queued": MANY}
        assert await store.check() == []


async def test_tomorrow_the_same_command_is_still_the_same(desk: Desk) -> None:
    await desk.queue(desk.draft(expires_in="3d"))
    desk.clock.forward(86_400 * SECOND_US)
    assert (await desk.queue(desk.draft(expires_in="3d"))).already == MANY


async def test_the_deadline_of_a_length_counts_from_the_start(desk: Desk) -> None:
    start = desk.clock() + 3_600 * SECOND_US
    queued = await desk.queue(desk.draft(start_at="2027-01-15T09:00", expires_in="2h"))
    assert queued.start_at_us == start
    assert queued.deadline_us == start + 7_200 * SECOND_US


async def test_a_length_that_an_edit_brings_counts_from_the_edit_and_stays(desk: Desk) -> None:
    desk.write_list(3)
    await desk.queue(desk.draft(expires_in="9d"))
    desk.clock.forward(3 * 86_400 * SECOND_US)
    async with desk.open() as store:
        edited = await edit(store, "spring", Changes(expires_in="2h"), desk.ground(), stdin=bytes)
        assert edited.deadline_us == desk.clock() + 7_200 * SECOND_US
        desk.clock.forward(3_600 * SECOND_US)
        again = await edit(store, "spring", Changes(subject="Other"), desk.ground(), stdin=bytes)
        assert again.deadline_us == edited.deadline_us
