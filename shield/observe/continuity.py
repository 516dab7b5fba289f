"""Counters of a node that never fall while it runs, whatever happens to its workers.

The figures of a node are sums over its workers. One that dies takes its counts with it, and one that hangs doesn't
say them: the sum would fall, and Prometheus, which takes that for a restart from zero, would see a burst of requests
and faults that never were. So what each worker said last is kept in a file beside the workers' sockets, by whichever
worker answers: the last counts of one that gives no answer are used in its place, and those of a process that is gone
are added to what its successor counts.

The file lives as long as the node, also over an upgrade in place. Without it, or if it can't be used, sums are those
of the workers that answer.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shield.observe.metrics import Family, Number, Sample
from shield.observe.report import Report

NAME = "figures"
"""The beginning of the names of its files."""

_CountsByLabels = dict[tuple[str, tuple[tuple[str, str], ...]], Number]  # by name and sorted labels
_FORMAT = 1


@dataclass(slots=True)
class _KnownCounts:
    """`gone` are the counts of processes that are no more, `last` the latest ones of each worker and its process."""

    gone: _CountsByLabels = field(default_factory=dict)
    last: dict[int, tuple[str, _CountsByLabels]] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)  # of families, for help

    def note(self, report: Report) -> None:
        process, counts = self.last.get(report.worker, (report.process, {}))
        if process != report.process:
            _add(self.gone, counts)
            counts = {}
        for name, text, key, value in _counters(report.families):
            self.texts[name] = text
            # Reports may be noted in another order than they were made in.
            counts[name, key] = max(value, counts.get((name, key), 0))
        self.last[report.worker] = report.process, counts

    def missing(self, answered: frozenset[int]) -> list[Family]:
        """The counts of all that isn't in the reports of these workers."""
        counts = dict(self.gone)
        for worker, (_, last) in self.last.items():
            if worker not in answered:
                _add(counts, last)
        by_name: dict[str, list[Sample]] = {}
        for (name, key), value in counts.items():
            by_name.setdefault(name, []).append(Sample(value, dict(key)))
        return [Family(name, self.texts.get(name, ""), samples) for name, samples in by_name.items()]


class Continuity:
    """Of the node whose workers have their sockets in `directory`; None: it has a single worker, and needs none."""

    def __init__(self, directory: Path | None) -> None:
        self._file = None if directory is None else directory / NAME
        self._lock = None if directory is None else directory / f"{NAME}.lock"

    def complete(self, reports: Sequence[Report]) -> list[Family]:
        """The families to be added to those of these reports. Blocks: call it in a thread."""
        if self._file is None or self._lock is None:
            return []
        try:
            with _held(self._lock):
                known = _read(self._file)
                for report in reports:
                    known.note(report)
                _write(self._file, known)
        except OSError:
            return []
        return known.missing(frozenset([report.worker for report in reports]))


def _counters(families: Sequence[Family]) -> Iterator[tuple[str, str, tuple[tuple[str, str], ...], Number]]:
    """Those that are summed over workers; one with a label for the worker begins anew with it."""
    for family in families:
        if not family.gauge and not family.alike:
            for sample in family.samples:
                if "worker" not in sample.labels:
                    yield family.name, family.text, tuple(sorted(sample.labels.items())), sample.value


def _add(counts: _CountsByLabels, more: Mapping[tuple[str, tuple[tuple[str, str], ...]], Number]) -> None:
    for key, value in more.items():
        counts[key] = counts.get(key, 0) + value


@contextlib.contextmanager
def _held(lock: Path) -> Iterator[None]:
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _read(file: Path) -> _KnownCounts:
    """An empty one if there is none, or of another version of the program. Raises OSError."""
    try:
        plain = json.loads(file.read_bytes())
        if plain["format"] != _FORMAT:
            return _KnownCounts()
        last = {int(worker): (process, _counts(counts)) for worker, (process, counts) in plain["last"].items()}
        return _KnownCounts(_counts(plain["gone"]), last, plain["texts"])
    except FileNotFoundError:
        return _KnownCounts()
    except (ValueError, TypeError, KeyError):
        return _KnownCounts()


def _write(file: Path, known: _KnownCounts) -> None:
    """Raises OSError; then the file is as it was."""
    plain = {
        "format": _FORMAT,
        "gone": _plain(known.gone),
        "last": {worker: (process, _plain(counts)) for worker, (process, counts) in known.last.items()},
        "texts": known.texts,
    }
    made = file.with_name(f"{NAME}.new")
    made.write_text(json.dumps(plain))
    made.replace(file)


def _counts(plain: Any) -> _CountsByLabels:
    return {(name, tuple([(k, v) for k, v in key])): value for name, key, value in plain}


def _plain(counts: _CountsByLabels) -> list[tuple[str, tuple[tuple[str, str], ...], Number]]:
    return [(name, key, value) for (name, key), value in counts.items()]
