"""How a relay is connected to, as it is configured: our name and address, our certificate, what is made use of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mailer.config import Loaded
from mailer.errors import ConfigError
from mailer.service.relays import relay_settings

Load = Callable[..., Loaded]

RELAY = '[[relay]]\nname = "own"\nhost = "mail.example"\n'
NO_NAMES = ("a b", "a\\r\\nRSET", "a\\n", "", "é.example", "my_box.example", "a..b", "-a.b", "a." * 128, "a" * 64)
NO_LITERALS = (
    "192.0.2.7",
    "::1",
    "[::1]",
    "[IPv6:192.0.2.7]",
    "[IPv6:fe80::1%eth0]",
    "[192.0.2.300]",
    "[192.0.2.7",
    "[]",
)


def complaint(read: Load, text: str) -> tuple[str, str]:
    with pytest.raises(ConfigError) as caught:
        read(text)
    return caught.value.message, caught.value.hint


@pytest.mark.parametrize("name", [*NO_NAMES, *NO_LITERALS])
def test_what_is_written_into_ehlo_is_a_host_name_or_an_address_in_brackets(read: Load, name: str) -> None:
    message, _ = complaint(read, f'{RELAY}ehlo_name = "{name}"\n')
    assert 'ehlo_name: expected a host name such as "mail.example.com", or an address such as "[192.0.2.7]"' in message


@pytest.mark.parametrize("name", ["mail.example.com", "localhost", "3com.example", "[192.0.2.7]", "[IPv6:2001:db8::7]"])
def test_a_name_for_ehlo_is_taken_as_it_is(read: Load, name: str) -> None:
    assert read(f'{RELAY}ehlo_name = "{name}"\n').config.relays[0].ehlo_name == name


@pytest.mark.parametrize(
    ("given", "address"),
    [("192.0.2.7", "192.0.2.7"), ("2001:db8::7", "2001:db8::7"), ("[2001:db8::7]", "2001:db8::7"), ("::", "::")],
)
def test_an_address_to_send_from(read: Load, given: str, address: str) -> None:
    assert read(f'{RELAY}source_address = "{given}"\n').config.relays[0].source_address == address


@pytest.mark.parametrize(
    "given", ["eth0", "mail.example.com", "192.0.2.7:0", "192.0.2", "fe80::1%eth0", "224.0.0.1", ""]
)
def test_anything_else_is_no_address_to_send_from(read: Load, given: str) -> None:
    message, _ = complaint(read, f'{RELAY}source_address = "{given}"\n')
    expected = 'expected an address of this machine, such as "192.0.2.7" or "2001:db8::7"'
    assert message == f'config.toml, relay "own", source_address: {expected}, not "{given}".'


@pytest.mark.parametrize(("host", "source"), [("192.0.2.1", "2001:db8::7"), ("2001:db8::1", "192.0.2.7")])
def test_both_ends_of_a_connection_are_of_one_kind(read: Load, host: str, source: str) -> None:
    message, hint = complaint(read, RELAY.replace("mail.example", host) + f'source_address = "{source}"\n')
    assert message == f'config.toml, relay "own": `source_address` is {source} and `host` is {host}.'
    assert hint.startswith("IPv4 cannot reach IPv6")


def test_a_certificate_of_our_own_stands_beside_the_file(read: Load, tmp_path: Path) -> None:
    relay = read(f'{RELAY}client_cert = "cert.pem"\nclient_key = "/etc/ssl/key.pem"\n').config.relays[0]
    assert (relay.client_cert, relay.client_key) == (tmp_path / "cert.pem", Path("/etc/ssl/key.pem"))
    assert read(f'{RELAY}client_cert = "both.pem"\n').config.relays[0].client_key is None


def test_a_certificate_without_tls_or_a_key_without_a_certificate(read: Load) -> None:
    message, hint = complaint(read, f'{RELAY}tls = "none"\nclient_cert = "cert.pem"\n')
    assert message == 'config.toml, relay "own": `client_cert` is set but `tls` is "none".'
    assert 'tls = "starttls"' in hint
    assert complaint(read, f'{RELAY}client_key = "key.pem"\n')[0] == (
        'config.toml, relay "own": `client_key` is set but `client_cert` is not.'
    )


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('pipelining = "on"', 'pipelining: expected "auto" or "off", not "on".'),
        ("chunking = false", 'chunking: expected "auto" or "off", not false.'),
        ("client_cert = 7", 'client_cert: expected a path in quotes, such as "error.log", not 7.'),
    ],
)
def test_any_other_value_is_refused_with_those_there_are(read: Load, line: str, expected: str) -> None:
    assert complaint(read, f"{RELAY}{line}\n")[0] == f'config.toml, relay "own", {expected}'


def test_all_of_it_reaches_whoever_connects(read: Load, tmp_path: Path) -> None:
    text = (
        'pipelining = "off"\nchunking = "off"\nclient_cert = "cert.pem"\nclient_key = "key.pem"\n'
        'source_address = "192.0.2.7"\nehlo_name = "me.example"\n'
    )
    settings = relay_settings(read(RELAY + text).config.relays[0])
    assert (settings.pipelining, settings.chunking) == ("off", "off")
    assert (settings.client_cert, settings.client_key) == (tmp_path / "cert.pem", tmp_path / "key.pem")
    assert (settings.source_address, settings.ehlo_name) == ("192.0.2.7", "me.example")
    usual = relay_settings(read(RELAY).config.relays[0])
    assert (usual.pipelining, usual.chunking, usual.client_cert, usual.source_address) == ("auto", "auto", None, None)
