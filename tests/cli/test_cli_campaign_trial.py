"""`mailer campaign test`: one message, really sent, and counted nowhere."""

from __future__ import annotations

import email
import email.policy
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from support.campaign_folder import CampaignFolder
from support.cli import validate


class Inbox:
    """Keeps what it is sent, and refuses `full@…`."""

    def __init__(self) -> None:
        self.envelopes: list[Any] = []

    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any) -> str:  # noqa: N802 - aiosmtpd's
        if address.startswith("full@"):
            return "452 4.2.2 mailbox full"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 ok"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802
        self.envelopes.append(envelope)
        return "250 2.0.0 taken as 17"


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


@pytest.fixture
def folder(tmp_path: Path, inbox: Inbox) -> Iterator[CampaignFolder]:
    controller = Controller(inbox, hostname="127.0.0.1", port=free_port())
    controller.start()
    try:
        yield CampaignFolder(tmp_path, port=controller.port)
    finally:
        controller.stop()


def test_it_is_sent_with_the_first_recipients_fields_and_marked(folder: CampaignFolder, inbox: Inbox) -> None:
    folder.queue("--hold", "--envelope-from", "bounces@example.com").ok()
    before = folder.show()
    ran = folder.cli("campaign", "test", "spring", "--to", "me@Example.com", "--json").ok()
    validate(ran.json, "campaign-test")
    assert (ran.json["code"], ran.json["enhanced"], ran.json["text"]) == (250, "2.0.0", "taken as 17")
    assert (ran.json["relay"], ran.json["recipient"]) == ("local", "ann@gmail.com")
    [envelope] = inbox.envelopes
    assert (envelope.mail_from, envelope.rcpt_tos) == ("bounces@example.com", ["me@example.com"])
    message = email.message_from_bytes(envelope.content, policy=email.policy.default)
    assert message["Subject"] == "[test] Hello Ann"
    assert "me@" in message["To"]
    assert folder.show() == before


def test_the_fields_may_be_another_recipients(folder: CampaignFolder, inbox: Inbox) -> None:
    folder.queue().ok()
    ran = folder.cli("campaign", "test", "spring", "--to", "me@example.com", "--recipient", "bob@qq.com").ok()
    assert "250 2.0.0 taken as 17" in ran.stdout
    assert b"Dear Bob," in inbox.envelopes[0].content


def test_the_options_of_queue_need_no_campaign_and_no_database(folder: CampaignFolder, inbox: Inbox) -> None:
    folder.cli(
        *("campaign", "test", "--subject", "Hi {{ name }}", "--text", "spring.txt", "--recipients", "list.csv"),
        *("--to", "me@example.com"),
    ).ok()
    assert len(inbox.envelopes) == 1
    assert not folder.has_database


def test_a_refusal_is_an_error_with_the_servers_words_and_advice(folder: CampaignFolder) -> None:
    folder.queue().ok()
    ran = folder.cli("campaign", "test", "spring", "--to", "full@example.com")
    assert ran.exit == 1
    assert 'relay "local" did not take it, at rcpt: 452 4.2.2 mailbox full' in ran.stderr
    assert ran.stderr.count("\n") >= 2


def test_a_relay_that_nobody_listens_for_is_said_at_once(tmp_path: Path) -> None:
    folder = CampaignFolder(tmp_path, port=free_port())
    folder.queue().ok()
    ran = folder.cli("campaign", "test", "spring", "--to", "me@example.com")
    assert ran.exit == 1
    assert 'relay "local": nobody listens on 127.0.0.1' in ran.stderr


def test_an_address_that_is_none_is_refused(folder: CampaignFolder) -> None:
    ran = folder.cli("campaign", "test", "spring", "--to", "me")
    assert ran.exit == 1
    assert "--to 'me' is no address" in ran.stderr
