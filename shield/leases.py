"""The part of the shared records about limits: each origin's limit, and the leases of workers on it.

A worker writes what it uses and wants, four times a second; the conductor advances the limit (`rules.throttling`) and
writes a grant for each worker, which that one takes over at its next look. Requests touch none of this.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from shield.records import LIMIT, LIMIT_WORDS, USE, USE_WORDS, Came, Seen, add_counts
from shield.rules.throttling import START, FetchLimit, Lease

# Words of a place. Times are 0.0 until there is one.
_LIMIT, _WAS_REFUSED, _CUT_AT, _GROWN_AT, _CLOSED_UNTIL = range(5)

# Words of a row.
_GRANTED = 0  # one more than the places, so that 0 is none yet; the conductor's
_USED, _WANTED, _BUSIEST, _REFUSED, _PAUSED_UNTIL = range(1, 6)  # the worker's

assert LIMIT_WORDS >= _CLOSED_UNTIL + 1 and USE_WORDS >= _PAUSED_UNTIL + 1


@dataclass(frozen=True, slots=True)
class GateReport:
    """One worker's use of its lease.

    `used` are places that it has taken or may take, `wanted` the fetches that it has in flight or waiting, `busiest`
    its fetches at once lately, `refused` all that its origin has refused as too many.
    """

    used: int
    wanted: int
    busiest: int
    refused: int
    paused_until: float  # the origin asked it to be left alone until then; -inf: it didn't


class Leases:
    """The limit of one origin and the leases on it, for one worker."""

    __slots__ = ("_limit", "_limit_times", "_own", "_own_times", "_records", "_results", "_rows", "_seen")

    def __init__(self, seen: Seen) -> None:
        self._seen = seen
        self._records, worker, place = seen.at
        words, times = self._records.place(place)
        self._limit, self._limit_times = words[LIMIT:], times[LIMIT:]
        rows = [self._records.row(each, place) for each in range(self._records.workers)]
        self._results = [words for words, _ in rows]
        self._rows = [(words[USE:], times[USE:]) for words, times in rows]
        self._own, self._own_times = self._rows[worker]

    @property
    def limit(self) -> FetchLimit:
        """The published limit."""
        times = self._limit_times
        return FetchLimit(
            times[_LIMIT] or START,
            was_refused=bool(self._limit[_WAS_REFUSED]),
            cut_at=times[_CUT_AT] or -math.inf,
            grown_at=times[_GROWN_AT] or -math.inf,
            closed_until=self.closed_until,
        )

    @property
    def closed_until(self) -> float:
        """Until when all workers leave the origin alone."""
        return self._limit_times[_CLOSED_UNTIL] or -math.inf

    @property
    def granted(self) -> int | None:
        """The places that this worker may take; None: the conductor hasn't seen it yet."""
        words = self._own[_GRANTED]
        return words - 1 if words else None

    @property
    def first(self) -> int:
        """The places that it may take until then: an even share where none was ever refused."""
        limit = self.limit
        return 1 if limit.was_refused else max(1, int(limit.limit) // len(self._rows))

    @property
    def p95(self) -> float | None:
        """The 95th percentile of the origin's first bytes."""
        return self._seen.p95

    def report(self, report: GateReport) -> None:
        """State this worker's use and demand."""
        own = self._own
        own[_USED], own[_WANTED], own[_BUSIEST], own[_REFUSED] = (
            report.used,
            report.wanted,
            report.busiest,
            report.refused,
        )
        self._own_times[_PAUSED_UNTIL] = max(0.0, report.paused_until)

    # the conductor's

    def held(self, now: float) -> list[tuple[Lease, GateReport | None]]:
        """The lease of each worker, and its last report; None: it is gone."""
        found: list[tuple[Lease, GateReport | None]] = []
        for worker, (words, times) in enumerate(self._rows):
            granted = max(0, words[_GRANTED] - 1)
            if not self._records.is_alive(worker, now):
                is_gone = self._records.has_come(worker)  # else it is about to come, and its lease awaits it
                found.append((Lease(granted, wanted=None if is_gone else 0), None))
                continue
            paused = times[_PAUSED_UNTIL] or -math.inf
            report = GateReport(words[_USED], words[_WANTED], words[_BUSIEST], words[_REFUSED], paused)
            found.append((Lease(granted, report.used, report.wanted), report))
        return found

    def lately(self, now: float) -> list[int]:
        """The results of all workers' fetches in the last ten seconds, by `Came`."""
        totals = [0] * len(Came)
        for words in self._results:
            add_counts(totals, words, 0.0, now)
        return totals

    def publish(self, limit: FetchLimit) -> None:
        times = self._limit_times
        times[_LIMIT], times[_CUT_AT], times[_GROWN_AT] = (
            limit.limit,
            max(0.0, limit.cut_at),
            max(0.0, limit.grown_at),
        )
        times[_CLOSED_UNTIL] = max(0.0, limit.closed_until)
        self._limit[_WAS_REFUSED] = limit.was_refused

    def grant(self, places: Sequence[int | None]) -> None:
        """Let each worker take so many; None: it is gone, and the one after it begins without."""
        for (words, _), granted in zip(self._rows, places, strict=True):
            words[_GRANTED] = 0 if granted is None else granted + 1
