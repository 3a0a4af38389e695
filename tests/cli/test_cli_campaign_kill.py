"""A load that is interrupted or killed as a process: nothing of it is ever sent, and the same command ends the job."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import subprocess
import time
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from support.campaign_folder import CampaignFolder
from support.store import claim, no_rest, register

from mailer.clocks import wall_clock
from mailer.config import load
from mailer.content import Content, open_recipients
from mailer.core.clock import SECOND_US
from mailer.service.queue_draft import Ground, draft_from_store
from mailer.service.queueing import queue
from mailer.store import Store

# Long enough to be caught in the middle on any machine.
MANY = 40_000


@pytest.fixture
def folder(tmp_path: Path) -> CampaignFolder:
    made = CampaignFolder(tmp_path)
    made.write("list.csv", "email,name\n" + "".join(f"u{n}@example.org,U{n}\n" for n in range(MANY)))
    return made


def rows_written(folder: CampaignFolder) -> int:
    try:
        with closing(sqlite3.connect(f"file:{folder.folder / 'mailer.db'}?mode=ro", uri=True)) as connection:
            return int(connection.execute("SELECT count(*) FROM message").fetchone()[0])
    except sqlite3.OperationalError:  # not there yet, or not yet made
        return 0


def started(folder: CampaignFolder) -> subprocess.Popen[str]:
    """The command, once it has written rows and before it has written all."""
    process = folder.cli.start(
        *("campaign", "queue", "spring", "--subject", "Hello {{ name }}", "--text", "spring.txt"),
        *("--recipients", "list.csv"),
    )
    end = time.monotonic() + 30
    while not rows_written(folder):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "no row was written"
    return process


def test_ctrl_c_ends_it_with_130_and_a_word_and_the_same_command_takes_it_up(folder: CampaignFolder) -> None:
    with started(folder) as process:
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "nobody was queued by this command. The same command takes it up again." in said
    assert "Traceback" not in said
    assert 0 < rows_written(folder) < MANY
    assert folder.show()["state"] == "loading"
    assert folder.queue("--json").ok().json["added"] == MANY


def test_after_kill_9_nothing_can_be_claimed_and_once_it_has_been_silent_the_same_command_ends_the_job(
    folder: CampaignFolder,
) -> None:
    with started(folder) as process:
        process.kill()
    assert 0 < rows_written(folder) < MANY
    too_soon = folder.queue()
    assert too_soon.exit == 1
    assert "is being loaded by" in too_soon.stderr
    assert "if it was killed, run this again in" in too_soon.stderr
    assert asyncio.run(_eleven_seconds_later(folder.folder)) == (0, MANY)
    assert folder.show()["queued"] == MANY


async def _eleven_seconds_later(folder: Path) -> tuple[int, int]:
    """What a worker could claim, and how many the same queueing then adds, under a clock that is ahead."""

    def later() -> int:
        return wall_clock() + 11 * SECOND_US

    @asynccontextmanager
    async def opened() -> Any:
        async with await Store.open(folder / "mailer.db", create=False, clock=later, rest=no_rest) as store:
            yield store

    async with opened() as store:
        claimable = len(await claim(await register(store), 50))
        campaign = await store.campaigns.find("spring")
        stored = await store.campaigns.content(campaign.id, campaign.version)
    ground = Ground(load({}, file=folder / "config.toml", cwd=folder).config, "Asia/Shanghai", later())
    draft = draft_from_store(campaign, stored, ground)
    assert draft.content == Content.from_json(stored.body)
    with open_recipients(folder / "list.csv", stdin=None, encoding=None, address_column=None) as rows:
        return claimable, (await queue(draft, rows, opened, clock=later)).added
