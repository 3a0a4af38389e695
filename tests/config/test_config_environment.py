"""The environment goes before the file: sections, and relays by name; a variable that names nothing is an error."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from mailer.config import Loaded, Rate
from mailer.errors import ConfigError

Load = Callable[..., Loaded]

RELAYS = """
[[relay]]
name = "qq"
host = "a.example"
username = "me"
password = { env = "QQ" }
[[relay]]
name = "my-own.2"
host = "b.example"
"""


def complaint(read: Load, environ: dict[str, str], text: str = RELAYS) -> tuple[str, str]:
    with pytest.raises(ConfigError) as caught:
        read(text, environ)
    return caught.value.message, caught.value.hint


@pytest.mark.parametrize(
    ("variable", "given", "found"),
    [
        ("WORKER__LEASE", "90s", lambda config: config.worker.lease == timedelta(seconds=90)),
        ("WORKER__SLOTS_PER_CONNECTION", "7", lambda config: config.worker.slots_per_connection == 7),
        ("RETRY__FACTOR", "1.5", lambda config: config.retry.factor == 1.5),
        ("DEFAULTS__FROM", "A <a@b.example>", lambda config: config.defaults.sender == "A <a@b.example>"),
        ("LOG__LEVEL", "debug", lambda config: config.log.level == "debug"),
        ("LOG__ERROR_FILE", "", lambda config: config.log.error_file is None),
        ("RELAY__QQ__RATE", "10/minute", lambda config: config.relay("qq").rate == Rate(10, timedelta(minutes=1))),
        ("RELAY__QQ__SENDERS", "a@b.org, @c.org", lambda config: config.relay("qq").senders == ("a@b.org", "@c.org")),
        ("RELAY__QQ__INSECURE_AUTH", "true", lambda config: config.relay("qq").insecure_auth),
        ("RELAY__QQ__INSECURE_AUTH", "0", lambda config: not config.relay("qq").insecure_auth),
        ("RELAY__MY_OWN_2__PORT", "2525", lambda config: config.relay("my-own.2").port == 2525),
    ],
)  # fmt: skip
def test_a_key_is_section_and_key_in_capitals(
    read: Load, variable: str, given: str, found: Callable[[Any], bool]
) -> None:
    loaded = read(RELAYS, {f"MAILER_{variable}": given})
    assert found(loaded.config)
    assert f"environment MAILER_{variable}" in loaded.sources.values()


def test_it_goes_before_the_file_and_the_file_before_the_preset(read: Load) -> None:
    login = 'username = "a@gmail.com"\npassword = { env = "G" }\n'
    text = f'[[relay]]\nname = "g"\npreset = "gmail"\n{login}daily_limit = 10\n'
    assert read(text).config.relay("g").daily_limit == 10
    assert read(text, {"MAILER_RELAY__G__DAILY_LIMIT": "5"}).config.relay("g").daily_limit == 5


def test_a_path_is_relative_to_where_it_is_typed(read: Load, tmp_path: Path) -> None:
    loaded = read(RELAYS, {"MAILER_LOG__FILE": "all.log", "MAILER_DATABASE__URL": "sqlite:///q.db"})
    assert loaded.config.log.file == tmp_path / "all.log"
    assert loaded.config.database.path == tmp_path / "q.db"


def test_what_has_no_two_underscores_is_not_meant(read: Load) -> None:
    read(RELAYS, {"MAILER_CONFIG": "x", "MAILER_REQUIRE_SERVERS": "1", "PATH": "/bin", "_MAILER_COMPLETE": "x"})


@pytest.mark.parametrize(
    ("variable", "message", "hint"),
    [
        ("WORKR__LEASE", "there is no section `workr`.", "Did you mean MAILER_WORKER__LEASE?"),
        ("ZZZ__LEASE", "there is no section `zzz`.", "Known: database, defaults, worker, log, retry."),
        ("WORKER__LEESE", "there is no key `leese`.", "Did you mean MAILER_WORKER__LEASE?"),
        ("RELAY__QQ__PASWORD", "there is no key `pasword`.", "Did you mean MAILER_RELAY__QQ__PASSWORD?"),
        ("RELAY__MY_OWN__PORT", "there is no relay `my_own`.", 'Did you mean "my-own.2"?'),
        ("RELAY__ZZZ__PORT", "there is no relay `zzz`.", "Configured: qq, my-own.2."),
    ],
)
def test_a_variable_that_names_nothing_is_an_error(read: Load, variable: str, message: str, hint: str) -> None:
    assert complaint(read, {f"MAILER_{variable}": "1"}) == (f"environment, MAILER_{variable}: {message}", hint)


def test_a_wrong_value_is_said_with_its_variable(read: Load) -> None:
    message, _ = complaint(read, {"MAILER_WORKER__SLOTS_PER_CONNECTION": "many"})
    assert message == 'environment, MAILER_WORKER__SLOTS_PER_CONNECTION: expected a whole number, not "many".'


def test_a_variable_that_could_mean_two_relays_is_refused(read: Load) -> None:
    text = RELAYS + '[[relay]]\nname = "my_own-2"\nhost = "c.example"\n'
    assert complaint(read, {"MAILER_RELAY__MY_OWN_2__PORT": "25"}, text) == (
        "environment, MAILER_RELAY__MY_OWN_2__PORT: it could mean any of the relays my-own.2, my_own-2.",
        "Rename one of them.",
    )


def test_without_a_relay_in_the_file_a_variable_makes_none(read: Load) -> None:
    assert complaint(read, {"MAILER_RELAY__QQ__PORT": "25"}, "")[0].endswith("there is no relay `qq`.")
