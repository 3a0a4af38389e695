"""A worker that notes what it does and dies, for its flight file to be judged by others.

python -m support.casualty FOLDER     a process that has gone as far as TABLE says, and lives until its stdin ends
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

from support.store import ACCEPTED, LEASE_US, NO_SUCH_USER, RETRY, Clock, no_rest
from support.worker import rows_of

from mailer.core.message import Claimed, Phase
from mailer.core.progress import Step
from mailer.core.reply import Reply
from mailer.service.recovery import Recovery
from mailer.store import Exchanger, Store, Want
from mailer.store.flight import FlightRecorder, boot_id
from mailer.store.flight_record import Identity

# How far the messages of a worker may have got when it dies: None is not begun, a reply the answer that was noted.
TABLE: Final[tuple[Step | Reply | None, ...]] = (
    None, Step.COMPOSING, Step.ON_WIRE, Step.END_BEGUN, ACCEPTED, NO_SUCH_USER,
)  # fmt: skip
DEAD = "d" * 32


@dataclass
class Casualty:
    """A worker that has claimed, noted what it did, and died."""

    worker_id: int
    claimed: tuple[Claimed, ...]
    file: Path


class Yard:
    """A database, a folder of flight files, and two clocks that stand still."""

    def __init__(self, folder: Path, store: Store, clock: Clock) -> None:
        self.folder = folder
        self.state_dir = folder / "flights"
        self.store = store
        self.clock = clock
        self.boot = Clock(1_000_000_000)

    def recovery(self, store: Store | None = None, own: int | None = None) -> Recovery:
        """What another worker of this database does."""
        return Recovery(
            store or self.store,
            own_worker_id=own,
            state_dir=self.state_dir,
            retry=RETRY,
            lease_us=LEASE_US,
            clock=self.clock,
            boot_clock=self.boot,
            random=Random(1),
        )

    def recorder(self, incarnation: str = DEAD, boot: str | None = None, store_id: str | None = None) -> FlightRecorder:
        """A flight file that is held."""
        identity = Identity(incarnation, boot_id() if boot is None else boot, store_id or self.store.store_id)
        return FlightRecorder.create(self.state_dir, identity, slots=8, clock=self.clock)

    async def register(self, incarnation: str = DEAD) -> Exchanger:
        """A live row."""
        return await self.store.workers.register(
            incarnation=incarnation, host="here", pid=1, boot_id=boot_id(), processes=1, slots=4,
            state_dir=str(self.state_dir), lease_us=LEASE_US,
        )  # fmt: skip

    async def casualty(self, *steps: Any, incarnation: str = DEAD, **identity: Any) -> Casualty:
        """A worker that died with one message for each of `steps` in hand: None, a Step, or a Reply."""
        recorder = self.recorder(incarnation, **identity)
        exchanger = await self.register(incarnation)
        claimed = (await exchanger.exchange([], [Want("qq", len(steps), lambda _: True)])).messages
        assert len(claimed) == len(steps)
        for one, step in zip(claimed, steps, strict=True):
            note(recorder, one, step)
        recorder.close(unlink=False)
        return Casualty(exchanger.worker_id, claimed, recorder.path)

    def rows(self, sql: str) -> list[Any]:
        """What the database says, past all our own code."""
        return rows_of(self.store.path, sql)

    def flights(self) -> list[str]:
        """The names of the files that lie about."""
        return sorted(path.name for path in self.state_dir.iterdir())


def note(recorder: FlightRecorder, claimed: Claimed, step: Step | Reply | None) -> None:
    """Take a message as far as `step`; a Reply is that answer, to the end of data if it is a 2xx."""
    if step is None:
        return
    recorder.begin(claimed.claim, claimed.message_id)
    if step is Step.COMPOSING:
        return
    recorder.note(claimed.claim, Step.ON_WIRE)
    if step is Step.ON_WIRE:
        return
    if isinstance(step, Reply) and step.code >= 400:
        recorder.note(claimed.claim, Step.ANSWERED, phase=Phase.RCPT, reply=step)
        return
    recorder.note(claimed.claim, Step.END_BEGUN)
    if isinstance(step, Reply):
        recorder.note(claimed.claim, Step.ANSWERED, phase=Phase.END_OF_DATA, reply=step)


async def _live(folder: Path) -> None:
    clock = Clock()
    async with await Store.open(folder / "mailer.db", create=False, clock=clock, rest=no_rest) as store:
        yard = Yard(folder, store, clock)
        recorder = yard.recorder()
        exchanger = await yard.register()
        claimed = (await exchanger.exchange([], [Want("qq", len(TABLE), lambda _: True)])).messages
        for one, step in zip(claimed, TABLE, strict=True):
            note(recorder, one, step)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_live(Path(sys.argv[1])))
