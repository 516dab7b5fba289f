"""Records the metrics of nodes in which faults are injected, as tests of the alerts for promtool.

    python -m loadtest.recordings [--only disk-out,origins-down] [--directory deploy/prometheus/tests]

For each fault a node runs for a while as it should, then with the fault, and is scraped all the time. The series that
the alerts in question need, and the alerts that must fire at the end and at no time before the fault, make a file for
`promtool test rules`. To be run again when these metrics change. Time is compressed: the steps between two scrapes
stand for as many minutes as the alerts need, so that a recording takes some seconds.
"""

from __future__ import annotations

import argparse
import errno
import itertools
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from shield.observe.metrics import Metrics
from shield.observe.report import together
from tests.client import request
from tests.disks import Failing, settled, with_disk
from tests.doubles.faults import preceded_by
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.steps import Pause, Wait
from tests.node import FakeClock, Shield, settings_of
from tests.process import Process, settings_file, until

ROOT = Path(__file__).parents[1]
DIRECTORY = ROOT / "deploy/prometheus/tests"
LABELS = 'job="shield",instance="node-1:9180"'
_LINE = re.compile(r"^(shield_\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)


@dataclass(slots=True)
class Recording:
    """Scrapes of one node, a minute or `minutes` apart; only the metrics in `names` are kept.

    `alerts` are those that must fire at the end, with the labels by which they are told apart.
    """

    names: Sequence[str]
    alerts: Mapping[str, int]
    minutes: int = 1
    series: dict[str, list[float | None]] = field(default_factory=dict)
    scrapes: int = 0
    fault_at: int = 0

    def take(self, text: str) -> None:
        """Add a scrape."""
        for name, labels, value in _LINE.findall(text):
            if name.startswith(tuple(self.names)) and not name.endswith("_created"):
                key = f"{name}{{{','.join(filter(None, (LABELS, labels)))}}}"
                self.series.setdefault(key, [None] * self.scrapes).append(float(value))
        self.scrapes += 1
        for values in self.series.values():
            values.extend([None] * (self.scrapes - len(values)))

    def begin_fault(self) -> None:
        """From now on the node is in trouble."""
        self.fault_at = self.scrapes

    def text(self, about: str) -> str:
        """The test, as promtool reads it."""
        lines = [
            f"# {about}, as a node recorded it: python -m loadtest.recordings",
            "rule_files: [../shield.rules.yaml]",
            f"evaluation_interval: {self.minutes}m",
            "tests:",
            f"  - interval: {self.minutes}m",
            "    input_series:",
        ]
        for key, values in sorted(self.series.items()):
            if any(values):
                lines += [f"      - series: '{key}'", f"        values: '{packed(values)}'"]
        query = 'count by (alertname) (ALERTS{alertstate="firing"})'
        lines += [
            "    promql_expr_test:",
            f"      - expr: {query}",
            f"        eval_time: {(self.fault_at - 1) * self.minutes}m",
            "        exp_samples: []",
            f"      - expr: {query}",
            f"        eval_time: {(self.scrapes - 1) * self.minutes}m",
            "        exp_samples:",
        ]
        for alert, count in sorted(self.alerts.items()):
            lines.append(f"          - {{labels: '{{alertname=\"{alert}\"}}', value: {count}}}")
        return "\n".join(lines) + "\n"


def packed(values: Sequence[float | None]) -> str:
    """Values as promtool writes them: `3x4` is 3, five times; _ is none."""
    said = []
    for value, run in itertools.groupby(values):
        more = len(list(run)) - 1
        word = "_" if value is None else f"{value:.10g}"
        said.append(word if not more else f"{word}x{more}" if value is not None else f"_x{more + 1}")
    return " ".join(said)


# faults


class Bench:
    """A node in this process with two origins, whose clock each scrape puts forward."""

    def __init__(self, stack: ExitStack, recording: Recording, **settings: object) -> None:
        self.recording = recording
        self.fra, self.iad = stack.enter_context(FaultyOrigin()), stack.enter_context(FaultyOrigin())
        self.clock = FakeClock()
        self._paths = (f"/{number}.webp" for number in itertools.count())
        for origin in (self.fra, self.iad):
            origin.serves("/hot.webp", b"x" * 20_000, lifetime=10**6)
        made = settings_of({"fra": self.fra, "iad": self.iad}, **settings)
        self.shield = stack.enter_context(Shield(made, clock=self.clock))

    def new(self) -> str:
        """The path of an object that nobody requested before."""
        path = next(self._paths)
        for origin in (self.fra, self.iad):
            origin.serves(path, b"x" * 10_000, lifetime=10**6)
        return path

    def ask(self, *paths: str) -> None:
        with self.shield.client() as client:
            for path in paths:
                client.ask(path)

    def scrape(self) -> None:
        self.clock.advance(60.0 * self.recording.minutes)
        self.recording.take(scraped(self.shield))


def scraped(shield: Shield) -> str:
    """What Prometheus would get."""

    def render() -> bytes:
        shield.node.tick()
        return Metrics(lambda: together([shield.node.report()]).families).render()

    return shield.call(render).decode()


_OF_ORIGINS = (
    *("shield_requests_total", "shield_origin_state", "shield_origin_faults_total", "shield_origin_fetches_total"),
    *("shield_workers", "shield_origin_flag", "shield_origins_failed_together", "shield_requests_cut_short_total"),
)


def origin_down(stack: ExitStack) -> Recording:
    """An origin stops answering, and another one takes over."""
    made = Recording(_OF_ORIGINS, {"ShieldOriginDown": 1})
    bench = Bench(stack, made)
    for _ in range(8):
        bench.ask(*["/hot.webp"] * 20, *[bench.new() for _ in range(10)])
        bench.scrape()
    made.begin_fault()
    bench.fra.stops()
    fra = bench.shield.node.origins.get("fra")
    for _ in range(12):
        bench.ask(*["/hot.webp"] * 20, *[bench.new() for _ in range(10)])
        bench.shield.wait_for(lambda: fra.statistics().health.state == "open")
        bench.scrape()
    return made


def origins_down(stack: ExitStack) -> Recording:
    """Both origins stop answering at once."""
    made = Recording(_OF_ORIGINS, {"ShieldErrors": 1, "ShieldAllOriginsDown": 1, "ShieldOriginFaults": 2})
    bench = Bench(stack, made)
    for _ in range(8):
        bench.ask(*["/hot.webp"] * 20, *[bench.new() for _ in range(10)])
        bench.scrape()
    made.begin_fault()
    bench.fra.stops()
    bench.iad.stops()
    for _ in range(10):
        bench.ask(*["/hot.webp"] * 20, *[bench.new() for _ in range(10)])
        bench.scrape()
    return made


def origin_slow(stack: ExitStack) -> Recording:
    """An origin takes a second for what took it a millisecond."""
    names = ("first_byte_seconds_bucket", "overtaken_total", "fetches_total")
    made = Recording([f"shield_origin_{name}" for name in names], {"ShieldOriginSlow": 1}, minutes=2)
    bench = Bench(stack, made)
    for _ in range(25):
        bench.ask(*[bench.new() for _ in range(5)])
        bench.scrape()
    made.begin_fault()
    for _ in range(10):
        path = bench.new()
        bench.fra.spoils(path, preceded_by(Pause(0.8)))
        bench.ask(path)
        bench.scrape()
    return made


def hits_fell(stack: ExitStack) -> Recording:
    """Clients begin to request objects that nobody requested before."""
    made = Recording(("shield_requests_total",), {"ShieldHitRatioFell": 1}, minutes=2)
    bench = Bench(stack, made)
    for turn in range(40):
        if turn == 25:
            made.begin_fault()
        hits, misses = (200, 20) if turn < 25 else (100, 100)
        bench.ask(*["/hot.webp"] * hits, *[bench.new() for _ in range(misses)])
        bench.scrape()
    return made


def crowd(stack: ExitStack) -> Recording:
    """Six hundred clients wait for one cold object, whose origin takes its time."""
    made = Recording(("shield_fills", "shield_requests_total"), {"ShieldCollapseStorm": 1})
    bench = Bench(stack, made)
    for _ in range(4):
        bench.ask("/hot.webp", bench.new())
        bench.scrape()
    made.begin_fault()
    path, gate = bench.new(), bench.fra.gate()
    for origin in (bench.fra, bench.iad):
        origin.spoils(path, preceded_by(Wait(gate)))
    clients = [stack.enter_context(bench.shield.client()) for _ in range(600)]
    for client in clients:
        client.send(request(path))
    bench.shield.wait_for(lambda: bench.shield.node.fills.statistics().readers == len(clients))
    for _ in range(3):
        bench.scrape()
    gate.open()
    for client in clients:
        client.read()
    return made


def disk_out(stack: ExitStack) -> Recording:
    """A disk is full, so that it can't be written any more."""
    made = Recording(("shield_disk_",), {"ShieldDiskOut": 1})
    origin, files, clock = stack.enter_context(FaultyOrigin()), Failing(), FakeClock()
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="shield-recording-")))
    settings = with_disk(origin, directory / "nvme0", admission="all")
    shield = stack.enter_context(Shield(settings, clock=clock, files=files))
    for turn in range(9):
        if turn == 5:
            made.begin_fault()
            files.broken["write"] = errno.ENOSPC
        origin.serves(f"/{turn}", b"x" * 10_000, lifetime=10**6)
        shield.get(f"/{turn}")
        settled(shield)
        clock.advance(60.0)
        made.take(scraped(shield).replace(str(directory), "/var/cache/shield"))
    files.broken.clear()
    return made


class Served:
    """A node of two worker processes, beside an origin."""

    def __init__(self, stack: ExitStack, recording: Recording) -> None:
        self.recording = recording
        origin = stack.enter_context(FaultyOrigin())
        origin.serves("/a", b"hello", lifetime=3600)
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="shield-recording-")))
        self.settings = settings_file(directory, origin, workers=2)
        self.node = stack.enter_context(Process(self.settings))
        until(lambda: self.node.admin("/ready").status == 200)

    @property
    def workers(self) -> list[int]:
        """Their processes."""
        parent = self.node.process.pid
        return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]

    def scrape(self, times: int = 1) -> None:
        for _ in range(times):
            self.recording.take(self.node.admin("/metrics").body.decode())


def worker_killed(stack: ExitStack) -> Recording:
    """One of two workers is killed, and replaced."""
    made = Recording(("shield_process_start_time_seconds", "shield_workers"), {"ShieldWorkerRestarts": 1})
    served = Served(stack, made)
    served.scrape(5)
    made.begin_fault()
    victim = served.workers[0]
    os.kill(victim, signal.SIGKILL)
    until(lambda: victim not in served.workers and len(served.workers) == 2)
    until(lambda: b"shield_workers_up 2" in served.node.admin("/metrics").body)
    served.scrape(3)
    return made


def worker_hung(stack: ExitStack) -> Recording:
    """Workers stop for a third of a second again and again, as on a machine without CPU time to spare."""
    made = Recording(("shield_loop_delay_seconds_bucket",), {"ShieldLoopLag": 1})
    served = Served(stack, made)
    for turn in range(20):
        if turn == 8:
            made.begin_fault()
        if turn >= 8:
            for worker in served.workers:
                os.kill(worker, signal.SIGSTOP)
            time.sleep(0.4)
            for worker in served.workers:
                os.kill(worker, signal.SIGCONT)
        time.sleep(0.3)
        served.scrape()
    return made


def reload_refused(stack: ExitStack) -> Recording:
    """The settings file gets a mistake."""
    made = Recording(("shield_config_last_reload_successful",), {"ShieldReloadRefused": 1})
    served = Served(stack, made)
    served.scrape(3)
    made.begin_fault()
    served.settings.write_text(served.settings.read_text().replace('"node"', '"nod"'))
    served.node.signal(signal.SIGHUP)
    until(lambda: b"shield_config_last_reload_successful 0" in served.node.admin("/metrics").body)
    served.scrape(7)
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m loadtest.recordings", description=__doc__)
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(FAULTS), help="some of the faults")
    parser.add_argument("--directory", type=Path, default=DIRECTORY)
    given = parser.parse_args(arguments)
    for name in given.only:
        with ExitStack() as stack:
            made = FAULTS[name](stack)
        path = given.directory / f"{name}.yaml"
        path.write_text(made.text((FAULTS[name].__doc__ or "").strip()))
        print(f"{path}: {len(made.series)} series, {made.scrapes} scrapes")
    return 0


FAULTS: Mapping[str, Callable[[ExitStack], Recording]] = {
    made.__name__.replace("_", "-"): made
    for made in (
        *(origin_down, origins_down, origin_slow, hits_fell, crowd, disk_out),
        *(worker_killed, worker_hung, reload_refused),
    )
}

if __name__ == "__main__":
    sys.exit(main())
