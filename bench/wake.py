"""How soon an idle worker starts on a newly queued message: from the commit that releases it to its MAIL command.

    python -m bench wake [--times 20]

Each time the worker has no open connection, so connecting and logging in are included.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from mailer.clocks import wall_clock
from mailer.config import load
from mailer.content import ContentFiles
from mailer.service.queue_draft import Ground, Wishes, draft_from_files
from mailer.store import NewRow, Store

SERVER = Path(__file__).parents[1] / "tests" / "support" / "recording_server.py"
USER, PASSWORD = "me@sender.test", "correct horse"
CONFIG = """
[database]
url = "sqlite:///queue.db"
[log]
level = "error"
[[relay]]
name = "recorder"
host = "127.0.0.1"
port = {port}
tls = "none"
username = "me@sender.test"
password = {{ env = "RECORDER_PASSWORD" }}
messages_per_connection = 1
"""


async def measure(folder: Path, times: int) -> list[float]:
    environ = {**os.environ, "RECORDER_PASSWORD": PASSWORD}
    config = load(environ, file=folder / "config.toml").config
    (folder / "text.txt").write_text("Hello\n", "utf-8")
    files = ContentFiles(
        sender=USER, subject="wake", text=folder / "text.txt", html=None, attach=(), inline=(), headers=(),
        reply_to=None, to_name=None, variables={}, list_name=None,
    )  # fmt: skip
    waits: list[float] = []
    async with await Store.open(config.database.path, create=True) as store:
        worker = subprocess.Popen([sys.executable, "-m", "mailer", "worker"], cwd=folder, env=environ)
        try:
            while not await store.workers.live():
                await asyncio.sleep(0.05)
            for n in range(times):
                await asyncio.sleep(0.37)  # idle, and at no fixed place in its rhythm of looking
                draft = draft_from_files(f"wake{n}", files, Wishes(), Ground(config, "UTC", wall_clock()), stdin=bytes)
                begun = await store.begin_load(draft.name, loader="bench", new=draft.snapshot(wall_clock()))
                await begun.add([NewRow("user5@x.test", "user5@x.test", "other", "{}")])
                released_at = wall_clock()
                await begun.release(hold=False)
                while not (messages := await store.reading.messages(limit=1, campaign=draft.name))[0].attempts:
                    await asyncio.sleep(0.02)
                detail = await store.reading.message(messages[0].id)
                waits.append((detail.attempts[0].started_at_us - released_at) / 1_000)
        finally:
            worker.terminate()
            worker.wait()
    return waits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place, contextlib.ExitStack() as stack:
        folder = Path(place)
        command = [sys.executable, str(SERVER), "--log", str(folder / "server.log")]
        server = stack.enter_context(
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        )
        assert server.stdin is not None
        assert server.stdout is not None
        stack.callback(server.stdin.close)
        (folder / "config.toml").write_text(CONFIG.format(port=int(server.stdout.readline())), "utf-8")
        waits = asyncio.run(measure(folder, options.times))
    print(
        f"from release to MAIL, {options.times} times: median {statistics.median(waits):.0f} ms, "
        f"fastest {min(waits):.0f} ms, slowest {max(waits):.0f} ms"
    )


if __name__ == "__main__":
    main()
