"""The flight recorder: what survives a kill, and what a damaged file is worth."""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.store import ACCEPTED, NO_SUCH_USER, START_US, Clock

from mailer.core.clock import SECOND_US
from mailer.core.message import Ending, Phase
from mailer.core.progress import Step
from mailer.core.reply import Reply
from mailer.errors import StoreError
from mailer.store.flight import FlightRecorder, RecorderFull, boot_id, flight_path
from mailer.store.flight_adopt import DeadFlight, NotAdopted, adopt, find_flights
from mailer.store.flight_record import (
    CUT,
    FIRST_SLOT,
    FRAME_BYTES,
    BadFrame,
    FlightRecord,
    Identity,
    pack_identity,
    pack_record,
    unpack_identity,
    unpack_record,
)
from mailer.store.flight_recovery import claims_in_work, result_of

ME = Identity("0123456789abcdef" * 2, "boot-1", "store-1")


def make(directory: Path, *, slots: int = 4, identity: Identity = ME, clock: Clock | None = None) -> FlightRecorder:
    return FlightRecorder.create(directory, identity, slots=slots, clock=clock or Clock())


def adopted(recorder: FlightRecorder) -> DeadFlight:
    recorder.close(unlink=False)
    flight = adopt(recorder.path)
    assert isinstance(flight, DeadFlight)
    return flight


# What is kept


def test_every_step_of_every_claim_is_kept(tmp_path: Path) -> None:
    clock = Clock()
    recorder = make(tmp_path, clock=clock)
    recorder.begin(1, 11)
    clock.forward(5)
    recorder.begin(2, 12)
    recorder.note(2, Step.ON_WIRE, phase=Phase.MAIL)
    recorder.begin(3, 13)
    recorder.note(3, Step.ON_WIRE)
    recorder.note(3, Step.END_BEGUN)
    recorder.begin(4, 14)
    recorder.note(4, Step.ANSWERED, phase=Phase.RCPT, reply=NO_SUCH_USER)
    recorder.committed(7)
    with adopted(recorder) as flight:
        assert (flight.identity, flight.exchange_n, flight.is_damaged) == (ME, 7, False)
        assert flight.records == {
            1: FlightRecord(1, 11, Step.COMPOSING, None, None, START_US, START_US),
            2: FlightRecord(2, 12, Step.ON_WIRE, Phase.MAIL, None, START_US + 5, START_US + 5),
            3: FlightRecord(3, 13, Step.END_BEGUN, None, None, START_US + 5, START_US + 5),
            4: FlightRecord(4, 14, Step.ANSWERED, Phase.RCPT, NO_SUCH_USER, START_US + 5, START_US + 5),
        }


@given(
    claim=st.integers(0, 2**63 - 1),
    message=st.integers(0, 2**63 - 1),
    phase=st.sampled_from(Phase),
    reply=st.builds(Reply, st.integers(200, 599), st.none() | st.just("5.7.1"), st.text(max_size=700)),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_record_comes_back_as_it_was_with_at_least_the_start_of_the_text(
    claim: int, message: int, phase: Phase, reply: Reply, seed: int
) -> None:
    frame = pack_record(claim, message, Step.ANSWERED, phase, reply, 1, 2, seed)
    record = unpack_record(frame, seed)
    assert record is not None
    assert len(frame) == FRAME_BYTES
    assert (record.claim, record.message_id, record.phase, record.started_at_us, record.at_us) == (
        claim,
        message,
        phase,
        1,
        2,
    )
    assert record.reply is not None
    assert (record.reply.code, record.reply.enhanced) == (reply.code, reply.enhanced)
    if record.reply.text != reply.text:
        kept = record.reply.text.removesuffix(CUT)
        assert record.reply.text.endswith(CUT)
        assert reply.text.startswith(kept)
        assert len(kept.encode()) > 400


@settings(max_examples=300)
@given(bit=st.integers(0, FRAME_BYTES * 8 - 1), reply=st.sampled_from([None, ACCEPTED, Reply(450, None, "x" * 600)]))
def test_any_changed_bit_of_a_record_is_found(bit: int, reply: Reply | None) -> None:
    step = Step.ON_WIRE if reply is None else Step.ANSWERED
    frame = bytearray(pack_record(9, 8, step, Phase.RCPT, reply, 1, 2, 77))
    frame[bit // 8] ^= 1 << bit % 8
    with pytest.raises(BadFrame):
        unpack_record(bytes(frame), 77)


@settings(max_examples=200)
@given(bit=st.integers(0, FRAME_BYTES * 8 - 1))
def test_any_changed_bit_of_the_identity_is_found(bit: int) -> None:
    frame = bytearray(pack_identity(ME, 4))
    assert unpack_identity(bytes(frame)) == (ME, 4)
    frame[bit // 8] ^= 1 << bit % 8
    with pytest.raises(BadFrame):
        unpack_identity(bytes(frame))


def test_a_frame_of_another_file_is_as_bad_as_a_torn_one(tmp_path: Path) -> None:
    mine = make(tmp_path)
    other = make(tmp_path, identity=Identity("f" * 32, "boot-1", "store-1"))
    other.begin(1, 1)
    stolen = other.path.read_bytes()[FIRST_SLOT * FRAME_BYTES :][:FRAME_BYTES]
    mine.close(unlink=False)
    with mine.path.open("r+b") as file:
        file.seek(FIRST_SLOT * FRAME_BYTES)
        file.write(stolen)
    other.close(unlink=True)
    flight = adopt(mine.path)
    assert isinstance(flight, DeadFlight)
    with flight:
        assert (flight.is_damaged, flight.records) == (True, {})


@pytest.mark.parametrize("damage", ["zeros", "short", "long", "header"])
def test_a_damaged_file_is_seen_as_damaged(tmp_path: Path, damage: str) -> None:
    recorder = make(tmp_path)
    recorder.begin(1, 11)
    recorder.begin(2, 12)
    recorder.close(unlink=False)
    with recorder.path.open("r+b") as file:
        if damage == "zeros":
            file.seek((FIRST_SLOT + 1) * FRAME_BYTES)
            file.write(bytes(FRAME_BYTES))
        elif damage == "short":
            file.truncate((FIRST_SLOT + 3) * FRAME_BYTES)
        elif damage == "long":
            file.seek(0, os.SEEK_END)
            file.write(b"x")
        else:
            file.write(b"\0" * 4)
    flight = adopt(recorder.path)
    assert isinstance(flight, DeadFlight)
    with flight:
        assert flight.is_damaged
        assert (1 in flight.records) == (damage != "header")
        assert (flight.identity is None) == (damage == "header")


def test_a_file_under_another_workers_name_is_no_evidence(tmp_path: Path) -> None:
    recorder = make(tmp_path)
    recorder.begin(1, 11)
    recorder.close(unlink=False)
    moved = recorder.path.rename(flight_path(tmp_path, "f" * 32))
    flight = adopt(moved)
    assert isinstance(flight, DeadFlight)
    with flight:
        assert (flight.identity, flight.records) == (None, {})


# Order of steps


def test_a_freed_slot_is_taken_again_and_its_old_frame_is_read_until_then(tmp_path: Path) -> None:
    recorder = make(tmp_path, slots=2)
    recorder.begin(1, 11)
    recorder.begin(2, 12)
    with pytest.raises(RecorderFull):
        recorder.begin(3, 13)
    recorder.free([1, 99])
    assert recorder.taken == 1
    recorder.begin(3, 13)
    with adopted(recorder) as flight:
        assert set(flight.records) == {2, 3}


def test_a_step_that_cannot_follow_is_refused(tmp_path: Path) -> None:
    recorder = make(tmp_path)
    recorder.begin(1, 11)
    recorder.note(1, Step.ON_WIRE)
    recorder.begin(1, 11)  # starts over
    recorder.note(1, Step.END_BEGUN)
    for step in (Step.COMPOSING, Step.ON_WIRE, Step.END_BEGUN):
        with pytest.raises(ValueError, match="cannot follow END_BEGUN"):
            recorder.note(1, step)
    with pytest.raises(ValueError, match="cannot follow END_BEGUN"):
        recorder.begin(1, 11)
    with pytest.raises(ValueError, match="an answer has a phase and a reply"):
        recorder.note(1, Step.ANSWERED)
    recorder.note(1, Step.ANSWERED, phase=Phase.END_OF_DATA, reply=ACCEPTED)
    with pytest.raises(ValueError, match="cannot follow ANSWERED"):
        recorder.note(1, Step.ANSWERED, phase=Phase.END_OF_DATA, reply=ACCEPTED)
    with pytest.raises(ValueError, match="has no slot"):
        recorder.note(2, Step.ON_WIRE)
    with pytest.raises(ValueError, match="cannot commit after"):
        recorder.committed(5)
        recorder.committed(4)
    recorder.close(unlink=True)


# The lock, with real processes

CHILD = """
import sys, time
from pathlib import Path
from mailer.core.progress import Step
from mailer.store.flight import FlightRecorder
from mailer.store.flight_record import Identity
recorder = FlightRecorder.create(
    Path(sys.argv[1]), Identity("c" * 32, "boot-1", "store-1"), slots=4, clock=lambda: 5
)
recorder.begin(1, 11)
recorder.begin(2, 12)
recorder.note(2, Step.END_BEGUN)
print("ready", flush=True)
sys.stdin.read()
"""


def test_a_living_worker_keeps_its_file_and_a_killed_one_leaves_what_it_noted(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        (path,) = find_flights(tmp_path)
        assert adopt(path) is NotAdopted.LOCKED
        child.send_signal(signal.SIGSTOP)
        assert adopt(path) is NotAdopted.LOCKED  # hung, not dead
        child.kill()
        child.wait()
        flight = adopt(path)
        assert isinstance(flight, DeadFlight)
        with flight:
            assert {n: record.step for n, record in flight.records.items()} == {1: Step.COMPOSING, 2: Step.END_BEGUN}
            assert adopt(path) is NotAdopted.LOCKED  # being recovered
        again = adopt(path)
        assert isinstance(again, DeadFlight)  # whoever recovered it died before the unlink
        again.unlink()
        again.unlink()
        assert adopt(path) is NotAdopted.GONE


def test_a_file_that_was_unlinked_between_open_and_lock_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = make(tmp_path)
    recorder.close(unlink=False)
    lock = fcntl.flock

    def after_the_other(fd: int, how: int) -> None:
        recorder.path.unlink(missing_ok=True)
        lock(fd, how)

    monkeypatch.setattr(fcntl, "flock", after_the_other)
    assert adopt(recorder.path) is NotAdopted.GONE


def test_a_name_is_never_used_twice(tmp_path: Path) -> None:
    recorder = make(tmp_path)
    with pytest.raises(StoreError, match="has been here before"):
        make(tmp_path)
    recorder.close(unlink=True)
    assert find_flights(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_regular_file_is_not_read(tmp_path: Path) -> None:
    target = make(tmp_path)
    target.close(unlink=False)
    link = flight_path(tmp_path, "d" * 32)
    link.symlink_to(target.path)
    with pytest.raises(StoreError) as caught:
        adopt(link)
    assert "symbolic link" in caught.value.hint
    pipe = flight_path(tmp_path, "e" * 32)
    os.mkfifo(pipe)
    with pytest.raises(StoreError, match="not a regular file"):
        adopt(pipe)


def test_a_missing_directory_holds_no_flights(tmp_path: Path) -> None:
    assert find_flights(tmp_path / "none") == []
    assert adopt(flight_path(tmp_path / "none", "a" * 32)) is NotAdopted.GONE


# Writes that fail

LIMITED = """
import resource, sys
from pathlib import Path
from mailer.core.message import Phase
from mailer.core.progress import Step
from mailer.core.reply import Reply
from mailer.errors import StoreError
from mailer.store.flight import FlightRecorder
from mailer.store.flight_record import Identity
identity = Identity("c" * 32, "boot-1", "store-1")
def limit(size): resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
limit(1024)
try:
    FlightRecorder.create(Path(sys.argv[1]), identity, slots=4, clock=lambda: 5)
except StoreError as error:
    print("not made:", error.message.rpartition(": ")[2], list(Path(sys.argv[1]).iterdir()))
limit(resource.RLIM_INFINITY if hard == resource.RLIM_INFINITY else hard)
recorder = FlightRecorder.create(Path(sys.argv[1]), identity, slots=4, clock=lambda: 5)
recorder.begin(1, 11); recorder.begin(2, 12)
limit(512 * 3)  # slot 0 can be written, slot 1 cannot
for action in (
    lambda: recorder.note(2, Step.ON_WIRE), lambda: recorder.note(1, Step.ON_WIRE), lambda: recorder.begin(3, 13)
):
    try:
        action(); print("noted")
    except StoreError as error:
        print("refused", error.can_wait)
recorder.note(1, Step.ANSWERED, phase=Phase.RCPT, reply=Reply(250, None, "ok"))
print("answer noted")
try: recorder.resume()
except StoreError: print("still failing", recorder.failure is not None)
limit(hard)
recorder.resume()
recorder.note(2, Step.ON_WIRE)
print("noted again", recorder.failure)
"""


def test_a_note_that_cannot_be_written_lets_no_bytes_out_until_it_can(tmp_path: Path) -> None:
    if resource.getrlimit(resource.RLIMIT_FSIZE)[1] != resource.RLIM_INFINITY:
        pytest.skip("this shell has a file size limit of its own")
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(LIMITED), str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [
        "not made: No space left on device. []",
        "refused True",
        "refused True",
        "refused True",
        "answer noted",
        "still failing True",
        "noted again None",
    ]
    flight = adopt(flight_path(tmp_path, "c" * 32))
    assert isinstance(flight, DeadFlight)
    with flight:
        assert not flight.is_damaged
        assert {n: record.step for n, record in flight.records.items()} == {1: Step.ANSWERED, 2: Step.ON_WIRE}


def test_a_closed_recorder_notes_nothing_into_a_file_that_took_its_number(tmp_path: Path) -> None:
    recorder = make(tmp_path)
    recorder.begin(1, 11)
    recorder.close(unlink=False)
    victim = tmp_path / "victim"
    with victim.open("w+b") as file:
        with pytest.raises(StoreError, match="is closed"):
            recorder.note(1, Step.ON_WIRE)
        assert file.read() == b""


# What it makes of a claim


def flight_of(tmp_path: Path, step: Step | None, *, damaged: bool = False) -> DeadFlight:
    clock = Clock()
    recorder = make(tmp_path, clock=clock)
    if step is not None:
        recorder.begin(1, 11)
        clock.forward(SECOND_US)
        if step is Step.ANSWERED:
            recorder.note(1, Step.ANSWERED, phase=Phase.END_OF_DATA, reply=ACCEPTED)
        elif step is not Step.COMPOSING:
            recorder.note(1, step)
    recorder.close(unlink=False)
    if damaged:
        with recorder.path.open("r+b") as file:
            file.seek((FIRST_SLOT + 3) * FRAME_BYTES)
            file.write(b"torn")
    flight = adopt(recorder.path)
    assert isinstance(flight, DeadFlight)
    return flight


REBOOTED = Identity(ME.incarnation, "boot-2", ME.store_id)
OTHER_STORE = Identity(ME.incarnation, ME.boot_id, "store-2")
NO_BOOT_ID = Identity(ME.incarnation, "", ME.store_id)


@pytest.mark.parametrize(
    ("step", "damaged", "expected", "ending", "is_in_work"),
    [
        (Step.ANSWERED, False, ME, Ending.ANSWERED, False),
        (Step.ANSWERED, True, ME, Ending.ANSWERED, False),
        (Step.ANSWERED, False, REBOOTED, Ending.ANSWERED, False),
        (Step.ANSWERED, False, OTHER_STORE, Ending.UNKNOWN, False),
        (Step.END_BEGUN, False, ME, Ending.UNKNOWN, True),
        (Step.ON_WIRE, False, ME, Ending.UNTOUCHED, True),
        (Step.COMPOSING, False, ME, Ending.UNTOUCHED, True),
        (Step.COMPOSING, True, ME, Ending.UNTOUCHED, True),
        (None, False, ME, Ending.UNTOUCHED, False),
        (None, True, ME, Ending.UNKNOWN, False),
        (Step.COMPOSING, False, REBOOTED, Ending.UNKNOWN, False),
        (None, False, REBOOTED, Ending.UNKNOWN, False),
        (None, False, NO_BOOT_ID, Ending.UNKNOWN, False),
        (Step.COMPOSING, False, OTHER_STORE, Ending.UNKNOWN, False),
    ],
)
def test_the_table_of_recovery(
    tmp_path: Path, step: Step | None, damaged: bool, expected: Identity, ending: Ending, is_in_work: bool
) -> None:
    with flight_of(tmp_path, step, damaged=damaged) as flight:
        result = result_of(flight, expected, 1, relay="qq", claimed_at_us=42)
        assert result.ending is ending
        assert result.relay == "qq"
        assert result.note
        assert claims_in_work(flight, expected) == ({1} if is_in_work else set())
        if ending is Ending.ANSWERED:
            assert (result.reply, result.phase) == (ACCEPTED, Phase.END_OF_DATA)
            assert (result.started_at_us, result.duration_us) == (START_US, SECOND_US)
        elif step is None or expected is OTHER_STORE:
            assert result.started_at_us == 42


def test_a_missing_file_leaves_a_claim_in_doubt() -> None:
    result = result_of(None, ME, 1, relay="qq", claimed_at_us=42)
    assert (result.ending, result.started_at_us) == (Ending.UNKNOWN, 42)
    assert claims_in_work(None, ME) == frozenset()


def test_the_boot_id_is_empty_where_none_can_be_read(tmp_path: Path) -> None:
    assert boot_id(tmp_path / "none") == ""
    (tmp_path / "id").write_text("abc\n")
    assert boot_id(tmp_path / "id") == "abc"
