"""How fast messages go over the wire, without a queue: mailer's engine beside smtp-source and aiosmtplib. One table.

    python -m bench wire [--quick] [--rounds 5] [--scenario A]
    python -m bench wire --profile step-uvloop [--scenario B]

Every contender sends ready-made messages of 4 KB, one recipient each, in a process of its own, into Postfix's smtp-sink
and into bench/chunk_sink.py, which knows CHUNKING. The rounds alternate; the table has the medians of the rounds, half
the distance between the fastest and the slowest, and the medians of each round's ratios to aiosmtplib on uvloop and to
smtp-source. With a round-trip time there are three rounds at most, on uvloop alone: there the wire is waited for, runs
are as good as equal, and an event loop makes no difference.

Rates are those of the steady state (see bench/_wire_contenders.py); smtp-source, which cannot say when that begins, is
on loopback timed as a whole process. CPU time is that of the sending process.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

from bench._processes import HOST, OurServer, our_server, postfix_program, smtp_sink, timed
from bench._wire_contenders import MESSAGE_OCTETS, SENDER, SENDING, WINDOW, Steady, run

# What smtp-source puts before a text of the size that it is asked for, and counts extra.
_SOURCE_HEAD: Final = 137
_MOST_ROUNDS_WITH_DELAY: Final = 3


@dataclass(frozen=True)
class Scenario:
    """One wire."""

    what: str
    connections: int
    round_trip_ms: int
    messages: dict[str, int]
    """By the way of sending: so many that a run takes about a second."""


SCENARIOS: Final = {
    "A": Scenario(
        "1 connection, loopback",
        connections=1,
        round_trip_ms=0,
        messages={"smtp-source": 6_000, "aiosmtplib": 1_500, "step": 3_000, "pipelined": 5_000, "chunked": 10_000},
    ),
    "B": Scenario(
        "20 connections, loopback",
        connections=20,
        round_trip_ms=0,
        messages={"smtp-source": 8_000, "aiosmtplib": 2_000, "step": 4_000, "pipelined": 8_000, "chunked": 12_000},
    ),
    "C": Scenario(
        "10 connections, round trip of 50 ms",
        connections=10,
        round_trip_ms=50,
        messages={"smtp-source": 50, "aiosmtplib": 50, "step": 50, "pipelined": 200, "chunked": 1_200},
    ),
    "D": Scenario(
        "10 connections, round trip of 100 ms",
        connections=10,
        round_trip_ms=100,
        messages={"smtp-source": 40, "aiosmtplib": 40, "step": 40, "pipelined": 120, "chunked": 600},
    ),
}


@dataclass(frozen=True)
class Contender:
    """Who sends, and how."""

    label: str
    sending: str
    loop: str = ""

    @property
    def name(self) -> str:
        """As the command line has it."""
        return f"{self.sending}-{self.loop}" if self.loop else self.sending


_WAYS: Final = {
    "aiosmtplib": "aiosmtplib",
    "step": "mailer, step by step",
    "pipelined": "mailer, pipelined",
    "chunked": f"mailer, chunked, window {WINDOW}",
}
SOURCE: Final = Contender("smtp-source -d (C)", "smtp-source")
CONTENDERS: Final = [
    SOURCE,
    *(Contender(f"{label}, {loop}", way, loop) for way, label in _WAYS.items() for loop in ("asyncio", "uvloop")),
]
BASE: Final = next(each for each in CONTENDERS if each.name == "aiosmtplib-uvloop")

SINKS: Final = ("smtp-sink", "chunk_sink")


def is_on(contender: Contender, scenario: Scenario, sink: str) -> bool:
    """Whether that contender has a place in that part of the table."""
    if contender.sending == "chunked" and sink != "chunk_sink":
        return False
    return not (scenario.round_trip_ms and contender.loop == "asyncio")


class Wires:
    """Ports of both sinks, near and far."""

    def __init__(self, stack: contextlib.ExitStack, round_trips_ms: set[int]) -> None:
        self.chunk_sink = OurServer("chunk_sink")
        stack.callback(self.chunk_sink.stop)
        self._near = {"smtp-sink": stack.enter_context(smtp_sink()), "chunk_sink": self.chunk_sink.port}
        self._far = {
            (sink, ms): stack.enter_context(our_server("delay_proxy", "--to", str(port), "--round-trip-ms", str(ms)))
            for ms in sorted(round_trips_ms - {0})
            for sink, port in self._near.items()
        }

    def port(self, sink: str, round_trip_ms: int) -> int:
        return self._far[sink, round_trip_ms] if round_trip_ms else self._near[sink]


def measure(contender: Contender, scenario: Scenario, port: int, messages: int) -> Steady:
    """One run. A contender that does not come to the end ends the benchmark, too."""
    if contender is SOURCE:
        return smtp_source(scenario, port, messages)
    command = [
        sys.executable, "-m", "bench.wire", "--contender", contender.name,
        "--port", str(port), "--messages", str(messages), "--connections", str(scenario.connections),
    ]  # fmt: skip
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(1)  # it has said why
    return Steady(**json.loads(done.stdout))


def smtp_source(scenario: Scenario, port: int, messages: int) -> Steady:
    """It ends with an error if anything is refused."""
    command = [
        postfix_program("smtp-source"), "-d", "-s", str(scenario.connections), "-m", str(messages),
        "-l", str(MESSAGE_OCTETS - _SOURCE_HEAD), "-M", "bench.test", "-f", SENDER, "-t", "someone@example.test",
        f"{HOST}:{port}",
    ]  # fmt: skip
    if not scenario.round_trip_ms:
        whole = timed(command, Path.cwd())
        return Steady(messages, whole.seconds, whole.cpu_seconds)
    # So few messages that its start would count: its running counter tells when the first ones have gone. On loopback
    # that would cost a write and a wake-up for each message.
    before = max(messages // 10, scenario.connections)
    looks: list[tuple[float, float]] = []
    with subprocess.Popen([command[0], "-c", *command[1:]], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        taken = 0
        while part := os.read(process.stdout.fileno(), 4096):
            taken += part.count(b"\r")
            if taken >= (messages if looks else before) and len(looks) < 2:
                looks.append((time.perf_counter(), cpu_seconds(process.pid)))
    if process.returncode:
        sys.exit(f"{command} ended with {process.returncode}")
    (began, cpu_began), (ended, cpu_ended) = looks
    return Steady(messages - before, ended - began, cpu_ended - cpu_began)


def cpu_seconds(pid: int) -> float:
    """CPU time of another process so far."""
    return time.clock_gettime(~pid << 3 | 2)  # what clock_getcpuclockid(3) makes of it on Linux


Runs = dict[tuple[str, str, str], list[Steady]]
"""By the names of scenario, sink and contender."""


def all_rounds(names: list[str], rounds: int, *, is_quick: bool) -> tuple[Runs, str]:
    """Every run, and what the chunk sink had to say in the end."""
    runs: Runs = {}
    sent = 0
    with contextlib.ExitStack() as stack:
        wires = Wires(stack, {SCENARIOS[name].round_trip_ms for name in names})
        for n in range(rounds):
            for name in names:
                scenario = SCENARIOS[name]
                if scenario.round_trip_ms and n >= _MOST_ROUNDS_WITH_DELAY:
                    continue
                print(f"round {n + 1} of {rounds}: {scenario.what}", file=sys.stderr)
                for sink in SINKS:
                    for contender in (each for each in CONTENDERS if is_on(each, scenario, sink)):
                        messages = scenario.messages[contender.sending]
                        if is_quick:
                            messages = max(messages // 4, 4 * scenario.connections)
                        port = wires.port(sink, scenario.round_trip_ms)
                        steady = measure(contender, scenario, port, messages)
                        runs.setdefault((name, sink, contender.name), []).append(steady)
                        sent += messages if sink == "chunk_sink" else 0
        totals = json.loads(wires.chunk_sink.stop())
    if totals["messages"] != sent:
        sys.exit(f"chunk_sink took {totals['messages']:,} messages, and {sent:,} were sent to it.")
    return runs, f"chunk_sink took all of {sent:,} messages, {totals['as_chunks']:,} of them as chunks (BDAT)."


def cells(runs: Runs, name: str, sink: str, contender: Contender) -> str:
    """One contender's four columns for one sink."""
    found = runs.get((name, sink, contender.name))
    if found is None:
        return f"{'–':>10}{'':27}"

    def rates(of: Contender) -> list[float]:
        return [each.messages / each.seconds for each in runs[name, sink, of.name]]

    def ratio(to: Contender) -> float:
        """Within a round, so that it does not matter what else the machine did in other rounds."""
        return statistics.median(own / other for own, other in zip(rates(contender), rates(to), strict=True))

    rate = statistics.median(rates(contender))
    spread = f"±{(max(rates(contender)) - min(rates(contender))) / 2 / rate:.0%}" if len(found) > 1 else ""
    cpu = statistics.median(each.cpu_seconds / each.messages for each in found)
    return f"{rate:>10,.0f}{spread:>6}{ratio(BASE):>7.2f}{ratio(SOURCE):>7.2f}{cpu * 1e6:>7,.0f}"


def show(runs: Runs, names: list[str]) -> None:
    heads = {"smtp-sink": "Postfix's smtp-sink", "chunk_sink": "bench/chunk_sink.py (has CHUNKING)"}
    print(f"\n{'':33}" + "".join(f"   {heads[sink]:^37}" for sink in SINKS))
    column = f"{'messages/s':>10}{'':6}{'÷ aio':>7}{'÷ src':>7}{'µs CPU':>7}"
    print(f"{'':33}" + f"   {column}" * len(SINKS))
    for name in names:
        print(f"{name}  {SCENARIOS[name].what}")
        for contender in CONTENDERS:
            if any((name, sink, contender.name) in runs for sink in SINKS):
                row = "".join(f"   {cells(runs, name, sink, contender)}" for sink in SINKS)
                print(f"   {contender.label:30}{row}".rstrip())


def machine() -> str:
    """What the figures depend on."""
    return (
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before the first run, "
        f"{platform.python_implementation()} {platform.python_version()}, uvloop {version('uvloop')}, "
        f"aiosmtplib {version('aiosmtplib')}, messages of {MESSAGE_OCTETS:,} octets"
    )


def profile(contender: Contender, name: str, *, is_quick: bool) -> None:
    """Where the time of one contender goes, in one run against the chunk sink."""
    scenario = SCENARIOS[name]
    messages = scenario.messages[contender.sending] // (4 if is_quick else 1)
    with contextlib.ExitStack() as stack:
        port = Wires(stack, {scenario.round_trip_ms}).port("chunk_sink", scenario.round_trip_ms)
        run(
            contender.sending, contender.loop, port=port, messages=messages, connections=scenario.connections,
            is_profiled=True,
        )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    by_name = {each.name: each for each in CONTENDERS}
    profiled = [name for name, each in by_name.items() if each.sending in SENDING]
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one round of a quarter of the messages")
    parser.add_argument("--scenario", choices=SCENARIOS, help="only this one")
    parser.add_argument("--profile", choices=profiled, metavar="CONTENDER", help=f"of {', '.join(profiled)}")
    parser.add_argument("--contender", choices=profiled, help=argparse.SUPPRESS)
    for number in ("--port", "--messages", "--connections"):
        parser.add_argument(number, type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contender:
        contender = by_name[options.contender]
        run(
            contender.sending, contender.loop, port=options.port, messages=options.messages,
            connections=options.connections, is_profiled=False,
        )  # fmt: skip
        return
    print(machine())
    if options.profile:
        profile(by_name[options.profile], options.scenario or "B", is_quick=options.quick)
        return
    names = [options.scenario] if options.scenario else list(SCENARIOS)
    began = time.perf_counter()
    runs, last_words = all_rounds(names, 1 if options.quick else options.rounds, is_quick=options.quick)
    show(runs, names)
    print(f"\n{last_words} {time.perf_counter() - began:.0f} s in all.")


if __name__ == "__main__":
    main()
