"""`mailer demo` as it is typed: it ends by itself, its counts are those of its rule, and Ctrl-C leaves nothing behind.

Slow: a whole campaign of 2,000 goes through a real SMTP conversation, with its retries.
"""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest
from support.cli import Cli
from support.forecast import forecast

from mailer.demo.account import DIFFICULT
from mailer.demo.people import people

pytestmark = pytest.mark.slow


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """mailer whose temporary files are made in the test's own folder."""
    return Cli(tmp_path, TMPDIR=str(tmp_path), MAILER_DATABASE__URL="sqlite:///somewhere-else.db")


def folder_in(shown: str) -> Path:
    found = re.search(r"^Folder +(\S+)", shown, re.MULTILINE)
    assert found, shown
    return Path(found[1])


def servers_in(folder: Path) -> str:
    """Processes of the demo's server that have this folder's log open."""
    return "\n".join(
        str(link) for link in Path("/proc").glob("[0-9]*/fd/2") if _target(link) == str(folder / "server.log")
    )


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:  # the process has just ended, or is another user's
        return ""


def test_the_demo_ends_by_itself_and_every_recipient_has_met_the_fate_of_the_rule(cli: Cli) -> None:
    ran = cli("demo", timeout=60).ok()
    folder = folder_in(ran.stdout)
    expected = forecast(one.number for one in people())
    assert f"it took {expected.sent:,} messages for {expected.sent:,} recipients, none twice" in ran.stdout
    assert f"{DIFFICULT.address}, message {DIFFICULT.number}:" in ran.stdout
    assert f"To: {DIFFICULT.name} <" in ran.stdout
    assert "452   4.2.2     mailbox-full" in ran.stdout
    assert servers_in(folder) == ""
    assert not (cli.folder / "somewhere-else.db").exists()
    looking = Cli(folder)
    [campaign] = looking("status", "--json").ok().json["campaigns"]
    assert (campaign["state"], campaign["sent"], campaign["failed"]) == ("finished", expected.sent, expected.failed)
    rows = looking("message", "list", "--limit", "10000", "--json").ok().json["messages"]
    assert sum(row["attempts"] for row in rows) == expected.attempts
    assert (folder / "password").read_text().strip() not in ran.stdout + ran.stderr


def test_ctrl_c_stops_it_and_leaves_no_process_behind(cli: Cli) -> None:
    with cli.start("demo", start_new_session=True) as process:
        assert process.stdout is not None
        shown = ""
        for line in process.stdout:
            shown += line
            if re.match(r"spring: running, [1-9][0-9,]* of 2,000 sent", line):
                break
        # To the group of this process alone, which start_new_session made: what a terminal does.
        os.killpg(process.pid, signal.SIGINT)
        rest = process.stdout.read()
        assert process.wait(30) == 128 + signal.SIGINT
    assert "Stopped." in rest
    folder = folder_in(shown)
    assert servers_in(folder) == ""
    # Nothing is in anybody's hands any more: the database can be looked at, and the rest sent.
    [campaign] = Cli(folder)("status", "--json").ok().json["campaigns"]
    assert campaign["sending"] == 0
    assert campaign["queued"] > 0
