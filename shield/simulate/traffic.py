"""Requests of access logs in memory: some thirty bytes each, and each target once.

Of many, a sample: those of some of the paths (SHARDS, Waldspurger et al., FAST 2015), several samples of different
paths, so that their results tell how far one can be trusted.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import xxhash

from shield.rules.logged import LineKind, LoggedPart, LoggedRequest, LogReader, trouble_of

HEAD = 1 << 15
"""The bit in a request's status that marks HEAD."""

SAMPLES = 8
"""Samples of a share of the paths, as many as there is room for."""


class LoggedTraffic:
    """Requests in the order of their times. `add` them all, then `sort` once."""

    def __init__(self) -> None:
        self._numbers: dict[bytes, int] = {}
        self._at, self._target = array("d"), array("I")
        self._status, self._size = array("H"), array("q")
        self.parts: dict[int, LoggedPart] = {}
        """Of requests for parts, and of those that broke off, by their place in the order."""
        self._is_sorted = True

    def __len__(self) -> int:
        return len(self._at)

    @property
    def targets(self) -> list[bytes]:
        """All targets, by their number."""
        return list(self._numbers)

    @property
    def span(self) -> tuple[float, float]:
        """The times of the first and the last request."""
        return (self._at[0], self._at[-1]) if self._at else (0.0, 0.0)

    def gap(self) -> tuple[float, float]:
        """The longest time between two requests that follow each other: from and to."""
        before, after = max(pairwise(self._at), key=lambda pair: pair[1] - pair[0], default=(0.0, 0.0))
        return before, after

    def add(self, request: LoggedRequest) -> None:
        numbers = self._numbers
        number = numbers.setdefault(request.target, len(numbers))
        if self._is_sorted and self._at and request.at < self._at[-1]:
            self._is_sorted = False
        if request.part is not None:
            self.parts[len(self._at)] = request.part
        self._at.append(request.at)
        self._target.append(number)
        self._status.append(request.status | (HEAD if request.is_head else 0))
        self._size.append(request.size)

    def sort(self) -> None:
        """By time; those of the same time stay in their order."""
        if self._is_sorted:
            return
        order = sorted(range(len(self._at)), key=self._at.__getitem__)
        self._at = array("d", map(self._at.__getitem__, order))
        self._target = array("I", map(self._target.__getitem__, order))
        self._status = array("H", map(self._status.__getitem__, order))
        self._size = array("q", map(self._size.__getitem__, order))
        if self.parts:
            parts = self.parts
            self.parts = {new: parts[old] for new, old in enumerate(order) if old in parts}
        self._is_sorted = True

    def __iter__(self) -> Iterator[tuple[float, int, int, int]]:
        """Time, target's number, status (with `HEAD`), and size or -1."""
        return zip(self._at, self._target, self._status, self._size, strict=True)

    def farthest(self) -> dict[int, int]:
        """The end of the farthest part of each target that a line tells of: its object has at least so much."""
        found: dict[int, int] = {}
        for number, part in self.parts.items():
            target = self._target[number]
            found[target] = max(found.get(target, 0), part.least)
        return found

    def first_sizes(self) -> dict[int, int]:
        """The first known size of an object under each target."""
        found: dict[int, int] = {}
        for number, status, size in zip(self._target, self._status, self._size, strict=True):
            if size >= 0 and status == 200:
                found.setdefault(number, size)
        return found


@dataclass(slots=True)
class LogTally:
    """Lines that were read: `requests` of objects are all that count, whether they are in a sample or not."""

    lines: int = 0
    requests: int = 0
    sent: int = 0  # bytes of their bodies
    answered: int = 0  # by the cache in front
    other: int = 0
    unreadable: int = 0
    unreadable_files: int = 0
    trouble: str = ""  # the first unreadable line, and what is wrong with it
    own_hits: int = 0  # lines of this node's log that are hits
    own: int = 0
    first: float = 0.0
    last: float = 0.0


@dataclass(slots=True)
class Gathering:
    """Takes in lines. `share` of the paths is in each sample; 1.0: there is one, of all. `takes_answered`: what the
    cache in front answered counts, too.
    """

    share: float = 1.0
    takes_answered: bool = False
    tally: LogTally = field(default_factory=LogTally)
    samples: list[LoggedTraffic] = field(init=False)

    def __post_init__(self) -> None:
        number = 1 if self.share >= 1.0 else max(1, min(SAMPLES, int(1.0 / self.share)))
        self.samples = [LoggedTraffic() for _ in range(number)]

    def take(self, lines: Iterable[str], name: str = "") -> None:
        """The lines of one file, whose name is for people."""
        reader = LogReader()
        read = reader.read
        self._take(name, ((read(line), line, _own(line)) for line in lines), reader.trouble)

    def take_rows(self, rows: Iterable[Mapping[str, Any]], name: str = "") -> None:
        """The rows of a table, as named fields."""
        read = LogReader().read_fields
        owns = ((read(row), row, str(row.get("cache") or "") if "target" in row else "") for row in rows)
        self._take(name, owns, trouble_of)

    def _take(
        self, name: str, requests: Iterable[tuple[LoggedRequest | None, Any, str]], trouble: Callable[[Any], str]
    ) -> None:
        """Requests, each with what it was read from, and this node's result of it, "" for others' logs."""
        tally, samples, share = self.tally, self.samples, self.share
        unreadable = tally.unreadable
        for number, (request, said, own) in enumerate(requests, 1):
            tally.lines += 1
            if request is None:
                if isinstance(said, str) and not said.strip():
                    continue
                tally.unreadable += 1
                tally.trouble = tally.trouble or f"{name}:{number}: {trouble(said)}"
                tally.unreadable_files += tally.unreadable == unreadable + 1
                continue
            if request.kind is LineKind.COMMENT:
                continue
            if request.kind is LineKind.OTHER:
                tally.other += 1
                continue
            if request.kind is LineKind.ANSWERED and not self.takes_answered:
                tally.answered += 1
                continue
            if own:
                tally.own += 1
                tally.own_hits += own == "hit"
            if not tally.requests or request.at < tally.first:
                tally.first = request.at
            tally.last = max(tally.last, request.at)
            tally.requests += 1
            tally.sent += request.sent
            if share >= 1.0:
                samples[0].add(request)
                continue
            place = int(_part(request.target) / share)
            if place < len(samples):
                samples[place].add(request)

    def finish(self) -> None:
        for sample in self.samples:
            sample.sort()

    def gap(self) -> tuple[float, float]:
        """The longest time in which no request of any sample came, from and to; at most that of the log."""
        # With several samples the shortest: each has its own gaps beside the log's.
        gaps = [each.gap() for each in self.samples if len(each)]
        return min(gaps, key=lambda gap: gap[1] - gap[0], default=(0.0, 0.0))


def _own(line: str) -> str:
    """ "hit" or "other" for a line of this node's log, by whichever format; "" for others' logs."""
    if '"cache":' not in line and " cache=" not in line:
        return ""
    return "hit" if '"cache":"hit"' in line or " cache=hit " in line else "other"


def _part(target: bytes) -> float:
    """From 0 to 1, the same for all requests of a path."""
    return xxhash.xxh3_64_intdigest(target.partition(b"?")[0]) / (1 << 64)
