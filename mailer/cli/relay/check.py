"""`mailer relay check`: connect, log in, say what was found, and send a short message if asked to."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from mailer.cli import app, names
from mailer.cli.relay.listing import TLS_WORDS
from mailer.cli.session import Session
from mailer.cli.table import Column, printable, render
from mailer.errors import ConfigError, MailerError, RelayError, UsageError

if TYPE_CHECKING:
    from mailer.config import Relay
    from mailer.smtp import CheckReport, RelaySettings, Transcript


@app.command(examples=("mailer relay check", "mailer relay check qq --transcript"), shows=True)
@click.argument("name", required=False, type=names.RELAY)
@click.option("--transcript", is_flag=True, help="Show the conversation as it happens, on stderr; passwords as ***.")
@click.option("--to", metavar="A", help="Then send one short message to this address.")
async def command(session: Session, name: str | None, transcript: bool, to: str | None) -> None:
    """Connect to a relay, or to every configured one, log in, and show what it is and offers.

    Nothing is sent unless --to says so. What does not work is named with what to do about it.
    """
    from mailer.service.relays import relay_settings

    config = session.config
    relays = config.relays if name is None else (config.relay(name),)
    if not relays:
        raise ConfigError("no relay is configured.", "`mailer init` sets one up in config.toml.")
    recipient = _checked_address(to)
    tried = []
    for relay in relays:
        found = _Found(relay_settings(relay))
        if session.format == "table":
            click.echo(f"relay {relay.name}: {found.settings.endpoint}, {TLS_WORDS[relay.tls]}")
        await _try(session, relay, found, recipient, transcript=transcript)
        tried.append(found)
        if session.format == "table":
            _print_steps(session, found, is_only=len(relays) == 1)
    if session.format != "table":
        _emit(session, tried)
    _raise_if_failed(tried)


@dataclass
class _Found:
    """A relay and what became of trying it."""

    settings: RelaySettings
    report: CheckReport | None = None
    accepted: str | None = None
    """The words with which it took the short message."""
    error: MailerError | None = None


def _checked_address(to: str | None) -> str | None:
    from mailer.core.address import BadAddress, wire_address

    if to is None:
        return None
    try:
        return wire_address(to)
    except BadAddress as error:
        raise UsageError(f"--to: {to!r} is no address: {error}.") from error


async def _try(session: Session, relay: Relay, found: _Found, recipient: str | None, *, transcript: bool) -> None:
    """Look at it, and send the short message if there is a recipient; `found` says how far it went."""
    from random import Random

    from mailer.clocks import wall_clock
    from mailer.service.trial import send_short_message
    from mailer.smtp import Transcript, check_relay

    def written() -> Transcript:
        return Transcript(lambda line: session.warn(session.redactor(printable(line))))

    try:
        found.report = await check_relay(found.settings, transcript=written() if transcript else None)
        if recipient is None:
            return
        result = await send_short_message(
            relay,
            recipient,
            session.config.defaults.sender,
            clock=wall_clock,
            random=Random(),  # noqa: S311 - jitter, not secrets
            transcript=written if transcript else None,
        )
        reply = result.reply
        found.accepted = f"{reply.code} {reply.enhanced or ''} {reply.text}" if reply is not None else "accepted"
    except MailerError as error:
        found.error = error


# For programs


def _emit(session: Session, tried: list[_Found]) -> None:
    from mailer.cli.output import emit

    rows = [_row(session, found) for found in tried]
    columns = [Column(key) for key in rows[0]]
    emit(session, {"relays": rows}, rows=None if session.format == "json" else rows, columns=columns)


def _row(session: Session, found: _Found) -> dict[str, Any]:
    settings, report, error = found.settings, found.report, found.error
    failed = None
    if error is not None:
        redact = session.redactor
        failed = {"code": error.code, "message": redact(error.message), "hint": redact(error.hint) or None}
    return {
        "name": settings.name,
        "host": settings.host,
        "port": settings.port,
        "ok": error is None,
        "address": report.address if report else None,
        "tls": report.tls if report else None,
        "greeting": report.greeting if report else None,
        "ehlo_name": report.ehlo_name if report else None,
        "extensions": dict(report.extensions) if report else None,
        "auth_offered": _offered(report) if report else None,
        "auth": report.auth if report else None,
        "size_limit": report.size_limit if report else None,
        "pipelining": report.pipelining if report else None,
        "chunking": report.chunking if report else None,
        "warnings": list(report.warnings) if report else [],
        "milliseconds": report.milliseconds if report else None,
        "accepted": found.accepted,
        "error": failed,
    }


def _offered(report: CheckReport) -> list[str]:
    return report.extensions.get("AUTH", "").upper().split()


# For people


def _print_steps(session: Session, found: _Found, *, is_only: bool) -> None:
    """What was found, step by step. The error of the only relay stands at the end, as the error of the command."""
    report, error = found.report, found.error
    steps = _steps_before(found.settings, error) if report is None else _steps(found.settings, report)
    if found.accepted is not None:
        steps.append(("accepted", " ".join(found.accepted.split())))
    if error is not None and not is_only:
        steps += [("failed", session.redactor(error.message)), ("", session.redactor(error.hint))]
    rows = [{"what": f"  {what}", "found": words} for what, words in steps if words]
    columns = [Column("what", ""), Column("found", "")]
    click.echo(render(rows, columns, colour=session.has_colour(sys.stdout), width=None), nl=False)


def _steps_before(settings: RelaySettings, error: MailerError | None) -> list[tuple[str, str]]:
    """How far it went before it failed."""
    from mailer.core.message import Phase
    from mailer.smtp import RelayFailure

    if not isinstance(error, RelayFailure) or error.phase is Phase.CONNECT:
        return []
    steps = [("connected to", settings.endpoint)]
    if error.phase is Phase.AUTH:
        steps.append(("encryption", "none" if settings.tls == "none" else "TLS, certificate verified"))
    return [*steps, ("failed at", {Phase.TLS: "TLS", Phase.AUTH: "the login"}.get(error.phase, str(error.phase)))]


def _steps(settings: RelaySettings, report: CheckReport) -> list[tuple[str, str]]:
    """What was found, in the order in which it came."""
    extensions = report.extensions
    size = f"messages up to {report.size_limit / 1_000_000:,.1f} MB" if report.size_limit else "no limit is named"
    also = [name for name in extensions if name not in ("AUTH", "SIZE", "STARTTLS", "PIPELINING", "CHUNKING")]
    return [
        ("connected to", f"{settings.endpoint}: {report.greeting}"),
        ("address", report.address if report.address != settings.host else ""),
        (
            "encryption",
            f"{report.tls}, certificate verified" if report.tls else "none, everything is readable on the way",
        ),
        *(("warning", sentence) for sentence in report.warnings),
        ("we are called", report.ehlo_name),
        ("AUTH offered", ", ".join(_offered(report)) or "none"),
        (
            "logged in",
            f"as {settings.username} with AUTH {report.auth.upper()}" if report.auth else "no, none is configured",
        ),
        ("SIZE", size),
        ("PIPELINING", _use("PIPELINING", report, settings.pipelining, is_used=report.pipelining)),
        ("CHUNKING", _use("CHUNKING", report, settings.chunking, is_used=report.chunking)),
        ("also", ", ".join(also)),
        ("took", f"{report.milliseconds:,} ms"),
    ]


def _use(extension: str, report: CheckReport, choice: str, *, is_used: bool) -> str:
    """Whether it is offered, and what becomes of it. `choice` is what the configuration says of it."""
    if extension not in report.extensions:
        return "no"
    if is_used:
        return "yes, used"
    return f'yes, not used: {extension.lower()} = "off"' if choice == "off" else "yes, not used without PIPELINING"


def _raise_if_failed(tried: list[_Found]) -> None:
    """The error of the command: that of the only relay, or which of several failed."""
    failed = [(found.settings.name, found.error) for found in tried if found.error is not None]
    if not failed:
        return
    if len(tried) == 1:
        raise _of_the_configuration(failed[0][1])
    listed = ", ".join(name for name, _ in failed)
    raise RelayError(f"{len(failed)} of {len(tried)} relays cannot be used: {listed}.")


def _of_the_configuration(error: MailerError) -> MailerError:
    """`error`, or its cause if that is a fault of the configuration: a secret that is not where it should be."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ConfigError):
        cause = cause.__cause__
    return cause if isinstance(cause, ConfigError) else error
