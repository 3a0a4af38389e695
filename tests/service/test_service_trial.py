"""The short message that shows that a relay works: whom it is from, and what it says."""

from __future__ import annotations

from email import message_from_bytes
from email.policy import SMTP
from pathlib import Path
from typing import Final

import pytest
from support.worker import configured, relay

from mailer.config import Relay
from mailer.core.message import FIRST_LINE
from mailer.errors import ConfigError
from mailer.service.trial import short_message, trial_sender

LOGIN: Final = 'username = "{}"\npassword = {{ env = "PASSWORD" }}'


def configured_relay(folder: Path, *keys: str) -> Relay:
    text = relay(2525, more="\n".join(keys))
    return configured(folder, text.replace('auth = "none"', 'auth = "auto"') if "username" in text else text).relays[0]


@pytest.mark.parametrize(
    ("default", "keys", "sender"),
    [
        ("News <news@example.com>", [], "news@example.com"),
        ("News <news@example.com>", ['senders = ["@example.com", "me@example.org"]'], "news@example.com"),
        ("News <news@example.com>", ['senders = ["@example.net", "me@example.org"]'], "me@example.org"),
        ("News <news@example.com>", [LOGIN.format("me@x.test"), 'senders = ["@x.test"]'], "me@x.test"),
        (None, [LOGIN.format("me@x.test")], "me@x.test"),
        ("news@bücher.example", [], "news@xn--bcher-kva.example"),
    ],
)
def test_it_is_from_the_default_if_the_relay_may_carry_that_and_else_from_an_address_of_the_relay(
    tmp_path: Path, default: str | None, keys: list[str], sender: str
) -> None:
    assert trial_sender(configured_relay(tmp_path, *keys), default) == sender


@pytest.mark.parametrize(
    ("default", "keys"),
    [
        (None, []),
        (None, [LOGIN.format("me")]),
        (None, ['senders = ["@example.net"]']),
        ("news@example.com", ['senders = ["@example.net"]']),
    ],
)
def test_without_an_address_that_the_relay_may_carry_the_operator_is_asked_for_one(
    tmp_path: Path, default: str | None, keys: list[str]
) -> None:
    with pytest.raises(ConfigError, match='relay "qq": it is not known whom') as caught:
        trial_sender(configured_relay(tmp_path, *keys), default)
    assert "[defaults] from" in caught.value.hint


def test_it_names_the_relay_and_asks_for_no_answer(tmp_path: Path) -> None:
    composed = short_message(configured_relay(tmp_path), "me@example.com", "you@example.org", 1_700_000_000_900_000)
    data = b"".join(composed.chunks)
    assert data.startswith(FIRST_LINE)
    assert composed.utf8_address is None
    assert len(data) == composed.size_bytes
    assert data.count(b"\n") == data.count(b"\r\n")
    message = message_from_bytes(data, policy=SMTP)
    assert (message["From"], message["To"]) == ("me@example.com", "you@example.org")
    assert message["Subject"] == "mailer relay check: qq"
    assert message["Date"] == "Tue, 14 Nov 2023 22:13:20 -0000"
    assert message["Message-ID"].endswith("@example.com>")
    assert message["Auto-Submitted"] == "auto-generated"
    body = message.get_body()
    assert body is not None
    assert "through the relay qq (127.0.0.1:2525)." in body.get_content()


def test_it_says_which_address_takes_smtputf8_and_writes_it_in_its_script(tmp_path: Path) -> None:
    composed = short_message(configured_relay(tmp_path), "me@example.com", "用户@xn--fsqu00a.xn--4rr70v", 0)
    assert composed.utf8_address == "用户@例子.广告"
    assert "\r\nTo: 用户@例子.广告\r\n" in composed.chunks[0].decode()
