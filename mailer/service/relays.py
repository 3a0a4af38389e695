"""From a relay as it is configured to a relay as the smtp room takes it."""

from __future__ import annotations

from mailer.config import Relay
from mailer.smtp import RelaySettings

__all__ = ["relay_settings"]


def relay_settings(relay: Relay) -> RelaySettings:
    """What the smtp room has to know of `relay`. The password is not fetched here: that happens at each login."""
    secret = relay.password

    async def password() -> str:
        if secret is None:
            raise ValueError(f"relay {relay.name} has no password to fetch")
        return await secret.resolve(f'relay "{relay.name}", password')

    return RelaySettings(
        name=relay.name,
        host=relay.host,
        port=relay.port,
        tls=relay.tls,
        auth=relay.auth,
        username=relay.username,
        password=None if secret is None else password,
        insecure_auth=relay.insecure_auth,
        max_connections=relay.max_connections,
        messages_per_connection=relay.messages_per_connection,
        pipelining=relay.pipelining,
        chunking=relay.chunking,
        ca_file=relay.ca_file,
        client_cert=relay.client_cert,
        client_key=relay.client_key,
        source_address=relay.source_address,
        ehlo_name=relay.ehlo_name,
        connect_timeout_s=relay.connect_timeout.total_seconds(),
    )
