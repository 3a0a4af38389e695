"""swaks, the administrators' own client, against the demo's server: what it says is what any server would."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

from support.servers import require

from mailer.demo.account import Account
from mailer.demo.fates import Fate, fate_of
from mailer.demo.serving import serving

ACCOUNT = Account(password="correct horse")


async def swaks(port: int, *more: str) -> subprocess.CompletedProcess[str]:
    """Its transcript; exit code 0 if the message was taken."""
    command = [require("swaks"), "--server", "127.0.0.1", "--port", str(port), "--helo", "client.test"]
    command += ["--from", ACCOUNT.username, "--header", "Subject: hello", "--body", "hello", *more]
    return await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False, timeout=60)


def person(fate: Fate) -> str:
    """An address that meets `fate` the first time it is tried."""
    number = next(n for n in range(1, 2_001) if fate_of(n) is fate)
    return f"swaks.{number:04}@example.com"


async def test_swaks_logs_in_and_hands_over_a_message(tmp_path: Path) -> None:
    async with serving(ACCOUNT, tmp_path / "log") as server:
        login = ["--auth", "LOGIN", "--auth-user", ACCOUNT.username, "--auth-password", ACCOUNT.password]
        done = await swaks(server.port, *login, "--to", person(Fate.TAKEN))
        assert done.returncode == 0, done.stdout + done.stderr
        for line in (" -> AUTH LOGIN", "<-  334", "<-  235", "<-  354", "<-  250 2.0.0 Taken", "<-  221"):
            assert line in done.stdout


async def test_swaks_is_turned_away_without_a_login(tmp_path: Path) -> None:
    async with serving(ACCOUNT, tmp_path / "log") as server:
        done = await swaks(server.port, "--to", person(Fate.TAKEN))
        assert done.returncode != 0
        assert "530" in done.stdout


async def test_swaks_sees_the_refusal_of_an_unknown_recipient(tmp_path: Path) -> None:
    async with serving(ACCOUNT, tmp_path / "log") as server:
        login = ["--auth", "LOGIN", "--auth-user", ACCOUNT.username, "--auth-password", ACCOUNT.password]
        done = await swaks(server.port, *login, "--to", person(Fate.NO_SUCH_USER))
        assert done.returncode != 0
        assert "550 5.1.1" in done.stdout
