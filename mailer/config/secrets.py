"""Secrets: where a password is kept, and fetching it when a relay is opened.

    password = { env = "QQ_PASSWORD" }            an environment variable
    password = { file = "/run/secrets/qq" }       the only line of a file (secret_file.py has the rules for its mode)
    password = { credential = "qq" }              a systemd credential: a file in $CREDENTIALS_DIRECTORY
    password = { keyring = "mailer/qq" }          the desktop's keyring: service, `/`, user
    password = { command = ["pass", "qq"] }       the first line that a command prints; run without a shell
    password = "…"                                accepted with a warning

Rule 1: nothing is fetched when the file is read; `mailer status` must work without the passwords.
Rule 2: what was fetched is handed to the caller and to `on_secret`, and kept nowhere else.
Rule 3: an error names the place, never the value.
"""

from __future__ import annotations

import asyncio
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import ValidationInfo

from mailer.config.secret_file import read_secret_file
from mailer.config.values import Place, WrongValueError, place_of
from mailer.core.nearest import did_you_mean
from mailer.errors import ConfigError

__all__ = ["Secret", "parse_secret"]

Form = Literal["env", "file", "credential", "keyring", "command", "literal"]
FORMS: Final = ("env", "file", "credential", "keyring", "command")

# Time enough to unlock a password store by hand (gpg asks for a passphrase), too short to hang a worker for good.
COMMAND_TIMEOUT_S: Final = 60.0


@dataclass(frozen=True)
class Secret:
    """A place where a secret is kept."""

    form: Form
    where: str | tuple[str, ...] = field(repr=False)
    """Variable, path, credential, `service/user` or command; the secret itself where it is a literal."""
    place: Place = field(repr=False, compare=False)

    def __str__(self) -> str:
        """`env QQ_PASSWORD`, never the secret."""
        match self.form:
            case "literal":
                return "written in the file"
            case "command":
                return f"command {self.where[0]}"
            case _:
                return f"{self.form} {self.where}"

    async def resolve(self, what: str = "password", *, command_timeout_s: float = COMMAND_TIMEOUT_S) -> str:
        """Fetch the secret. Raises ConfigError, in which `what` says whose it is, with what to type.

        A file is read and a command runs without holding up the event loop; a command that takes longer than
        `command_timeout_s`, or is running when this is cancelled, is killed.
        """
        match self.form, self.where:
            case "literal", str(where):
                found = where
            case "env", str(where):
                found = self._from_environment(where, what)
            case "file", str(where):
                found = await asyncio.to_thread(read_secret_file, self.place.path(where), what)
            case "credential", str(where):
                found = await asyncio.to_thread(read_secret_file, self._credential(where, what), what)
            case "keyring", str(where):
                found = await asyncio.to_thread(_from_keyring, where, what)
            case "command", tuple(where):
                found = await self._from_command(where, what, command_timeout_s)
            case _:
                raise TypeError(f"a secret of form {self.form} cannot be a {type(self.where).__name__}")
        if not found:
            raise ConfigError(f"{what}: {self} is empty.", "Put the secret there; nothing else is needed.")
        if any(char in found for char in "\r\n\0"):
            raise ConfigError(f"{what}: {self} holds more than one line.", "It must hold the secret and nothing else.")
        self.place.on_secret(found)
        return found

    def _from_environment(self, variable: str, what: str) -> str:
        found = self.place.environ.get(variable)
        if found is None:
            raise ConfigError(
                f"{what}: the environment variable {variable} is not set.",
                f"Type: read -rs {variable} && export {variable}        (it does not show what you type)",
            )
        return found

    def _credential(self, name: str, what: str) -> Path:
        folder = self.place.environ.get("CREDENTIALS_DIRECTORY")
        if not folder:
            raise ConfigError(
                f'{what}: the credential "{name}" needs systemd, and $CREDENTIALS_DIRECTORY is not set.',
                f"Add to the service: LoadCredential={name}:/path/to/the/secret",
            )
        return Path(folder) / name

    async def _from_command(self, command: tuple[str, ...], what: str, timeout_s: float) -> str:
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,  # stderr is ours: what the command says there is for the operator
                cwd=self.place.folder,
                env=dict(self.place.environ),
            )
        except OSError as error:
            raise ConfigError(f"{what}: {command[0]} cannot be run: {error.strerror}.", _see(command)) from error
        try:
            async with asyncio.timeout(timeout_s):
                output, _ = await process.communicate()
        except TimeoutError as error:
            raise ConfigError(f"{what}: {command[0]} did not end within {timeout_s:.0f} s.", _see(command)) from error
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            raise ConfigError(f"{what}: {command[0]} ended with code {process.returncode}.", _see(command))
        # Password stores keep further fields below the password, on lines of their own.
        return _decoded(output.split(b"\n", 1)[0].removesuffix(b"\r"), command[0], what)


def parse_secret(value: Any, info: ValidationInfo) -> Any:
    """A Secret from what stands in the file: a text, or a table with one key. Raises WrongValueError."""
    if isinstance(value, Secret) or value is None:
        return value
    place = place_of(info)
    if isinstance(value, str):
        return Secret("literal", value, place)
    if not isinstance(value, dict) or len(value) != 1:
        raise WrongValueError(
            "expected where the secret is kept, in one of the forms " + " ".join(f"{{ {form} = … }}" for form in FORMS)
        )
    [(form, where)] = value.items()
    if form == "command":
        if not isinstance(where, list) or not where or not all(isinstance(part, str) and part for part in where):
            raise WrongValueError('expected a command as a list of texts, such as { command = ["pass", "qq"] }')
        return Secret("command", tuple(where), place)
    if form not in FORMS:
        raise WrongValueError(
            f"a secret cannot be kept in `{form}`", did_you_mean(form, FORMS) or f"Known: {', '.join(FORMS)}."
        )
    if not isinstance(where, str) or not where or "\0" in where:
        raise WrongValueError(f"expected a text after {form} =")
    if form == "keyring" and not all(where.rpartition("/")):
        raise WrongValueError('expected service and user, such as { keyring = "mailer/qq" }')
    if form == "credential" and ("/" in where or where in (".", "..")):
        raise WrongValueError("expected the name of a credential, not a path")
    return Secret(form, where, place)


def _from_keyring(where: str, what: str) -> str:
    service, _, user = where.rpartition("/")
    try:
        import keyring
    except ImportError:
        raise ConfigError(
            f"{what}: the keyring package is not installed.", "Type: pip install 'mailer-bulk[keyring]'"
        ) from None
    try:
        found = keyring.get_password(service, user)
    except Exception as error:  # each backend has errors of its own, with no base but Exception
        raise ConfigError(
            f"{what}: the keyring cannot be read: {type(error).__name__}.", "Is a keyring unlocked?"
        ) from error
    if found is None:
        raise ConfigError(f"{what}: the keyring has nothing under {where}.", f"Type: keyring set {service} {user}")
    return str(found)


def _decoded(secret: bytes, source: str, what: str) -> str:
    try:
        return secret.decode("utf-8")
    except UnicodeDecodeError:
        # Without its cause: a UnicodeDecodeError carries the bytes.
        raise ConfigError(f"{what}: what {source} gave is not UTF-8 text.") from None


def _see(command: tuple[str, ...]) -> str:
    return f"Try it by hand: {shlex.join(command)}"
