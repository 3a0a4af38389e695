"""`mailer relay list|check`: the servers that take our mail, as configured and as they answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from mailer.cli import app, names
from mailer.cli.session import Session
from mailer.cli.table import Column, printable, render
from mailer.errors import ConfigError, MailerError, RelayError, StoreError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mailer.config import Relay
    from mailer.core.message import Composed
    from mailer.smtp import CheckReport, Transcript
    from mailer.store import RelayStatus

command = app.group(
    "The servers that take our mail: settings, state, and trying one out.",
    examples=("mailer relay list", "mailer relay check qq --transcript"),
    commands={"list": "mailer.cli.relay:list_", "check": "mailer.cli.relay:check"},
)


@app.command(examples=("mailer relay list", "mailer relay list --json"), shows=True)
async def list_(session: Session) -> None:
    """List the configured relays with their settings, and what workers say of them now."""
    from mailer.cli.output import emit

    relays = session.config.relays
    said = await _said_of_relays(session)
    rows = [_row(relay, said.get(relay.name)) for relay in relays]
    if session.format == "table":
        if not rows:
            session.note("No relay is configured; `mailer init` sets one up.")
            return
        emit(session, {}, rows=[_words(relay, row) for relay, row in zip(relays, rows, strict=True)], columns=_TABLE)
        return
    columns = [Column(key) for key in rows[0]] if rows else []
    emit(session, {"relays": rows}, rows=None if session.format == "json" else rows, columns=columns)


@app.command(examples=("mailer relay check", "mailer relay check qq --transcript"), shows=True)
@click.argument("name", required=False, type=names.RELAY)
@click.option("--transcript", is_flag=True, help="Show the conversation as it happens, on stderr; passwords as ***.")
@click.option("--to", metavar="A", help="Then send one short message to this address.")
async def check(session: Session, name: str | None, transcript: bool, to: str | None) -> None:
    """Connect to a relay, or to every configured one, log in, and show what it is and offers.

    Nothing is sent unless --to says so. What does not work is named with what to do about it.
    """
    config = session.config
    relays = config.relays if name is None else (config.relay(name),)
    if not relays:
        raise ConfigError("no relay is configured.", "`mailer init` sets one up in config.toml.")
    envelope_to = _checked_address(to)
    reports, failures = [], []
    for relay in relays:
        if session.format == "table":
            click.echo(f"relay {relay.name}: {_endpoint(relay)}, {_tls_words(relay)}")
        report, error = await _try(session, relay, transcript=transcript)
        accepted = None
        if report is not None and envelope_to is not None:
            accepted, error = await _send(session, relay, envelope_to, transcript=transcript)
        if error is not None:
            failures.append((relay, error))
        row = _report_row(relay, report, accepted, error, session)
        reports.append(row)
        if session.format == "table":
            _print_report(session, relay, report, accepted, error, is_only=len(relays) == 1)
    if session.format != "table":
        _emit_reports(session, reports)
    if failures:
        raise _as_one(failures, len(relays))


# What is configured


def _row(relay: Relay, said: RelayStatus | None) -> dict[str, Any]:
    from mailer.cli.output import rfc3339

    return {
        "name": relay.name,
        "preset": relay.preset,
        "host": relay.host,
        "port": relay.port,
        "tls": relay.tls,
        "auth": relay.auth,
        "username": relay.username,
        "password": None if relay.password is None else str(relay.password),
        "senders": None if relay.allowed_senders is None else list(relay.allowed_senders),
        "max_connections": relay.max_connections,
        "messages_per_connection": relay.messages_per_connection,
        "rate": None if relay.rate is None else str(relay.rate),
        "daily_limit": relay.daily_limit,
        "weight": relay.weight,
        "state": None if said is None else said.state,
        "reason": None if said is None else said.reason,
        "connections": None if said is None else said.connections,
        "paused_until": None if said is None else rfc3339(said.paused_until_us),
        "sent_24h": None if said is None else said.sent_24h,
    }


_TABLE: Final = (
    Column("relay"),
    Column("server"),
    Column("tls", "TLS"),
    Column("login", may_shrink=True),
    Column("senders", "MAY CARRY", may_shrink=True),
    Column("limits", may_shrink=True),
    Column("state"),
    Column("sent_24h", "SENT 24 H", right=True),
    Column("reason", may_shrink=True),
)


def _words(relay: Relay, row: Mapping[str, Any]) -> dict[str, Any]:
    """A row for people."""
    from mailer.config import describe_senders

    limits = [f"{relay.max_connections} connections"]
    limits += [str(relay.rate)] if relay.rate is not None else []
    limits += [f"{relay.daily_limit:,}/24 h"] if relay.daily_limit is not None else []
    return {
        "relay": relay.name,
        "server": _endpoint(relay),
        "tls": _tls_words(relay),
        "login": f"{relay.username} ({relay.auth})" if relay.username else "none",
        "senders": describe_senders(relay),
        "limits": ", ".join(limits),
        "state": row["state"],
        "sent_24h": row["sent_24h"],
        "reason": row["reason"] or "",
    }


def _endpoint(relay: Relay) -> str:
    return f"[{relay.host}]:{relay.port}" if ":" in relay.host else f"{relay.host}:{relay.port}"


def _tls_words(relay: Relay) -> str:
    return {"implicit": "TLS", "starttls": "STARTTLS", "none": "no TLS"}[relay.tls]


async def _said_of_relays(session: Session) -> dict[str, RelayStatus]:
    """What the database says of each relay; nothing if there is none yet, or if it cannot be read (which is said)."""
    from mailer.cli.figures import relays_of
    from mailer.cli.known import Known

    if not session.config.database.path.exists():
        return {}
    try:
        async with session.store() as store:
            status = await store.reading.status()
    except StoreError as error:
        session.warn(f"mailer: warning: {error.message}; the state of the relays is not known.")
        return {}
    return {relay.name: relay for relay in relays_of(status, Known.of(session.config))}


# Trying one out


def _checked_address(to: str | None) -> str | None:
    from mailer.core.address import BadAddress, wire_address

    if to is None:
        return None
    try:
        return wire_address(to)
    except BadAddress as error:
        raise UsageError(f"--to: {to!r} is no address: {error}.") from error


async def _try(session: Session, relay: Relay, *, transcript: bool) -> tuple[CheckReport | None, MailerError | None]:
    from mailer.service.relays import relay_settings
    from mailer.smtp import check_relay

    written = _written(session) if transcript else None
    try:
        return await check_relay(relay_settings(relay), transcript=written), None
    except MailerError as error:
        return None, error


def _written(session: Session) -> Transcript:
    """The conversation on stderr."""
    from mailer.smtp import Transcript

    return Transcript(lambda line: session.warn(session.redactor(printable(line))))


async def _send(session: Session, relay: Relay, to: str, *, transcript: bool) -> tuple[str | None, MailerError | None]:
    """Send the short message; the words with which it was accepted, or what went wrong."""
    import time
    from functools import partial
    from random import Random

    from mailer.clocks import wall_clock
    from mailer.core.message import Envelope
    from mailer.service.trial import send_trial

    try:
        sender = _sender(session, relay)
        composed = _short_message(sender, to, relay, time.time())
        random = Random()  # noqa: S311 - jitter, not secrets
        written = partial(_written, session) if transcript else None
        envelope = Envelope(sender, to)
        result = await send_trial(relay, envelope, composed, clock=wall_clock, random=random, transcript=written)
    except MailerError as error:
        return None, error
    reply = result.reply
    return (f"{reply.code} {reply.enhanced or ''} {reply.text}" if reply is not None else "accepted"), None


def _sender(session: Session, relay: Relay) -> str:
    """Whom the message is from: `[defaults] from` if this relay may carry it, else whatever address the relay has."""
    from mailer.config import carries
    from mailer.core.address import parse_mailbox, wire_address

    default = session.config.defaults.sender
    known = [parse_mailbox(default).address] if default is not None else []
    known += [sender for sender in relay.allowed_senders or () if not sender.startswith("@")]
    known += [relay.username] if relay.username and "@" in relay.username else []
    sender = next((address for address in known if carries(relay, address)), None)
    if sender is None:
        raise ConfigError(
            f'relay "{relay.name}": it is not known whom a message through it may be from.',
            'Set [defaults] from = "Name <name@example.com>" to an address that it may carry.',
        )
    return wire_address(sender)


def _short_message(sender: str, to: str, relay: Relay, now_s: float) -> Composed:
    from email.message import EmailMessage
    from email.policy import SMTP
    from email.utils import formatdate, make_msgid

    from mailer.core.address import domain_of
    from mailer.core.message import Composed

    message = EmailMessage(policy=SMTP)
    message["From"], message["To"] = sender, to
    message["Subject"] = f"mailer relay check: {relay.name}"
    message["Date"] = formatdate(now_s)
    message["Message-ID"] = make_msgid(domain=domain_of(sender))
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no holiday notices in answer
    message.set_content(
        f"This message shows that mailer can send through the relay {relay.name} ({_endpoint(relay)}).\n"
    )
    data = message.as_bytes()
    return Composed((data,), len(data))


def _report_row(
    relay: Relay, report: CheckReport | None, accepted: str | None, error: MailerError | None, session: Session
) -> dict[str, Any]:
    failed = None
    if error is not None:
        redact = session.redactor
        failed = {"code": error.code, "message": redact(error.message), "hint": redact(error.hint) or None}
    return {
        "name": relay.name,
        "host": relay.host,
        "port": relay.port,
        "ok": error is None,
        "tls": report.tls if report else None,
        "greeting": report.greeting if report else None,
        "ehlo_name": report.ehlo_name if report else None,
        "extensions": dict(report.extensions) if report else None,
        "auth_offered": _offered(report) if report else None,
        "auth": report.auth if report else None,
        "size_limit": report.size_limit if report else None,
        "milliseconds": report.milliseconds if report else None,
        "accepted": accepted,
        "error": failed,
    }


def _offered(report: CheckReport) -> list[str]:
    return report.extensions.get("AUTH", "").upper().split()


def _print_report(
    session: Session,
    relay: Relay,
    report: CheckReport | None,
    accepted: str | None,
    error: MailerError | None,
    *,
    is_only: bool,
) -> None:
    """What was found, step by step. The error of the only relay stands at the end, as the error of the command."""
    import sys

    steps = _steps_before(relay, error) if report is None else _steps(relay, report)
    if accepted is not None:
        steps.append(("accepted", " ".join(accepted.split())))
    if error is not None and not is_only:
        steps += [("failed", session.redactor(error.message)), ("", session.redactor(error.hint))]
    rows = [{"what": f"  {what}", "found": found} for what, found in steps if found]
    columns = [Column("what", ""), Column("found", "")]
    click.echo(render(rows, columns, colour=session.has_colour(sys.stdout), width=None), nl=False)


def _steps_before(relay: Relay, error: MailerError | None) -> list[tuple[str, str]]:
    """How far it went before it failed."""
    from mailer.core.message import Phase
    from mailer.smtp import RelayFailure

    if not isinstance(error, RelayFailure) or error.phase is Phase.CONNECT:
        return []
    steps = [("connected to", _endpoint(relay))]
    if error.phase is Phase.AUTH:
        steps.append(("encryption", "none" if relay.tls == "none" else "TLS, certificate verified"))
    return [*steps, ("failed at", {Phase.TLS: "TLS", Phase.AUTH: "the login"}.get(error.phase, str(error.phase)))]


def _steps(relay: Relay, report: CheckReport) -> list[tuple[str, str]]:
    """What was found, in the order in which it came."""
    extensions = report.extensions
    size = f"messages up to {report.size_limit / 1_000_000:,.1f} MB" if report.size_limit else "no limit is named"
    also = [name for name in extensions if name not in ("AUTH", "SIZE", "STARTTLS", "PIPELINING", "CHUNKING")]
    return [
        ("connected to", f"{_endpoint(relay)}: {report.greeting}"),
        (
            "encryption",
            f"{report.tls}, certificate verified" if report.tls else "none, everything is readable on the way",
        ),
        ("we are called", report.ehlo_name),
        ("AUTH offered", ", ".join(_offered(report)) or "none"),
        (
            "logged in",
            f"as {relay.username} with AUTH {report.auth.upper()}" if report.auth else "no, none is configured",
        ),
        ("SIZE", size),
        ("PIPELINING", "yes" if "PIPELINING" in extensions else "no"),
        ("CHUNKING", "yes" if "CHUNKING" in extensions else "no"),
        ("also", ", ".join(also)),
        ("took", f"{report.milliseconds:,} ms"),
    ]


def _emit_reports(session: Session, reports: list[dict[str, Any]]) -> None:
    from mailer.cli.output import emit

    columns = [Column(key) for key in reports[0]]
    emit(session, {"relays": reports}, rows=None if session.format == "json" else reports, columns=columns)


def _as_one(failures: list[tuple[Relay, MailerError]], tried: int) -> MailerError:
    """The error of the command: that of the only relay, or which of several failed."""
    if tried == 1:
        return _of_the_configuration(failures[0][1])
    listed = ", ".join(relay.name for relay, _ in failures)
    return RelayError(f"{len(failures)} of {tried} relays cannot be used: {listed}.")


def _of_the_configuration(error: MailerError) -> MailerError:
    """`error`, or its cause if that is a fault of the configuration: a secret that is not where it should be."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ConfigError):
        cause = cause.__cause__
    return cause if isinstance(cause, ConfigError) else error
