"""What all connections of one pool share."""

from __future__ import annotations

from dataclasses import dataclass, field

from mailer.core.clock import Clock
from mailer.redact import Redactor
from mailer.smtp.auth import LoginMemory
from mailer.smtp.body import Stuffer
from mailer.smtp.deadline import Timers
from mailer.smtp.settings import Timeouts
from mailer.smtp.trust import Trust


@dataclass(frozen=True, slots=True)
class Shared:
    """Handed to every connection that the pool opens."""

    clock: Clock
    timeouts: Timeouts
    timers: Timers | None
    """The event loop's, unless tests hand in others."""
    trust: Trust
    memory: LoginMemory = field(default_factory=LoginMemory)
    redact: Redactor = field(default_factory=Redactor)
    stuffer: Stuffer = field(default_factory=Stuffer)
