"""The first signal asks for a clean stop, the second one leaves at once."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from mailer.service.signals import end_of_pipe

CHILD = """
import asyncio, sys
from mailer.service.signals import stop_on_signals

def say(word):
    sys.stdout.write(word + "\\n")
    sys.stdout.flush()

async def main():
    with stop_on_signals(lambda number: say(number.name), lambda: say("SIGHUP"), leave=lambda number: say("leaving")):
        say("ready")
        try:
            await asyncio.Event().wait()
        finally:
            say("cleaned up")

import structlog
structlog.configure(processors=[lambda *_: (_ for _ in ()).throw(structlog.DropEvent)])
asyncio.run(main())
"""


@contextmanager
def child() -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen([sys.executable, "-c", CHILD], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert heard(process) == "ready"
            yield process
        finally:
            process.kill()


def heard(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().rstrip()


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_the_second_signal_ends_the_process_without_any_clean_up(first: signal.Signals, second: signal.Signals) -> None:
    with child() as process:
        process.send_signal(first)
        assert heard(process) == first.name
        assert process.poll() is None
        process.send_signal(second)
        assert heard(process) == "leaving"
        assert process.wait(20) == 128 + second
        assert heard(process) == ""


def test_a_hang_up_is_heard_each_time_and_asks_nobody_to_stop() -> None:
    with child() as process:
        for _ in range(3):
            process.send_signal(signal.SIGHUP)
            assert heard(process) == "SIGHUP"
        process.send_signal(signal.SIGTERM)
        assert heard(process) == "SIGTERM"


async def test_the_end_of_a_pipe_is_noticed_when_its_last_writer_closes_it() -> None:
    reading, writing = os.pipe()
    another = os.dup(writing)
    noticed = asyncio.create_task(end_of_pipe(reading))
    os.close(writing)
    await asyncio.sleep(0)
    assert not noticed.done(), "another process could hold it still"
    os.close(another)
    async with asyncio.timeout(20):
        await noticed
    os.close(reading)
