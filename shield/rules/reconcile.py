"""A provider's report beside the ledger: what it says was read from a bucket, and what was counted here, by day.

Reports count for a bucket, the ledger for an origin: origins of one bucket are compared together. Both are compared
for the time that both cover, by days of the provider's zone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

from shield.rules.bill import Charges, Usage
from shield.rules.reports import GB, GIB, ReportedRead
from shield.rules.zones import Zones, day_of

READERS = 10_000
"""Readers that are told apart; further ones count together."""

HEAD_BYTES = 400
"""Of a response's head: the ledger counts heads, logs of providers don't. An assumption."""

_DAY = 86400
_REST = "(more readers)"


@dataclass(slots=True)
class ReadTotal:
    """Requests, bytes and money by currency."""

    requests: int = 0
    size: int = 0
    money: dict[str, float] = field(default_factory=dict)

    def add(self, requests: int, size: int, money: float = 0.0, currency: str = "") -> None:
        self.requests += requests
        self.size += size
        if currency:
            self.money[currency] = self.money.get(currency, 0.0) + money


@dataclass(slots=True)
class DayDrift:
    """One day of a bucket: what its provider reports, all readers together, what of that is known to be ours (None:
    the report doesn't tell), and what the ledger counted.
    """

    day: date
    origins: str
    reported: ReadTotal = field(default_factory=ReadTotal)
    ours: ReadTotal | None = None
    counted: ReadTotal = field(default_factory=ReadTotal)

    @property
    def drift(self) -> float | None:
        """By how much the report exceeds the ledger, as a share of the ledger's bytes; None: it has none. Of our own
        reads, if the report tells them apart.
        """
        of = self.reported if self.ours is None else self.ours
        return None if not self.counted.size else (of.size - self.counted.size) / self.counted.size

    @property
    def others(self) -> int:
        """Bytes that others read: known from a log, else all that is reported beyond the ledger."""
        return max(0, self.reported.size - (self.counted.size if self.ours is None else self.ours.size))


@dataclass(frozen=True, slots=True)
class Reconciled:
    """`days` in their order; `total` has all of them. `readers` are others by name, the greatest first. `strangers`
    are bytes of buckets that are no origin's, by name; `early` are reported reads from before the ledger began.
    """

    days: list[DayDrift]
    total: DayDrift
    readers: list[tuple[str, ReadTotal]]
    strangers: dict[str, int]
    early: int
    start: float
    stop: float


class Reconciliation:
    """`report` all reads, then `with_ledger`. `buckets` are origins' names by bucket, `zones` those in which they are
    billed; the ledger began at `since` (epoch seconds); `is_log`: the report names readers.
    """

    def __init__(self, buckets: Mapping[str, Sequence[str]], zones: Zones, *, since: float, is_log: bool) -> None:
        self._names = {bucket: "+".join(sorted(names)) for bucket, names in buckets.items()}
        self._bucket_of = {name: bucket for bucket, names in buckets.items() for name in names}
        self._zones = {bucket: zones.of(min(names)) for bucket, names in buckets.items()}
        self._since, self._is_log = since, is_log
        self._days: dict[tuple[date, str], DayDrift] = {}
        self._readers: dict[str, ReadTotal] = {}
        self._strangers: dict[str, int] = {}
        self._early = 0
        self.start, self.stop = float("inf"), -float("inf")

    def report(self, read: ReportedRead) -> None:
        """Take in one row."""
        if read.bucket not in self._names:
            if read.bucket in self._strangers or len(self._strangers) < READERS:
                self._strangers[read.bucket] = self._strangers.get(read.bucket, 0) + read.sent
            return
        if read.start < self._since:
            self._early += 1
            return
        self.start, self.stop = min(self.start, read.start), max(self.stop, read.stop, read.start + 1.0)
        day = self._day(read.start, read.bucket)
        day.reported.add(read.requests, read.sent, read.money, read.currency)
        if not self._is_log:
            return
        assert day.ours is not None
        if read.is_ours:
            day.ours.add(read.requests, read.sent)
            return
        name = read.reader if read.reader in self._readers or len(self._readers) < READERS else _REST
        self._readers.setdefault(name, ReadTotal()).add(read.requests, read.sent)

    def with_ledger(self, usage: Iterable[Usage], rates: Charges) -> Reconciled:
        """What was found, given the ledger's rows."""
        for each in usage:
            bucket = self._bucket_of.get(each.origin)
            if bucket is None or each.at + each.span <= self.start or each.at >= self.stop:
                continue
            counted, answered = self._day(each.at, bucket).counted, sum(each.statuses[:4])
            charge = rates.of(each.origin, each.at)
            size = max(0, each.received - HEAD_BYTES * answered) if self._is_log else each.received
            worth = (0.0, "") if charge is None else (charge.of(each), charge.currency)
            counted.add(answered if self._is_log else sum(each.statuses[:3]), size, *worth)
        days = [self._days[key] for key in sorted(self._days)]
        total = DayDrift(date.max, "", ours=ReadTotal() if self._is_log else None)
        for day in days:
            for into, of in ((total.reported, day.reported), (total.ours, day.ours), (total.counted, day.counted)):
                if into is not None and of is not None:
                    into.add(of.requests, of.size)
                    for currency, money in of.money.items():
                        into.money[currency] = into.money.get(currency, 0.0) + money
        readers = sorted(self._readers.items(), key=lambda item: -item[1].size)
        return Reconciled(days, total, readers, self._strangers, self._early, self.start, self.stop)

    def _day(self, at: float, bucket: str) -> DayDrift:
        day = day_of(at, self._zones[bucket])
        found = self._days.get((day, bucket))
        if found is None:
            made = DayDrift(day, self._names[bucket], ours=ReadTotal() if self._is_log else None)
            found = self._days[day, bucket] = made
        return found


def mistaken_unit(drift: float | None) -> bool:
    """Whether this drift looks as if one side counted GB and the other GiB: by 7.4 percent, up or down."""
    return drift is not None and any(abs(drift - off) < 0.006 for off in (GIB / GB - 1.0, GB / GIB - 1.0))
