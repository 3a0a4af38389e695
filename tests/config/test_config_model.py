"""config.toml as a model: what each key takes, what goes with what, and what a person reads when it does not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from mailer.config import Loaded, Rate
from mailer.config.model import is_loopback, suggested_variable
from mailer.errors import ConfigError, NotFound

Load = Callable[..., Loaded]

RELAY = '[[relay]]\nname = "own"\nhost = "mail.example"\n'
LOGIN = RELAY + 'username = "me"\npassword = { env = "OWN_PASSWORD" }\n'


def complaint(read: Load, text: str, **more: Any) -> tuple[str, str]:
    with pytest.raises(ConfigError) as caught:
        read(text, **more)
    assert caught.value.exit == 3
    return caught.value.message, caught.value.hint


# Defaults


def test_an_empty_file_is_a_whole_configuration(read: Load, tmp_path: Path) -> None:
    config = read("").config
    assert config.database.path == tmp_path / "mailer.db"
    assert config.database.synchronous == "full"
    assert config.database.lock_wait == timedelta(seconds=5)
    assert config.state_dir == tmp_path / "mailer.db-flight"
    assert config.log.error_file == tmp_path / "error.log"
    assert config.log.file is None
    assert config.worker.slots_per_connection == 4
    assert (config.worker.stop_within, config.worker.lease) == (timedelta(seconds=30), timedelta(seconds=60))
    assert config.relays == ()


def test_the_retry_policy_is_the_same_in_microseconds(read: Load) -> None:
    policy = read('[retry]\nfirst = "1m"\nfactor = 3.0\nlongest = "2h"\ngive_up_after = "1d"\n').config.retry.policy
    assert (policy.first_us, policy.factor, policy.longest_us, policy.give_up_after_us) == (
        60_000_000,
        3.0,
        7_200_000_000,
        86_400_000_000,
    )


def test_a_model_cannot_be_changed(read: Load) -> None:
    with pytest.raises(ValueError, match="frozen"):
        setattr(read("").config.worker, "lease", timedelta(1))  # noqa: B010 - mypy knows that it cannot be assigned


# Kinds of values


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("0.5s", timedelta(milliseconds=500)),
        ("90s", timedelta(seconds=90)),
        ("5m", timedelta(minutes=5)),
        ("4h", timedelta(hours=4)),
        ("2d", timedelta(days=2)),
    ],
)
def test_a_duration_is_a_number_with_its_unit(read: Load, given: str, expected: timedelta) -> None:
    assert read(f'[worker]\nstop_within = "{given}"\n').config.worker.stop_within == expected


@pytest.mark.parametrize("given", ['"soon"', '"5"', '"-5s"', '"5 weeks"', '""', "60", "true", '"99999999d"'])
def test_anything_else_is_no_duration(read: Load, given: str) -> None:
    message, _ = complaint(read, f"[worker]\nlease = {given}\n")
    assert message.startswith("config.toml, [worker] lease: ")


@pytest.mark.parametrize(
    ("given", "count", "per", "per_second"),
    [
        ("10/second", 10, timedelta(seconds=1), 10.0),
        ("40/minute", 40, timedelta(minutes=1), 40 / 60),
        (" 500 / hour ", 500, timedelta(hours=1), 500 / 3600),
        ("2000/day", 2000, timedelta(days=1), 2000 / 86400),
    ],
)
def test_a_rate_is_so_many_in_a_unit_of_time(
    read: Load, given: str, count: int, per: timedelta, per_second: float
) -> None:
    rate = read(f'{RELAY}rate = "{given}"\n').config.relays[0].rate
    assert rate == Rate(count, per)
    assert rate is not None
    assert rate.per_second == pytest.approx(per_second)
    assert str(rate) == given.replace(" ", "")


@pytest.mark.parametrize("given", ['"0/minute"', '"40"', '"40/week"', '"-1/day"', "40", '"1.5/second"'])
def test_anything_else_is_no_rate(read: Load, given: str) -> None:
    message, _ = complaint(read, f"{RELAY}rate = {given}\n")
    assert message.startswith('config.toml, relay "own", rate: expected a rate such as ')


def test_a_path_is_relative_to_the_file_and_a_tilde_is_the_home_folder(read: Load, tmp_path: Path) -> None:
    config = read('[log]\nfile = "logs/all.log"\nerror_file = "~/error.log"\n', {"HOME": "/home/me"}).config
    assert (config.log.file, config.log.error_file) == (tmp_path / "logs/all.log", Path("/home/me/error.log"))
    assert complaint(read, '[log]\nfile = "~/all.log"\n')[0] == (
        "config.toml, [log] file: ~/all.log needs $HOME, which is not set."
    )


def test_an_empty_path_is_none(read: Load) -> None:
    assert read('[log]\nerror_file = ""\n').config.log.error_file is None


@pytest.mark.parametrize("name", ["qq", "公司", "a.b_c-1", "x" * 100])
def test_a_relay_may_be_called(read: Load, name: str) -> None:
    assert read(f'[[relay]]\nname = "{name}"\nhost = "a.example"\n').config.relays[0].name == name


@pytest.mark.parametrize("name", ["", "a b", "a/b", "x" * 101, "a,b"])
def test_a_relay_may_not_be_called(read: Load, name: str) -> None:
    message, _ = complaint(read, f'[[relay]]\nname = "{name}"\nhost = "a.example"\n')
    assert "expected 1 to 100 letters, digits, `.`, `_` or `-`" in message


@pytest.mark.parametrize(
    ("given", "host"),
    [("smtp.qq.com", "smtp.qq.com"), ("10.0.0.1", "10.0.0.1"), ("::1", "::1"), ("[2001:db8::1]", "2001:db8::1")],
)
def test_a_host_is_a_name_or_an_ip_address(read: Load, given: str, host: str) -> None:
    assert read(f'[[relay]]\nname = "own"\nhost = "{given}"\n').config.relays[0].host == host


@pytest.mark.parametrize("given", ["smtps://mail.example", "mail.example:587", "mail example", "", "a" * 254])
def test_anything_else_is_no_host(read: Load, given: str) -> None:
    message, hint = complaint(read, f'[[relay]]\nname = "own"\nhost = "{given}"\n')
    assert 'relay "own", host: expected a host name such as "smtp.example.com" or an IP address' in message
    assert ("port has a key of its own" in hint) == (":" in given)


# Sections


def test_the_default_sender_is_an_address(read: Load) -> None:
    assert read('[defaults]\nfrom = "新闻 <me@qq.com>"\n').config.defaults.sender == "新闻 <me@qq.com>"
    assert complaint(read, '[defaults]\nfrom = "a@b@c"\n')[0].startswith(
        'config.toml, [defaults] from: "a@b@c" is no address: '
    )


def test_the_zone_in_force_is_the_configured_one_or_the_machines(read: Load) -> None:
    assert read('[defaults]\nzone = "Asia/Shanghai"\n', {"TZ": "Europe/Berlin"}).zone == "Asia/Shanghai"
    assert read("", {"TZ": "Europe/Berlin"}).zone == "Europe/Berlin"


@pytest.mark.parametrize("url", ["mailer.db", "sqlite://mailer.db", "sqlite:///", "mysql://a/b"])
def test_a_database_is_a_sqlite_file(read: Load, url: str) -> None:
    assert complaint(read, f'[database]\nurl = "{url}"\n')[0].startswith(
        'config.toml, [database] url: expected "sqlite:///" and a path'
    )


def test_a_queue_is_not_kept_in_memory_nor_in_what_comes_later(read: Load) -> None:
    assert "would be lost with the process" in complaint(read, '[database]\nurl = "sqlite:///:memory:"\n')[0]
    assert "no PostgreSQL yet" in complaint(read, '[database]\nurl = "postgresql://me@db/mailer"\n')[0]


@pytest.mark.parametrize(
    ("url", "path"),
    [("sqlite:///q.db", "{folder}/q.db"), ("sqlite:////var/q.db", "/var/q.db"), ("sqlite:///~/q.db", "/home/me/q.db")],
)
def test_where_the_database_is(read: Load, tmp_path: Path, url: str, path: str) -> None:
    config = read(f'[database]\nurl = "{url}"\n', {"HOME": "/home/me"}).config
    assert str(config.database.path) == path.replace("{folder}", str(tmp_path))
    assert str(config.state_dir) == f"{config.database.path}-flight"


def test_the_state_folder_can_be_elsewhere(read: Load) -> None:
    assert read('[worker]\nstate_dir = "/var/lib/m"\n').config.state_dir == Path("/var/lib/m")


def test_the_longest_wait_is_not_shorter_than_the_first(read: Load) -> None:
    message, hint = complaint(read, '[retry]\nfirst = "2h"\nlongest = "1h"\n')
    assert message == "config.toml, [retry]: `longest` is shorter than `first`."
    assert hint == "The waits grow from `first` to `longest`."


@pytest.mark.parametrize(
    ("text", "place", "expected"),
    [
        ("[worker]\nmax_in_hand = 501", "[worker] max_in_hand", "expected at most 500, not 501."),
        ("[worker]\nmax_in_hand = 0", "[worker] max_in_hand", "expected at least 1, not 0."),
        ('[worker]\nlease = "0.5s"', "[worker] lease", 'expected at least 1s, not "0.5s".'),
        ('[database]\nlock_wait = "11m"', "[database] lock_wait", 'expected at most 10m, not "11m".'),
        ('[retry]\nfirst = "0s"', "[retry] first", 'expected more than 0s, not "0s".'),
        ("[retry]\nfactor = 0.5", "[retry] factor", "expected at least 1.0, not 0.5."),
        ('[retry]\nfactor = "2"', "[retry] factor", 'expected a number, not "2".'),
        (f"{RELAY}port = 0", 'relay "own", port', "expected at least 1, not 0."),
        (f"{RELAY}port = 65536", 'relay "own", port', "expected at most 65535, not 65536."),
        (
            f'{RELAY}insecure_auth = "yes"',
            'relay "own", insecure_auth',
            'expected true or false, without quotes, not "yes".',
        ),
        (f'{RELAY}senders = "me"', 'relay "own", senders', 'expected a list, such as ["a", "b"], not "me".'),
        (f'{RELAY}tls = "ssl"', 'relay "own", tls', 'expected "implicit", "starttls" or "none", not "ssl".'),
        ('[[relay]]\nname = "own"\nhost = 7', 'relay "own", host', "expected a text in quotes, not 7."),
        ('[[relay]]\nhost = "a.example"', "relay number 1, name", "is missing."),
        ("worker = 7", "[worker]", "expected a section of its own, written [worker]."),
    ],
)
def test_what_a_key_takes_is_said_with_the_place(read: Load, text: str, place: str, expected: str) -> None:
    assert complaint(read, f"{text}\n")[0] == f"config.toml, {place}: {expected}"


def test_relays_are_a_list(read: Load) -> None:
    assert complaint(read, "relay = 7\n")[0] == "config.toml: relays are a list."


# Names that are not known


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("[worker]\nleese = 1\n", "config.toml, [worker]: there is no key `leese`.", "Did you mean `lease`?"),
        ("[log]\nxyz = 1\n", "config.toml, [log]: there is no key `xyz`.", "Known: level, format, file, error_file."),
        ("[defaults]\nfrm = 'x'\n", "config.toml, [defaults]: there is no key `frm`.", "Did you mean `from`?"),
        ("[wroker]\n", "config.toml: there is no section [wroker].", "Did you mean [worker]?"),
        (f"{RELAY}prt = 1\n", 'config.toml, relay "own": there is no key `prt`.', "Did you mean `port`?"),
    ],
)
def test_an_unknown_key_is_an_error_that_names_the_nearest(read: Load, text: str, message: str, hint: str) -> None:
    assert complaint(read, text) == (message, hint)


def test_all_that_is_wrong_is_said_at_once(read: Load) -> None:
    message, hint = complaint(read, "[worker]\nleese = 1\n[log]\nlevel = 'loud'\n")
    assert message == "config.toml, [worker]: there is no key `leese`."
    assert hint.splitlines() == [
        "Did you mean `lease`?",
        'Also: config.toml, [log] level: expected "debug", "info", "warning" or "error", not "loud".',
    ]


def test_a_long_wrong_value_is_quoted_in_part(read: Load) -> None:
    message, _ = complaint(read, f'[log]\nlevel = "{"x" * 200}"\n')
    assert message.endswith(f'not "{"x" * 60}…".')


@pytest.mark.parametrize(
    "text", ["password = 7\n", "password = { env = 7 }\n", 'password = { evn = "correct horse" }\n']
)
def test_no_value_of_a_password_is_quoted(read: Load, text: str) -> None:
    message, hint = complaint(read, f'{RELAY}username = "me"\n{text}')
    assert "horse" not in message + hint
    assert not message.endswith("not 7.")


# Relays


@pytest.mark.parametrize(
    ("given", "port", "tls"),
    [
        ("", 587, "starttls"),
        ("port = 465\n", 465, "implicit"),
        ("port = 587\n", 587, "starttls"),
        ("port = 2525\n", 2525, "starttls"),
        ('tls = "implicit"\n', 465, "implicit"),
        ('tls = "none"\n', 25, "none"),
        ('port = 465\ntls = "starttls"\n', 465, "starttls"),
    ],
)
def test_port_and_tls_follow_from_one_another(read: Load, given: str, port: int, tls: str) -> None:
    relay = read(RELAY + given).config.relays[0]
    assert (relay.port, relay.tls) == (port, tls)


def test_who_has_a_user_name_logs_in(read: Load) -> None:
    assert read(RELAY).config.relays[0].auth == "none"
    assert read(LOGIN).config.relays[0].auth == "auto"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (RELAY + 'password = { env = "X" }\n', "`password` is set but `username` is not."),
        (RELAY + 'auth = "login"\n', '`auth` is "login" but `username` is not set.'),
        (LOGIN + 'auth = "none"\n', '`username` is set but `auth` is "none".'),
        (RELAY + 'username = "me"\n', "`username` is set but `password` is not."),
        (RELAY + 'username = ""\npassword = "x"\n', "`username` is empty or holds a control character."),
        (RELAY + 'username = "a\\nb"\npassword = "x"\n', "`username` is empty or holds a control character."),
        (LOGIN + 'tls = "none"\n', '`username` is set but `tls` is "none".'),
        (RELAY.replace('host = "mail.example"\n', ""), "`host` is missing."),
    ],
)
def test_what_does_not_go_together_is_refused(read: Load, text: str, message: str) -> None:
    assert complaint(read, text)[0] == f'config.toml, relay "own": {message}'


@pytest.mark.parametrize("method", ["login", "plain", "cram-md5", "xoauth2", "auto"])
def test_every_way_to_log_in_is_taken(read: Load, method: str) -> None:
    assert read(f'{LOGIN}auth = "{method}"\n').config.relays[0].auth == method
    message, hint = complaint(read, f'{RELAY}auth = "{method}"\n')
    assert message == f'config.toml, relay "own": `auth` is "{method}" but `username` is not set.'
    assert 'auth = "none"' in hint


@pytest.mark.parametrize("method", ["oauthbearer", "CRAM-MD5", "digest-md5", ""])
def test_any_other_way_to_log_in_is_refused_with_those_there_are(read: Load, method: str) -> None:
    message, _ = complaint(read, f'{LOGIN}auth = "{method}"\n')
    assert message == (
        'config.toml, relay "own", auth: expected "login", "plain", "cram-md5", "xoauth2", "auto" or "none", '
        f'not "{method}".'
    )


def test_xoauth2_without_a_password_says_what_that_has_to_be(read: Load) -> None:
    text = RELAY + 'auth = "xoauth2"\nusername = "me@gmail.com"\n'
    message, hint = complaint(read, text)
    assert message == 'config.toml, relay "own": `auth` is "xoauth2" but `password` is not set.'
    example = hint[hint.index("password = ") :]
    assert example == 'password = { command = ["oauth2-token", "me@gmail.com"] }'
    assert read(f"{text}{example}\n").config.relays[0].auth == "xoauth2", "what the hint says can be typed"


def test_a_preset_may_be_used_with_access_tokens(read: Load) -> None:
    text = (
        '[[relay]]\nname = "gmail"\npreset = "gmail"\nauth = "xoauth2"\nusername = "me@gmail.com"\n'
        'password = { command = ["oauth2-token", "me@gmail.com"] }\n'
    )
    relay = read(text).config.relays[0]
    assert (relay.host, relay.auth, str(relay.password)) == ("smtp.gmail.com", "xoauth2", "command oauth2-token")


@pytest.mark.parametrize(
    ("host", "is_it"),
    [("localhost", True), ("127.9.8.7", True), ("::1", True), ("10.0.0.1", False), ("localhost.example", False)],
)
def test_a_password_goes_over_plain_text_on_this_machine_only(read: Load, host: str, is_it: bool) -> None:
    text = LOGIN.replace("mail.example", host) + 'tls = "none"\n'
    assert is_loopback(host) == is_it
    if is_it:
        assert read(text).config.relays[0].tls == "none"
    else:
        assert "would cross the network readable" in complaint(read, text)[1]
        assert read(text + "insecure_auth = true\n").config.relays[0].insecure_auth


def test_two_relays_have_two_names(read: Load) -> None:
    message, hint = complaint(read, RELAY + RELAY)
    assert (message, hint) == ('config.toml: two relays are named "own".', "Give each [[relay]] a name of its own.")


def test_a_relay_is_found_by_its_name_or_the_nearest_is_named(read: Load) -> None:
    config = read(RELAY + RELAY.replace("own", "company")).config
    assert config.relay("own") is config.relays[0]
    with pytest.raises(NotFound) as caught:
        config.relay("compny")
    assert (caught.value.message, caught.value.hint) == ('there is no relay "compny".', 'Did you mean "company"?')
    with pytest.raises(NotFound) as caught:
        config.relay("zzz")
    assert caught.value.hint == "Configured: own, company."
    with pytest.raises(NotFound) as caught:
        read("").config.relay("own")
    assert caught.value.hint == "No relay is configured; `mailer init` sets one up."


@pytest.mark.parametrize(
    ("name", "variable"),
    [("qq", "QQ_PASSWORD"), ("my-relay.2", "MY_RELAY_2_PASSWORD"), ("公司", "RELAY_PASSWORD"), ("_x_", "X_PASSWORD")],
)
def test_the_variable_that_we_propose_for_a_password(name: str, variable: str) -> None:
    assert suggested_variable(name) == variable


def test_a_password_in_the_file_is_accepted_with_a_warning(read: Load) -> None:
    loaded = read(f'{RELAY}username = "me"\npassword = "correct horse"\n')
    assert loaded.warnings == (
        'config.toml, relay "own": the password is written in the file. Safer: password = { env = "OWN_PASSWORD" }',
    )
    assert "horse" not in repr(loaded) + str(loaded.config)
