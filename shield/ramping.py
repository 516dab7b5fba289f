"""The part of the shared records on a ramp: the fetches and comparisons of an origin by all workers."""

from __future__ import annotations

from shield.ramp_table import RampSlot
from shield.records import COLUMNS, COMPARED, DIFFERING, RING, WAITING, Came, Records


class RampView:
    """One origin's ramp, and what all workers have seen of it since."""

    def __init__(self, at: tuple[Records, int, int], slot: RampSlot) -> None:
        """`at` is `Seen.at`."""
        records, _, place = at
        self.slot = slot
        self._rows = [records.row(worker, place)[0] for worker in range(records.workers)]

    def fetches(self, since: int, until: int) -> tuple[int, int]:
        """The fetches in the whole seconds from `since` to `until`, and those of them that failed. The rings have the
        last ten seconds.
        """
        totals = [0] * len(Came)
        for counts in self._rows:
            for at in range(RING, WAITING, COLUMNS):
                if since <= counts[at] < until:
                    for came in Came:
                        totals[came] += counts[at + 1 + came]
        failed = totals[Came.FAILED] + totals[Came.DIALLED] + totals[Came.AUTH]
        return totals[Came.OK] + totals[Came.ABSENT] + failed, failed + totals[Came.BROKEN]

    def comparisons(self) -> tuple[int, int]:
        """How often its copies were compared, and how often they differed."""
        return sum([row[COMPARED] for row in self._rows]), sum([row[DIFFERING] for row in self._rows])
