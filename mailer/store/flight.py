"""The flight recorder: how far each message in work has got, kept where the death of the process cannot reach it."""

# THEORY OF OPERATION
#
# The question. A worker is killed. For each message under its claims: may the relay have it? Only the order of two
# events answers that: the write of an end of data to the socket, and a note about it that outlives the process. The
# database cannot hold the note; a commit costs a thousand times what a message may cost.
#
# Rule 1. A step is noted before the bytes it speaks of go out, never after. So the file may say more than happened, and
#         never less: the message it calls COMPOSING or ON_WIRE has not been ended, and the claim it does not know is
#         untouched.
# Rule 2. A slot is freed only after the exchange that carried the outcome of its claim has committed. Until then the
#         file may be the only one who knows the answer.
# Rule 3. A free lock means dead; a pid means nothing. The file is locked before it has its name, the kernel lets go of
#         the lock when the process is gone, however it went, and a worker's name (128 random bits) is never used again.
#         The lock belongs to the open file, so a process forked from a worker and not exec'ed would hold it beyond the
#         worker's death: never fork a worker.
#
# One pwrite a step, of one frame (flight_record.py), to the page cache: it survives SIGKILL and the OOM killer, because
# the pages are the kernel's. Not a memory map, which turns a full disk into a SIGBUS and is torn by a kill between two
# stores. Not fsync, which costs milliseconds and would buy little: see "Not covered".
#
# Torn writes. What is relied on: an aligned frame lies in one page, and the kernel looks for a fatal signal between
# pages, not within one, so a kill leaves the old frame or the new one. What is not relied on: everything else (a short
# write at a size limit, a bad disk). The checksum finds such a frame, and then every message of that worker that has no
# good frame is uncertain, because the bad one may have been its.
#
# Freeing writes nothing. The frame of a settled claim stays in its slot until a later claim takes it: claim numbers are
# never used twice and an outcome applies only while its claim is open, so a recovery that reads it changes nothing.
# Slots are taken in the order in which they were freed, so that the last answers stay readable longest. Only what the
# owner took back before its end is wiped (`let_go`): an end in order is not charged to it.
#
# Every slot is written once at birth. That takes the space on the disk now, while a refusal costs nothing, and makes a
# slot of zeros a damaged one.
#
# A failed write. The step it spoke of must not be taken, so it raises, and from then on every note that would let bytes
# out is refused: a worker that cannot note stops sending, and does not find out anew with each message. Answers are
# still tried: they let nothing out, and each one that gets through is a message not in doubt. `resume` rewrites what
# may be torn, and ends the refusal if that succeeds.
#
# Not covered: a power cut or a reset of the machine. The kernel's pages are gone then; the boot id says so, and what
# was claimed and has no noted answer is uncertain.
#
# A note is one system call on the event loop, about a microsecond. On storage that must not change a page while it is
# written back (btrfs, a network disk with digests) it can wait for that write; a local disk or a tmpfs does not.

from __future__ import annotations

import errno
import fcntl
import os
from collections import deque
from collections.abc import Iterable
from contextlib import ExitStack
from io import FileIO
from pathlib import Path
from typing import Final, Self

from mailer.core.clock import Clock
from mailer.core.message import Phase
from mailer.core.progress import Step
from mailer.core.reply import Reply
from mailer.errors import StoreError
from mailer.store.disk_trouble import disk_trouble
from mailer.store.flight_record import (
    FIRST_SLOT,
    FRAME_BYTES,
    Identity,
    is_consistent,
    pack_empty,
    pack_identity,
    pack_progress,
    pack_record,
    seed_of,
)

SUFFIX: Final = ".flight"

_CANNOT_WRITE: Final = "The flight recorder cannot be written, so nothing is sent"
_PROGRESS_FRAME: Final = 1


class RecorderFull(StoreError):
    """More messages are begun than the recorder has slots. Slots come free as exchanges commit."""

    code = "recorder-full"


def flight_path(directory: Path, incarnation: str) -> Path:
    """Where the file of a worker lies."""
    return directory / (incarnation + SUFFIX)


def boot_id(source: Path = Path("/proc/sys/kernel/random/boot_id")) -> str:
    """What names this run of the kernel; an empty text where nothing does, which is never the same run as another."""
    try:
        return source.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


class FlightRecorder:
    """The file of one worker incarnation: it notes each step of each message in work.

    One owner, one thread. Make it with `create`, before the worker's row exists.
    """

    def __init__(self, path: Path, file: FileIO, identity: Identity, slots: int, clock: Clock) -> None:
        self.path = path
        self.identity = identity
        self.failure: StoreError | None = None
        """Why notes are refused at present, or None."""
        self._file = file
        self._fd = file.fileno()
        self._clock = clock
        identity_frame = pack_identity(identity, slots)
        self._seed = seed_of(identity_frame)
        self._frames = [identity_frame, pack_progress(0, self._seed), *[pack_empty(self._seed)] * slots]
        """The last good content of every frame, to be written again where a write failed."""
        self._torn: set[int] = set()
        """Frames whose last write failed: nobody knows what is in the file there."""
        self._exchange_n = 0
        self._taken: dict[int, _Slot] = {}
        self._free = deque(range(FIRST_SLOT, FIRST_SLOT + slots))

    @classmethod
    def create(cls, directory: Path, identity: Identity, *, slots: int, clock: Clock) -> Self:
        """Make and lock the file `<incarnation>.flight` in `directory`, which is made if it is missing (mode 0700).

        It has its full size, 512 bytes a slot and 1 KiB, from the start, and no other process ever sees it unlocked or
        half written while this one lives. Raises StoreError if it cannot be made, with nothing left behind, and
        ValueError for an identity that does not fit. A process killed in here may leave a file `.<incarnation>.new`:
        no worker's row names it.
        """
        path = flight_path(directory, identity.incarnation)
        unborn = directory / f".{identity.incarnation}.new"
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            with ExitStack() as undo:
                fd = os.open(unborn, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
                file = undo.enter_context(FileIO(fd, "r+"))
                undo.callback(unborn.unlink, missing_ok=True)
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if path.exists():  # no race: whoever was here before has renamed his file before `unborn` could be made
                    raise FileExistsError(errno.EEXIST, "a worker of this name has been here before")
                recorder = cls(path, file, identity, slots, clock)
                birth = b"".join(recorder._frames)
                if os.pwrite(fd, birth, 0) != len(birth):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # noqa: TRY301 - one place makes the sentence
                unborn.rename(path)
                undo.pop_all()
        except OSError as error:
            raise disk_trouble("The flight recorder cannot be made", path, error) from error
        return recorder

    def begin(self, claim: int, message_id: int) -> None:
        """Take a slot for `claim` and note COMPOSING. A claim that has its slot starts over in it.

        Raises RecorderFull if no slot is free, StoreError if the step could not be noted (then the claim has no slot
        unless it had one before), and ValueError for a claim whose end of data has begun.
        """
        self._refuse_while_failing()
        slot = self._taken.get(claim)
        if slot is None:
            if not self._free:
                raise RecorderFull(
                    f"All {len(self._taken)} slots of the flight recorder {self.path} are taken.",
                    "They come free when what has ended is recorded in the database.",
                    can_wait=True,
                )
            index = self._free[0]
        else:
            _check_order(claim, slot.step, Step.COMPOSING)
            index = slot.index
        now_us = self._clock()
        self._write(index, pack_record(claim, message_id, Step.COMPOSING, None, None, now_us, now_us, self._seed))
        if slot is None:
            self._free.popleft()
        self._taken[claim] = _Slot(index, message_id, now_us)

    def note(self, claim: int, step: Step, *, phase: Phase | None = None, reply: Reply | None = None) -> None:
        """Note that `claim` is about to take `step`, or that it has been answered. Call it before writing the bytes.

        An answer has a phase and a reply, no other step has a reply. Before the end of data a step may be noted again;
        after END_BEGUN only ANSWERED can follow, and after that nothing. Raises StoreError if the step could not be
        noted: it must not be taken then, and the file still says what it said before. Raises ValueError for a claim
        that was not begun and for a step that cannot follow.
        """
        if step is not Step.ANSWERED:
            self._refuse_while_failing()
        slot = self._taken.get(claim)
        if slot is None:
            raise ValueError(f"claim {claim} has no slot: it was not begun, or was freed")
        _check_order(claim, slot.step, step)
        if not is_consistent(step, phase, reply):
            raise ValueError(f"claim {claim}: an answer has a phase and a reply, and {step.name} has no reply")
        self._write(
            slot.index,
            pack_record(claim, slot.message_id, step, phase, reply, slot.started_at_us, self._clock(), self._seed),
        )
        slot.step = step

    def let_go(self, claim: int) -> None:
        """The owner knows that `claim` was not ended and will not be: the file says nothing about it from here on.

        Without it a worker that ends in order before its last exchange, e.g. because it was fenced, would look as if it
        had died at work on this message. The slot stays taken until it is freed. Raises StoreError if it could not be
        written; what the file said before is true as well.
        """
        slot = self._taken.get(claim)
        if slot is not None:
            self._write(slot.index, pack_empty(self._seed))
            slot.step = Step.COMPOSING

    def free(self, claims: Iterable[int]) -> None:
        """Give back the slots of `claims`: only after the exchange that carried their outcomes has committed (Rule 2).

        Claims that have no slot are passed over: what was claimed and given back may never have been begun.
        """
        for claim in claims:
            slot = self._taken.pop(claim, None)
            if slot is not None:
                self._free.append(slot.index)

    def committed(self, exchange_n: int) -> None:
        """Keep the number of the last exchange that committed, by which a database gone back in time is noticed.

        Raises StoreError if it could not be written, ValueError for a number below the last one.
        """
        if exchange_n < self._exchange_n:
            raise ValueError(f"exchange {exchange_n} cannot commit after exchange {self._exchange_n}")
        self._write(_PROGRESS_FRAME, pack_progress(exchange_n, self._seed))
        self._exchange_n = exchange_n

    def resume(self) -> None:
        """Write again what could not be written, and accept notes again. Raises StoreError if it still fails."""
        for index in sorted(self._torn):
            self._write(index, self._frames[index])
        self._torn.clear()
        self.failure = None

    def close(self, *, unlink: bool) -> None:
        """Let go of the lock: from here on this worker is dead to all others. Harmless when repeated.

        With `unlink` the file is removed, which says that nothing was ever claimed under it or all of it is settled.
        Without, it stays for whoever recovers its claims, and as the witness that a database has not gone back in time.
        """
        if self._file.closed:
            return
        try:
            if unlink:
                self.path.unlink(missing_ok=True)
        except OSError as error:
            raise disk_trouble("The flight recorder cannot be removed", self.path, error) from error
        finally:
            self._fd = -1  # the number may soon name another file, and a late note must not end up in that
            self._file.close()

    @property
    def taken(self) -> int:
        """How many slots are in use."""
        return len(self._taken)

    def _refuse_while_failing(self) -> None:
        if self.failure is not None:
            raise StoreError(self.failure.message, self.failure.hint, can_wait=self.failure.can_wait)

    def _write(self, index: int, frame: bytes) -> None:
        try:
            written = os.pwrite(self._fd, frame, index * FRAME_BYTES)
        except OSError as error:
            raise self._failed(index, error) from error
        if written != FRAME_BYTES:  # a regular file takes less than asked for only where space or a limit ends
            raise self._failed(index, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
        self._frames[index] = frame

    def _failed(self, index: int, error: OSError) -> StoreError:
        if self._file.closed:
            return StoreError(f"The flight recorder {self.path} is closed: its worker has ended.")
        self._torn.add(index)
        trouble = disk_trouble(_CANNOT_WRITE, self.path, error)
        trouble.can_wait = True  # whatever it is, the file was writable a moment ago
        self.failure = trouble
        return trouble


class _Slot:
    """What the recorder remembers of a claim between two notes."""

    __slots__ = ("index", "message_id", "started_at_us", "step")

    def __init__(self, index: int, message_id: int, started_at_us: int) -> None:
        self.index = index
        self.message_id = message_id
        self.started_at_us = started_at_us
        self.step = Step.COMPOSING


def _check_order(claim: int, last: Step, step: Step) -> None:
    # Until an end of data has begun any step is as safe as another: after a kill the message goes back to its lane.
    if last >= Step.END_BEGUN and step <= last:
        raise ValueError(f"claim {claim}: {step.name} cannot follow {last.name}")
