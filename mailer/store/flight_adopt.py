"""Dead workers' flight files: finding them, getting hold of one, reading what it says.

Whoever gets the lock of a file is the only one to judge its owner dead. The way of a recovery: `adopt` the file, apply
what it says, commit, `unlink` it. Unlinking comes last, so a process that finds no file and reads the claims after that
sees what the one before it has settled.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from io import FileIO
from pathlib import Path
from typing import Final, Self

from mailer.errors import StoreError
from mailer.store.disk_trouble import disk_trouble
from mailer.store.flight import SUFFIX
from mailer.store.flight_record import (
    FIRST_SLOT,
    FRAME_BYTES,
    BadFrame,
    FlightRecord,
    Identity,
    seed_of,
    unpack_identity,
    unpack_progress,
    unpack_record,
)

_CANNOT_READ: Final = "The flight recorder of a dead worker cannot be read"
# No worker of ours has more than some hundred slots; this only stops a forged header from having us read for ever.
_MOST_SLOTS: Final = 65_536


class NotAdopted(Enum):
    """Why there is nothing to adopt."""

    LOCKED = "locked"
    """Another process holds the lock: the owner lives (it may hang), or someone else is recovering it this moment."""
    GONE = "gone"
    """There is no such file. Only claims read after this was seen can be judged by it."""


@dataclass(eq=False)
class DeadFlight:
    """A dead worker's file, in our hands until `unlink` or `close`. Also a context manager, which closes it."""

    path: Path
    identity: Identity | None
    """Whose it was, or None if that cannot be read: then nothing in it is evidence, and `records` is empty."""
    exchange_n: int
    """The last exchange its owner knew to have committed; 0 if it knew of none, or if that cannot be read."""
    records: Mapping[int, FlightRecord]
    """What it says, by claim number: claims in work, and some that were settled before."""
    is_damaged: bool
    """Something in it cannot be read. A claim without a record is in doubt then."""
    _file: FileIO = field(repr=False)

    def unlink(self) -> None:
        """Remove the file and let go of it: what it says has been committed. Raises StoreError if that fails."""
        try:
            if not self._file.closed and _is_still(self.path, self._file.fileno()):
                self.path.unlink(missing_ok=True)
        except OSError as error:
            raise disk_trouble("The flight recorder of a dead worker cannot be removed", self.path, error) from error
        finally:
            self.close()

    def close(self) -> None:
        """Let go of the file and leave it where it is. Harmless when repeated."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def find_flights(directory: Path) -> list[Path]:
    """The flight files in `directory`, living and dead, in the order of their names; none if it does not exist.

    Raises StoreError if the directory cannot be read.
    """
    try:
        return sorted(path for path in directory.iterdir() if path.suffix == SUFFIX)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise disk_trouble("The directory of flight recorders cannot be read", directory, error) from error


def adopt(path: Path) -> DeadFlight | NotAdopted:
    """Take the lock of a dead worker's file, without waiting, and read it.

    Raises StoreError for what is not a regular file (a symbolic link is not followed) and for what cannot be read.
    """
    while True:
        try:
            # Read-only: a recovery must be possible on a file system that has become so. Not blocking: perhaps a pipe.
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return NotAdopted.GONE
        except OSError as error:
            raise disk_trouble(_CANNOT_READ, path, error) from error
        try:
            _require_regular(path, fd)
            file = FileIO(fd, "r")
        except BaseException:
            os.close(fd)
            raise
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_still(path, fd):
                return _read(path, file)
            file.close()  # unlinked or replaced between open and lock: what we hold is no longer the file
        except BlockingIOError:
            file.close()
            return NotAdopted.LOCKED
        except OSError as error:
            file.close()
            raise disk_trouble(_CANNOT_READ, path, error) from error
        except BaseException:
            file.close()
            raise


def _require_regular(path: Path, fd: int) -> None:
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        raise StoreError(f"{_CANNOT_READ}: {path} is not a regular file.", "Remove it.")


def _is_still(path: Path, fd: int) -> bool:
    ours = os.fstat(fd)
    try:
        there = path.lstat()
    except FileNotFoundError:
        return False
    return (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino)


def _read(path: Path, file: FileIO) -> DeadFlight:
    fd = file.fileno()
    identity_frame = os.pread(fd, FRAME_BYTES, 0)
    try:
        identity, slots = unpack_identity(identity_frame)
    except BadFrame:
        return DeadFlight(path, None, 0, {}, True, file)
    if identity.incarnation != path.stem or slots > _MOST_SLOTS:  # another's file under this name, or a forged one
        return DeadFlight(path, None, 0, {}, True, file)
    seed = seed_of(identity_frame)
    content = os.pread(fd, (FIRST_SLOT + slots) * FRAME_BYTES + 1, 0)
    is_damaged = len(content) != (FIRST_SLOT + slots) * FRAME_BYTES
    exchange_n = 0
    try:
        exchange_n = unpack_progress(_frame(content, 1), seed)
    except BadFrame:
        is_damaged = True
    records: dict[int, FlightRecord] = {}
    for index in range(FIRST_SLOT, FIRST_SLOT + slots):
        try:
            record = unpack_record(_frame(content, index), seed)
        except BadFrame:
            is_damaged = True
            continue
        if record is not None:
            records[record.claim] = record
    return DeadFlight(path, identity, exchange_n, records, is_damaged, file)


def _frame(content: bytes, index: int) -> bytes:
    return content[index * FRAME_BYTES : (index + 1) * FRAME_BYTES]
