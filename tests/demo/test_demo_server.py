"""The demo's server: AUTH LOGIN in both forms and nothing without it, its rule, its count, and its end."""

from __future__ import annotations

import asyncio
import base64
import os
import select
import smtplib
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from mailer.demo.account import Account
from mailer.demo.serving import DemoServer, serving
from mailer.errors import MailerError

ACCOUNT: Final = Account(password="correct horse")


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def client(server: DemoServer) -> smtplib.SMTP:
    """A client that nobody here wrote, greeted."""
    smtp = smtplib.SMTP("127.0.0.1", server.port, timeout=10)
    smtp.ehlo("test.example")
    return smtp


def send(smtp: smtplib.SMTP, to: str) -> tuple[int, bytes]:
    """The reply that decides one message."""
    smtp.mail("demo@example.com")
    code, words = smtp.rcpt(to)
    if code != 250:
        smtp.rset()
        return code, words
    return smtp.data("Subject: hello\r\n\r\nhello\r\n")


async def test_login_works_in_three_steps_and_with_an_initial_response(tmp_path: Path) -> None:
    def both(server: DemoServer) -> None:
        with client(server) as smtp:
            assert smtp.esmtp_features["auth"].split() == ["LOGIN"]
            assert smtp.docmd("AUTH", "LOGIN")[0] == 334
            assert smtp.docmd(encoded(ACCOUNT.username))[0] == 334
            assert smtp.docmd(encoded(ACCOUNT.password))[0] == 235
        with client(server) as smtp:
            assert smtp.docmd("AUTH", f"LOGIN {encoded(ACCOUNT.username)}")[0] == 334
            assert smtp.docmd(encoded(ACCOUNT.password))[0] == 235

    async with serving(ACCOUNT, tmp_path / "log") as server:
        await asyncio.to_thread(both, server)


async def test_nothing_is_taken_without_a_login_or_with_a_wrong_password(tmp_path: Path) -> None:
    def neither(server: DemoServer) -> None:
        with client(server) as smtp:
            assert smtp.mail("demo@example.com")[0] == 530
        with client(server) as smtp, pytest.raises(smtplib.SMTPAuthenticationError) as refusal:
            smtp.login(ACCOUNT.username, "wrong horse")
        assert refusal.value.smtp_code == 535

    async with serving(ACCOUNT, tmp_path / "log") as server:
        await asyncio.to_thread(neither, server)
        assert (await server.end()).messages == 0


async def test_recipients_are_treated_by_the_rule_and_counted(tmp_path: Path) -> None:
    def talk(server: DemoServer) -> list[int]:
        with client(server) as smtp:
            smtp.login(ACCOUNT.username, ACCOUNT.password)
            addresses = ["a.0001", "a.0003", "a.0003", "a.0029", "a.0029", "a.0029", "a.0007", "a.0013"]
            return [send(smtp, f"{local}@example.com")[0] for local in addresses]

    async with serving(ACCOUNT, tmp_path / "log") as server:
        assert await asyncio.to_thread(talk, server) == [250, 450, 250, 452, 452, 250, 550, 554]
        count = await server.end()
    assert (count.messages, count.recipients, count.refusals) == (3, 3, 5)
    assert (tmp_path / "log").read_text() == ""


async def test_the_process_is_gone_after_the_block_even_if_that_fails(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        async with serving(ACCOUNT, tmp_path / "log") as server:
            pid = server.pid
            raise ZeroDivisionError
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)  # signal 0 only asks whether there is such a process


async def test_a_server_that_has_died_is_missed_at_the_end(tmp_path: Path) -> None:
    async with serving(ACCOUNT, tmp_path / "log") as server:
        server.kill()
        with pytest.raises(MailerError, match="ended before its time"):
            await server.end()


def test_the_server_ends_when_whoever_started_it_is_killed(tmp_path: Path) -> None:
    script = (
        "import asyncio, os, sys\n"
        "from pathlib import Path\n"
        "from mailer.demo.account import Account\n"
        "from mailer.demo.serving import serving\n"
        "async def main():\n"
        "    async with serving(Account(), Path(sys.argv[1])) as server:\n"
        "        print(server.pid, flush=True)\n"
        "        os.kill(os.getpid(), 9)\n"
        "asyncio.run(main())\n"
    )
    # The server inherits this pipe as well: the end of what is read from it is the end of both.
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "log")], stdout=subprocess.PIPE, timeout=30, check=False
    )
    assert done.returncode == -9
    pid = int(done.stdout)
    asyncio.run(_gone(pid))


async def _gone(pid: int) -> None:
    """Returns when the process `pid`, which is not our child, has ended; the test's own patience is the limit."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        ready, _, _ = select.select([process], [], [], 20)
        assert ready, "the server outlived whoever started it"
    finally:
        os.close(process)
