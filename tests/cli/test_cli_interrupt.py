"""Ctrl-C while a question waits for its answer, and readers who leave before all is said."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.campaign_folder import CampaignFolder
from support.cli import PATIENCE_S, Ran

MANY = 3_000
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="/proc says what a process waits for")
EXPORTS = [[], ["--format", "csv"], ["--format", "jsonl"], ["--json"]]


@pytest.fixture
def folder(tmp_path: Path) -> CampaignFolder:
    return CampaignFolder(tmp_path)


def until_it_waits(pid: int) -> None:
    """Return when the process has gone to sleep over its input: nobody presses a key in the microsecond before."""
    seen = 0
    while seen < 3:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        seen = seen + 1 if state == "S" else 0
        time.sleep(0.02)


def interrupted(folder: CampaignFolder, *args: str, after: str) -> Ran:
    """Run on a terminal, and press Ctrl-C when `after` stands on the screen; `stdout` is the screen."""
    screen, terminal = pty.openpty()
    with folder.cli.start(*args, stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True) as process:
        os.close(terminal)
        shown = b""
        while after.encode() not in shown:
            shown += os.read(screen, 65_536)
        until_it_waits(process.pid)
        process.send_signal(signal.SIGINT)
        try:
            process.wait(PATIENCE_S / 6)
        finally:
            process.kill()
            os.close(screen)
    return Ran(process.returncode, shown.decode(), "")


@on_linux
def test_ctrl_c_at_a_question_means_no(folder: CampaignFolder) -> None:
    folder.queue().ok()
    assert interrupted(folder, "campaign", "cancel", "spring", after="Go on? [y/N]").exit == 130
    assert folder.show()["state"] == "running"


@on_linux
def test_ctrl_c_while_a_text_is_typed_changes_nothing(folder: CampaignFolder) -> None:
    folder.queue().ok()
    process = folder.cli.start("campaign", "edit", "spring", "--text", "-", stdin=subprocess.PIPE)
    with process:
        assert process.stdin
        process.stdin.write("half a")
        process.stdin.flush()
        # It asks for the input when it has opened the database.
        wait_for = folder.folder / "mailer.db-wal"
        while not wait_for.exists():
            assert process.poll() is None
        until_it_waits(process.pid)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S / 6) == 130
    assert folder.show()["version"] == 1


@on_linux
def test_ctrl_c_while_a_message_is_typed_sends_nothing(folder: CampaignFolder) -> None:
    ran = interrupted(folder, "send", "ann@gmail.com", "--subject", "Hello", after="single dot")
    assert ran.exit == 130
    assert not folder.has_database


@pytest.mark.parametrize("form", EXPORTS)
def test_a_reader_of_an_export_may_leave_early(folder: CampaignFolder, form: list[str]) -> None:
    folder.write("list.csv", "email,name\n" + "".join(f"a{n}@example.org,Ann\n" for n in range(MANY)))
    folder.queue("--hold").ok()
    with folder.cli.start("campaign", "export", "spring", *form) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux's")
@pytest.mark.parametrize("form", EXPORTS)
def test_an_export_to_a_full_disk_says_so(folder: CampaignFolder, form: list[str]) -> None:
    folder.write("list.csv", "email,name\n" + "".join(f"a{n}@example.org,Ann\n" for n in range(MANY)))
    folder.queue("--hold").ok()
    with (
        Path("/dev/full").open("w") as full,
        folder.cli.start("campaign", "export", "spring", *form, stdout=full) as it,
    ):
        assert it.stderr
        assert "cannot write to standard output: No space left on device." in it.stderr.read()
    assert it.returncode == 1
