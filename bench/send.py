"""How fast a campaign is queued, and how fast it goes out, beside aiosmtplib without a queue: one run, one table.

    python -m bench send [--messages 10000] [--rounds 3] [--connections 20]

Every contender sends the same work into Postfix's smtp-sink: personalised text and HTML of about 4 KB, one recipient
each. aiosmtplib gets ready-made bytes and keeps nothing; mailer reads a CSV, queues it in SQLite (synchronous = full,
shipped defaults), renders, sends and records every reply. The rounds alternate; the table has the median of each and
the ratio to aiosmtplib. Times are of whole processes, starting included; the time of an fsync stands beside them.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from bench._processes import ROOT, Measured, smtp_sink, timed

SENDER = "news@sender.test"
# With the headers and both parts as they are encoded, about 4 KB a message.
LINE = "We have news for you that are worth about one line each.\n"
TEXT = "Dear {{ name }},\n\n" + LINE * 24 + "\nYours, the senders\n"
HTML = (
    "<html><body><p>Dear {{ name }},</p>\n"
    + "<p>We have <b>news</b> for you that are worth about one line each.</p>\n" * 24
    + "</body></html>\n"
)
CONFIG = """
[database]
url = "sqlite:///queue.db"
[log]
level = "warning"
[[relay]]
name = "sink"
host = "127.0.0.1"
port = {port}
tls = "none"
auth = "none"
max_connections = {connections}
messages_per_connection = 1000000
"""


def mailer(*args: str) -> list[str]:
    return [sys.executable, "-m", "mailer", *args]


def fsync_ms(folder: Path) -> float:
    """Median time of a write and its fsync on the disk that holds the queue."""
    times = []
    with (folder / "fsync").open("wb", buffering=0) as file:
        for _ in range(50):
            began = time.perf_counter()
            file.write(b"x" * 4096)
            os.fsync(file.fileno())
            times.append((time.perf_counter() - began) * 1_000)
    return statistics.median(times)


def ready_made() -> bytes:
    """The same message for everybody, for the contender that composes none."""
    return (
        f"From: {SENDER}\r\nTo: someone@example.test\r\nSubject: news\r\nMIME-Version: 1.0\r\n"
        'Content-Type: multipart/alternative; boundary="b"\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\n'
        + TEXT.replace("\n", "\r\n")
        + "\r\n--b\r\nContent-Type: text/html\r\n\r\n"
        + HTML.replace("\n", "\r\n")
        + "\r\n--b--\r\n"
    ).encode()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=20)
    parser.add_argument("--alone", type=int, metavar="PORT", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        import uvloop

        from bench._aiosmtplib import aiosmtplib_alone

        uvloop.run(
            aiosmtplib_alone(
                options.alone, SENDER, ready_made(), messages=options.messages, connections=options.connections
            )
        )
        return
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as place, smtp_sink() as port:
        folder = Path(place)
        print(f"{options.messages:,} messages, {options.connections} connections, fsync {fsync_ms(folder):.2f} ms")
        rounds = [one_round(folder / str(n), port, options) for n in range(options.rounds)]
    show(rounds, options.messages)


def one_round(folder: Path, port: int, options: argparse.Namespace) -> dict[str, Measured]:
    folder.mkdir()
    (folder / "config.toml").write_text(CONFIG.format(port=port, connections=options.connections), "utf-8")
    (folder / "text.txt").write_text(TEXT, "utf-8")
    (folder / "body.html").write_text(HTML, "utf-8")
    with (folder / "list.csv").open("w", encoding="utf-8") as file:
        file.write("email,name\n")
        file.writelines(f"user{n}@example{n % 50}.test,Name {n}\n" for n in range(options.messages))
    queue = mailer(
        "campaign", "queue", "bench", "--from", SENDER, "--subject", "News for {{ name }}", "--text", "text.txt",
        "--html", "body.html", "--recipients", "list.csv",
    )  # fmt: skip
    alone = [
        sys.executable, "-m", "bench.send", "--alone", str(port),
        "--messages", str(options.messages), "--connections", str(options.connections),
    ]  # fmt: skip
    return {
        "aiosmtplib on uvloop, no queue": timed(alone, ROOT),
        "mailer campaign queue": timed(queue, folder),
        "mailer worker --until-empty": timed(mailer("worker", "--until-empty", "--no-wait"), folder),
    }


def show(rounds: list[dict[str, Measured]], messages: int) -> None:
    print(f"\n{'':32}{'messages/s':>12}{'ratio':>8}{'CPU µs each':>13}{'peak MB':>9}")
    base = statistics.median(run["aiosmtplib on uvloop, no queue"].seconds for run in rounds)
    for name in rounds[0]:
        seconds = statistics.median(run[name].seconds for run in rounds)
        cpu = statistics.median(run[name].cpu_seconds for run in rounds)
        peak = max(run[name].peak_mb for run in rounds)
        print(f"{name:32}{messages / seconds:>12,.0f}{base / seconds:>8.2f}{cpu / messages * 1e6:>13,.0f}{peak:>9,.0f}")


if __name__ == "__main__":
    main()
