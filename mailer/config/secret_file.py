"""Reading a secret from a file, unless others could read or change it too.

writable by group or others          refused always: somebody else decides what we send as password
ours, readable by group or others    refused, with the chmod to type
owned by root, we are not root       accepted if we can read it: container and systemd credentials are like that
ours as root, on a read-only mount   accepted: the same credentials in a container that runs as root (no chmod
                                     could change them there)
"""

from __future__ import annotations

import os
import shlex
import stat
from pathlib import Path
from typing import Final

from mailer.errors import ConfigError

__all__ = ["read_secret_file"]

# No secret is longer; a wrong path such as /dev/zero must not fill the memory.
LONGEST: Final = 64 * 1024


def read_secret_file(path: Path, what: str) -> str:
    """The secret in `path`, without the line end behind it. Raises ConfigError; `what` says whose secret it is."""
    try:
        # Not blocking: opening a pipe that nobody writes to would wait for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise ConfigError(
            f"{what}: the secret file {path} cannot be read: {error.strerror}.", _how_to_make(path)
        ) from error
    try:
        _check(path, descriptor, what)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            content = file.read(LONGEST + 1)
    except OSError as error:
        raise ConfigError(f"{what}: the secret file {path} cannot be read: {error.strerror}.") from error
    finally:
        os.close(descriptor)
    if len(content) > LONGEST:
        raise ConfigError(f"{what}: {path} is too long to be a secret.")
    try:
        return content.decode("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        # Without its cause: a UnicodeDecodeError carries the bytes.
        raise ConfigError(f"{what}: the secret file {path} is not UTF-8 text.") from None


def _check(path: Path, descriptor: int, what: str) -> None:
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        raise ConfigError(f"{what}: {path} is not a file.", _how_to_make(path))
    by_others = stat.S_IMODE(found.st_mode) & 0o077
    if by_others & 0o022:
        raise ConfigError(
            f"{what}: the secret file {path} may be written by others (mode {stat.S_IMODE(found.st_mode):04o}).",
            f"Type: chmod 600 {shlex.quote(str(path))}",
        )
    is_ours = found.st_uid == os.geteuid()
    is_given = found.st_uid == 0 and bool(os.fstatvfs(descriptor).f_flag & os.ST_RDONLY)
    if by_others and is_ours and not is_given:
        raise ConfigError(
            f"{what}: the secret file {path} may be read by others (mode {stat.S_IMODE(found.st_mode):04o}).",
            f"Type: chmod 600 {shlex.quote(str(path))}",
        )


def _how_to_make(path: Path) -> str:
    quoted = shlex.quote(str(path))
    return f"Type: (umask 077 && cat > {quoted})        then the secret, Enter and Ctrl-D"
