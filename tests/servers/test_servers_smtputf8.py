"""Addresses with letters beyond ASCII before their `@`, from a list to the mailbox of a Postfix (RFC 6531, RFC 6532).

Postfix delivers into maildirs itself: the LMTP of Dovecot 2.3 does not offer SMTPUTF8. One of Postfix's ports does not
either. Whether a client asked for it stands in Received: `with UTF8SMTP`, else `with ESMTP` (RFC 6531 section 4.3).
"""

from __future__ import annotations

import email
import os
import pwd
import shutil
import time
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTPUTF8
from pathlib import Path
from typing import Any, Final

import pytest
from support.cli import Cli, Ran
from support.daemon import Daemon, free_ports, open_folder, own_address
from support.postfix import POSTFIX_USER, inline_map, postfix
from support.servers import missing, require

USER: Final = "用户@例子.广告"
MUELLER: Final = "müller@post.test"
# As a Mac writes it: the same to look at, and other bytes.
MUELLER_IN_TWO: Final = unicodedata.normalize("NFD", MUELLER)
ANN: Final = "ann@post.test"

# What Postfix knows: domains as A-labels, as they come in RCPT; local parts in NFC.
_BOXES: Final = {"用户@xn--fsqu00a.xn--4rr70v": "user/", MUELLER: "mueller/", ANN: "ann/"}

_OF_POSTFIX: Final = {"Return-Path", "X-Original-To", "Delivered-To", "Received"}

_DELIVERED_WITHIN_S: Final = 30.0
_LOOK_EVERY_S: Final = 0.02

_CONFIG: Final = """\
[database]
url = "sqlite:///mailer.db"

[defaults]
from = "每周新闻 <news@sender.test>"

[[relay]]
name = "{name}"
host = "{host}"
port = {port}
tls = "none"
auth = "none"
"""


@dataclass(frozen=True)
class Kept:
    """A message as it lies in a mailbox."""

    data: bytes

    @property
    def message(self) -> EmailMessage:
        """As a mail reader that knows RFC 6532 sees it."""
        return _parsed(self.data)

    @property
    def way(self) -> str:
        """How Postfix says it was spoken to: `ESMTP`, `UTF8SMTP`."""
        words = str(self.message["Received"]).split()
        return words[words.index("with") + 1]

    def raw(self) -> dict[str, str]:
        """Headers with bytes beyond ASCII, by name, as they stand there; those that Postfix writes left aside."""
        header = self.data.partition(b"\n\n")[0].replace(b"\n ", b" ").replace(b"\n\t", b" ")
        fields = (line.decode().partition(": ") for line in header.split(b"\n") if not line.isascii())
        return {name: value for name, _, value in fields if name not in _OF_POSTFIX}


@dataclass(frozen=True)
class Post:
    """A Postfix with the mailboxes of `_BOXES`."""

    address: str
    port: int
    """Offers SMTPUTF8."""
    old_port: int
    """Does not."""
    server: Daemon
    mail: Path

    def read(self, box: str, count: int = 1) -> list[Kept]:
        """What lies in a mailbox, once there are `count` messages, in no order."""
        deadline = time.monotonic() + _DELIVERED_WITHIN_S
        while len(files := list((self.mail / box / "new").glob("*"))) < count:
            if time.monotonic() > deadline:
                raise AssertionError(f"{box} holds {len(files)} of {count} messages:\n{self.server.said()}")
            time.sleep(_LOOK_EVERY_S)
        assert len(files) == count
        return [Kept(file.read_bytes()) for file in files]


@pytest.fixture
def post() -> Iterator[Post]:
    """A Postfix of its own for each test, so that its mailboxes are empty."""
    require("postfix")
    if os.geteuid() != 0:
        missing("Postfix gives its parts away to its own user, which takes root")
    with open_folder("utf8-") as folder:
        address = own_address()
        port, old_port = free_ports(address, 2)
        user = pwd.getpwnam(POSTFIX_USER)
        mail, home = folder / "mail", folder / "postfix"
        mail.mkdir()
        home.mkdir()
        shutil.chown(mail, user.pw_uid, user.pw_gid)
        server = postfix(
            home,
            "mx.post.test",
            settings={
                "smtputf8_enable": "yes",
                "virtual_mailbox_domains": "post.test, xn--fsqu00a.xn--4rr70v",
                "virtual_mailbox_maps": inline_map(_BOXES),
                "virtual_mailbox_base": str(mail),
                "virtual_uid_maps": f"static:{user.pw_uid}",
                "virtual_gid_maps": f"static:{user.pw_gid}",
                "virtual_minimum_uid": "1",
                "smtpd_relay_restrictions": "reject_unauth_destination",
            },
            services={(address, port): {}, (address, old_port): {"smtpd_discard_ehlo_keywords": "smtputf8"}},
        )
        with server:
            yield Post(address, port, old_port, server, mail)


def mailer(folder: Path, post: Post, *, old: bool = False) -> Cli:
    """The command line, with one relay and what a campaign is made of."""
    name, port = ("old", post.old_port) if old else ("post", post.port)
    (folder / "config.toml").write_text(_CONFIG.format(name=name, host=post.address, port=port), "utf-8")
    (folder / "news.txt").write_text("您好 {{ name }} <{{ address }}>\n.\nEnde\n", "utf-8")
    return Cli(folder)


def queue(cli: Cli, *addresses: str, more: tuple[str, ...] = ()) -> Ran:
    """The campaign `news` to these, each with the name 王小明."""
    (cli.folder / "list.csv").write_text("email,name\n" + "".join(f"{each},王小明\n" for each in addresses), "utf-8")
    text = ("--subject", "Grüße, {{ name }}", "--text", "news.txt", "--recipients", "list.csv")
    return cli("campaign", "queue", "news", *text, *more)


def states(cli: Cli) -> dict[str, Any]:
    """The state of each message of the campaign, by address."""
    rows = cli("campaign", "export", "news", "--json").ok().json["messages"]
    return {row["address"]: row["state"] for row in rows}


def test_a_message_arrives_and_its_address_is_all_that_is_raw(tmp_path: Path, post: Post) -> None:
    cli = mailer(tmp_path, post)
    queue(cli, USER, MUELLER_IN_TWO, ANN).ok()
    cli("worker", "--until-empty").ok()
    assert states(cli) == {USER: "sent", MUELLER_IN_TWO: "sent", ANN: "sent"}

    for box, address in (("user", USER), ("mueller", MUELLER)):
        (kept,) = post.read(box)
        (to,) = kept.message["To"].addresses
        assert (to.display_name, to.addr_spec) == ("王小明", address)
        assert kept.message["Subject"] == "Grüße, 王小明"
        assert kept.raw() == {"To": f"=?utf-8?b?546L5bCP5piO?= <{address}>"}
        assert kept.way == "UTF8SMTP"
    (kept,) = post.read("ann")
    assert kept.raw() == {}
    assert kept.way == "ESMTP"


def test_whatever_shows_the_address_shows_it_as_it_was_written(tmp_path: Path, post: Post) -> None:
    cli = mailer(tmp_path, post)
    rehearsed = queue(cli, USER, MUELLER, MUELLER_IN_TWO, more=("--dry-run", "--json")).ok().json
    assert (rehearsed["would_add"], rehearsed["duplicates"], rehearsed["problems"]) == (2, 1, [])
    assert queue(cli, USER, MUELLER, MUELLER_IN_TWO, more=("--json",)).ok().json["added"] == 2

    shown = cli("campaign", "preview", "news", "--recipient", "用户@xn--fsqu00a.xn--4rr70v", "--json").ok().json
    assert (shown["address"], shown["to"]) == (USER, f"王小明 <{USER}>")
    assert shown["text"] == f"您好 王小明 <{USER}>\n.\nEnde\n"
    assert f"To: 王小明 <{USER}>" in cli("campaign", "preview", "news").ok().stdout
    cli("campaign", "preview", "news", "--output", "one.eml").ok()
    assert [each.addr_spec for each in _parsed((tmp_path / "one.eml").read_bytes())["To"].addresses] == [USER]

    cli("worker", "--until-empty").ok()
    (found,) = cli("message", "list", "--address", MUELLER_IN_TWO, "--json").ok().json["messages"]
    assert (found["address"], found["state"]) == (MUELLER, "sent")
    assert USER in cli("message", "list").ok().stdout
    assert USER in cli("campaign", "export", "news").ok().stdout


def test_where_smtputf8_is_not_offered_only_such_messages_fail_and_say_so(tmp_path: Path, post: Post) -> None:
    cli = mailer(tmp_path, post, old=True)
    queue(cli, USER, ANN).ok()
    ran = cli("worker", "--until-empty")
    assert ran.exit == 5, ran.stderr
    assert states(cli) == {USER: "failed", ANN: "sent"}
    (found,) = cli("message", "list", "--address", USER, "--json").ok().json["messages"]
    shown = cli("message", "show", found["id"])
    sentence = f"the address {USER} has letters beyond ASCII before its @, and relay old does not offer SMTPUTF8"
    assert sentence in " ".join(shown.ok().stdout.split())
    assert post.read("ann")[0].way == "ESMTP"


@pytest.mark.parametrize(
    ("more", "raw", "sender"),
    [
        (("--from", f"新闻 <{USER}>"), {"From"}, "用户@xn--fsqu00a.xn--4rr70v"),
        (("--envelope-from", USER), set(), "用户@xn--fsqu00a.xn--4rr70v"),
        (("--reply-to", USER), {"Reply-To"}, "news@sender.test"),
        (("--reply-to", USER, "--envelope-from", "<>"), {"Reply-To"}, ""),
    ],
)
def test_a_sender_may_have_such_an_address_too(
    tmp_path: Path, post: Post, more: tuple[str, ...], raw: set[str], sender: str
) -> None:
    cli = mailer(tmp_path, post)
    queue(cli, ANN, more=more).ok()
    cli("worker", "--until-empty").ok()
    (kept,) = post.read("ann")
    assert set(kept.raw()) == raw
    for name in raw:
        assert [each.addr_spec for each in kept.message[name].addresses] == [USER]
    assert kept.message["Return-Path"] == f"<{sender}>"
    assert kept.way == "UTF8SMTP"


def test_a_domain_of_the_sender_in_another_script_needs_nothing_of_the_relay(tmp_path: Path, post: Post) -> None:
    cli = mailer(tmp_path, post, old=True)
    queue(cli, ANN, more=("--from", "Bücher <info@bücher.test>")).ok()
    cli("worker", "--until-empty").ok()
    (kept,) = post.read("ann")
    assert kept.message["Return-Path"] == "<info@xn--bcher-kva.test>"
    assert kept.message["From"].addresses[0].addr_spec == "info@xn--bcher-kva.test"


def test_a_trial_and_a_check_and_a_message_by_hand_reach_such_an_address(tmp_path: Path, post: Post) -> None:
    cli = mailer(tmp_path, post)
    queue(cli, ANN).ok()
    cli("campaign", "test", "news", "--to", USER).ok()
    cli("relay", "check", "post", "--to", USER).ok()
    cli("send", USER, "--subject", "by hand", "--text", "news.txt", "--set", "name=Ann").ok()
    messages = post.read("user", 3)
    assert {str(each.message["Subject"]) for each in messages} == {
        "[test] Grüße, 王小明",
        "mailer relay check: post",
        "by hand",
    }
    for each in messages:
        assert [one.addr_spec for one in each.message["To"].addresses] == [USER]
        assert each.way == "UTF8SMTP"


def _parsed(data: bytes) -> EmailMessage:
    # As text: the library's parser for bytes makes surrogates of what is raw in a header.
    message = email.message_from_string(data.decode(), policy=SMTPUTF8)
    assert isinstance(message, EmailMessage)
    return message
