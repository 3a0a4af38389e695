"""`mailer relay list` and `check` as they are typed, against a server that listens and against none."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from support.cli import Cli, validate
from support.scripted_server import BYE, scripted_server
from support.store import Clock, open_store, register

from mailer.demo.account import Account
from mailer.demo.serving import serving
from mailer.store import RelayReport

ACCOUNT: Final = Account(password="correct horse")


def configure(folder: Path, *ports: int) -> Cli:
    """mailer with a relay on each of these ports: the first is called one, the second two."""
    relays = [
        f'[[relay]]\nname = "{name}"\nhost = "127.0.0.1"\nport = {port}\ntls = "none"\nauth = "login"\n'
        f'username = "{ACCOUNT.username}"\npassword = {{ env = "PASSWORD" }}\ndaily_limit = 500\n'
        for name, port in zip(("one", "two"), ports, strict=False)
    ]
    (folder / "config.toml").write_text('[defaults]\nfrom = "News <news@example.com>"\n\n' + "\n".join(relays))
    return Cli(folder, PASSWORD=ACCOUNT.password)


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port on which nobody listens: it is bound, so that nobody else can."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.fixture
def open_port(tmp_path: Path) -> Iterator[int]:
    """The port of a server that insists on AUTH LOGIN."""
    loop = asyncio.new_event_loop()
    context = serving(ACCOUNT, tmp_path / "server.log")
    try:
        yield loop.run_until_complete(context.__aenter__()).port
    finally:
        loop.run_until_complete(context.__aexit__(None, None, None))
        loop.close()


# list


def test_relays_are_listed_with_their_settings_and_no_state_where_there_is_no_database(tmp_path: Path) -> None:
    cli = configure(tmp_path, 2525)
    document = cli("relay", "list", "--json").ok().json
    validate(document, "relay-list")
    [relay] = document["relays"]
    assert (relay["name"], relay["port"], relay["daily_limit"], relay["state"]) == ("one", 2525, 500, None)
    assert relay["password"] == "env PASSWORD"
    assert not (tmp_path / "mailer.db").exists()


def test_the_state_is_what_workers_say_of_it(tmp_path: Path) -> None:
    cli = configure(tmp_path, 2525, 2526)

    async def reported() -> None:
        async with await open_store(tmp_path / "mailer.db", Clock()) as store:
            worker = await register(store)
            await store.workers.report_relays(worker.worker_id, [RelayReport("one", "stopped", "535 no", None, 0)])

    asyncio.run(reported())
    document = cli("relay", "list", "--json").ok().json
    validate(document, "relay-list")
    assert [(one["state"], one["reason"]) for one in document["relays"]] == [("stopped", "535 no"), ("idle", "")]
    head, first, _ = cli("relay", "list").ok().stdout.splitlines()
    assert head.split()[:3] == ["RELAY", "SERVER", "TLS"]
    assert "one    127.0.0.1:2525  no TLS  demo@example.com (login)  any address" in first
    assert first.endswith("535 no")


def test_a_database_that_cannot_be_read_is_said_and_the_settings_are_shown(tmp_path: Path) -> None:
    cli = configure(tmp_path, 2525)
    (tmp_path / "mailer.db").write_bytes(b"this is a text file and no database\n" * 200)
    ran = cli("relay", "list", "--json").ok()
    assert ran.json["relays"][0]["state"] is None
    assert "is not a mailer database" in ran.stderr


def test_no_relay_is_no_error_for_the_list_and_one_for_the_check(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    assert cli("relay", "list", "--json").ok().json == {"relays": []}
    ran = cli("relay", "check")
    assert ran.exit == 3
    assert "`mailer init` sets one up" in ran.stderr


# check


def steps_of(shown: str) -> dict[str, str]:
    """What stands below the name of the relay: what, and what was found."""
    pairs = [line.strip().split("  ", 1) for line in shown.splitlines()[1:]]
    return {what: found.strip() for what, found in pairs}


def test_a_relay_that_works_is_shown_step_by_step(tmp_path: Path, open_port: int) -> None:
    ran = configure(tmp_path, open_port)("relay", "check").ok()
    steps = steps_of(ran.stdout)
    assert steps["connected to"] == f"127.0.0.1:{open_port}: demo.example mailer demo, delivers nowhere"
    assert steps["AUTH offered"] == "LOGIN"
    assert steps["logged in"] == "as demo@example.com with AUTH LOGIN"
    assert steps["SIZE"] == "messages up to 33.6 MB"
    assert steps["PIPELINING"] == "no"


EXTENSIONS: Final = "S: 220 here\nC: EHLO *\nS: 250-here | 250-STARTTLS | 250-PIPELINING | 250 CHUNKING\n"


def plain(folder: Path, port: int, *lines: str, host: str = "127.0.0.1") -> Cli:
    """mailer with a relay that wants no login."""
    settings = [f'name = "own"\nhost = "{host}"\nport = {port}\ntls = "none"', *lines]
    (folder / "config.toml").write_text("[[relay]]\n" + "\n".join(settings) + "\n")
    return Cli(folder)


def test_what_is_offered_is_shown_with_what_becomes_of_it(tmp_path: Path) -> None:
    with scripted_server(EXTENSIONS + BYE) as server:
        shown = steps_of(plain(tmp_path, server.port)("relay", "check").ok().stdout)
        off = steps_of(plain(tmp_path, server.port, 'pipelining = "off"')("relay", "check").ok().stdout)
        document = plain(tmp_path, server.port, 'chunking = "off"')("relay", "check", "--json").ok().json
    assert (shown["PIPELINING"], shown["CHUNKING"]) == ("yes, used", "yes, used")
    assert off["PIPELINING"] == 'yes, not used: pipelining = "off"'
    assert off["CHUNKING"] == "yes, not used without PIPELINING"
    validate(document, "relay-check")
    [found] = document["relays"]
    assert (found["pipelining"], found["chunking"], found["address"]) == (True, False, "127.0.0.1")


def test_plain_text_is_never_silent_where_starttls_is_offered(tmp_path: Path) -> None:
    with scripted_server(EXTENSIONS + BYE) as server:
        cli = plain(tmp_path, server.port)
        shown = steps_of(cli("relay", "check").ok().stdout)
        [found] = cli("relay", "check", "--json").ok().json["relays"]
    sentence = f"127.0.0.1:{server.port} offers STARTTLS and it is not used, so that everything can be read on the way."
    assert shown["encryption"] == "none, everything is readable on the way"
    assert shown["warning"] == f'{sentence} Set tls = "starttls".'
    assert found["warnings"] == [f'{sentence} Set tls = "starttls".']


def test_the_address_is_shown_where_the_host_has_a_name(tmp_path: Path) -> None:
    with scripted_server(EXTENSIONS + BYE) as server:
        by_address = plain(tmp_path, server.port)("relay", "check").ok().stdout
        cli = plain(tmp_path, server.port, 'source_address = "127.0.0.1"', host="localhost")
        by_name = cli("relay", "check", "--transcript").ok()
    assert steps_of(by_name.stdout)["address"] == "127.0.0.1"
    assert "-- connected to 127.0.0.1\n" in by_name.stderr
    assert "address" not in steps_of(by_address)


def test_a_certificate_that_is_not_there_is_told_by_the_name_of_its_key(tmp_path: Path, open_port: int) -> None:
    cli = configure(tmp_path, open_port)
    text = (tmp_path / "config.toml").read_text().replace('tls = "none"', 'tls = "implicit"\nclient_cert = "me.pem"')
    (tmp_path / "config.toml").write_text(text)
    ran = cli("relay", "check", "--json")
    assert ran.exit == 1
    validate(ran.json, "relay-check")
    assert ran.error["message"] == f"`client_cert` {tmp_path / 'me.pem'} cannot be used: no such file or directory."


def test_the_document_says_what_was_found(tmp_path: Path, open_port: int) -> None:
    document = configure(tmp_path, open_port)("relay", "check", "one", "--json").ok().json
    validate(document, "relay-check")
    [found] = document["relays"]
    assert (found["ok"], found["auth"], found["auth_offered"], found["error"]) == (True, "login", ["LOGIN"], None)


def test_the_transcript_shows_the_conversation_and_no_credential(tmp_path: Path, open_port: int) -> None:
    import base64

    ran = configure(tmp_path, open_port)("relay", "check", "--transcript").ok()
    assert "C: AUTH LOGIN ***" in ran.stderr
    assert "S: 235 2.7.0 Authentication successful" in ran.stderr
    for secret in (ACCOUNT.password, base64.b64encode(ACCOUNT.password.encode()).decode()):
        assert secret not in ran.stderr + ran.stdout


def test_a_message_goes_out_where_asked_for_and_a_refusal_is_told(tmp_path: Path, open_port: int) -> None:
    cli = configure(tmp_path, open_port)
    assert (
        "accepted       250 2.0.0 Taken as number 1"
        in cli("relay", "check", "--to", "anna.0001@example.com").ok().stdout
    )
    watched = cli("relay", "check", "--to", "anna.0001@example.com", "--transcript").ok().stderr
    assert "C: RCPT TO:<anna.0001@example.com>\nS: 250" in watched
    ran = cli("relay", "check", "--to", "anna.0007@example.com")
    assert ran.exit == 1
    assert "550 5.1.1 There is no such user here" in ran.stderr
    assert cli("relay", "check", "--to", "nobody").exit == 2


def test_a_wrong_password_is_told_with_what_to_do(tmp_path: Path, open_port: int) -> None:
    ran = configure(tmp_path, open_port)("relay", "check", "--json", env={"PASSWORD": "wrong horse"})
    assert ran.exit == 1
    validate(ran.json, "relay-check")
    assert ran.json["relays"][0]["ok"] is False
    assert "535" in ran.error["message"]
    assert "authorization code" in ran.error["hint"]
    assert "wrong horse" not in ran.stdout + ran.stderr


def test_a_port_where_nobody_listens_is_told(tmp_path: Path, closed_port: int) -> None:
    ran = configure(tmp_path, closed_port)("relay", "check")
    assert ran.exit == 1
    assert ran.stderr.startswith(f"mailer: nobody listens on 127.0.0.1:{closed_port}.\n  Check `host` and `port`")


def test_of_several_each_is_tried_and_the_one_that_fails_is_named(
    tmp_path: Path, open_port: int, closed_port: int
) -> None:
    ran = configure(tmp_path, closed_port, open_port)("relay", "check")
    assert ran.exit == 1
    assert f"failed  nobody listens on 127.0.0.1:{closed_port}." in ran.stdout
    assert "with AUTH LOGIN" in ran.stdout
    assert "1 of 2 relays cannot be used: one." in ran.stderr


def test_a_secret_that_is_not_set_is_a_matter_of_configuration(tmp_path: Path, open_port: int) -> None:
    cli = configure(tmp_path, open_port)
    del cli.environ["PASSWORD"]
    ran = cli("relay", "check")
    assert ran.exit == 3
    assert "the environment variable PASSWORD is not set" in ran.stderr
    # Whoever sends through it is told the same.
    (tmp_path / "spring.txt").write_text("Hello")
    spring = ("--from", "me@example.com", "--subject", "Spring", "--text", "spring.txt")
    assert cli("campaign", "test", *spring, "--to", "ann@example.com").stderr == ran.stderr
    sent = cli("send", *spring, "ann@example.com", "--no-record")
    assert (sent.exit, sent.stderr) == (3, ran.stderr)


def test_a_near_miss_in_the_name_is_noticed(tmp_path: Path) -> None:
    ran = configure(tmp_path, 2525)("relay", "check", "onee")
    assert ran.exit == 1
    assert 'Did you mean "one"?' in ran.stderr
