"""`mailer init`: write a commented config.toml, with the relay filled in where somebody is there to be asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from mailer.cli import app
from mailer.cli.session import Session
from mailer.errors import InputError, MailerError, Refused

if TYPE_CHECKING:
    from mailer.config import Preset
    from mailer.config.example import Value

FILE_NAME: Final = "config.toml"


@app.command(examples=("mailer init", "mailer init --config /etc/mailer/config.toml --force"))
@click.option("--force", is_flag=True, help="Overwrite a configuration that is there.")
def command(session: Session, force: bool) -> None:
    """Write a commented config.toml here, and the database that it names.

    On a terminal it asks for the relay, user name, sender and time zone; elsewhere, and with --no-input, it writes the
    example as it is. It never asks for a password: the file only says where that is kept.
    """
    target = session.config_file or Path(FILE_NAME)
    if target.is_dir() or (not force and (target.exists() or target.is_symlink())):
        raise Refused(f"{target} exists already.", "" if target.is_dir() else "Use --force to overwrite it.")
    if not target.parent.is_dir():
        raise InputError(f"cannot write {target}: there is no folder {target.parent}.", "Make it first.")
    from mailer.config.example import example, fill_in

    text = example()
    if session.interactive:
        text = fill_in(text, _ask(session))
    _put_in_place(session, target, text)
    _say_what_is_next(session, target)


def _ask(session: Session) -> dict[tuple[str, str], Value]:
    """The values for the file, asked one after the other; nothing is written meanwhile."""
    from mailer.config.model import suggested_variable
    from mailer.config.presets import preset, preset_names

    say = session.warn  # what belongs to a question is shown even with -q
    say("Which relay takes your mail?")
    for name in preset_names():
        say(f"  {name:8} {preset(name).title}")
    chosen = preset(_question("Relay", _preset_name, default=preset_names()[0]))
    if chosen.note:
        say(chosen.note)
    relay: dict[str, Value] = {
        "name": "relay" if chosen.name == "custom" else chosen.name,
        "preset": None if chosen.name == "custom" else chosen.name,
        **_server(chosen, say),
    }
    if chosen.name == "custom" and not click.confirm("Does it ask for a login?", default=True, err=True):
        relay |= {"auth": "none", "username": None, "password": None}
    else:
        say(f"User name: {chosen.username_is}.")
        username = _question("User name", lambda text: _username(text, chosen))
        variable = suggested_variable(str(relay["name"]))
        say(f"Password: {chosen.password_is}. It is read from the environment variable {variable}.")
        relay |= {"auth": "auto", "username": username, "password": {"env": variable}}
        relay |= {"auth": str(chosen.values["auth"])} if "auth" in chosen.values else {}
    own = relay["username"] if chosen.personal else None
    sender = _question("From, such as News <news@example.com>", _mailbox, default=own if isinstance(own, str) else None)
    relay["senders"] = _senders(own if isinstance(own, str) else None, sender)
    zone = _question("Time zone", _zone, default=_machine_zone(session))
    return {
        ("defaults", "from"): sender,
        ("defaults", "zone"): zone,
        **{("relay", key): value for key, value in relay.items()},
    }


def _server(chosen: Preset, say: Callable[[str], None]) -> dict[str, Value]:
    """Host, port, TLS and limits: the preset's where it has them, asked for where it has not."""
    values: dict[str, Value] = {
        # The example's limits are those for its own relay; of the others only what the provider documents counts.
        key: chosen.values.get(key)
        for key in ("host", "port", "tls", "rate", "daily_limit", "max_connections")
    }
    if chosen.name == "qq":
        del values["rate"], values["daily_limit"]
    if values["host"] is None:
        say(f"Server: {chosen.host_is}.")
        values["host"] = _question("Host", _host)
    if values["port"] is None:
        port = click.prompt(
            "Port (465: TLS from the start; 587: STARTTLS; 25)", type=click.IntRange(1, 65535), default=587, err=True
        )
        tls = click.prompt(
            "TLS",
            type=click.Choice(["implicit", "starttls", "none"]),
            default="implicit" if port == 465 else "starttls",
            err=True,
        )
        values |= {"port": port, "tls": tls}
    return values


def _senders(own: str | None, sender: str) -> tuple[str, ...] | None:
    """What the relay may carry: a personal mailbox itself and the sender just named; another relay anything."""
    if own is None:
        return None
    from mailer.core.address import address_key, parse_mailbox

    address = parse_mailbox(sender).address
    return (own,) if address_key(address) == address_key(own) else (own, address)


def _question(text: str, check: Callable[[str], str], default: str | None = None) -> str:
    """Ask until the answer passes `check`, which returns it as it is to be written or raises BadParameter."""
    answer: str = click.prompt(text, default=default, value_proc=lambda given: check(given.strip()), err=True)
    return answer


def _preset_name(text: str) -> str:
    from mailer.config.presets import preset

    try:
        return preset(text).name
    except LookupError as error:
        raise click.BadParameter(f'there is no preset "{text}". {error.args[0]}') from error


def _username(text: str, chosen: Preset) -> str:
    if chosen.personal:
        return _bare_address(text)
    if not text or not text.isprintable():
        raise click.BadParameter("expected the name with which you log in.")
    return text


def _bare_address(text: str) -> str:
    from mailer.core.address import BadAddress, address_key

    try:
        address_key(text)
    except BadAddress as error:
        raise click.BadParameter(f"expected a whole address: {error}") from error
    return text


def _mailbox(text: str) -> str:
    from mailer.core.address import BadAddress, parse_mailbox

    try:
        parse_mailbox(text)
    except BadAddress as error:
        raise click.BadParameter(f"expected an address such as News <news@example.com>: {error}") from error
    return text


def _host(text: str) -> str:
    from pydantic import TypeAdapter, ValidationError

    from mailer.config.values import Host

    try:
        return TypeAdapter[str](Host).validate_python(text)
    except ValidationError as error:
        raise click.BadParameter(str(error.errors()[0]["ctx"]["error"])) from error


def _zone(text: str) -> str:
    from mailer.config.zone import is_zone, zone_hint

    if not is_zone(text):
        raise click.BadParameter(f'there is no time zone "{text}". {zone_hint(text)}')
    return text


def _machine_zone(session: Session) -> str:
    from mailer.config.zone import machine_zone

    return machine_zone(session.environ)


def _put_in_place(session: Session, target: Path, text: str) -> None:
    """Write the file and create the database that it names; if that cannot be done, all is as it was before."""
    from mailer.cli.output import open_output

    before = target.read_bytes() if target.exists() else None
    with open_output(target) as file:
        file.write(text)
    session.config_file = target
    try:
        session.run(_create_database(session))
    except MailerError:
        if before is None:
            target.unlink()
        else:
            target.write_bytes(before)
        raise


async def _create_database(session: Session) -> None:
    async with session.store(create=True):
        pass


def _say_what_is_next(session: Session, target: Path) -> None:
    session.note(f"Wrote {target}.")
    named = session.environ.get("MAILER_CONFIG")
    if named and Path(named).absolute() != target.absolute():
        session.warn(f"mailer: warning: $MAILER_CONFIG names another file, {named}; mailer uses that one.")
    [relay] = session.config.relays
    password = relay.password
    session.note("Next:")
    if not session.interactive:
        session.note(f"  edit {target}: the relay, its user name, the sender")
    if password is not None and isinstance(password.where, str):
        variable = password.where
        session.note(f"  read -rs {variable} && export {variable}        type the password; it is not shown")
    session.note(f"  mailer relay check {relay.name}")
