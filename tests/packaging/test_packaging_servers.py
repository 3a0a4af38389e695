"""What a test does where a program it needs is missing: skipped with what to install, or failed where CI says so."""

from __future__ import annotations

import shutil

import pytest
from support.servers import require


def test_a_program_that_is_there_is_found_by_its_path(monkeypatch: pytest.MonkeyPatch) -> None:
    assert require("sh") == shutil.which("sh")
    monkeypatch.setenv("PATH", "/nowhere")
    assert require("chroot") == "/usr/sbin/chroot"  # coreutils' own, where an ordinary user's PATH does not look


def test_one_that_is_missing_skips_the_test_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MAILER_REQUIRE_SERVERS", raising=False)
    with pytest.raises(pytest.skip.Exception) as caught:
        require("no-such-program")
    assert caught.value.msg == (
        "no-such-program is not installed; on Debian: apt-get install no-such-program, or `make test` as root"
    )


@pytest.mark.parametrize(
    ("value", "ends"),
    [("1", pytest.fail.Exception), ("0", pytest.skip.Exception), ("", pytest.skip.Exception)],
)
def test_it_fails_the_test_where_nothing_may_be_skipped(
    monkeypatch: pytest.MonkeyPatch, value: str, ends: type[BaseException]
) -> None:
    monkeypatch.setenv("MAILER_REQUIRE_SERVERS", value)
    with pytest.raises(ends, match="is not installed"):
        require("no-such-program")
