"""`mailer db check`: the file itself, and every invariant of the data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mailer.store.sqlite import Database

INVARIANTS: Final = {
    "check_tally": "every tally is the count of its messages",
    "check_ready_is_waiting": "what stands in ready waits",
    "check_waiting_is_ready": "what waits stands in ready",
    "check_claims": "what is claimed is sending",
    "check_claims_are_of_live_workers": "only live workers have messages in hand",
    "check_attempts": "attempts are numbered without a gap",
    "check_sent_was_accepted": "what is sent was accepted",
    "check_lanes": "every message is in a lane of its campaign",
    "check_lane_states": "lanes are open exactly while their campaign runs",
    "check_finished": "nothing waits in a campaign that has ended",
    "check_doubt": "what was in doubt is not called failed",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One row that breaks one rule."""

    rule: str
    row: str
    what: str


async def check(database: Database) -> list[Finding]:
    """Everything that is wrong, at most five rows a rule; an empty list if nothing is. Changes nothing."""
    found: list[Finding] = []
    async with database.reading() as tx:
        for (answer,) in await tx.all("integrity"):
            if answer != "ok":
                found.append(Finding("the file is sound", "file", answer))
        for table, rowid, parent, _ in await tx.all("foreign_keys"):
            found.append(
                Finding("every reference leads somewhere", f"{table} {rowid}", f"refers to a missing {parent}")
            )
        for query, rule in INVARIANTS.items():
            found += [Finding(rule, row, what) for row, what in await tx.all(query)]
    return found
