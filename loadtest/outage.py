"""The first of two origins fails while misses arrive at a constant rate: how many clients notice?

    python -m loadtest.outage [hung killed 500 throttled] [--seconds 90] [--rate 50] [--recovery 60]

A node of two workers, and two origins of which the first is stopped (SIGSTOP), killed, or answers 500 or 429. Every
request is a miss. They arrive by the clock, whether those before them have been answered or not (an open model:
clients that wait would flatter an outage), and a request's time counts from when it was due. It ends with an error if
a request fails, if more than fifteen take longer than a second in the first minute or any later, or if the node
fetches more than 1.1 times as often as without the fault. With `--recovery` the origin then returns; the last column
shows after how many seconds it has nine of ten fetches again. Below are the node's own lines on its origins.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loadtest.processes import Process, free_port, raise_descriptor_limit

WARM_SECONDS = 10.0
FIRST_SECONDS = 60.0
SLOW_SECONDS = 1.0
PATIENCE_SECONDS = 30.0
SIZE = 10_000
DELAY_MS = 20


class Field:
    """A node with its two origins."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port, self.admin = free_port(), free_port()
        self.origins = [self._origin("fra", free_port()), self._origin("iad", free_port())]
        config = directory / "shield.yaml"
        config.write_text(json.dumps(self._settings()))
        command = [sys.executable, "-m", "shield", "serve", "--config", str(config)]
        self.node = Process("shield", command, core=_cores(), port=self.port, log=directory / "shield.log")
        for each in (*self.origins, self.node):
            each.wait_until_it_listens()

    def _origin(self, name: str, port: int) -> Process:
        command = [sys.executable, "-m", "loadtest.origin", str(port)]
        return Process(name, command, core=_cores(), port=port, log=self.directory / f"{name}.log")

    def _settings(self) -> dict[str, Any]:
        return {
            "node": "outage",
            "workers": 2,
            "listen": f"127.0.0.1:{self.port}",
            "admin": {"listen": f"127.0.0.1:{self.admin}"},
            "origins": {
                each.name: {
                    "provider": "http",
                    "endpoint": f"http://127.0.0.1:{each.port}",
                    "role": "replica" if place else "primary",
                }
                for place, each in enumerate(self.origins)
            },
            "cache": {"memory": {"capacity": "256MiB"}},
            "log": {"access": "off"},
        }

    def fail(self, fault: str) -> None:
        """From now on the first origin fails."""
        first = self.origins[0]
        if fault == "hung":
            os.kill(first.pids()[0], signal.SIGSTOP)
        elif fault == "killed":
            first.kill()
        else:
            self._ask(first.port, f"/mode/{'429' if fault == 'throttled' else fault}")

    def mend(self, fault: str) -> None:
        """It is back."""
        first = self.origins[0]
        if fault == "hung":
            os.kill(first.pids()[0], signal.SIGCONT)
        elif fault == "killed":
            self.origins[0] = self._origin("fra", first.port)
            self.origins[0].wait_until_it_listens()
        else:
            self._ask(first.port, "/mode/200")

    def fetches(self) -> Counter[str]:
        """Fetches of the node so far, by origin."""
        origins = json.loads(self._ask(self.admin, "/state"))["origins"]
        return Counter({name: state["fetches"] for name, state in origins.items()})

    def log(self) -> list[str]:
        """The node's log lines on its origins."""
        lines = (self.directory / "shield.log").read_text().splitlines()
        return [line for line in lines if "origin " in line and any(word in line for word in _CHANGES)]

    def stop(self) -> None:
        for each in (self.node, *self.origins):
            for pid in each.pids():
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGCONT)
            each.stop()

    def _ask(self, port: int, path: str) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE_SECONDS) as answer:
            return bytes(answer.read())


_CHANGES = (": suspect: ", ": out: ", ": recovering: ", ": up: ")


@dataclass
class Tally:
    """The results of the requests in a span of time."""

    times: list[tuple[float, float]] = field(default_factory=list)  # since the beginning when due, and how long
    failures: Counter[str] = field(default_factory=Counter)

    def slow(self, start: float, stop: float) -> int:
        return sum(took > SLOW_SECONDS for due, took in self.times if start <= due < stop)


class Arrivals:
    """Requests at a constant rate, each for another object."""

    def __init__(self, port: int, rate: float) -> None:
        self._port = port
        self._rate = rate
        self._number = 0

    async def run(self, seconds: float) -> Tally:
        tally = Tally()
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number in range(int(seconds * self._rate)):
                due = number / self._rate
                await asyncio.sleep(max(0.0, began + due - time.monotonic()))
                self._number += 1
                group.create_task(self._ask(f"/slow/{SIZE}/{DELAY_MS}/0/{self._number}", began, due, tally))
        return tally

    async def _ask(self, path: str, began: float, due: float, tally: Tally) -> None:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
                writer.write(b"GET %b HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n" % path.encode())
                answer = await reader.read(-1)
                writer.close()
        except (OSError, TimeoutError) as error:
            tally.failures[type(error).__name__] += 1
            return
        head, _, body = answer.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200") or len(body) != SIZE:
            tally.failures[head.split(b"\r\n", 1)[0].decode("latin-1")] += 1
            return
        tally.times.append((due, time.monotonic() - began - due))


@dataclass(frozen=True)
class Outcome:
    """One fault, and its effect on clients."""

    fault: str
    requests: int
    failures: Counter[str]
    slow_first: int
    slow_later: int
    slowest: float
    ratio: float  # fetches per request, in times those without the fault
    back_after: float | None
    log: Sequence[str]

    def problems(self, options: argparse.Namespace) -> list[str]:
        found = []
        if self.failures:
            found.append(f"{sum(self.failures.values())} failed: {dict(self.failures)}")
        if self.slow_first > options.most_slow or self.slow_later:
            found.append(f"{self.slow_first} slow in the first minute, {self.slow_later} later")
        if self.ratio > options.most_fetches:
            found.append(f"{self.ratio:.2f} times the fetches")
        return found


async def measure(field: Field, fault: str, options: argparse.Namespace) -> Outcome:
    arrivals = Arrivals(field.port, options.rate)
    start = field.fetches()
    warm = await arrivals.run(min(WARM_SECONDS, options.seconds))
    before = field.fetches()
    usual = (before - start).total() / max(1, len(warm.times))
    field.fail(fault)
    tally = await arrivals.run(options.seconds)
    after = await asyncio.to_thread(field.fetches)
    requests = len(tally.times) + tally.failures.total()
    await asyncio.to_thread(field.mend, fault)
    back = await _recovery(field, arrivals, options.recovery) if options.recovery else None
    return Outcome(
        fault,
        requests,
        tally.failures + warm.failures,
        tally.slow(0.0, FIRST_SECONDS),
        tally.slow(FIRST_SECONDS, options.seconds),
        max((took for _, took in tally.times), default=0.0),
        (after - before).total() / max(1, requests) / usual,
        back,
        field.log(),
    )


async def _recovery(field: Field, arrivals: Arrivals, seconds: float) -> float | None:
    """After how many seconds the origin has nine of ten fetches again."""
    began, before, back = time.monotonic(), await asyncio.to_thread(field.fetches), None
    while time.monotonic() - began < seconds:
        await arrivals.run(2.0)
        now = await asyncio.to_thread(field.fetches)
        new = now - before
        before = now
        if new["fra"] < 0.9 * new.total():
            back = None
        elif back is None:
            back = time.monotonic() - began
    return back


def _cores() -> str:
    return f"0-{(os.cpu_count() or 1) - 1}"


def main() -> int:
    parser = argparse.ArgumentParser(description="The first of two origins fails; do clients notice?")
    parser.add_argument("faults", nargs="*", default=["hung", "killed", "500", "throttled"])
    parser.add_argument("--seconds", type=float, default=90.0)
    parser.add_argument("--rate", type=float, default=50.0, help="requests a second")
    parser.add_argument("--recovery", type=float, default=0.0, help="seconds to watch after the origin is back")
    parser.add_argument("--most-slow", type=int, default=15, help="in the first minute")
    parser.add_argument("--most-fetches", type=float, default=1.1, help="in times those without the fault")
    options = parser.parse_args()
    raise_descriptor_limit()
    wrong = False
    print(f"{'fault':10} requests failed  >1 s in the 1st minute  later  slowest  fetches  back after")
    for fault in options.faults:
        with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
            world = Field(Path(directory))
            try:
                outcome = asyncio.run(measure(world, fault, options))
            finally:
                world.stop()
        back = "-" if outcome.back_after is None else f"{outcome.back_after:.0f} s"
        print(
            f"{fault:10} {outcome.requests:8} {outcome.failures.total():6} {outcome.slow_first:22}"
            f" {outcome.slow_later:6} {outcome.slowest:6.2f} s {outcome.ratio:7.2f}x {back:>11}"
        )
        for line in outcome.log:
            print("          ", line)
        for problem in outcome.problems(options):
            print(f"{fault}: {problem}", file=sys.stderr)
            wrong = True
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
