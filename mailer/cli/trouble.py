"""What stands above a status table: everything that keeps mail from going out, each in a sentence with what to do.

Pure: a status, what is configured, and the time. The order is that of urgency: what stops everything comes first.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from mailer.cli.figures import duration_words, eta_seconds, held, is_ended, live, waiting
from mailer.cli.known import Known
from mailer.cli.table import printable
from mailer.core.clock import SECOND_US
from mailer.store import CampaignStatus, Status

__all__ = ["troubles"]

# SQLite folds its write-ahead log back every 1,000 pages (4 MB) unless a reader is in the way; ours are short. At this
# size somebody else has kept one open for long.
LARGE_WAL_BYTES: Final = 256 * 1024 * 1024


def troubles(status: Status, known: Known, now_us: int, *, wal_bytes: int = 0) -> list[str]:
    """The sentences, each printable on a line of its own; none when all is well.

    `wal_bytes` is the size of the database's write-ahead log. Servers' words within them are made harmless.
    """
    return [printable(sentence) for sentence in _troubles(status, known, now_us, wal_bytes)]


def _troubles(status: Status, known: Known, now_us: int, wal_bytes: int) -> Iterator[str]:
    running = [campaign for campaign in status.campaigns if campaign.state == "running" and waiting(campaign)]
    yield from _about_workers(status, known, now_us, sum(waiting(campaign) for campaign in running))
    yield from _about_relays(status, known, now_us, is_needed=bool(running))
    for campaign in status.campaigns:
        yield from _about_campaign(campaign, now_us)
    if wal_bytes >= LARGE_WAL_BYTES:
        yield (
            f"The write-ahead log beside the database is {wal_bytes / 1_000_000:,.0f} MB large: some program keeps an "
            f"old read open. Find it with `fuser {known.database}`."
        )


def _about_workers(status: Status, known: Known, now_us: int, work: int) -> Iterator[str]:
    if work and not known.daily_limits:
        yield f"No relay is configured, and {_messages(work, 'wait')}: `mailer init` sets one up."
    elif work and not live(status.workers, now_us):
        yield f"No worker is running, and {_messages(work, 'wait')}: start one with `mailer worker`."
    for worker in status.workers:
        if worker.lease_until_us < now_us:
            silent = duration_words((now_us - worker.heartbeat_at_us) / SECOND_US)
            has = f" {_messages(worker.in_hand, 'is', 'are')} in its hands." if worker.in_hand else ""
            yield f"Worker {worker.id} (pid {worker.pid} on {worker.host}) has been silent for {silent}.{has}"


def _about_relays(status: Status, known: Known, now_us: int, *, is_needed: bool) -> Iterator[str]:
    for relay in status.relays:
        if relay.state == "stopped":
            yield (
                f"Relay {relay.name} is stopped: {_clause(relay.reason)}. See `mailer relay check {relay.name}`; "
                "when it is put right, send the worker SIGHUP or start it again."
            )
        elif relay.state == "paused":
            left = None if relay.paused_until_us is None else max(0, relay.paused_until_us - now_us) / SECOND_US
            again = f"; it is tried again in {duration_words(left)}" if left is not None else ""
            yield f"Relay {relay.name} is paused: {_clause(relay.reason)}{again}."
        limit = known.daily_limits.get(relay.name)
        if is_needed and limit is not None and relay.claimed_24h >= limit:
            yield f"Relay {relay.name} has reached its daily_limit of {limit:,} in 24 hours; what is left waits."


def _about_campaign(campaign: CampaignStatus, now_us: int) -> Iterator[str]:
    name = campaign.name
    kept = held(campaign)
    if kept:
        yield (
            f"Campaign {name}: {_messages(kept, 'is', 'are')} uncertain and held; the server may have taken "
            f"{'it' if kept == 1 else 'them'}. Look with `mailer message list --campaign {name} --state uncertain`, "
            f"send again with `mailer campaign retry {name} --uncertain`."
        )
    if is_ended(campaign) or campaign.expires_at_us is None or not waiting(campaign):
        return
    left_s = (campaign.expires_at_us - now_us) / SECOND_US
    eta = eta_seconds(campaign)
    if left_s <= 0:
        yield f"Campaign {name}: its deadline has passed; {_messages(waiting(campaign))} will fail unsent."
    elif eta is not None and eta > left_s:
        yield (
            f"Campaign {name} will miss its deadline: it needs {duration_words(eta)} more at "
            f"{campaign.rate_per_second:,.3g} a second, and has {duration_words(left_s)}; the rest fails unsent."
        )
    elif campaign.state == "paused":
        yield f"Campaign {name} is paused while its deadline runs: {duration_words(left_s)} are left."


def _messages(count: int, verb: str = "", plural: str = "") -> str:
    """`1 message`, `1 message waits`, `1,204 messages wait`; `plural` where it is more than the verb without its s."""
    if count == 1:
        word = verb if plural or not verb else f"{verb}s"
        return f"1 message {word}".rstrip()
    return f"{count:,} messages {plural or verb}".rstrip()


def _clause(reason: str) -> str:
    """A reason in the middle of a sentence."""
    return reason.strip().rstrip(".") or "no reason was given"
