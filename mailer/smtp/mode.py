"""How a connection is spoken to: from what the server announces, what the operator allows and what we have learnt."""

from __future__ import annotations

from mailer.smtp.session import Features
from mailer.smtp.settings import RelaySettings
from mailer.smtp.state_table import Mode
from mailer.smtp.trust import Trust


def choose_mode(settings: RelaySettings, features: Features, trust: Trust) -> Mode:
    """The fastest way that all three allow. Chunks are of use only where commands may be written ahead."""
    if settings.pipelining == "off" or "PIPELINING" not in features.extensions or not trust.has("PIPELINING"):
        return Mode.STEP
    if settings.chunking == "off" or "CHUNKING" not in features.extensions or not trust.has("CHUNKING"):
        return Mode.PIPELINED
    return Mode.CHUNKED
