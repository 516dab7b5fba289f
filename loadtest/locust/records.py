"""What users of a load test noted of their requests, as they are summed up and handed on."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

# Why a request failed, in the words of criteria. None of them is a failure of the generator itself.
REFUSED = "refused"  # no connection: nobody listens
STATUS = "status"  # an answer, not the one that is right here
BROKEN = "broken"  # an answer that ended before its end
WRONG = "wrong"  # bytes that the origin doesn't have
STALE = "stale"  # a hit after a purge

CLOCK_SECONDS = 0.25  # between a kill, a user's notice of it and their notes


@dataclass(frozen=True, slots=True)
class Record:
    """One request. Times are epoch seconds."""

    name: str
    intended: float  # when the schedule wanted it to start
    started: float
    ended: float
    size: int
    hit: bool
    path: str
    fault: str = ""  # "" for none
    told: str = ""  # what a person needs to know of the fault

    @property
    def service(self) -> float:
        """Seconds from its start: what most load tests show."""
        return self.ended - self.started

    @property
    def response(self) -> float:
        """Seconds from its intended start: what a client that doesn't wait for others would have seen."""
        return self.ended - self.intended


@dataclass(slots=True)
class Run:
    """A scenario's requests, and what others saw meanwhile."""

    scenario: str
    records: list[Record] = field(default_factory=list)
    origin_gets: int | None = None  # None: an origin that isn't ours
    origin_bytes: int | None = None
    slow_clients: int = 0
    notes: list[str] = field(default_factory=list)
    killed: list[float] = field(default_factory=list)  # when workers were killed: requests in their hands fail

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def load(cls, path: Path) -> Run:
        given: dict[str, Any] = json.loads(path.read_text())
        records = [Record(**record) for record in given.pop("records")]
        return cls(records=records, **given)

    def faults(self, *kinds: str) -> list[Record]:
        """Requests that failed so; without kinds, in any way."""
        return [record for record in self.records if record.fault and (not kinds or record.fault in kinds)]

    def in_killed_hands(self, record: Record) -> bool:
        """Whether a request was under way, or its connection idle, when a worker was killed: nobody can save it."""
        broke = record.fault in (REFUSED, BROKEN)
        return broke and any(
            record.started - CLOCK_SECONDS <= at <= record.ended + CLOCK_SECONDS for at in self.killed
        )

    def paths(self) -> set[str]:
        """Those that were requested."""
        return {record.path for record in self.records if record.path}

    def good(self) -> list[Record]:
        return [record for record in self.records if not record.fault]


def percentile(values: Sequence[float], share: float) -> float:
    """The value that so much of them don't exceed; 0.0 of none."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[min(len(ordered), max(1, math.ceil(share * len(ordered)))) - 1]


def by_second(records: Iterable[Record]) -> list[tuple[int, list[Record]]]:
    """Requests by the whole second in which they ended, from the first start on, with the seconds without any."""
    listed = list(records)
    if not listed:
        return []
    begin = min(record.started for record in listed)
    seconds: list[tuple[int, list[Record]]] = [
        (second, []) for second in range(int(max(record.ended for record in listed) - begin) + 1)
    ]
    for record in listed:
        seconds[int(record.ended - begin)][1].append(record)
    return seconds
