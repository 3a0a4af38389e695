"""swaks, the administrators' own client, through both providers: proof that no Python mail code agrees with itself."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from support.mailbox import without_trace
from support.mailhost import SENDERS, MailHost

ME = "me@qq.test"

TEXT = (
    "From: News <me@qq.test>\n"
    "To: {to}\n"
    "Subject: =?utf-8?B?5L2g5aW9?= from swaks\n"
    "Date: Tue, 24 Nov 2026 08:00:00 +0800\n"
    "Message-ID: <{to}>\n"
    "MIME-Version: 1.0\n"
    "Content-Type: text/plain; charset=utf-8\n"
    "Content-Transfer-Encoding: 8bit\n"
    "\n"
    ".\n"
    "..leading dots\n"
    "你好，世界\n"
    "trailing blanks  \n"
    "\n"
    "the end\n"
)


def swaks(host: MailHost, *words: str | Path, port: int, data: str = TEXT) -> subprocess.CompletedProcess[str]:
    """Its transcript on stdout; exit code 0 if the message was taken."""
    command = ["swaks", "--server", host.address, "--port", str(port), "--helo", "client.test", "--from", ME]
    command += ["--tls-verify", "--tls-ca-path", str(host.ca_file), "--data", "-", *map(str, words)]
    # swaks ends what it sends with a line end of its own.
    data = data.removesuffix("\n")
    return subprocess.run(command, input=data, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
@pytest.mark.parametrize("mechanism", ["LOGIN", "PLAIN"])
def test_a_message_submitted_by_swaks_arrives_byte_for_byte(mail_host: MailHost, tls: str, mechanism: str) -> None:
    (box,) = mail_host.fresh("reader")
    port, option = {
        "starttls": (mail_host.starttls_port, "--tls"),
        "implicit": (mail_host.implicit_port, "--tls-on-connect"),
    }[tls]
    login = ["--auth", mechanism, "--auth-user", ME, "--auth-password", SENDERS[ME]]
    sent = TEXT.format(to=box.address)
    done = swaks(mail_host, option, *login, "--to", box.address, port=port, data=sent)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"AUTH {mechanism}" in done.stdout
    assert "235 2.7.0" in done.stdout
    box.wait_for(1)
    (by_pop3,), (by_imap,) = box.fetch_pop3(), box.fetch_imap()
    assert without_trace(by_imap) == sent.replace("\n", "\r\n").encode()
    assert by_pop3 == by_imap


def test_a_wrong_password_stops_swaks_at_auth(mail_host: MailHost) -> None:
    login = ["--auth", "LOGIN", "--auth-user", ME, "--auth-password", "wrong", "--to", "reader01@163.test"]
    done = swaks(mail_host, "--tls", *login, port=mail_host.starttls_port)
    assert done.returncode == 28, done.stdout  # swaks(1), EXIT CODES: error authenticating
    assert "535 5.7.8" in done.stdout


def test_an_unknown_recipient_stops_swaks_at_rcpt(mail_host: MailHost) -> None:
    login = ["--auth", "LOGIN", "--auth-user", ME, "--auth-password", SENDERS[ME], "--to", "nobody@163.test"]
    done = swaks(mail_host, "--tls", *login, port=mail_host.starttls_port)
    assert done.returncode == 24, done.stdout  # no recipient was taken
    assert "550 5.1.1" in done.stdout
