"""What an error of the operating system about a file means, in words for the person who can do something about it."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Final

from mailer.errors import StoreError

# Space and limits. EFBIG is a file size limit (`ulimit -f`) or that of the file system.
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FORBIDDEN: Final = frozenset({errno.EACCES, errno.EPERM})
# Passes by itself, or once somebody has put it right; the same call can succeed later.
_CAN_WAIT: Final = _FULL | {errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOLCK, errno.EINTR}


def disk_trouble(what: str, path: Path, error: OSError) -> StoreError:
    """The StoreError for `error`. `what` begins the sentence: "The flight recorder cannot be written"."""
    reason = (error.strerror or str(error) or type(error).__name__).rstrip(".")
    return StoreError(f"{what}: {path}: {reason}.", _hint(path, error.errno), can_wait=error.errno in _CAN_WAIT)


def _hint(path: Path, number: int | None) -> str:
    if number in _FULL:
        return f"Free space in {path.parent}, or raise the quota or file size limit; work then goes on by itself."
    if number == errno.EROFS:
        return f"The file system of {path.parent} is read-only: make it writable, or choose another directory."
    if number in _FORBIDDEN:
        return f"The user that runs mailer must be able to read and write in {path.parent}."
    if number == errno.ELOOP:
        return "It is a symbolic link, and none is followed here: remove it."
    if number == errno.EIO:
        return "The disk reports an error: the system's log (dmesg) says more."
    if number in {errno.EMFILE, errno.ENFILE}:
        return "Too many files are open: raise the limit (ulimit -n)."
    return f"Check that {path.parent} is a directory on a local disk."
