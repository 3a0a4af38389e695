"""Secrets: every place one can be kept, who else may see it, and that an error names the place and never the value."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mailer.config import Loaded, Secret, load
from mailer.config.secret_file import read_secret_file
from mailer.config.values import Place
from mailer.errors import ConfigError

Load = Callable[..., Loaded]

HORSE = "correct hörse"


def secret(form: Any, where: Any, folder: Path = Path("/"), told: list[str] | None = None, **environ: str) -> Secret:
    return Secret(form, where, Place(folder, environ, (told if told is not None else []).append))


async def refused(kept: Secret) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        await kept.resolve('relay "qq", password')
    assert caught.value.message.startswith('relay "qq", password: ')
    return caught.value


def password(read: Load, form: str) -> Secret:
    text = f'[[relay]]\nname = "qq"\nhost = "a.example"\nusername = "me"\npassword = {form}\n'
    found = read(text).config.relays[0].password
    assert found is not None
    return found


# What stands in the file


@pytest.mark.parametrize(
    ("form", "shown"),
    [
        ('{ env = "QQ_PASSWORD" }', "env QQ_PASSWORD"),
        ('{ file = "/run/secrets/qq" }', "file /run/secrets/qq"),
        ('{ credential = "qq" }', "credential qq"),
        ('{ keyring = "mailer/qq" }', "keyring mailer/qq"),
        ('{ command = ["pass", "qq"] }', "command pass"),
        ('"correct horse"', "written in the file"),
    ],
)
def test_a_secret_is_shown_by_its_place(read: Load, form: str, shown: str) -> None:
    found = password(read, form)
    assert str(found) == shown
    assert "horse" not in repr(found)


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("{ }", "expected where the secret is kept, in one of the forms"),
        ('{ env = "A", file = "b" }', "expected where the secret is kept, in one of the forms"),
        ("7", "expected where the secret is kept, in one of the forms"),
        ('{ fiel = "x" }', "a secret cannot be kept in `fiel`"),
        ('{ env = "" }', "expected a text after env ="),
        ("{ file = 7 }", "expected a text after file ="),
        ('{ keyring = "qq" }', "expected service and user"),
        ('{ keyring = "/qq" }', "expected service and user"),
        ('{ credential = "../qq" }', "expected the name of a credential, not a path"),
        ('{ command = "pass qq" }', "expected a command as a list of texts"),
        ("{ command = [] }", "expected a command as a list of texts"),
        ("{ command = [1] }", "expected a command as a list of texts"),
    ],
)
def test_anything_else_is_refused_with_what_was_expected(read: Load, form: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        password(read, form)
    assert f'config.toml, relay "qq", password: {expected}' in caught.value.message


def test_nothing_is_fetched_when_the_file_is_read(read: Load, tmp_path: Path) -> None:
    password(read, '{ command = ["touch", "fetched"] }')
    assert not (tmp_path / "fetched").exists()


# Fetching


async def test_what_was_fetched_is_handed_out_and_told_so_that_it_stays_out_of_logs() -> None:
    told: list[str] = []
    assert await secret("env", "QQ", told=told, QQ=HORSE).resolve() == HORSE
    assert await secret("literal", "x", told=told).resolve() == "x"
    assert told == [HORSE, "x"]


async def test_a_variable_that_is_not_set_is_named_with_what_to_type() -> None:
    error = await refused(secret("env", "QQ_PASSWORD"))
    assert error.message.endswith("the environment variable QQ_PASSWORD is not set.")
    assert error.hint.startswith("Type: read -rs QQ_PASSWORD && export QQ_PASSWORD")


async def test_an_empty_secret_is_none() -> None:
    assert (await refused(secret("env", "QQ", QQ=""))).message.endswith("env QQ is empty.")


@pytest.mark.parametrize("value", ["a\nb", "a\rb", "a\0b"])
async def test_a_secret_is_one_line(value: str) -> None:
    error = await refused(secret("literal", value))
    assert error.message.endswith("written in the file holds more than one line.")


async def test_a_file_is_relative_to_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(HORSE + "\n", "utf-8")
    (tmp_path / "secret").chmod(0o600)
    assert await secret("file", "secret", tmp_path).resolve() == HORSE


async def test_a_credential_is_a_file_that_systemd_hands_over(tmp_path: Path) -> None:
    (tmp_path / "qq").write_text(HORSE, "utf-8")
    (tmp_path / "qq").chmod(0o400)
    assert await secret("credential", "qq", CREDENTIALS_DIRECTORY=str(tmp_path)).resolve() == HORSE
    error = await refused(secret("credential", "qq"))
    assert error.message.endswith('the credential "qq" needs systemd, and $CREDENTIALS_DIRECTORY is not set.')
    assert error.hint == "Add to the service: LoadCredential=qq:/path/to/the/secret"


# A command


async def test_a_command_gives_its_first_line(tmp_path: Path) -> None:
    told: list[str] = []
    command = ("printf", "correct horse\\r\\nuser: me\\n")
    assert await secret("command", command, tmp_path, told, PATH=os.environ["PATH"]).resolve() == "correct horse"
    assert told == ["correct horse"]


async def test_a_command_runs_without_a_shell_beside_the_configuration_and_with_its_environment(
    tmp_path: Path,
) -> None:
    python = "import os, sys; print(os.getcwd(), sys.argv[1], os.environ.get('OWN'), sep='|')"
    found = await secret("command", (sys.executable, "-c", python, "$OWN; id"), tmp_path, OWN="x").resolve()
    assert found == f"{tmp_path}|$OWN; id|x"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("false",), "false ended with code 1."),
        (("no-such-program", "a b"), "no-such-program cannot be run: No such file or directory."),
        (("printf", "\\377"), "what printf gave is not UTF-8 text."),
        (("true",), "command true is empty."),
    ],
)
async def test_a_command_that_gives_nothing_usable(tmp_path: Path, command: tuple[str, ...], said: str) -> None:
    error = await refused(secret("command", command, tmp_path, PATH=os.environ["PATH"]))
    assert error.message.endswith(said)
    if "cannot be run" in said:
        assert error.hint == "Try it by hand: no-such-program 'a b'"


async def test_a_command_that_does_not_end_is_killed(tmp_path: Path) -> None:
    kept = secret("command", hanging(tmp_path), tmp_path)
    with pytest.raises(ConfigError, match="did not end within 0 s"):
        await kept.resolve(command_timeout_s=0)
    assert not is_running(tmp_path)


async def test_a_command_is_killed_when_nobody_waits_for_it_any_more(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "runs")
    task = asyncio.create_task(secret("command", hanging(tmp_path), tmp_path).resolve())
    await asyncio.to_thread((tmp_path / "runs").read_bytes)
    assert is_running(tmp_path)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not is_running(tmp_path)


def hanging(folder: Path) -> tuple[str, ...]:
    """A command that says that it runs, if somebody asks, and then waits for ever."""
    python = "import os, signal, sys; os.path.exists(sys.argv[1]) and open(sys.argv[1], 'w').close(); signal.pause()"
    return (sys.executable, "-c", python, str(folder / "runs"))


def is_running(folder: Path) -> bool:
    """Whether a process has the folder's name among its arguments."""
    for command_line in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended since
            if str(folder).encode() in command_line.read_bytes():
                return True
    return False


# The keyring, whose package is optional


@contextmanager
def keyring(monkeypatch: pytest.MonkeyPatch, get_password: Callable[[str, str], str | None] | None) -> Iterator[None]:
    """A desktop's keyring; None: the package is not installed."""
    module = None
    if get_password is not None:
        module = ModuleType("keyring")
        vars(module)["get_password"] = get_password
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "keyring", module)
        yield


async def test_a_keyring_is_asked_for_service_and_user(monkeypatch: pytest.MonkeyPatch) -> None:
    def get_password(service: str, user: str) -> str | None:
        return HORSE if (service, user) == ("company/mailer", "qq") else None

    with keyring(monkeypatch, get_password):
        assert await secret("keyring", "company/mailer/qq").resolve() == HORSE
        error = await refused(secret("keyring", "mailer/163"))
    assert error.message.endswith("the keyring has nothing under mailer/163.")
    assert error.hint == "Type: keyring set mailer 163"


async def test_a_keyring_that_is_locked_or_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def locked(_service: str, _user: str) -> str | None:
        raise RuntimeError(HORSE)

    with keyring(monkeypatch, locked):
        error = await refused(secret("keyring", "mailer/qq"))
    assert error.message.endswith("the keyring cannot be read: RuntimeError.")
    assert error.hint == "Is a keyring unlocked?"
    with keyring(monkeypatch, None):
        error = await refused(secret("keyring", "mailer/qq"))
    assert error.hint == "Type: pip install 'mailer-bulk[keyring]'"


# Files: who else may read or write them


def made(folder: Path, mode: int, content: bytes = b"correct horse\n") -> Path:
    path = folder / "a secret"
    path.write_bytes(content)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_a_file_for_its_owner_alone_is_read(tmp_path: Path, mode: int) -> None:
    assert read_secret_file(made(tmp_path, mode), "x") == "correct horse"


@pytest.mark.parametrize(
    ("mode", "by_others"),
    [
        (0o640, "read"), (0o604, "read"), (0o644, "read"), (0o610, "read"),
        (0o620, "written"), (0o602, "written"), (0o666, "written"),
    ],
)  # fmt: skip
def test_a_file_that_others_can_use_is_refused_with_the_chmod_to_type(
    tmp_path: Path, mode: int, by_others: str
) -> None:
    path = made(tmp_path, mode)
    with pytest.raises(ConfigError) as caught:
        read_secret_file(path, "x")
    assert caught.value.message == f"x: the secret file {path} may be {by_others} by others (mode {mode:04o})."
    assert caught.value.hint == f"Type: chmod 600 '{path}'"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_root_that_we_may_read_is_accepted_but_not_one_that_others_may_write(tmp_path: Path) -> None:
    """Container and systemd credentials are like that: we are not root, the file is root's and readable."""
    tmp_path.chmod(0o755)
    for folder in tmp_path.parents:
        if folder.stat().st_uid == 0 and not stat.S_IMODE(folder.stat().st_mode) & 0o001:
            folder.chmod(folder.stat().st_mode | 0o011)
    path = made(tmp_path, 0o444)
    try:
        os.seteuid(65534)
        assert read_secret_file(path, "x") == "correct horse"
    finally:
        os.seteuid(0)
    path.chmod(0o466)
    try:
        os.seteuid(65534)
        with pytest.raises(ConfigError, match="may be written by others"):
            read_secret_file(path, "x")
    finally:
        os.seteuid(0)


def test_only_one_line_end_is_taken_off(tmp_path: Path) -> None:
    assert read_secret_file(made(tmp_path, 0o600, b"a \r\n"), "x") == "a "
    assert read_secret_file(made(tmp_path, 0o600, b"a\n\n"), "x") == "a\n"


@pytest.mark.parametrize("name", ["missing", "folder", "pipe"])
def test_what_is_no_file_is_refused_and_never_waited_for(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(ConfigError) as caught:
        read_secret_file(tmp_path / name, "x")
    assert str(tmp_path / name) in caught.value.message


def test_a_file_that_is_too_long_or_no_text_is_refused_without_quoting_it(tmp_path: Path) -> None:
    for content in (b"x" * 65_537, b"horse\xff"):
        with pytest.raises(ConfigError) as caught:
            read_secret_file(made(tmp_path, 0o600, content), "x")
        assert "horse" not in caught.value.message
        assert caught.value.__cause__ is None


def test_a_secret_in_the_environment_of_a_relay_is_one_like_the_others(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(
        '[[relay]]\nname = "qq"\nhost = "a.example"\nusername = "me"\npassword = "x"\n'
    )
    told: list[str] = []
    loaded = load({"MAILER_RELAY__QQ__PASSWORD": HORSE}, file=tmp_path / "config.toml", on_secret=told.append)
    found = loaded.config.relays[0].password
    assert found is not None
    assert str(found) == "env MAILER_RELAY__QQ__PASSWORD"
    assert asyncio.run(found.resolve()) == HORSE
    assert told == [HORSE]
    assert loaded.warnings == ()
