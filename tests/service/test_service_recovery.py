"""Recovery by a living worker: no file that cannot be read keeps it from settling all the others."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest
from support.store import LEASE_US, RETRY, Clock, claim, open_store, queue, recipients, states

from mailer.service.recovery import Recovery
from mailer.store import Exchanger, Store
from mailer.store.flight import FlightRecorder, boot_id, flight_path
from mailer.store.flight_record import Identity

BAD, GOOD = "ab" * 16, "cd" * 16


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def store(tmp_path: Path, clock: Clock) -> AsyncIterator[Store]:
    async with await open_store(tmp_path / "mailer.db", clock) as store:
        yield store
        assert await store.check() == []


def recovery_of(store: Store, clock: Clock, state_dir: Path) -> Recovery:
    return Recovery(
        store, own_worker_id=None, state_dir=state_dir, retry=RETRY, lease_us=LEASE_US, clock=clock, boot_clock=clock,
        random=Random(1),
    )  # fmt: skip


async def registered(store: Store, incarnation: str, state_dir: Path) -> Exchanger:
    return await store.workers.register(
        incarnation=incarnation, host="here", pid=1, boot_id=boot_id(), processes=1, slots=4,
        state_dir=str(state_dir), lease_us=LEASE_US,
    )  # fmt: skip


async def dead_worker(store: Store, incarnation: str, state_dir: Path, clock: Clock, places: int) -> None:
    """One that had claimed `places` messages and was killed before it began with any."""
    identity = Identity(incarnation, boot_id(), store.store_id)
    recorder = FlightRecorder.create(state_dir, identity, slots=8, clock=clock)
    await claim(await registered(store, incarnation, state_dir), places)
    recorder.close(unlink=False)


def replace_by_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/passwd")


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("spoil", [replace_by_link, replace_by_folder])
async def test_a_flight_file_that_cannot_be_read_does_not_keep_the_others_from_being_settled(
    store: Store, clock: Clock, tmp_path: Path, spoil: object
) -> None:
    assert callable(spoil)
    flights = tmp_path / "flight"
    await queue(store, "news", recipients(6))
    await dead_worker(store, BAD, flights, clock, 3)
    await dead_worker(store, GOOD, flights, clock, 3)
    spoil(flight_path(flights, BAD))
    recovery = recovery_of(store, clock, flights)
    assert await recovery.settle_dead() == 3
    assert await states(store, "news") == {"queued": 3, "sending": 3}
    # What is there instead of the file proves nothing, as if it were gone: its worker is judged by the lease.
    clock.forward(LEASE_US + 1)
    assert await recovery.settle_dead() == 3
    assert await states(store, "news") == {"queued": 3, "uncertain": 3}


async def test_a_foreign_thing_in_the_folder_of_flights_is_left_alone(
    store: Store, clock: Clock, tmp_path: Path
) -> None:
    flights = tmp_path / "flight"
    await queue(store, "news", recipients(3))
    await dead_worker(store, GOOD, flights, clock, 3)
    (flights / "not-ours.flight").symlink_to("/etc/passwd")
    (flights / "folder.flight").mkdir()
    assert await recovery_of(store, clock, flights).settle_dead() == 3
    assert await states(store, "news") == {"queued": 3}
    assert (flights / "not-ours.flight").is_symlink()


async def test_a_file_that_cannot_be_removed_does_not_keep_the_others_from_being_settled(
    store: Store, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await queue(store, "news", recipients(6))
    await dead_worker(store, BAD, tmp_path / "a", clock, 3)
    await dead_worker(store, GOOD, tmp_path / "b", clock, 3)
    remove = Path.unlink

    def read_only(path: Path, missing_ok: bool = False) -> None:
        # Whoever runs the tests as root cannot be kept from removing a file by permissions.
        if path.parent == tmp_path / "a":
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        remove(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", read_only)
    assert await recovery_of(store, clock, tmp_path / "a").settle_dead() == 6
    assert flight_path(tmp_path / "a", BAD).exists()
    assert not flight_path(tmp_path / "b", GOOD).exists()
    assert await states(store, "news") == {"queued": 6}
