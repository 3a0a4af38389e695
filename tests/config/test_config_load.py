"""Finding and reading config.toml, where each value came from, and what is said of a file that is not TOML."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mailer.config import Loaded, find_file, load, settings
from mailer.config.zone import machine_zone
from mailer.errors import ConfigError

Load = Callable[..., Loaded]

THE_FORM = "The form of the file is TOML; `mailer init` writes an example."


def put(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


# Which file


def test_the_file_is_the_named_one_then_the_environments_then_the_one_here_then_the_users(tmp_path: Path) -> None:
    here, home = tmp_path / "here", tmp_path / "home"
    named = put(tmp_path / "named.toml")
    other = put(tmp_path / "other.toml")
    put(here / "config.toml")
    users = put(home / ".config/mailer/config.toml")
    environ = {"MAILER_CONFIG": str(other), "HOME": str(home)}
    assert find_file(environ, file=named, cwd=here) == named
    assert find_file(environ, cwd=here) == other
    assert find_file({"HOME": str(home)}, cwd=here) == Path("config.toml")
    assert find_file({"HOME": str(home)}, cwd=tmp_path) == users
    assert find_file({"HOME": "/", "XDG_CONFIG_HOME": str(home / ".config")}, cwd=tmp_path) == users


def test_without_any_file_the_defaults_hold(tmp_path: Path) -> None:
    loaded = load({}, cwd=tmp_path)
    assert (loaded.file, loaded.sources, loaded.config.relays) == (None, {}, ())
    assert loaded.config.database.path == tmp_path / "mailer.db"


@pytest.mark.parametrize(
    ("environ", "file", "how"),
    [({}, Path("x.toml"), "--config"), ({"MAILER_CONFIG": "x.toml"}, None, "$MAILER_CONFIG")],
)
def test_a_file_that_was_named_has_to_be_there(
    tmp_path: Path, environ: dict[str, str], file: Path | None, how: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        find_file(environ, file=file, cwd=tmp_path)
    assert caught.value.message == f"there is no configuration at x.toml ({how})."


# Reading


def test_a_byte_order_mark_is_no_error(tmp_path: Path) -> None:
    put(tmp_path / "config.toml").write_bytes(b"\xef\xbb\xbf[log]\nlevel = 'debug'\n")
    assert load({}, file=tmp_path / "config.toml").config.log.level == "debug"


@pytest.mark.parametrize(
    ("content", "message", "hint"),
    [
        (b"[log]\nlevel = debug\n", "line 2, column 9: invalid value.", 'Texts stand in quotes: key = "value".'),
        (b"[log\n", "line 1, column 5: expected ']' at the end of a table declaration.", THE_FORM),
        (b"[log]\nlevel =", "line 2: invalid value.", THE_FORM),
        (b"[log]\nlevel = 'a'\nlevel = 'b'\n", "line 3, column 12: cannot overwrite a value.", THE_FORM),
        (b"[log]\n\nlevel = '\xff'\n", "line 3: this is not UTF-8 text.", "Save the file as UTF-8."),
    ],
)  # fmt: skip
def test_what_is_no_toml_is_said_with_its_line(tmp_path: Path, content: bytes, message: str, hint: str) -> None:
    (tmp_path / "config.toml").write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load({}, file=Path("config.toml"), cwd=tmp_path)
    assert (caught.value.message, caught.value.hint) == (f"config.toml, {message}", hint)


def test_a_broken_line_is_not_shown_for_it_may_hold_a_password(tmp_path: Path) -> None:
    put(tmp_path / "config.toml", "[[relay]]\npassword = correct horse\n")
    with pytest.raises(ConfigError) as caught:
        load({}, file=Path("config.toml"), cwd=tmp_path)
    assert "horse" not in caught.value.message + caught.value.hint


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "config.toml").mkdir()
    with pytest.raises(ConfigError) as caught:
        load({}, file=Path("config.toml"), cwd=tmp_path)
    assert caught.value.message == "config.toml cannot be read: Is a directory."


# Showing


def test_every_key_is_shown_once_and_every_value_as_it_would_be_written(read: Load, tmp_path: Path) -> None:
    text = (
        '[worker]\nlease = "120s"\n[[relay]]\nname = "qq"\npreset = "qq"\nusername = "me@qq.com"\n'
        'password = { env = "QQ" }\nrate = "40 / minute"\nsenders = ["me@qq.com"]\n'
    )
    shown = {setting.key: setting for setting in settings(read(text, {"TZ": "Asia/Shanghai"}))}
    assert len(shown) == len(list(settings(read(text))))
    assert (shown["worker.lease"].value, shown["worker.lease"].source) == ("2m", "config.toml")
    assert shown["relay.qq.rate"].value == "40/minute"
    assert shown["relay.qq.senders"].value == ["me@qq.com"]
    assert (shown["relay.qq.host"].value, shown["relay.qq.host"].source) == ("smtp.qq.com", "preset qq")
    assert (shown["relay.qq.password"].value, shown["relay.qq.password"].source) == ("***", "config.toml, env QQ")
    assert (shown["defaults.zone"].value, shown["defaults.zone"].source) == ("Asia/Shanghai", "this machine")
    assert shown["worker.state_dir"].value == str(tmp_path / "mailer.db-flight")
    assert shown["worker.state_dir"].source == "beside the database"
    assert (shown["database.lock_wait"].value, shown["database.lock_wait"].source) == ("5s", "default")


# The machine's zone


def test_the_machines_zone_is_that_of_tz_or_of_its_files(tmp_path: Path) -> None:
    assert machine_zone({"TZ": "Asia/Shanghai"}, tmp_path) == "Asia/Shanghai"
    assert machine_zone({"TZ": ":Europe/Berlin"}, tmp_path) == "Europe/Berlin"
    assert machine_zone({"TZ": "CET-1CEST"}, tmp_path) == "UTC"
    put(tmp_path / "etc/timezone", "Europe/Paris\n")
    assert machine_zone({}, tmp_path) == "Europe/Paris"
    put(tmp_path / "usr/share/zoneinfo/Asia/Tokyo")
    (tmp_path / "etc/localtime").symlink_to("../usr/share/zoneinfo/Asia/Tokyo")
    assert machine_zone({}, tmp_path) == "Asia/Tokyo"
    (tmp_path / "etc/localtime").unlink()
    (tmp_path / "etc/localtime").symlink_to("../nowhere")
    put(tmp_path / "etc/timezone", "Nowhere/Land\n")
    assert machine_zone({}, tmp_path) == "UTC"
