"""Families of metrics of the worker process: its version, resources and delays."""

from __future__ import annotations

import platform

from shield import __version__
from shield.compiled import is_compiled
from shield.histograms import Histogram
from shield.observe.metrics import Family, Sample, timed
from shield.process import ProcessStatistics


def build_family() -> Family:
    """The running version."""
    compiled = "yes" if is_compiled() else "no"
    labels = {"version": __version__, "python": platform.python_version(), "compiled": compiled}
    return Family("build_info", "1 for the version that runs", [Sample(1.0, labels)], gauge=True, alike=True)


def process_families(worker: int, started: float, found: ProcessStatistics) -> list[Family]:
    """Of one worker by its number: sums would count shared memory more than once."""
    label = {"worker": str(worker)}

    def gauge(name: str, text: str, value: float) -> Family:
        return Family(name, text, [Sample(value, label)], gauge=True)

    return [
        gauge("process_start_time_seconds", "When the worker began, as epoch seconds", started),
        gauge("process_resident_memory_bytes", "Memory of the worker, including shared memory", found.resident_bytes),
        Family("process_cpu_seconds", "CPU time of the worker", [Sample(found.cpu_seconds, label)]),
        gauge("process_open_fds", "Open descriptors of the worker", found.descriptors),
        gauge("process_max_fds", "The limit on them", found.descriptors_limit),
        Family(
            "process_gc_collections",
            "Garbage collections of the worker, by generation",
            [Sample(n, {**label, "generation": str(which)}) for which, n in found.collections.items()],
        ),
        Family(
            "process_gc_pause_seconds",
            "Time in which garbage collections held up the worker",
            [Sample(found.collection_seconds, label)],
        ),
    ]


def loop_families(latest: float, delays: Histogram) -> list[Family]:
    """Of the event loop: its latest delay, of the worst worker, and all delays of all workers."""
    return [
        Family("loop_lag_seconds", "Latest delay of the event loop", [Sample(latest)], gauge=True, alike=True),
        timed("loop_delay_seconds", "Delays of the event loop, sampled four times a second", [({}, delays)]),
    ]


def certificate_family(expires: float | None) -> Family:
    """Of the listeners' certificate."""
    samples = [] if expires is None else [Sample(expires)]
    text = "When the certificate of the listeners expires, as epoch seconds; missing without one"
    return Family("certificate_expiry_timestamp_seconds", text, samples, gauge=True, alike=True)
