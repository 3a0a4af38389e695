"""Settling what a dead worker had in hand: each row of the table in `store/flight_recovery.py`, with real files."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from support.casualty import DEAD, TABLE, Yard
from support.store import ACCEPTED, LEASE_US, NO_SUCH_USER, Clock, no_rest, queue, recipients, snapshot, states
from support.worker import journal_kept

from mailer.core.message import OnUncertain
from mailer.core.progress import Step
from mailer.store import Store
from mailer.store.flight_record import FIRST_SLOT, FRAME_BYTES


@pytest.fixture
async def yard(tmp_path: Path) -> AsyncIterator[Yard]:
    clock = Clock()
    path = tmp_path / "mailer.db"
    with journal_kept():
        async with await Store.open(path, create=True, synchronous="off", clock=clock, rest=no_rest) as store:
            yield Yard(tmp_path, store, clock)
            assert await store.check() == []


# What a good file makes of each of TABLE.
AS_THEY_ARE = ["queued", "queued", "queued", "uncertain", "sent", "failed"]


async def test_with_a_good_file_each_message_gets_what_its_last_step_means(yard: Yard) -> None:
    await queue(yard.store, "spring", recipients(6))
    dead = await yard.casualty(*TABLE)
    assert await yard.recovery().settle_dead() == 6
    assert [state for (state,) in yard.rows("SELECT state FROM message ORDER BY id")] == AS_THEY_ARE
    assert yard.rows("SELECT code, text FROM attempt WHERE code IS NOT NULL ORDER BY message_id") == [
        (ACCEPTED.code, ACCEPTED.text),
        (NO_SUCH_USER.code, NO_SUCH_USER.text),
    ]
    assert yard.rows("SELECT DISTINCT attempts, refusals, losses FROM message WHERE state = 'queued'") == [(0, 0, 0)]
    assert yard.rows("SELECT id FROM worker WHERE state = 'dead'") == [(dead.worker_id,)]
    assert yard.rows("SELECT count(*) FROM claim") == [(0,)]
    assert not dead.file.exists()


async def test_who_was_in_doubt_waits_for_its_resend_or_for_the_operator(yard: Yard) -> None:
    await queue(yard.store, "again", recipients(1))
    await queue(yard.store, "held", recipients(1), snapshot(on_uncertain=OnUncertain.HOLD))
    await yard.casualty(Step.END_BEGUN, Step.END_BEGUN)
    await yard.recovery().settle_dead()
    assert await states(yard.store, "again") == await states(yard.store, "held") == {"uncertain": 1}
    assert yard.rows("SELECT count(*) FROM ready") == [(1,)]


@pytest.mark.parametrize(
    ("identity", "expected"),
    [
        pytest.param({"boot": "another"}, ["uncertain"] * 4 + ["sent", "failed"], id="the machine was restarted"),
        pytest.param({"store_id": "another"}, ["uncertain"] * 6, id="of another database"),
        pytest.param({"boot": ""}, ["uncertain"] * 4 + ["sent", "failed"], id="no boot id"),
    ],
)
async def test_a_file_that_is_no_evidence_leaves_in_doubt_what_no_answer_decides(
    yard: Yard, identity: dict[str, str], expected: list[str]
) -> None:
    await queue(yard.store, "spring", recipients(6))
    await yard.casualty(*TABLE, **identity)
    await yard.recovery().settle_dead()
    assert [state for (state,) in yard.rows("SELECT state FROM message ORDER BY id")] == expected


async def test_a_bad_record_makes_uncertain_what_has_no_good_one(yard: Yard) -> None:
    await queue(yard.store, "spring", recipients(6))
    dead = await yard.casualty(*TABLE)
    with dead.file.open("r+b") as file:
        file.seek((FIRST_SLOT + 1) * FRAME_BYTES + 40)  # the second slot taken: ON_WIRE of the third message
        file.write(b"\xaa")
    await yard.recovery().settle_dead()
    assert [state for (state,) in yard.rows("SELECT state FROM message ORDER BY id")] == [
        "uncertain", "queued", "uncertain", "uncertain", "sent", "failed",
    ]  # fmt: skip


async def test_a_file_whose_head_is_unreadable_says_nothing(yard: Yard) -> None:
    await queue(yard.store, "spring", recipients(6))
    dead = await yard.casualty(*TABLE)
    with dead.file.open("r+b") as file:
        file.write(b"\0" * FRAME_BYTES)
    await yard.recovery().settle_dead()
    assert await states(yard.store, "spring") == {"uncertain": 6}
    assert not dead.file.exists()


async def test_a_held_lock_means_alive_and_kill_9_means_dead(yard: Yard) -> None:
    """A child of ours that is at work, then stopped, then killed."""
    await queue(yard.store, "spring", recipients(6))
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    with subprocess.Popen(  # noqa: ASYNC220 - nothing else runs in this loop meanwhile
        [sys.executable, "-m", "support.casualty", str(yard.folder)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ,
    ) as child:  # fmt: skip
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        recovery = yard.recovery()
        child.send_signal(signal.SIGSTOP)
        yard.clock.forward(10 * LEASE_US)
        yard.boot.forward(10 * LEASE_US)
        assert await recovery.settle_dead() == 0, "however silent, whoever holds the lock lives"
        assert await states(yard.store, "spring") == {"sending": 6}
        child.kill()
        child.wait(20)
        assert await recovery.settle_dead() == 6
    assert [state for (state,) in yard.rows("SELECT state FROM message ORDER BY id")] == AS_THEY_ARE
    assert yard.flights() == []


async def test_two_recoveries_at_once_settle_once(yard: Yard) -> None:
    await queue(yard.store, "spring", recipients(6))
    await yard.casualty(*TABLE)
    async with await Store.open(yard.store.path, create=False, clock=yard.clock, rest=no_rest) as second:
        counts = await asyncio.gather(yard.recovery().settle_dead(), yard.recovery(second).settle_dead())
    assert sorted(counts) == [0, 6]
    assert yard.rows("SELECT max(n), count(*) FROM (SELECT max(n) AS n FROM attempt GROUP BY message_id)") == [(1, 3)]


async def test_a_recovery_that_was_cut_off_before_its_commit_is_made_again(yard: Yard) -> None:
    await queue(yard.store, "spring", recipients(6))
    dead = await yard.casualty(*TABLE)
    cut_off = asyncio.create_task(yard.recovery().settle_dead())
    await asyncio.sleep(0)
    cut_off.cancel()
    await asyncio.gather(cut_off, return_exceptions=True)
    await yard.recovery().settle_dead()
    assert [state for (state,) in yard.rows("SELECT state FROM message ORDER BY id")] == AS_THEY_ARE
    assert not dead.file.exists()


async def test_a_missing_file_is_judged_only_after_the_lease(yard: Yard) -> None:
    await queue(yard.store, "spring", recipients(2))
    dead = await yard.casualty(None, Step.ON_WIRE)
    dead.file.unlink()
    recovery = yard.recovery()
    yard.boot.forward(10 * LEASE_US)
    assert await recovery.settle_dead() == 0, "its lease has not lapsed yet"
    yard.clock.forward(LEASE_US + 1)
    assert await recovery.settle_dead() == 2
    assert await states(yard.store, "spring") == {"uncertain": 2}, "nobody knows how far it had got"


async def test_a_missing_file_is_judged_only_by_one_who_could_reach_the_database_for_a_lease(yard: Yard) -> None:
    await queue(yard.store, "spring", recipients(1))
    (await yard.casualty(None)).file.unlink()
    recovery = yard.recovery()
    yard.clock.forward(10 * LEASE_US)
    assert await recovery.settle_dead() == 0, "it has only just begun to look"
    yard.boot.forward(LEASE_US)
    recovery.could_not_reach_database()
    yard.boot.forward(LEASE_US)
    assert await recovery.settle_dead() == 0, "others could not renew their leases either"
    yard.boot.forward(1)
    assert await recovery.settle_dead() == 1


async def test_a_worker_does_not_judge_itself(yard: Yard) -> None:
    await queue(yard.store, "spring", recipients(1))
    own = await yard.casualty(Step.END_BEGUN)
    recovery = yard.recovery(own=own.worker_id)
    yard.clock.forward(10 * LEASE_US)
    yard.boot.forward(10 * LEASE_US)
    assert await recovery.settle_dead() == 0
    assert await states(yard.store, "spring") == {"sending": 1}


def replace_by_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/passwd")


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("spoil", [replace_by_link, replace_by_folder])
async def test_what_lies_where_one_file_should_be_keeps_nobody_from_the_others(
    yard: Yard, spoil: Callable[[Path], None]
) -> None:
    await queue(yard.store, "spring", recipients(2))
    first = await yard.casualty(Step.ON_WIRE, incarnation="a" * 32)
    await yard.casualty(ACCEPTED, incarnation="b" * 32)
    spoil(first.file)
    recovery = yard.recovery()
    assert await recovery.settle_dead() == 1
    assert await states(yard.store, "spring") == {"sending": 1, "sent": 1}
    # It proves nothing, as if the file were gone: its worker is judged by the lease.
    yard.clock.forward(LEASE_US + 1)
    yard.boot.forward(LEASE_US + 1)
    assert await recovery.settle_dead() == 1
    assert await states(yard.store, "spring") == {"uncertain": 1, "sent": 1}


async def test_a_foreign_thing_in_the_folder_of_flights_is_left_alone(yard: Yard) -> None:
    await queue(yard.store, "spring", recipients(1))
    await yard.casualty(None)
    (yard.state_dir / "not-ours.flight").symlink_to("/etc/passwd")
    (yard.state_dir / "folder.flight").mkdir()
    assert await yard.recovery().settle_dead() == 1
    assert yard.flights() == ["folder.flight", "not-ours.flight"]


async def test_a_file_that_cannot_be_removed_keeps_nobody_from_the_others(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    await queue(yard.store, "spring", recipients(2))
    first = await yard.casualty(None, incarnation="a" * 32)
    second = await yard.casualty(None, incarnation="b" * 32)
    remove = Path.unlink

    def read_only(path: Path, missing_ok: bool = False) -> None:
        # Whoever runs the tests as root cannot be kept from removing a file by permissions.
        if path == first.file:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        remove(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", read_only)
    assert await yard.recovery().settle_dead() == 2
    assert (first.file.exists(), second.file.exists()) == (True, False)
    assert await states(yard.store, "spring") == {"queued": 2}


@pytest.mark.parametrize(
    ("last", "state"),
    [(Step.COMPOSING, "failed"), (Step.ON_WIRE, "failed"), (Step.END_BEGUN, "uncertain"), (ACCEPTED, "sent")],
)
async def test_a_message_that_was_in_work_at_three_deaths_is_not_tried_again(yard: Yard, last: Any, state: str) -> None:
    await queue(yard.store, "spring", recipients(1))
    for n in range(2):
        await yard.casualty(Step.ON_WIRE, incarnation=str(n) * 32)
        await yard.recovery().settle_dead()
        assert await states(yard.store, "spring") == {"queued": 1}
    await yard.casualty(last, incarnation="2" * 32)
    await yard.recovery().settle_dead()
    assert await states(yard.store, "spring") == {state: 1}
    assert yard.rows("SELECT count(*) FROM ready") == [(0,)], "nobody sends it again"
    [(reason, note_)] = yard.rows("SELECT reason, (SELECT note FROM attempt ORDER BY n DESC LIMIT 1) FROM message")
    if state != "sent":
        assert "3 workers died while they were at work on it" in reason + note_


async def test_a_message_that_only_waited_is_not_blamed_for_a_death(yard: Yard) -> None:
    await queue(yard.store, "spring", recipients(1))
    for n in range(4):
        await yard.casualty(None, incarnation=str(n) * 32)
        await yard.recovery().settle_dead()
    assert await states(yard.store, "spring") == {"queued": 1}


async def test_files_that_no_row_names_are_removed_and_no_others(yard: Yard) -> None:
    """Of a worker that died before it had a row, of one that was settled, of one that lives, of another database."""
    yard.recorder("1" * 32).close(unlink=False)
    yard.recorder("2" * 32, store_id="another").close(unlink=False)
    living = yard.recorder("3" * 32)
    await yard.register("3" * 32)
    unborn = yard.recorder("4" * 32)  # is about to get its row
    (yard.state_dir / "notes.txt").write_text("an operator's")
    (yard.state_dir / "5.flight").write_text("not a flight file")
    assert await yard.recovery().settle_dead() == 0
    assert yard.flights() == sorted(
        [f"{'2' * 32}.flight", f"{'3' * 32}.flight", f"{'4' * 32}.flight", "notes.txt", "5.flight"]
    )
    living.close(unlink=True)
    unborn.close(unlink=True)


async def test_the_file_of_a_live_row_is_never_taken_for_an_orphan(yard: Yard) -> None:
    """Its row appears, and its process dies, between the reading of the rows and the look at the folder."""
    await queue(yard.store, "spring", recipients(1))
    recovery = yard.recovery()
    real = yard.store.workers.live
    first = True

    async def live() -> Any:
        nonlocal first
        found = await real()
        if first:
            first = False
            await yard.casualty(Step.END_BEGUN)
        return found

    yard.store.workers.live = live  # type: ignore[method-assign]
    assert await recovery.settle_dead() == 0
    assert yard.flights() == [f"{DEAD}.flight"]
    assert await recovery.settle_dead() == 1
    assert await states(yard.store, "spring") == {"uncertain": 1}
