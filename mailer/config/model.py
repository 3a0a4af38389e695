"""config.toml as a model: every key, its kind, its default and what goes with what.

The names of fields are the keys of the file; where a key is no Python name or is repeated (`from`, `[[relay]]`) the
alias is. A check that needs more than one key stands in the section it is about.
"""

from __future__ import annotations

from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from mailer.config.addresses import EhloName, SourceAddress, ip_version
from mailer.config.presets import preset, preset_names
from mailer.config.secrets import Secret, parse_secret
from mailer.config.values import (
    Address,
    Duration,
    FilePath,
    Host,
    Name,
    RateValue,
    WrongValueError,
    duration_within,
    place_of,
)
from mailer.config.zone import is_zone, zone_hint
from mailer.core.address import BadAddress, address_key
from mailer.core.nearest import did_you_mean
from mailer.core.retry import RetryPolicy
from mailer.errors import NotFound

__all__ = ["SECTIONS", "Config", "Database", "Defaults", "Log", "Relay", "Retry", "Section", "Worker"]

SQLITE: Final = "sqlite:///"
SECTIONS: Final = ("database", "defaults", "worker", "log", "retry")


class Section(BaseModel):
    """A table of the file. Unknown keys are errors; a wrong value is never quoted by pydantic, it may be a secret."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        hide_input_in_errors=True,
        arbitrary_types_allowed=True,
    )


class Database(Section):
    """`[database]`"""

    url: str = "sqlite:///mailer.db"
    synchronous: Literal["full", "normal"] = "full"
    lock_wait: Annotated[Duration, duration_within(most=timedelta(minutes=10))] = timedelta(seconds=5)
    """How long another program's lock on the file is waited for."""
    _path: Path = PrivateAttr()

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        if url.startswith(("postgresql:", "postgres:")):
            raise WrongValueError(
                "this version has no PostgreSQL yet", 'Use a file of its own for now: url = "sqlite:///mailer.db".'
            )
        if not url.startswith(SQLITE) or url == SQLITE or "\0" in url:
            raise WrongValueError(
                'expected "sqlite:///" and a path, such as "sqlite:///mailer.db" or "sqlite:////var/lib/mailer.db"'
            )
        if ":memory:" in url:
            raise WrongValueError("a queue that is kept in memory would be lost with the process; name a file")
        return url

    @model_validator(mode="after")
    def _find_path(self, info: ValidationInfo) -> Self:
        self._path = place_of(info).path(self.url.removeprefix(SQLITE))
        return self

    @property
    def path(self) -> Path:
        """The SQLite file, absolute. It need not exist."""
        return self._path


class Defaults(Section):
    """`[defaults]`"""

    sender: Annotated[Address | None, Field(alias="from")] = None
    zone: str | None = None
    """None: the machine's; `Loaded.zone` has the one in force."""

    @field_validator("zone")
    @classmethod
    def _check_zone(cls, zone: str) -> str:
        if not is_zone(zone):
            raise WrongValueError(f'there is no time zone "{zone}"', zone_hint(zone))
        return zone


class Worker(Section):
    """`[worker]`"""

    slots_per_connection: Annotated[int, Field(ge=1, le=100)] = 4
    stop_within: Duration = timedelta(seconds=30)
    lease: Annotated[Duration, duration_within(least=timedelta(seconds=1))] = timedelta(seconds=60)
    max_in_hand: Annotated[int, Field(ge=1, le=500)] | None = None
    """None: twice the slots, at most 500."""
    state_dir: FilePath = None
    """None: beside the database; `Config.state_dir` has the folder in force."""


class Log(Section):
    """`[log]`"""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json"] = "auto"
    file: FilePath = None
    error_file: Annotated[FilePath, Field(validate_default=True)] = Path("error.log")


class Retry(Section):
    """`[retry]`"""

    first: Annotated[Duration, duration_within(not_zero=True)] = timedelta(minutes=5)
    factor: Annotated[float, Field(ge=1, le=100)] = 2.0
    longest: Annotated[Duration, duration_within(not_zero=True)] = timedelta(hours=4)
    give_up_after: Annotated[Duration, duration_within(not_zero=True)] = timedelta(days=2)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.longest < self.first:
            raise WrongValueError("`longest` is shorter than `first`", "The waits grow from `first` to `longest`.")
        return self

    @property
    def policy(self) -> RetryPolicy:
        """The same in the unit that the rule reckons in."""
        microsecond = timedelta(microseconds=1)
        return RetryPolicy(
            first_us=self.first // microsecond,
            factor=self.factor,
            longest_us=self.longest // microsecond,
            give_up_after_us=self.give_up_after // microsecond,
        )


def _check_preset(name: str) -> str:
    try:
        preset(name)
    except LookupError as error:
        raise WrongValueError(f'there is no preset "{name}"', str(error)) from error
    return name


def _check_sender(sender: str) -> str:
    try:
        address_key("x" + sender if sender.startswith("@") else sender)
    except BadAddress as error:
        raise WrongValueError(f'"{sender}" is neither an address nor "@domain": {error}') from error
    return sender


class Relay(Section):
    """One `[[relay]]`: a server that takes our mail."""

    name: Name
    preset: Annotated[str, AfterValidator(_check_preset)] | None = None
    host: Host
    port: Annotated[int, Field(ge=1, le=65535)]
    tls: Literal["implicit", "starttls", "none"]
    auth: Literal["login", "plain", "cram-md5", "xoauth2", "auto", "none"]
    username: str | None = None
    password: Annotated[Secret, BeforeValidator(parse_secret)] | None = Field(default=None, repr=False)
    insecure_auth: bool = False
    senders: Annotated[tuple[Annotated[str, AfterValidator(_check_sender)], ...], Field(strict=False)] = ()
    max_connections: Annotated[int, Field(ge=1, le=1000)] = 4
    messages_per_connection: Annotated[int, Field(ge=1)] = 100
    pipelining: Literal["auto", "off"] = "auto"
    chunking: Literal["auto", "off"] = "auto"
    rate: RateValue | None = None
    daily_limit: Annotated[int, Field(ge=1)] | None = None
    weight: Annotated[int, Field(ge=1, le=1000)] = 1
    ca_file: FilePath = None
    client_cert: FilePath = None
    client_key: FilePath = None
    source_address: SourceAddress | None = None
    ehlo_name: EhloName | None = None
    connect_timeout: Annotated[Duration, duration_within(not_zero=True)] = timedelta(seconds=30)

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, given: Any) -> Any:
        """Derive what is usual: port from TLS or the other way round (RFC 8314), AUTH where there is a user name."""
        if not isinstance(given, dict):
            return given
        relay = dict(given)
        if isinstance(relay.get("preset"), str):
            _check_preset(relay["preset"])  # first of all: it would have said what else is missing
        if "host" not in relay:
            words = _preset_words(relay.get("preset"))
            raise WrongValueError("`host` is missing", f"It is {words}." if words else "")
        if "tls" not in relay:
            relay["tls"] = "implicit" if relay.get("port") == 465 else "starttls"
        if "port" not in relay:
            relay["port"] = {"implicit": 465, "starttls": 587}.get(str(relay["tls"]), 25)
        if "auth" not in relay:
            relay["auth"] = "auto" if "username" in relay else "none"
        return relay

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.username is None:
            if self.password is not None:
                raise WrongValueError("`password` is set but `username` is not")
            if self.auth != "none":
                raise WrongValueError(
                    f'`auth` is "{self.auth}" but `username` is not set',
                    'Set `username` and `password`, or auth = "none" for a server that asks for no login.',
                )
            return self
        if any(ord(char) < 32 or ord(char) == 127 for char in self.username) or not self.username:
            raise WrongValueError("`username` is empty or holds a control character")
        if self.auth == "none":
            raise WrongValueError(
                '`username` is set but `auth` is "none"', 'Remove one; auth = "auto" fits any server.'
            )
        if self.password is None and self.auth == "xoauth2":
            raise WrongValueError(
                '`auth` is "xoauth2" but `password` is not set',
                "It has to name a command that prints an access token and nothing else, and runs at each login: "
                f'password = {{ command = ["oauth2-token", "{self.username}"] }}',
            )
        if self.password is None:
            raise WrongValueError(
                "`username` is set but `password` is not",
                f'Set it like this: password = {{ env = "{suggested_variable(self.name)}" }}',
            )
        if self.tls == "none" and not self.insecure_auth and not is_loopback(self.host):
            raise WrongValueError(
                '`username` is set but `tls` is "none".',
                "The password would cross the network readable. "
                'Set tls = "starttls" (port 587) or "implicit" (port 465).',
            )
        if self.is_personal and "@" not in self.username:
            raise WrongValueError(f'`username` is "{self.username}"; expected the whole address, with its "@"')
        return self

    @model_validator(mode="after")
    def _check_connecting(self) -> Self:
        if self.client_key is not None and self.client_cert is None:
            raise WrongValueError("`client_key` is set but `client_cert` is not", "A key alone proves nothing.")
        if self.client_cert is not None and self.tls == "none":
            raise WrongValueError(
                '`client_cert` is set but `tls` is "none"', 'Only TLS can show it: set tls = "starttls" or "implicit".'
            )
        if self.source_address is not None and ip_version(self.host) not in (None, ip_version(self.source_address)):
            raise WrongValueError(
                f"`source_address` is {self.source_address} and `host` is {self.host}",
                "IPv4 cannot reach IPv6, nor the other way round: both have to be of one kind.",
            )
        return self

    @property
    def is_personal(self) -> bool:
        """The mailbox of one person, by its preset."""
        return self.preset is not None and preset(self.preset).personal

    @property
    def allowed_senders(self) -> tuple[str, ...] | None:
        """Addresses and `@domains` that it may carry, None for any. See `senders.carries`."""
        if self.senders:
            return self.senders
        return (self.username,) if self.is_personal and self.username else None


class Config(Section):
    """All of it."""

    database: Database
    defaults: Defaults
    worker: Worker
    log: Log
    retry: Retry
    relays: Annotated[tuple[Relay, ...], Field(alias="relay", strict=False)] = ()

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, given: Any) -> Any:
        """A section that is left out is one without keys: its defaults depend on where the file stands."""
        return {**{name: {} for name in SECTIONS}, **given} if isinstance(given, dict) else given

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [relay.name for relay in self.relays]
        for name in names:
            if names.count(name) > 1:
                raise WrongValueError(f'two relays are named "{name}"', "Give each [[relay]] a name of its own.")
        return self

    @property
    def state_dir(self) -> Path:
        """Folder of the flight recorders, absolute. It need not exist."""
        path = self.database.path
        return self.worker.state_dir or path.with_name(path.name + "-flight")

    def relay(self, name: str) -> Relay:
        """The relay of that name. Raises NotFound with the nearest one."""
        for relay in self.relays:
            if relay.name == name:
                return relay
        names = [relay.name for relay in self.relays]
        known = f"Configured: {', '.join(names)}." if names else "No relay is configured; `mailer init` sets one up."
        raise NotFound(f'there is no relay "{name}".', did_you_mean(name, names, quote='"') or known)


def is_loopback(host: str) -> bool:
    """Whether what is sent to `host` stays on this machine."""
    if host.lower().rstrip(".") == "localhost":
        return True
    return ip_version(host) is not None and ip_address(host).is_loopback


def suggested_variable(relay_name: str) -> str:
    """The environment variable that we propose for a relay's password: `QQ_PASSWORD`."""
    letters = "".join(char if char.isascii() and char.isalnum() else "_" for char in relay_name.upper()).strip("_")
    return f"{letters or 'RELAY'}_PASSWORD"


def _preset_words(name: Any) -> str:
    return preset(name).host_is if isinstance(name, str) and name in preset_names() else ""
