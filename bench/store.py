"""The store by itself: how fast messages are claimed and recorded, loaded and shown. Prints one table a part.

    python -m bench store [--quick] [--folder DIR]

Absolute figures depend on the machine and its disk (the time of an fsync is printed beside them); compare those of one
run with one another. `sqlite3` is the same claiming and recording in one statement a step on the connection itself, so
the ratio is what asyncio, threads, lanes, limits and tallies cost.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterable
from hashlib import sha256
from pathlib import Path
from random import Random

from mailer.core.message import Claimed, Ending, OnUncertain, Outcome, Phase, Result, State
from mailer.core.outcome import settle
from mailer.core.reply import Reply
from mailer.core.retry import RetryPolicy
from mailer.store import Exchanger, NewRow, Snapshot, Store, Want

BATCHES = (4, 20, 80, 400)
RETRY = RetryPolicy(first_us=300_000_000, factor=2.0, longest_us=14_400_000_000, give_up_after_us=172_800_000_000)
ACCEPTED = Result(
    Ending.ANSWERED, phase=Phase.END_OF_DATA, reply=Reply(250, "2.0.0", "Ok: queued as 9F3A21C0B7"), relay="qq"
)
REFUSED = Result(Ending.ANSWERED, phase=Phase.RCPT, reply=Reply(550, "5.1.1", "no such user"), relay="qq")


def snapshot() -> Snapshot:
    """What is queued."""
    body = '{"subject": "News"}'
    return Snapshot(
        body=body,
        digest=sha256(body.encode()).hexdigest(),
        blobs={},
        settings="{}",
        author="news@example.com",
        envelope_from="news@example.com",
        relays=(),
        priority=0,
        on_uncertain=OnUncertain.RESEND,
        start_at_us=None,
        expires_at_us=None,
    )


def rows(count: int) -> Iterable[NewRow]:
    """Recipients at five kinds of provider, with three fields each."""
    groups = (("gmail.com", "gmail"), ("qq.com", "qq"), ("163.com", "163"), ("example.org", "other"), ("a.de", "other"))
    for n in range(count):
        domain, group = groups[n % len(groups)]
        fields = json.dumps({"name": f"Recipient {n}", "city": "Hangzhou", "code": f"{n:08}"})
        yield NewRow(f"recipient.{n}@{domain}", f"recipient.{n}@{domain}", group, fields)


async def load(store: Store, name: str, count: int, slice_size: int = 1_000) -> float:
    """Queue `count` recipients; seconds, the making of the rows left out."""
    took = 0.0
    loading = await store.begin_load(name, loader="bench", new=snapshot())
    batch: list[NewRow] = []
    for row in rows(count):
        batch.append(row)
        if len(batch) == slice_size:
            began = time.perf_counter()
            await loading.add(batch)
            took += time.perf_counter() - began
            batch = []
    began = time.perf_counter()
    await loading.add(batch)
    await loading.release(hold=False)
    return took + time.perf_counter() - began


async def register(store: Store) -> Exchanger:
    """A worker."""
    return await store.workers.register(
        incarnation=os.urandom(16).hex(),
        host="bench",
        pid=os.getpid(),
        boot_id="bench",
        processes=1,
        slots=400,
        state_dir="/nowhere",
        lease_us=60_000_000,
    )


def outcomes_of(claims: Iterable[Claimed], result: Result = ACCEPTED) -> list[Outcome]:
    """What became of them."""
    random = Random(1)
    now = time.time_ns() // 1_000
    return [settle(claimed, result, RETRY, now, random) for claimed in claims]


async def exchanges(store: Store, batch: int, count: int) -> tuple[float, float]:
    """Claim and record `count` messages in exchanges of `batch`; wall and CPU seconds of the exchanges alone."""
    worker = await register(store)
    want = [Want("qq", batch, lambda _: True)]
    outcomes: list[Outcome] = []
    wall = cpu = 0.0
    done = 0
    while done < count:
        began, began_cpu = time.perf_counter(), time.process_time()
        answer = await worker.exchange(outcomes, want)
        wall += time.perf_counter() - began
        cpu += time.process_time() - began_cpu
        done += len(outcomes)
        outcomes = outcomes_of(answer.messages)
    await worker.exchange(outcomes, [])
    await store.workers.end(worker.worker_id)
    return wall, cpu


def bare(path: Path, batch: int, count: int) -> float:
    """The least that claiming and recording can be, on the connection itself; wall seconds."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA synchronous = FULL")
    began = time.perf_counter()
    for _ in range(0, count, batch):
        db.execute("BEGIN IMMEDIATE")
        ids = db.execute("SELECT lane_id, retry, due_at, message_id FROM ready LIMIT ?", (batch,)).fetchall()
        db.execute(
            "DELETE FROM ready WHERE (lane_id, retry, due_at, message_id) IN (SELECT json_extract(value, '$[0]'),"
            " json_extract(value, '$[1]'), json_extract(value, '$[2]'), json_extract(value, '$[3]') FROM json_each(?))",
            (json.dumps(ids),),
        )
        messages = json.dumps([row[3] for row in ids])
        db.execute("SELECT * FROM message WHERE id IN (SELECT value FROM json_each(?))", (messages,)).fetchall()
        db.execute(
            "INSERT INTO attempt SELECT value, 1, 1, 1, 'qq', 'end-of-data', 250, '2.0.0', 'Ok: queued', 'accepted',"
            " NULL, '', 1, 1 FROM json_each(?)",
            (messages,),
        )
        db.execute(
            "UPDATE message SET state = 'sent', due_at = NULL, attempts = 1"
            " WHERE id IN (SELECT value FROM json_each(?))",
            (messages,),
        )
        db.execute("COMMIT")
    took = time.perf_counter() - began
    db.close()
    return took


def fsync_us(folder: Path) -> float:
    """How long an fsync after a small write takes, in the median."""
    path = folder / "fsync"
    times = []
    with path.open("wb", buffering=0) as file:
        for _ in range(50):
            file.write(b"x" * 4096)
            began = time.perf_counter()
            os.fsync(file.fileno())
            times.append(time.perf_counter() - began)
    path.unlink()
    return sorted(times)[25] * 1e6


async def bench_exchange(folder: Path, per_batch: int) -> None:
    """Claim, record, attempt and tally in one exchange, `synchronous=full`."""
    print("claim + record + attempt + tally, synchronous=full")
    print(f"{'batch':>6} {'messages/s':>11} {'µs CPU each':>12} {'bare sqlite3/s':>15} {'ratio':>6}")
    for batch in BATCHES:
        count = min(per_batch, batch * 400)
        path = folder / f"exchange{batch}.db"
        async with await Store.open(path, create=True) as store:
            await load(store, "news", count)
            await load(store, "again", count)
            wall, cpu = await exchanges(store, batch, count)
            await store.campaigns.pause("again")
        least = await asyncio.to_thread(bare, path, batch, count)
        print(
            f"{batch:>6} {count / wall:>11,.0f} {cpu / count * 1e6:>12.1f} {count / least:>15,.0f} {least / wall:>6.2f}"
        )


async def bench_load(folder: Path, count: int) -> None:
    """Loading recipients."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with await Store.open(folder / "load.db", create=True) as store:
        took = await load(store, "news", count)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"loading {count:,}: {took:.2f} s, {count / took:,.0f} a second, {grown:.0f} MB more at the peak\n")


async def bench_reading(folder: Path, count: int) -> None:
    """What the showing commands read, on a large database of which a few messages failed."""
    path = folder / "large.db"
    async with await Store.open(path, create=True, synchronous="off") as store:
        await load(store, "large", count)
        worker = await register(store)
        want = [Want("qq", 500, lambda _: True)]
        pending: list[Outcome] = []
        n = 0
        while (answer := await worker.exchange(pending, want)).messages and n < count * 9 // 10:
            result = REFUSED if n % 100_000 == 0 else ACCEPTED
            pending = outcomes_of(answer.messages[:1], result) + outcomes_of(answer.messages[1:])
            n += len(answer.messages)
        await worker.exchange(pending, [])
        key = "recipient.77@163.com"
        reads: dict[str, Callable[[], object]] = {
            "status": store.reading.status,
            "status large": lambda: store.reading.status("large"),
            "message list": lambda: store.reading.messages(limit=50),
            "message list --state failed": lambda: store.reading.messages(limit=50, states=[State.FAILED]),
            "message list --state failed, sent": lambda: store.reading.messages(
                limit=50, states=[State.FAILED, State.SENT]
            ),
            "message list --state deferred (none)": lambda: store.reading.messages(limit=50, states=[State.DEFERRED]),
            "message list --code 550": lambda: store.reading.messages(limit=50, code=550),
            "message list --category …": lambda: store.reading.messages(limit=50, category="no-such-user"),
            "message list --relay none": lambda: store.reading.messages(limit=50, relay="none"),
            "message list --address": lambda: store.reading.messages(limit=50, address_key=key),
            "message show": lambda: store.reading.message(77),
            "workers.left": store.workers.left,
            "campaigns.waiting": lambda: store.campaigns.waiting("large"),
            "stats": store.stats,
            "check": store.check,
        }
        print(f"\nreading, {count:,} messages ({path.stat().st_size / 1e6:,.0f} MB), best of 3")
        for name, read in reads.items():
            times = []
            for _ in range(1 if name == "check" else 3):
                began = time.perf_counter()
                await read()  # type: ignore[misc]
                times.append(time.perf_counter() - began)
            print(f"{name:<40} {min(times) * 1e3:>9.1f} ms")


async def main() -> None:
    """Everything in one run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="a tenth of the work")
    parser.add_argument("--folder", type=Path, help="where the databases are made; default: the temporary folder")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        print(f"SQLite {sqlite3.sqlite_version}, fsync {fsync_us(folder):,.0f} µs\n")
        await bench_load(folder, 10_000 if args.quick else 100_000)  # first: memory is told by the peak of the process
        await bench_exchange(folder, 4_000 if args.quick else 40_000)
        await bench_reading(folder, 100_000 if args.quick else 1_000_000)


if __name__ == "__main__":
    asyncio.run(main())
