"""The first of two origins fails while misses arrive at a constant rate: how many clients notice?

    python -m loadtest.outage [--only hung,wrong] [--seconds 90] [--rate 50] [--recovery 90] [--choose ordered]

A node of two workers, and two origins of which the first is nearer. The cases:

- `hung`, `killed`, `500`, `throttled`: it is stopped (SIGSTOP), is killed (SIGKILL), or answers 500 or 429
- `wrong`: it sends other bytes of the same length under the same ETag, and states no checksum. Only regular probes
  can notice that. So the clients get wrong bodies until it is flagged as corrupt, and none after
- `sha256`, `md5`: the same, but it states a checksum of the right bytes. No wrong body may end cleanly

Every request is a miss. They arrive by the clock, whether those before them have been answered or not (an open model:
clients that wait would flatter an outage), and a request's time counts from when it was due. Then the origin is well
again for `--recovery` seconds. It ends with an error if a request fails, if more than fifteen take longer than a
second in the first minute or any later, if the node fetches more than 1.1 times as often as without the fault, if the
origin doesn't have nine of ten fetches again within a minute, or if the state of an origin flaps.
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

from loadtest.origin import body
from loadtest.processes import Process, free_port, raise_descriptor_limit

WARM_SECONDS = 10.0
FIRST_SECONDS = 60.0
SLOW_SECONDS = 1.0
PATIENCE_SECONDS = 30.0
LOOK_SECONDS = 0.05
BACK_SECONDS = 60.0
SIZE = 10_000
DELAY_MS = 20
FAR_MS = 40
ASKED_AGAIN = 50
MOST_SLOW = 15
MOST_FETCHES = 1.1

MODES = {"500": "500", "throttled": "429", "wrong": "wrong", "sha256": "wrong", "md5": "wrong"}
CASES = ("hung", "killed", *MODES)
STATED = ("sha256", "md5")
CANARY = f"/slow/{SIZE}/{DELAY_MS}/0/canary"


class Field:
    """A node with its two origins."""

    def __init__(self, directory: Path, case: str, options: argparse.Namespace) -> None:
        self.directory = directory
        self.case = case
        self.port, self.admin = free_port(), free_port()
        self.origins = [self._origin("fra", free_port()), self._origin("iad", free_port())]
        config = directory / "shield.yaml"
        config.write_text(json.dumps(self._settings(options)))
        command = [sys.executable, "-m", "shield", "serve", "--config", str(config)]
        self.node = Process("shield", command, core=_cores(), port=self.port, log=directory / "shield.log")
        for each in (*self.origins, self.node):
            each.wait_until_it_listens()
        if case in STATED:
            for each in self.origins:
                self._ask(each.port, f"/states/{case}")

    def _origin(self, name: str, port: int) -> Process:
        command = [sys.executable, "-m", "loadtest.origin", str(port), "0" if name == "fra" else str(FAR_MS)]
        return Process(name, command, core=_cores(), port=port, log=self.directory / f"{name}.log")

    def _settings(self, options: argparse.Namespace) -> dict[str, Any]:
        keys = {"access_key_id": "AKIDEXAMPLE", "secret_key": "an-example-that-nobody-checks"}
        of_store = {"provider": "aws", "region": "eu-central-1", "bucket": "bucket", **keys}
        return {
            "node": "outage",
            "workers": 2,
            "listen": f"127.0.0.1:{self.port}",
            "admin": {"listen": f"127.0.0.1:{self.admin}"},
            "origins": {
                each.name: {
                    **(of_store if self.case == "md5" else {"provider": "http"}),
                    "addressing": "path",
                    "endpoint": f"http://127.0.0.1:{each.port}",
                    "role": "replica" if place else "primary",
                }
                for place, each in enumerate(self.origins)
            },
            "routes": {"default": {"match": "/", "choose": options.choose}},
            "probes": {"interval": f"{options.probes:g}s", "canaries": [CANARY]},
            "cache": {"memory": {"capacity": "256MiB"}},
            "access_log": {"format": "off"},
        }

    def fail(self) -> None:
        """From now on the first origin fails."""
        first = self.origins[0]
        if self.case == "hung":
            os.kill(first.pids()[0], signal.SIGSTOP)
        elif self.case == "killed":
            first.kill()
        else:
            self._ask(first.port, f"/mode/{MODES[self.case]}")

    def mend(self) -> None:
        """It is back."""
        first = self.origins[0]
        if self.case == "hung":
            os.kill(first.pids()[0], signal.SIGCONT)
        elif self.case == "killed":
            self.origins[0] = self._origin("fra", first.port)
            self.origins[0].wait_until_it_listens()
        else:
            self._ask(first.port, "/mode/200")

    def fetches(self) -> Counter[str]:
        """Fetches of the node so far, by origin."""
        origins = json.loads(self._ask(self.admin, "/state"))["origins"]
        return Counter({name: state["fetches"] for name, state in origins.items()})

    def knows_its_canary(self) -> bool:
        """Whether the first origin's right bytes are known to the prober."""
        first = json.loads(self._ask(self.admin, "/origins"))["origins"][0]
        return any(canary["sha256"] for canary in first["probes"]["canaries"])

    def log(self) -> list[str]:
        """The node's log lines on changes of its origins."""
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


_CHANGES = (": suspect: ", ": out: ", ": recovering: ", ": up: ", ": corrupt: ", ": not corrupt ")
_WORSE = (": suspect: ", ": out: ", ": corrupt: ")


def count_flaps(log: Sequence[str]) -> int:
    """How often the origin turned worse again after it was back, in lines since the fault ended, and how often the
    other one turned worse at all.
    """
    flaps, is_back = 0, False
    for line in log:
        is_worse = any(word in line for word in _WORSE)
        if "origin fra: " not in line:
            flaps += is_worse
            continue
        flaps += is_worse and is_back
        is_back = not is_worse
    return flaps


@dataclass
class Tally:
    """The results of the requests in a span of time. They were due at seconds since its beginning."""

    times: list[tuple[float, float]] = field(default_factory=list)  # when due, and how long it took
    failures: Counter[str] = field(default_factory=Counter)
    wrong: list[tuple[float, str]] = field(
        default_factory=list
    )  # bodies that ended cleanly: when due, and their path

    @property
    def requests(self) -> int:
        return len(self.times) + self.failures.total()

    def slow(self, start: float, stop: float) -> int:
        return sum(took > SLOW_SECONDS for due, took in self.times if start <= due < stop)


class Arrivals:
    """Requests at a constant rate, each for another object."""

    def __init__(self, port: int, rate: float) -> None:
        self._port = port
        self._rate = rate
        self._number = 0
        self._right = body(SIZE)

    async def run(self, seconds: float, tally: Tally | None = None) -> Tally:
        tally = Tally() if tally is None else tally
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number in range(int(seconds * self._rate)):
                due = number / self._rate
                await asyncio.sleep(max(0.0, began + due - time.monotonic()))
                self._number += 1
                path = f"/slow/{SIZE}/{DELAY_MS}/0/{self._number}"
                group.create_task(self._request(path, began, due, tally))
        return tally

    async def are_wrong(self, paths: Sequence[str]) -> int:
        """How many of these are answered by wrong bytes now."""
        tally = Tally()
        for path in paths:
            await self._request(path, time.monotonic(), 0.0, tally)
        return len(tally.wrong)

    async def _request(self, path: str, began: float, due: float, tally: Tally) -> None:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
                writer.write(b"GET %b HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n" % path.encode())
                answer = await reader.read(-1)
                writer.close()
        except (OSError, TimeoutError) as error:
            tally.failures[type(error).__name__] += 1
            return
        head, _, got = answer.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            tally.failures[head.split(b"\r\n", 1)[0].decode("latin-1") or "no response"] += 1
        elif len(got) != SIZE:
            tally.failures["cut off"] += 1
        else:
            tally.times.append((due, time.monotonic() - began - due))
            if got != self._right:
                tally.wrong.append((due, path))


@dataclass
class Outcome:
    """One case, and its effect on clients."""

    case: str
    requests: int
    failures: Counter[str]
    slow_first: int
    slow_later: int
    slowest: float
    ratio: float  # fetches per request, in times those without the fault
    noticed: float | None  # seconds until the log says that the origin is bad
    log: Sequence[str]
    wrong_before: int = 0  # bodies with wrong bytes that ended cleanly: requested before that
    wrong_after: int = 0
    still_wrong: tuple[int, int] = (0, 0)  # of so many of these, asked again at the end
    again_after: float = 0.0  # seconds between
    recovery: float = 0.0  # how many seconds it was watched
    back_after: float | None = None
    flaps: int = 0

    def problems(self, options: argparse.Namespace) -> list[str]:
        """The bounds that are broken."""
        found = []
        if self.failures:
            found.append(f"{self.failures.total()} requests failed: {dict(self.failures)}")
        if self.slow_first > options.most_slow or self.slow_later:
            found.append(f"{self.slow_first} slower than a second in the first minute, {self.slow_later} later")
        if self.ratio > options.most_fetches:
            found.append(f"{self.ratio:.2f} times the fetches")
        if self.noticed is None:
            found.append("the fault wasn't noticed")
        if self.wrong_after:
            found.append(f"{self.wrong_after} wrong bodies requested after the fault was noticed")
        if self.case != "wrong" and self.wrong_before:
            found.append(f"{self.wrong_before} wrong bodies ended cleanly")
        if self.recovery and (self.back_after is None or self.back_after > BACK_SECONDS):
            found.append(f"its traffic wasn't back within {BACK_SECONDS:.0f} s")
        if self.flaps:
            found.append(f"{self.flaps} times bad again after the recovery, or the other origin bad")
        return found


async def measure(field: Field, options: argparse.Namespace) -> Outcome:
    arrivals = Arrivals(field.port, options.rate)
    start = await asyncio.to_thread(field.fetches)
    warm = await arrivals.run(min(WARM_SECONDS, options.seconds))
    before = await asyncio.to_thread(field.fetches)
    usual = (before - start).total() / max(1, len(warm.times))
    await _until_its_canary_is_known(field, 2 * options.probes)
    before = await asyncio.to_thread(field.fetches)

    await asyncio.to_thread(field.fail)
    looking = asyncio.create_task(_notice(field))
    tally = await arrivals.run(options.seconds)
    looking.cancel()
    noticed = await looking
    after = await asyncio.to_thread(field.fetches)
    before_mending = len(field.log())

    await asyncio.to_thread(field.mend)
    back, later = await _recovery(field, arrivals, options.recovery) if options.recovery else (None, Tally())
    log = field.log()
    until = float("inf") if noticed is None else noticed
    outcome = Outcome(
        field.case,
        tally.requests,
        warm.failures + tally.failures + later.failures,
        tally.slow(0.0, FIRST_SECONDS),
        tally.slow(FIRST_SECONDS, options.seconds) + later.slow(0.0, options.recovery),
        max((took for _, took in (*tally.times, *later.times)), default=0.0),
        (after - before).total() / max(1, tally.requests) / usual,
        noticed,
        log,
        wrong_before=sum(due <= until for due, _ in tally.wrong),
        wrong_after=sum(due > until for due, _ in tally.wrong) + len(later.wrong),
        recovery=options.recovery,
        back_after=back,
        flaps=count_flaps(log[before_mending:]),
    )
    again = [path for _, path in tally.wrong][:ASKED_AGAIN]
    outcome.still_wrong = await arrivals.are_wrong(again), len(again)
    outcome.again_after = options.seconds + options.recovery
    return outcome


async def _until_its_canary_is_known(field: Field, seconds: float) -> None:
    """Without the right bytes nothing can be compared with them."""
    end = time.monotonic() + seconds + 5.0
    while not await asyncio.to_thread(field.knows_its_canary):
        if time.monotonic() > end:
            print("the canary isn't known: no probe has succeeded", file=sys.stderr)
            return
        await asyncio.sleep(0.2)


async def _notice(field: Field) -> float | None:
    """After how many seconds a line says that the first origin is bad."""
    word = ": corrupt: " if field.case == "wrong" else ": suspect: "
    began = time.monotonic()
    with contextlib.suppress(asyncio.CancelledError):
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if any(f"origin fra{word}" in line for line in field.log()):
                return time.monotonic() - began
    return None


async def _recovery(field: Field, arrivals: Arrivals, seconds: float) -> tuple[float | None, Tally]:
    """After how many seconds the origin has nine of ten fetches again, and keeps them."""
    began, before, back = time.monotonic(), await asyncio.to_thread(field.fetches), None
    tally = Tally()
    while time.monotonic() - began < seconds:
        await arrivals.run(2.0, tally)
        now = await asyncio.to_thread(field.fetches)
        new = now - before
        before = now
        if new["fra"] < 0.9 * new.total():
            back = None
        elif back is None:
            back = time.monotonic() - began
    return back, tally


def _cores() -> str:
    return f"0-{(os.cpu_count() or 1) - 1}"


def _cases(text: str) -> tuple[str, ...]:
    cases = tuple(text.split(","))
    unknown = [case for case in cases if case not in CASES]
    if unknown:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there are {', '.join(CASES)}")
    return cases


_TITLES = (
    "case       requests  failed  >1 s in the 1st minute  later   slowest  fetches  noticed wrong  after"
    "  back after  flaps  bounds"
)


def show(outcome: Outcome, problems: Sequence[str]) -> None:
    noticed = "never" if outcome.noticed is None else f"{outcome.noticed:.1f} s"
    back = "-" if outcome.back_after is None else f"{outcome.back_after:.0f} s"
    print(
        f"{outcome.case:10}{outcome.requests:9}{outcome.failures.total():8}{outcome.slow_first:24}"
        f"{outcome.slow_later:7}{outcome.slowest:8.2f} s{outcome.ratio:8.2f}x{noticed:>9}"
        f"{outcome.wrong_before:6}{outcome.wrong_after:7}{back:>12}{outcome.flaps:7}"
        f"  {'BROKEN' if problems else 'holds'}"
    )
    for line in outcome.log:
        print("          ", line)
    still, of = outcome.still_wrong
    if of:
        seconds = f"{outcome.again_after:.0f} s"
        print(f"           {still} of {of} wrong bodies are still sent {seconds} after the fault began")
    for problem in problems:
        print(f"           BROKEN: {problem}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="The first of two origins fails; do clients notice?")
    parser.add_argument("--only", type=_cases, default=CASES, help=f"of {','.join(CASES)}")
    parser.add_argument("--seconds", type=float, default=90.0, help="for which the fault lasts")
    parser.add_argument("--rate", type=float, default=50.0, help="requests a second")
    parser.add_argument(
        "--recovery", type=float, default=90.0, help="seconds to watch after the origin is back; or 0"
    )
    parser.add_argument("--choose", default="ordered", help="the strategy of the route: ordered or nearest")
    parser.add_argument("--probes", type=float, default=10.0, help="seconds between two regular probes")
    parser.add_argument("--most-slow", type=int, default=MOST_SLOW, help="in the first minute")
    parser.add_argument("--most-fetches", type=float, default=MOST_FETCHES, help="in times those without the fault")
    options = parser.parse_args()
    raise_descriptor_limit()
    is_well = True
    print(_TITLES)
    for case in options.only:
        with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
            field = Field(Path(directory), case, options)
            try:
                outcome = asyncio.run(measure(field, options))
            finally:
                field.stop()
        problems = outcome.problems(options)
        show(outcome, problems)
        is_well = is_well and not problems
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main())
