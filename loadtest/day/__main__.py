"""A day of a platform's traffic, compressed into minutes, through a real node: does the money add up?

    python -m loadtest.day [--requests 120000] [--images 20000] [--seed 1] [--short]

Two origins, a node of two workers with RAM and a disk, and a client, all real processes; but the clock is the
traffic's: each minute's requests are sent as fast as the node can answer, then the clock moves on by a minute.
Zipf, drift, crawlers from two to five; at ten a fiftieth of the images is purged; at eleven the near origin is out
for twenty minutes. On the next day somebody floods an object with queries that never come again. It ends with 1
unless

- the ledger has the requests and bytes that the origins themselves counted, to a thousandth
- the month's bill that `shield cost` expects from the ledger, without the higher price of the far origin during the
  outage, is what `shield simulate` foretells from the log of the same day, to a twentieth (which it does without
  knowing of purge and outage)
- the flood is named within two minutes of traffic time, by the route and the query that it came by
- the budget of the far origin, to which it is sent, holds: no more than what is under way in half a second beyond it
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from loadtest.day.client import DayClient
from loadtest.day.clock import TrafficClock
from loadtest.day.traffic import FLOOD_SIZE, MINUTES, MadeDay, flood
from loadtest.processes import Process, free_port
from shield.cli.cost import cost
from shield.cli.simulate.run import SimulationWish, simulate
from shield.egress.ledger import Ledger, LedgerTerms

START = datetime(2026, 11, 1, tzinfo=UTC).timestamp()  # a month of thirty days, and long before the origins' Dates
PURGE_AT, OUT_AT, BACK_AT = 10 * 60, 11 * 60, 11 * 60 + 20
HEALED_AT = BACK_AT + 20
FLOOD_AT, FLOOD_MINUTES, FLOOD_REQUESTS = 30, 6, 300
BUDGET_BYTES = 400_000_000
PRICES = {"near": 0.05, "far": 0.09}  # EUR a GB
_CONNECTIONS = 24


@dataclass
class Verdicts:
    """What was found, and whether it is good."""

    lines: list[str] = field(default_factory=list)
    is_good: bool = True

    def say(self, good: bool, text: str) -> None:
        self.lines.append(f"{'good' if good else 'BAD '}  {text}")
        print(self.lines[-1], flush=True)
        self.is_good &= good


class Day:
    """The processes of a day in a directory of their own."""

    def __init__(self, directory: Path, options: argparse.Namespace) -> None:
        self.directory, self.options = directory, options
        self.ports = {"near": free_port(), "far": free_port()}
        self.port, self.admin = free_port(), free_port()
        self.config = directory / "shield.yaml"
        self.config.write_text(yaml.safe_dump(self._settings(), sort_keys=False))
        self.clock = TrafficClock.made(directory / "clock", START)
        self.made = MadeDay(options.requests, options.images, seed=options.seed)
        self.processes: list[Process] = []
        self.client = DayClient(self.port, _CONNECTIONS)

    def _settings(self) -> dict[str, Any]:
        def origin(name: str, egress: float) -> dict[str, Any]:
            price = {"egress": egress, "requests": 0.0004, "currency": "EUR"}
            return {"provider": "http", "endpoint": f"http://127.0.0.1:{self.ports[name]}", "price": price}

        capacity = max(128 << 20, self.options.images * 13_000)
        return {
            "node": "day-1",
            "listen": f"127.0.0.1:{self.port}",
            "admin": {"listen": f"127.0.0.1:{self.admin}"},
            "workers": 2,
            "state_directory": str(self.directory / "state"),
            "origins": {name: origin(name, price) for name, price in PRICES.items()},
            "routes": {
                "images": {"match": "/images", "origins": ["near", "far"], "choose": "ordered"},
                "raw": {"match": "/raw", "origins": ["far"], "choose": "ordered", "query": {"allow": ["cb"]}},
            },
            "cache": {
                "memory": {"capacity": capacity // 4},
                "tiers": [
                    {"name": "ssd", "directories": [{"path": str(self.directory / "ssd"), "capacity": capacity}]}
                ],
            },
            "budgets": {
                "far-day": {
                    "origins": ["far"],
                    "per": "day",
                    "amount": BUDGET_BYTES,
                    "then": {"refuse": "100%"},
                }
            },
            "alarms": {"spikes": {"money": 0.5}},
            "access_log": {"hits": 1, "file": str(self.directory / "access.log")},
        }

    def start(self) -> None:
        (self.directory / "state").mkdir(exist_ok=True)
        for name, port in self.ports.items():
            self._start(name, [sys.executable, "-m", "loadtest.day.origin", str(port)], port)
        command = [sys.executable, "-m", "loadtest.day.node", str(self.config), str(self.directory / "clock")]
        self._start("node", command, self.port)

    def _start(self, name: str, command: Sequence[str], port: int) -> None:
        cores = ",".join(map(str, sorted(os.sched_getaffinity(0))))
        made = Process(name, command, core=cores, port=port, log=self.directory / f"{name}.log")
        self.processes.append(made)
        made.wait_until_it_listens()

    def stop(self) -> None:
        for process in reversed(self.processes):
            process.stop()
        self.processes.clear()

    async def tell(self, origin: str, what: str) -> dict[str, int]:
        text = f"GET /*{what} HTTP/1.1\r\nHost: x\r\n\r\n"
        found: dict[str, int] = json.loads(await self.client.tell(self.ports[origin], text))
        return found

    async def call(self, method: str, path: str, body: object = None) -> Any:
        data = "" if body is None else json.dumps(body)
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nConnection: close\r\n"
        )
        return json.loads(await self.client.tell(self.admin, f"{head}Content-Length: {len(data)}\r\n\r\n{data}"))

    async def play(self, minutes: range, also: Callable[[int], Any] | None = None) -> None:
        """Ordinary traffic; `also` is awaited before each minute."""
        for minute in minutes:
            if also is not None:
                await also(minute)
            began = time.monotonic()
            await self.client.play(self.made.minute(minute))
            if OUT_AT <= minute < HEALED_AT:  # health is judged in real time, and so is recovery
                await asyncio.sleep(max(0.0, began + self.options.pace - time.monotonic()))
            self.clock.set(START + 60.0 * (minute + 1))

    async def first_day(self) -> None:
        async def events(minute: int) -> None:
            if minute == PURGE_AT:
                await self.call("POST", "/purge", {"prefixes": ["/images/p/33/"]})
            if minute == OUT_AT:
                await self.tell("near", "out")
            if minute == BACK_AT:
                await self.tell("near", "back")
            if minute % 120 == 0:
                print(f"      {minute // 60:02}:00 {dict(self.client.statuses)}", flush=True)

        await self.play(range(MINUTES), events)

    def ledger(self) -> dict[str, tuple[int, int]]:
        """Requests and bytes of each origin, all that is known."""
        found: dict[str, tuple[int, int]] = {}
        path = self.directory / "state" / "ledger-day-1.sqlite"
        for row in Ledger(LedgerTerms(path, keep=1e9)).rows(0, 1 << 40):
            before = found.get(row.origin, (0, 0))
            found[row.origin] = before[0] + row.requests, before[1] + row.received
        return found

    async def flushed(self) -> None:
        """Wait until the ledger has all that was counted: it is written every few seconds of real time. On a busy
        machine it may be late: for a minute it is waited for what origins counted, too.
        """
        before: object = None
        until = time.monotonic() + 60.0
        while before != (before := self.ledger()) or (time.monotonic() < until and not await self._has_all()):
            self.clock.set(self.clock() + 6.0)
            await asyncio.sleep(2.5)

    async def _has_all(self) -> bool:
        ledger = self.ledger()
        counted = {name: (await self.tell(name, "counts"))["requests"] for name in self.ports}
        return all(ledger.get(name, (0, 0))[0] >= requests for name, requests in counted.items())


async def compared(day: Day, verdicts: Verdicts) -> None:
    """The ledger beside the origins' own counts."""
    await day.flushed()
    ledger = day.ledger()
    for name in day.ports:
        counts, (requests, received) = await day.tell(name, "counts"), ledger.get(name, (0, 0))
        off = received / max(counts["sent"], 1) - 1.0
        off_requests = requests / max(counts["requests"], 1) - 1.0
        # A probe may be given up after it was sent, which either side may miss.
        verdicts.say(
            abs(off) <= 0.001 and abs(requests - counts["requests"]) <= max(2, 0.001 * counts["requests"]),
            f"origin {name}: it sent {counts['sent']:,} bytes, the ledger has {off:+.4%}; "
            f"{counts['requests']:,} requests, {off_requests:+.4%}",
        )


def foretold(day: Day, verdicts: Verdicts) -> None:
    """The month that the ledger makes expect, beside the one foretold from the log."""
    now = START + 86400.0
    bill = _printed(lambda: cost(day.config, by="reason", month="2026-11", form="json", now=now))
    origins = _printed(lambda: cost(day.config, by="origin", month="2026-11", form="json", now=now))["lines"]
    far = sum(line["received_bytes"] for line in origins if line["origin"] == "far")
    dearer = far * (PRICES["far"] - PRICES["near"]) / 1e9 / sum(line["cost"].get("EUR", 0.0) for line in origins)
    wish = SimulationWish([day.config], [str(day.directory / "access.log")])
    told = _printed(lambda: simulate(wish, as_json=True))["nodes"][0]
    real, month = bill["forecast"]["EUR"], told["cost_30_days"]["EUR"]["value"]
    off = month / (real * (1.0 - dearer)) - 1.0
    verdicts.say(
        abs(off) <= day.options.most_off,
        f"the month's bill by the ledger {real:.4f} EUR, of it {dearer:.2%} for the price of the far origin; "
        f"foretold {month:.4f}: {off:+.2%} without that, {month / real - 1.0:+.2%} with it",
    )
    hits = 1.0 - told["origin_requests"]["miss"]["value"] / told["requests"]
    lines = {line["reason"]: f"{line['received_bytes']:,}" for line in bill["lines"]}
    print(f"      bytes by reason: {lines}; simulated without a miss: {hits:.2%}", flush=True)


def _printed(run: Callable[[], int]) -> Any:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = run()
    assert code == 0, out.getvalue()
    return json.loads(out.getvalue())


async def flooded(day: Day, verdicts: Verdicts) -> None:
    """The next day, with a flood from half past midnight on, each of its minutes in six seconds."""
    await day.play(range(MINUTES, MINUTES + FLOOD_AT))
    named: float | None = None
    errors = day.client.statuses[503]
    spent = (await day.tell("far", "counts"))["sent"]
    last, moved, most = spent, 0.0, 0
    for minute in range(FLOOD_MINUTES):
        at = MINUTES + FLOOD_AT + minute
        requests = list(flood(minute, FLOOD_REQUESTS))
        for part in range(6):  # ten seconds of traffic in one: as often as the node looks for spikes
            began = time.monotonic()
            await day.client.play([*requests[part::6], *(day.made.minute(at) if part == 0 else ())])
            day.clock.set(START + 60.0 * at + 10.0 * (part + 1))
            sent = (await day.tell("far", "counts"))["sent"]
            most, last = max(most, sent - last), sent
            if named is None and (text := _spike(await day.call("GET", "/alarms"))):
                named = day.clock() - START - 60.0 * (MINUTES + FLOOD_AT)
                print(f"      {text}", flush=True)
            await asyncio.sleep(max(0.0, began + 1.0 - time.monotonic()))
            moved = sent - spent
    verdicts.say(named is not None and named <= 120.0, f"the flood was named after {named} s of traffic")
    told = _spike(await day.call("GET", "/alarms")) or ""
    verdicts.say("raw" in told and "quer" in told, "the alarm names the route, and queries as the cause")
    asked = FLOOD_MINUTES * FLOOD_REQUESTS * FLOOD_SIZE
    verdicts.say(
        moved <= BUDGET_BYTES + 2 * most and moved < asked,
        f"the budget of {BUDGET_BYTES:,} bytes: the far origin sent {moved:,} of {asked:,} that were asked for",
    )
    verdicts.say(day.client.statuses[503] > errors, f"{day.client.statuses[503] - errors} requests were refused")


def _spike(alarms: Any) -> str | None:
    """What the alarm of a spike says; None: there is none."""
    told = [str(each["text"]) for each in (*alarms["active"], *alarms["recent"]) if each["kind"] == "egress-spike"]
    return told[0] if told else None


async def run(day: Day, verdicts: Verdicts) -> None:
    """All of it. Raises OSError if a process is gone."""
    began = time.monotonic()
    await day.first_day()
    statuses, wrong = dict(day.client.statuses), day.client.wrong
    print(f"      a day in {time.monotonic() - began:.0f} s: {statuses}", flush=True)
    errors = {status: number for status, number in statuses.items() if status not in (200, 404)}
    # While an origin is out, nobody can say for certain that an object doesn't exist: 503, not 404.
    verdicts.say(
        not wrong and set(errors) <= {503} and statuses.get(200, 0) == day.client.existing,
        f"{wrong} bodies of a wrong length, and errors only for what doesn't exist, in the outage: {errors}",
    )
    await compared(day, verdicts)
    foretold(day, verdicts)
    if not day.options.short:
        await flooded(day, verdicts)
        await compared(day, verdicts)
    day.client.close()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m loadtest.day", description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=120_000)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="work here, and leave it as it is")
    pace = "seconds of real time for a minute in which an origin's health changes"
    parser.add_argument("--pace", type=float, default=1.5, help=pace)
    parser.add_argument("--most-off", type=float, default=0.05, help="of the month's bill, as a share")
    parser.add_argument("--short", action="store_true", help="the first day only")
    options = parser.parse_args()
    verdicts = Verdicts()
    with contextlib.ExitStack() as stack:
        directory = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm")))
        directory.mkdir(exist_ok=True)
        day = Day(directory, options)
        stack.callback(day.stop)
        day.start()
        asyncio.run(run(day, verdicts))
    return 0 if verdicts.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
