"""Programs that tests need and Python cannot bring: Postfix, Dovecot, swaks, …"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from typing import Final, NoReturn

import pytest

__all__ = ["missing", "require"]

# With it a test that cannot run because a program is missing fails: in CI nothing may be skipped unseen.
STRICT: Final = "MAILER_REQUIRE_SERVERS"

# Debian keeps servers where an ordinary user's PATH does not look.
PLACES: Final = ("/usr/sbin", "/usr/local/sbin", "/sbin")

PACKAGES: Final[Mapping[str, str]] = {
    "dovecot": "dovecot-imapd dovecot-pop3d dovecot-lmtpd dovecot-submissiond",
    "postconf": "postfix",
    "postfix": "postfix",
    "postmap": "postfix",
    "smtp-sink": "postfix",
    "smtp-source": "postfix",
    "swaks": "swaks libnet-ssleay-perl",
}
"""Program → Debian packages that have it and what it needs, where their names differ."""


def require(program: str) -> str:
    """The path of `program`; without it the test is skipped, or fails where nothing may be skipped."""
    found = shutil.which(program) or shutil.which(program, path=os.pathsep.join(PLACES))
    if found is None:
        packages = PACKAGES.get(program, program)
        missing(f"{program} is not installed; on Debian: apt-get install {packages}, or `make test` as root")
    return found


def missing(reason: str) -> NoReturn:
    """Skip this test because of what this machine lacks, or fail it where nothing may be skipped."""
    if is_strict(os.environ):
        pytest.fail(f"{reason} ({STRICT}=1)", pytrace=False)
    pytest.skip(reason)


def is_strict(environ: Mapping[str, str]) -> bool:
    """Whether a test that cannot run is a failure."""
    return environ.get(STRICT, "") not in ("", "0")
