"""MAIL and RCPT: what is said of a message, and which messages a relay cannot be given."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.core.address import BadAddress, wire_address
from mailer.core.message import Envelope
from mailer.smtp.envelope import Misfit, transaction
from mailer.smtp.session import Features
from mailer.smtp.settings import RelaySettings

RELAY = RelaySettings("qq", "smtp.qq.test", 587, "starttls", "login")
MODERN = ("SIZE", "8BITMIME", "SMTPUTF8")
USER = "用户@xn--fsqu00a.xn--4rr70v"


def said(sender: str, recipient: str, *extensions: str, header: str | None = None) -> tuple[str, str]:
    """The two commands for a message of 1,000 bytes."""
    features = Features(dict.fromkeys(extensions, ""))
    mail, rcpt = transaction(RELAY, features, Envelope(sender, recipient), 1000, header)
    return mail.decode(), rcpt.decode()


def test_an_ascii_message_asks_for_nothing_whatever_is_offered() -> None:
    for extensions in ((), MODERN):
        size = " SIZE=1000" if extensions else ""
        assert said("a@b.example", "c@d.example", *extensions) == (
            f"MAIL FROM:<a@b.example>{size}\r\n",
            "RCPT TO:<c@d.example>\r\n",
        )
    assert said("", "c@d.example", *MODERN)[0] == "MAIL FROM:<> SIZE=1000\r\n"


@pytest.mark.parametrize(
    ("sender", "recipient", "header"),
    [
        ("a@b.example", USER, None),
        (USER, "c@d.example", None),
        (USER, USER, "用户@例子.广告"),
        ("a@b.example", "c@d.example", "用户@例子.广告"),  # Reply-To, or From with another envelope sender
        ("", "c@d.example", "用户@例子.广告"),
    ],
)
def test_one_address_beyond_ascii_asks_for_smtputf8_and_says_that_the_header_is_8_bit(
    sender: str, recipient: str, header: str | None
) -> None:
    mail, rcpt = said(sender, recipient, *MODERN, header=header)
    assert mail == f"MAIL FROM:<{sender}> SIZE=1000 BODY=8BITMIME SMTPUTF8\r\n"
    assert rcpt == f"RCPT TO:<{recipient}>\r\n"


def test_a_server_that_forgot_8bitmime_is_not_told_that_word() -> None:
    assert said("a@b.example", USER, "SMTPUTF8")[0] == "MAIL FROM:<a@b.example> SMTPUTF8\r\n"


@pytest.mark.parametrize("extensions", [(), ("SIZE",), ("8BITMIME",)])
@pytest.mark.parametrize(
    ("sender", "recipient", "header", "named"),
    [
        ("a@b.example", USER, None, USER),
        (USER, "c@d.example", None, USER),
        # The header has it as it is read.
        ("a@b.example", USER, "用户@例子.广告", "用户@例子.广告"),
        ("a@b.example", "c@d.example", "用户@例子.广告", "用户@例子.广告"),
    ],
)
def test_where_smtputf8_is_not_offered_the_sentence_names_address_and_relay(
    extensions: tuple[str, ...], sender: str, recipient: str, header: str | None, named: str
) -> None:
    with pytest.raises(Misfit) as raised:
        said(sender, recipient, *extensions, header=header)
    assert raised.value.message == (
        f"the address {named} has letters beyond ASCII before its @, and relay qq does not offer SMTPUTF8"
    )


def test_a_message_beyond_the_servers_limit_is_not_begun() -> None:
    envelope = Envelope("a@b.example", "c@d.example")
    with pytest.raises(Misfit, match=r"the message has 1,000 bytes, and relay qq takes at most 999 \(its SIZE limit\)"):
        transaction(RELAY, Features({"SIZE": "999"}), envelope, 1000)
    assert transaction(RELAY, Features({"SIZE": "1000"}), envelope, 1000).mail.endswith(b" SIZE=1000\r\n")


@given(st.text(max_size=40), st.text(max_size=40), st.sampled_from([(), MODERN]))
def test_no_address_makes_a_second_command(sender: str, recipient: str, extensions: tuple[str, ...]) -> None:
    try:
        commands = said(sender, recipient, *extensions)
    except Misfit:
        return
    for command in commands:
        assert command.endswith("\r\n")
        assert len(command.splitlines()) == 1


@given(st.text(st.sampled_from("aé用\u0301.@>< \r\n\0"), max_size=12))
def test_whatever_is_an_address_can_be_said_in_one_line_that_a_server_must_read(local: str) -> None:
    try:
        address = wire_address(f"{local}@{'d' * 60}.example")
    except BadAddress:
        return
    mail, rcpt = said(address, address, *MODERN)
    # RFC 5321 section 4.5.3.1.4; SIZE, 8BITMIME and SMTPUTF8 each add room of their own.
    assert len(rcpt.encode()) <= 512
    assert len(mail.encode()) <= 512
    assert mail.count("<") == mail.count(">") == 1
