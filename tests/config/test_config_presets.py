"""Presets: what providers document, filled in where a relay's own keys say nothing; and what a relay may carry."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from datetime import date

import pytest
from support.cli import ROOT

from mailer.config import Loaded, carries, describe_senders, preset, preset_names
from mailer.core.address import BadAddress

Load = Callable[..., Loaded]

FILE = tomllib.loads((ROOT / "mailer/config/presets.toml").read_text("utf-8"))


def relay_text(name: str, *, username: str = "me@qq.com", more: str = "") -> str:
    host = "" if "host" in FILE[name] else 'host = "mail.example"\n'
    return (
        f'[[relay]]\nname = "own"\npreset = "{name}"\nusername = "{username}"\npassword = {{ env = "X" }}\n{host}{more}'
    )


def test_they_are_offered_in_the_order_of_the_file() -> None:
    assert preset_names() == ("qq", "163", "gmail", "outlook", "ses", "custom") == tuple(FILE)


@pytest.mark.parametrize("name", preset_names())
def test_each_makes_a_relay_that_can_be_used_and_says_what_it_wants(name: str, read: Load) -> None:
    relay = read(relay_text(name)).config.relays[0]
    known = preset(name)
    for key in ("port", "tls", "auth", "max_connections", "daily_limit"):
        if key in known.values:
            assert getattr(relay, key) == known.values[key]
    assert str(relay.rate or "") == known.values.get("rate", "")
    assert known.title
    assert known.username_is
    assert known.password_is
    assert ("host" in known.values) != bool(known.host_is)


@pytest.mark.parametrize("name", [name for name in preset_names() if name != "custom"])
def test_each_statement_has_its_source_and_the_day_it_was_looked_up(name: str) -> None:
    assert FILE[name]["source"].startswith("http")
    assert isinstance(FILE[name]["checked"], date)


def test_a_key_of_the_relay_overrides_its_preset(read: Load) -> None:
    relay = read(
        relay_text("outlook", more='host = "smtp.example"\nmax_connections = 1\nrate = "5/minute"\n')
    ).config.relays[0]
    assert (relay.host, relay.max_connections, str(relay.rate)) == ("smtp.example", 1, "5/minute")
    assert (relay.port, relay.daily_limit) == (587, 10_000)


@pytest.mark.parametrize(
    ("more", "port", "tls"),
    [("port = 587\n", 587, "starttls"), ('tls = "starttls"\n', 587, "starttls"), ("", 465, "implicit")],
)
def test_port_and_tls_of_a_preset_stand_or_fall_together(read: Load, more: str, port: int, tls: str) -> None:
    relay = read(relay_text("qq", more=more)).config.relays[0]
    assert (relay.port, relay.tls) == (port, tls)


def test_an_unknown_one_names_the_nearest() -> None:
    with pytest.raises(LookupError, match='Did you mean "gmail"'):
        preset("gmial")
    with pytest.raises(LookupError, match="Known: qq, 163, gmail"):
        preset("zzzz")


# Senders


@pytest.mark.parametrize(
    ("name", "senders", "address", "may"),
    [
        ("qq", None, "me@qq.com", True),
        ("qq", None, "ME@QQ.COM", True),
        ("qq", None, "you@qq.com", False),
        ("qq", ["news@company.example"], "news@company.example", True),
        ("qq", ["news@company.example"], "me@qq.com", False),
        ("ses", None, "anybody@anywhere.example", True),
        ("custom", ["@company.example"], "a@company.example", True),
        ("custom", ["@company.example"], "a@COMPANY.example", True),
        ("custom", ["@company.example"], "a@mail.company.example", False),
        ("custom", ["@company.example"], "a@notcompany.example", False),
        ("custom", ["@公司.example"], "a@xn--55qx5d.example", True),
        ("custom", ["a@公司.example"], "a@公司.example", True),
        ("custom", ["@company.example"], "", True),
    ],
)
def test_what_a_relay_may_carry(read: Load, name: str, senders: list[str] | None, address: str, may: bool) -> None:
    more = f"senders = {senders}\n".replace("'", '"') if senders else ""
    assert carries(read(relay_text(name, more=more)).config.relays[0], address) is may


def test_what_is_no_address_is_carried_by_nobody_and_said(read: Load) -> None:
    with pytest.raises(BadAddress):
        carries(read(relay_text("qq")).config.relays[0], "News <me@qq.com>")


def test_it_is_described_in_words(read: Load) -> None:
    assert describe_senders(read(relay_text("qq")).config.relays[0]) == "me@qq.com"
    assert describe_senders(read(relay_text("ses")).config.relays[0]) == "any address"
    more = 'senders = ["a@b.example", "@c.example"]\n'
    assert describe_senders(read(relay_text("qq", more=more)).config.relays[0]) == "a@b.example, @c.example"


def test_a_personal_mailbox_logs_in_with_its_whole_address(read: Load) -> None:
    with pytest.raises(Exception, match="expected the whole address"):
        read(relay_text("163", username="me"))


@pytest.mark.parametrize("sender", ["", "company.example", "a@", "@", "News <a@b.example>"])
def test_a_sender_is_an_address_or_a_domain(read: Load, sender: str) -> None:
    with pytest.raises(Exception, match='is neither an address nor "@domain"'):
        read(relay_text("custom", more=f'senders = ["{sender}"]\n'))
