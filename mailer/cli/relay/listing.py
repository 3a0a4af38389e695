"""`mailer relay list`: the relays as configured, and what workers say of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from mailer.cli import app
from mailer.cli.session import Session
from mailer.cli.table import Column
from mailer.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mailer.config import Relay
    from mailer.store import RelayStatus

__all__ = ["TLS_WORDS", "command"]

TABLE: Final = (
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
TLS_WORDS: Final = {"implicit": "TLS", "starttls": "STARTTLS", "none": "no TLS"}


@app.command(examples=("mailer relay list", "mailer relay list --json"), shows=True)
async def command(session: Session) -> None:
    """List the configured relays with their settings, and what workers say of them now."""
    from mailer.cli.output import emit

    relays = session.config.relays
    said = await _said_of_relays(session)
    rows = [_row(relay, said.get(relay.name)) for relay in relays]
    if session.format == "table":
        if not rows:
            session.note("No relay is configured; `mailer init` sets one up.")
            return
        emit(session, {}, rows=[_words(relay, row) for relay, row in zip(relays, rows, strict=True)], columns=TABLE)
        return
    columns = [Column(key) for key in rows[0]] if rows else []
    emit(session, {"relays": rows}, rows=None if session.format == "json" else rows, columns=columns)


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


def _words(relay: Relay, row: Mapping[str, Any]) -> dict[str, Any]:
    """A row for people."""
    from mailer.config import describe_senders
    from mailer.service.relays import relay_settings

    limits = [f"{relay.max_connections} connections"]
    limits += [str(relay.rate)] if relay.rate is not None else []
    limits += [f"{relay.daily_limit:,}/24 h"] if relay.daily_limit is not None else []
    return {
        "relay": relay.name,
        "server": relay_settings(relay).endpoint,
        "tls": TLS_WORDS[relay.tls],
        "login": f"{relay.username} ({relay.auth})" if relay.username else "none",
        "senders": describe_senders(relay),
        "limits": ", ".join(limits),
        "state": row["state"],
        "sent_24h": row["sent_24h"],
        "reason": row["reason"] or "",
    }
