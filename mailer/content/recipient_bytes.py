"""The bytes of a file of recipients: found, opened, and looked through once.

Everything that is wrong with the file as a whole is found before the first row. It is read twice: once to see which
encoding it has (a second for a gigabyte), once for its rows. A pipe is put into a temporary file for that.
"""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path
from typing import BinaryIO, Final, cast

from mailer.errors import InputError

__all__ = ["open_bytes"]

# A pipe this short stays in memory.
_IN_MEMORY: Final = 4 * 1024 * 1024
_STEP: Final = 1024 * 1024


def open_bytes(path: Path | None, stdin: BinaryIO | None, where: str) -> tuple[BinaryIO, int]:
    """A seekable stream at its beginning, and its size in bytes. Raises InputError.

    It is `stdin` itself where that can be read twice; anything else is the caller's to close.
    """
    if path is None:
        if stdin is None:
            raise InputError(f"{where}: there is no standard input.")
        stream = _seekable(stdin)
    else:
        stream = _opened(path, where)
    start = stream.tell()
    size = stream.seek(0, os.SEEK_END) - start
    stream.seek(start)
    if size == 0:
        if stream is not stdin:
            stream.close()
        raise InputError(f"{where}: it is empty.")
    return stream, size


def _opened(path: Path, where: str) -> BinaryIO:
    try:
        if path.is_dir():
            raise InputError(f"{where}: it is a directory.", "Name a file.")
        opened = path.open("rb")
    except FileNotFoundError:
        raise InputError(f"{where}: there is no such file.") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(f"{where}: it cannot be read: {reason}.") from None
    if stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
        return opened
    with opened:
        return _spooled(opened)


def _seekable(stdin: BinaryIO) -> BinaryIO:
    # A terminal claims to be seekable on some systems; telling where it stands fails.
    try:
        if stdin.seekable():
            stdin.tell()
            return stdin
    except (OSError, ValueError):
        pass
    return _spooled(stdin)


def _spooled(stream: BinaryIO) -> BinaryIO:
    spool = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - it lives as long as its rows are read
    while piece := stream.read(_STEP):
        spool.write(piece)
    spool.seek(0)
    return cast(BinaryIO, spool)
