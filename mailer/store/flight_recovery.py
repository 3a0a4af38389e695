"""What a dead worker's flight file makes of one of its claims: the rules of recovery, without I/O.

| the file says about the claim                                          | what it means       |
|------------------------------------------------------------------------|---------------------|
| answered, with the reply                                               | that is its result  |
| end of data begun                                                      | unknown             |
| an earlier step                                                        | untouched           |
| nothing, and the whole file is good                                    | untouched           |
| nothing, and something in the file is bad                              | unknown             |
| anything but an answer, and the machine was restarted since            | unknown             |
| there is no file, or it is of another worker, store or unreadable      | unknown             |

An answer counts even after a restart of the machine: what is there was written, only what is missing may be lost.
"""

from __future__ import annotations

from typing import Final

from mailer.core.message import Ending, Phase, Result
from mailer.core.progress import Step
from mailer.store.flight_adopt import DeadFlight
from mailer.store.flight_record import FlightRecord, Identity

_NO_FILE: Final = "the worker died and its flight recorder is missing"
_NOT_ITS_OWN: Final = "the worker died and its flight recorder is unreadable or not its own"
_RESTARTED: Final = "the machine was restarted before the answer was recorded"
_DAMAGED: Final = "the worker died and its flight recorder is damaged"
_END_BEGUN: Final = "the worker died before it read the answer to the end of data"
_UNTOUCHED: Final = "the worker died before the end of data"
_NOT_BEGUN: Final = "the worker died before it began with it"
_ANSWERED: Final = "the worker died; its flight recorder had the answer"


def result_of(flight: DeadFlight | None, expected: Identity, claim: int, *, relay: str, claimed_at_us: int) -> Result:
    """What became of `claim` of a dead worker.

    `flight` is the worker's adopted file, None if it is gone. `expected` is what the file must say to be evidence: the
    incarnation and the store of the claim's row, and the boot id of *now*. `relay` and `claimed_at_us` are the claim's
    own, for the attempt that is recorded.
    """
    if flight is None:
        return _unknown(_NO_FILE, relay, claimed_at_us)
    if not _is_its_own(flight, expected):
        return _unknown(_NOT_ITS_OWN, relay, claimed_at_us)
    record = flight.records.get(claim)
    if record is not None and record.step is Step.ANSWERED:
        return _from(record, Ending.ANSWERED, record.phase, relay, _ANSWERED)
    if not _is_of_this_boot(flight, expected):
        return _unknown(_RESTARTED, relay, claimed_at_us)
    if record is not None:
        if record.step is Step.END_BEGUN:
            return _from(record, Ending.UNKNOWN, Phase.END_OF_DATA, relay, _END_BEGUN)
        return _from(record, Ending.UNTOUCHED, None, relay, _UNTOUCHED)
    if flight.is_damaged:
        return _unknown(_DAMAGED, relay, claimed_at_us)
    return Result(Ending.UNTOUCHED, relay=relay, started_at_us=claimed_at_us, note=_NOT_BEGUN)


def claims_in_work(flight: DeadFlight | None, expected: Identity) -> frozenset[int]:
    """The claims that the worker had begun and not finished when it died: each counts towards its message's deaths.

    Among them are old claims whose slot was not taken again; they are settled, so nothing of them is open any more.
    None after a restart of the machine: that is nobody's fault, and what the file lacks then proves nothing.
    """
    if flight is None or not _is_its_own(flight, expected) or not _is_of_this_boot(flight, expected):
        return frozenset()
    return frozenset(claim for claim, record in flight.records.items() if record.step is not Step.ANSWERED)


def _is_its_own(flight: DeadFlight, expected: Identity) -> bool:
    found = flight.identity
    return found is not None and (found.incarnation, found.store_id) == (expected.incarnation, expected.store_id)


def _is_of_this_boot(flight: DeadFlight, expected: Identity) -> bool:
    # An empty boot id is that of a system that cannot tell one run from the next.
    return bool(expected.boot_id) and flight.identity is not None and flight.identity.boot_id == expected.boot_id


def _unknown(note: str, relay: str, claimed_at_us: int) -> Result:
    return Result(Ending.UNKNOWN, relay=relay, started_at_us=claimed_at_us, note=note)


def _from(record: FlightRecord, ending: Ending, phase: Phase | None, relay: str, note: str) -> Result:
    return Result(
        ending,
        phase=phase,
        reply=record.reply,
        relay=relay,
        started_at_us=record.started_at_us,
        duration_us=max(0, record.at_us - record.started_at_us),  # the wall clock may have been set back in between
        note=note,
    )
