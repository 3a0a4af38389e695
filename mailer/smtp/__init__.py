"""From bytes to a reply: everything between a message and its relay.

A `RelayPool` keeps connections to one relay and sends what is submitted to it; each message is a `Delivery`, whose
`finish` is told once what came of it. `check_relay` tries a relay without sending. Nothing here knows of queues,
campaigns or the database, and nothing here decides what becomes of a message.
"""

from mailer.smtp.check import CheckReport, check_relay
from mailer.smtp.delivery import Delivery
from mailer.smtp.relay import RelayPool
from mailer.smtp.settings import RelaySettings, Timeouts
from mailer.smtp.transcript import Transcript
from mailer.smtp.trouble import RelayFailure

__all__ = [
    "CheckReport",
    "Delivery",
    "RelayFailure",
    "RelayPool",
    "RelaySettings",
    "Timeouts",
    "Transcript",
    "check_relay",
]
