"""From what an operator typed to a checked draft of a campaign: content compiled, settings resolved, From carried.

A draft touches no database. Everything that can be wrong with content and settings is found here, before a recipient
is read.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mailer.config import Config, carries, describe_senders, may_take
from mailer.content import Compiled, Content, ContentFiles, Occasion, compile_content, read_content
from mailer.core.address import BadAddress, check_address, parse_mailbox
from mailer.core.message import OnUncertain
from mailer.errors import InputError, Refused, UsageError
from mailer.service.queue_settings import HIGHEST_PRIORITY, Settings
from mailer.service.queue_when import date_in_zone, parse_duration_us, parse_instant
from mailer.store import Snapshot

if TYPE_CHECKING:
    from mailer.config import Relay
    from mailer.store import Campaign, StoredContent

__all__ = [
    "Draft",
    "Ground",
    "Wishes",
    "author_of",
    "check_deadline",
    "check_name",
    "checked_priority",
    "draft_from_files",
    "draft_from_store",
    "edited",
    "envelope_address",
    "instant",
]

LONGEST_NAME: Final = 100


@dataclass(frozen=True, slots=True)
class Ground:
    """What a draft stands on."""

    config: Config
    zone: str
    """In force; `Loaded.zone`."""
    now_us: int


@dataclass(frozen=True, slots=True)
class Wishes:
    """How a campaign is to be sent, as typed; None is what was not typed."""

    envelope_from: str | None = None
    relays: tuple[str, ...] = ()
    start_at: str | None = None
    expires_at: str | None = None
    expires_in: str | None = None
    priority: int | None = None
    on_uncertain: OnUncertain | None = None


@dataclass(frozen=True)
class Draft:
    """A campaign that could be queued."""

    name: str
    content: Content
    blobs: Mapping[str, bytes]
    settings: Settings
    compiled: Compiled
    author: str
    """Address of the header From."""
    carriers: tuple[Relay, ...]
    """The relays that may carry it, of those that were named or of all."""
    idle: tuple[str, ...]
    """Relays that were named and may not carry it."""

    def snapshot(self, queued_at_us: int) -> Snapshot:
        """What the store keeps of it."""
        return Snapshot(
            body=self.content.to_json(),
            digest=self.content.digest,
            blobs=self.blobs,
            settings=self.settings.to_json(),
            author=self.author,
            envelope_from=self.settings.envelope_from,
            relays=self.settings.relays,
            priority=self.settings.priority,
            on_uncertain=self.settings.on_uncertain,
            start_at_us=self.settings.start_at_us,
            expires_at_us=self.settings.deadline_us(queued_at_us),
        )


def check_name(name: str) -> None:
    """Raises UsageError unless `name` may be a campaign's."""
    # Marks belong to letters in many scripts (Devanagari, Thai); without them half the words could not be written.
    wrong = [char for char in name if char not in "._-" and unicodedata.category(char)[0] not in "LMN"]
    if not name or len(name) > LONGEST_NAME:
        raise UsageError(
            "a campaign's name is empty." if not name else f"a campaign's name has at most {LONGEST_NAME} characters.",
            "Names are made of letters, digits, `.`, `_` and `-`.",
        )
    if wrong:
        reason = " `/` is kept for runs of digests and for `mailer send`." if "/" in wrong else ""
        shown = "a blank" if wrong[0] == " " else repr(wrong[0])
        raise UsageError(
            f"a campaign's name cannot hold {shown}.", f"Names are made of letters, digits, `.`, `_` and `-`.{reason}"
        )


def draft_from_files(
    name: str, files: ContentFiles, wishes: Wishes, ground: Ground, *, stdin: Callable[[], bytes]
) -> Draft:
    """Read, check and compile what was typed. Raises InputError, UsageError, NotFound or Refused."""
    author = author_of(files.sender)
    settings = settings_of(wishes, author, ground)
    # Before the files are read: a From that nobody carries makes them pointless.
    carriers, idle = _carriers(settings, author, ground.config)
    content, blobs = read_content(files, stdin)
    return _draft(name, content, blobs, settings, author, carriers, idle)


def draft_from_store(campaign: Campaign, stored: StoredContent, ground: Ground) -> Draft:
    """The draft that `campaign` was queued from, or edited to. Raises Refused where no relay carries it any more."""
    settings = Settings.from_json(campaign.settings)
    carriers, idle = _carriers(settings, stored.author, ground.config)
    content = Content.from_json(stored.body)
    return _draft(campaign.name, content, stored.blobs, settings, stored.author, carriers, idle)


def edited(name: str, content: Content, blobs: Mapping[str, bytes], settings: Settings, ground: Ground) -> Draft:
    """The draft of an edited campaign, checked like a new one."""
    author = author_of(content.sender)
    carriers, idle = _carriers(settings, author, ground.config)
    return _draft(name, content, blobs, settings, author, carriers, idle)


def settings_of(wishes: Wishes, author: str, ground: Ground) -> Settings:
    """Resolve what was typed. Raises UsageError, or NotFound for a relay that does not exist."""
    start_at = instant(wishes.start_at, ground, "--start-at")
    expires_at = instant(wishes.expires_at, ground, "--expires-at")
    expires_in = parse_duration_us(wishes.expires_in, option="--expires-in") if wishes.expires_in else None
    if expires_at is not None and expires_in is not None:
        raise UsageError("--expires-at and --expires-in are two ways to say the same; give one.")
    settings = Settings(
        envelope_from=envelope_address(wishes.envelope_from) if wishes.envelope_from is not None else author,
        relays=tuple(dict.fromkeys(wishes.relays)),
        start_at_us=start_at,
        expires_at_us=expires_at,
        expires_in_us=expires_in,
        priority=checked_priority(wishes.priority or 0),
        on_uncertain=wishes.on_uncertain or OnUncertain.RESEND,
        zone=ground.zone,
        today=date_in_zone(ground.now_us, ground.zone),
    )
    check_deadline(settings, ground)
    return settings


def author_of(sender: str) -> str:
    """The address in a From. Raises InputError."""
    try:
        return parse_mailbox(sender).address
    except BadAddress as error:
        raise InputError(f"--from {sender!r}: {error}.", "It is like News <news@example.com>.") from None


def envelope_address(text: str) -> str:
    """The address of `--envelope-from`; `<>` is the null sender of RFC 5321 section 4.5.5. Raises InputError."""
    if text in ("", "<>"):
        return ""
    try:
        check_address(text)
    except BadAddress as error:
        raise InputError(f"--envelope-from {text!r}: {error}.", "It is a bare address; <> is the empty one.") from None
    return text


def checked_priority(priority: int) -> int:
    """`priority` itself. Raises UsageError beyond what the lanes know."""
    if not -HIGHEST_PRIORITY <= priority <= HIGHEST_PRIORITY:
        raise UsageError(f"--priority {priority}: expected a number from -{HIGHEST_PRIORITY} to {HIGHEST_PRIORITY}.")
    return priority


def check_deadline(settings: Settings, ground: Ground) -> None:
    """Raises UsageError for a deadline that is past, or before the start."""
    deadline = settings.expires_at_us
    if deadline is None:
        return
    if deadline <= ground.now_us:
        raise UsageError("--expires-at lies in the past: nothing would be sent.")
    if settings.start_at_us is not None and deadline <= settings.start_at_us:
        raise UsageError("--expires-at is not after --start-at: nothing would be sent.")


def instant(text: str | None, ground: Ground, option: str) -> int | None:
    """The instant that was typed, in the zone in force; None for nothing. Raises UsageError that names `option`."""
    return parse_instant(text, ground.zone, option=option) if text else None


def _draft(
    name: str,
    content: Content,
    blobs: Mapping[str, bytes],
    settings: Settings,
    author: str,
    carriers: tuple[Relay, ...],
    idle: tuple[str, ...],
) -> Draft:
    compiled = compile_content(content, blobs, Occasion(name, settings.today))
    return Draft(name, content, blobs, settings, compiled, author, carriers, idle)


def _carriers(settings: Settings, author: str, config: Config) -> tuple[tuple[Relay, ...], tuple[str, ...]]:
    """The relays that may carry both addresses, and the named ones that may not. Raises Refused if there are none."""
    candidates = [config.relay(name) for name in settings.relays] or list(config.relays)
    if not candidates:
        raise Refused("no relay is configured, so nothing can be sent.", "`mailer init` sets one up.")
    carriers = tuple(relay for relay in candidates if may_take(relay, author, settings.envelope_from, settings.relays))
    if not carriers:
        raise Refused(_nobody_carries(author, settings.envelope_from, candidates), _what_they_carry(candidates))
    idle = tuple(relay.name for relay in candidates if relay not in carriers) if settings.relays else ()
    return carriers, idle


def _nobody_carries(author: str, envelope_from: str, candidates: Sequence[Relay]) -> str:
    refused = author if not any(carries(relay, author) for relay in candidates) else envelope_from
    word = "From" if refused == author else "envelope sender"
    if len(candidates) == 1:
        return f'relay "{candidates[0].name}" may not carry the {word} {refused}.'
    if refused == envelope_from and refused != author and any(carries(relay, refused) for relay in candidates):
        return f"no relay may carry both the From {author} and the envelope sender {envelope_from}."
    return f"no relay may carry the {word} {refused}."


def _what_they_carry(candidates: Sequence[Relay]) -> str:
    lines = [f"{relay.name} may carry {describe_senders(relay)}." for relay in candidates]
    return "\n".join([*lines, "`senders` of a relay in the configuration lists what it may carry."])
