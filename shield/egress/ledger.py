"""The ledger on disk: bytes and requests at origins by time, origin, route and reason, in SQLite.

One process of a node writes. Workers count from their beginning on, so each flush brings totals; those of the flush
before are kept in the same file and the same transaction, so that nothing is counted twice or left out, whichever
process is killed, and when. Minutes are added up to hours, and hours to days, as they grow old:
days of the zone that an origin is billed in.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from shield.egress.meter import EgressAccount, MeterReading
from shield.egress.tags import TagReading
from shield.rules.sites import OriginSite, SiteNote
from shield.rules.zones import Zones, day_around
from shield.sqlite import SqliteFile

MINUTE, HOUR, DAY = 60, 3600, 86400
KEEP_MINUTES = 2 * DAY
"""Seconds for which minutes are kept."""

KEEP_HOURS = 92 * DAY
"""Seconds for which hours are kept."""

KEEP_TOTALS = DAY
"""Seconds for which the totals of a process that is gone are kept. Those of one that lives are kept however long it
counts nothing: without them all that it ever counted would count once more.
"""

STATUSES = ("2xx", "3xx", "4xx", "5xx", "none")
"""Classes by which requests are counted, since providers don't bill all of them; none: there was no response."""

_VERSION = 1
_KEY = "at, span, origin, route, reason"
_NUMBERS = ("received", *[f"s{each}" for each in STATUSES])
_COLUMNS = ", ".join([f"{name} INTEGER NOT NULL" for name in _NUMBERS])
_SCHEMA = f"""
CREATE TABLE usage (
    at INTEGER NOT NULL, span INTEGER NOT NULL, origin TEXT NOT NULL, route TEXT NOT NULL, reason TEXT NOT NULL,
    {_COLUMNS}, PRIMARY KEY ({_KEY})
) WITHOUT ROWID;
CREATE TABLE totals (
    process TEXT NOT NULL, seen INTEGER NOT NULL, origin TEXT NOT NULL, route TEXT NOT NULL, reason TEXT NOT NULL,
    {_COLUMNS}, PRIMARY KEY (process, origin, route, reason)
) WITHOUT ROWID;
CREATE INDEX usage_by_span ON usage (span, at);
"""
_TAG_KEY = "at, span, origin, tag"
_TAG_SCHEMA = """
CREATE TABLE IF NOT EXISTS tags (
    at INTEGER NOT NULL, span INTEGER NOT NULL, origin TEXT NOT NULL, tag TEXT NOT NULL,
    received INTEGER NOT NULL, requests INTEGER NOT NULL, PRIMARY KEY (at, span, origin, tag)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tag_totals (
    process TEXT NOT NULL, seen INTEGER NOT NULL, origin TEXT NOT NULL, tag TEXT NOT NULL,
    received INTEGER NOT NULL, requests INTEGER NOT NULL, PRIMARY KEY (process, origin, tag)
) WITHOUT ROWID
"""
_SITE_SCHEMA = """
CREATE TABLE IF NOT EXISTS sites (
    origin TEXT NOT NULL, at INTEGER NOT NULL, provider TEXT NOT NULL, region TEXT NOT NULL, bucket TEXT NOT NULL,
    PRIMARY KEY (origin, at)
) WITHOUT ROWID
"""
# All but the last of an origin that is that old: it still says where the origin was then.
_DROP_SITES = """
DELETE FROM sites WHERE at < ?1
AND EXISTS (SELECT 1 FROM sites later WHERE later.origin = sites.origin AND later.at > sites.at AND later.at < ?1)
"""
_MORE_OF_TAG = "received = received + excluded.received, requests = requests + excluded.requests"
_ADD_TAG = f"""
INSERT INTO tags ({_TAG_KEY}, received, requests) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT ({_TAG_KEY}) DO UPDATE SET {_MORE_OF_TAG}
"""
_KEEP_TOTALS = "UPDATE totals SET seen = ? WHERE process = ? AND seen < ?"
_KEEP_TAG_TOTALS = "UPDATE tag_totals SET seen = ? WHERE process = ? AND seen < ?"
_SET_TAG_TOTAL = "INSERT OR REPLACE INTO tag_totals VALUES (?, ?, ?, ?, ?, ?)"
_ROLL_TAGS = f"""
INSERT INTO tags ({_TAG_KEY}, received, requests)
SELECT begins(at, origin, :into), lasts(at, origin, :into), origin, tag, SUM(received), SUM(requests)
FROM tags WHERE span = :span AND at < :before GROUP BY 1, 3, 4
ON CONFLICT ({_TAG_KEY}) DO UPDATE SET {_MORE_OF_TAG}
"""
_ADD = f"""
INSERT INTO usage ({_KEY}, {", ".join(_NUMBERS)}) VALUES ({", ".join("?" * (5 + len(_NUMBERS)))})
ON CONFLICT ({_KEY}) DO UPDATE SET {", ".join([f"{name} = {name} + excluded.{name}" for name in _NUMBERS])}
"""
_SET_TOTAL = f"""
INSERT OR REPLACE INTO totals (process, seen, origin, route, reason, {", ".join(_NUMBERS)})
VALUES ({", ".join("?" * (5 + len(_NUMBERS)))})
"""
_ROLL = f"""
INSERT INTO usage ({_KEY}, {", ".join(_NUMBERS)})
SELECT begins(at, origin, :into), lasts(at, origin, :into), origin, route, reason,
{", ".join([f"SUM({name})" for name in _NUMBERS])}
FROM usage WHERE span = :span AND at < :before GROUP BY 1, 3, 4, 5
ON CONFLICT ({_KEY}) DO UPDATE SET {", ".join([f"{name} = {name} + excluded.{name}" for name in _NUMBERS])}
"""

SERVED = ""
"""In place of an origin: bytes that clients got, with the result of their requests as the reason."""


class WorkerUsage(NamedTuple):
    """What one process has counted since its beginning. `process` tells it from all others, before and after it.

    `served` are requests and body bytes of clients by result.
    """

    process: str
    readings: Sequence[MeterReading]
    served: Mapping[str, tuple[int, int]]
    tags: Sequence[TagReading] = ()

    def encoded(self) -> bytes:
        readings = [
            (*each.account, each.requests, each.received, list(each.statuses.items())) for each in self.readings
        ]
        return json.dumps([self.process, readings, list(self.served.items()), list(self.tags)]).encode()

    @classmethod
    def decoded(cls, data: bytes) -> WorkerUsage:
        process, readings, served, *more = json.loads(data)  # a worker of an older version has no more
        return cls(
            process,
            [
                MeterReading(EgressAccount(origin, route, reason), requests, received, dict(statuses))
                for origin, route, reason, requests, received, statuses in readings
            ],
            {word: (requests, sent) for word, (requests, sent) in served},
            tuple([TagReading(*each) for each in (more[0] if more else ())]),
        )


class TagRow(NamedTuple):
    """Bodies of an origin whose responses had a tag (`TAGGED`: any of them), from `at` on, for `span` seconds."""

    at: int
    span: int
    origin: str
    tag: str
    received: int
    requests: int


class UsageRow(NamedTuple):
    """Usage from `at` (epoch seconds) on, for `span` seconds. `statuses` has a number for each of `STATUSES`."""

    at: int
    span: int
    origin: str
    route: str
    reason: str
    received: int
    statuses: tuple[int, ...]

    @property
    def requests(self) -> int:
        return sum(self.statuses)


@dataclass(frozen=True, slots=True)
class LedgerTerms:
    """The file, the seconds for which days are kept, the zones of origins, whose days these are, and their sites."""

    path: Path
    keep: float
    zones: Zones = field(default_factory=Zones)
    sites: Mapping[str, OriginSite] = field(default_factory=dict)


class Ledger:
    """The file. All methods block, and raise StoreError if it can't be used; several processes may have it open."""

    def __init__(self, terms: LedgerTerms) -> None:
        self._terms = terms
        self._file = SqliteFile(terms.path, "ledger", _SCHEMA, _VERSION, is_durable=False)
        self._noted: Mapping[str, OriginSite] = {}  # what the file has of sites

    def use(self, zones: Zones, sites: Mapping[str, OriginSite]) -> None:
        """Add up by days of these zones, and note these sites, from now on."""
        self._terms = replace(self._terms, zones=zones, sites=sites)

    def flush(self, workers: Sequence[WorkerUsage], now: float) -> None:
        """Add what workers have counted since the flush before."""
        with self._file.transaction() as file:
            if not _identity(file):
                file.execute(f"PRAGMA application_id = {secrets.randbelow((1 << 31) - 1) + 1}")
            for worker in workers:
                before = {
                    tuple(row[:3]): row[3:]
                    for row in file.execute(
                        f"SELECT origin, route, reason, {', '.join(_NUMBERS)} FROM totals WHERE process = ?",
                        (worker.process,),
                    )
                }
                self._add(file, worker, before, now)
                if worker.tags:
                    self._add_tags(file, worker, now)

    def note_sites(self, now: float) -> None:
        """Note where origins are, if that has changed."""
        sites = self._terms.sites
        if sites == self._noted:
            return
        with self._file.transaction() as file:
            file.execute(_SITE_SCHEMA)
            known = {note.origin: note.site for note in _sites_in(file)}
            for name, site in sites.items():
                if known.get(name) != site:
                    # A minute in which it moves is still the old site's.
                    at = int(now) // MINUTE * MINUTE + (MINUTE if name in known else 0)
                    file.execute("INSERT OR REPLACE INTO sites VALUES (?, ?, ?, ?, ?)", (name, at, *site))
        self._noted = sites

    def _add_tags(self, file: sqlite3.Connection, worker: WorkerUsage, now: float) -> None:
        for statement in _TAG_SCHEMA.split(";"):
            file.execute(statement)
        query = "SELECT origin, tag, received, requests FROM tag_totals WHERE process = ?"
        before = {tuple(row[:2]): row[2:] for row in file.execute(query, (worker.process,))}
        at = int(now) // HOUR * HOUR
        for each in worker.tags:
            name, numbers = (each.origin, each.tag), (each.received, each.requests)
            change = [number - old for number, old in zip(numbers, before.get(name, (0, 0)), strict=True)]
            if any(change):
                file.execute(_ADD_TAG, (at, HOUR, *name, *change))
                file.execute(_SET_TAG_TOTAL, (worker.process, int(now), *name, *numbers))
        file.execute(_KEEP_TAG_TOTALS, (int(now), worker.process, int(now - HOUR)))

    def _add(
        self,
        file: sqlite3.Connection,
        worker: WorkerUsage,
        before: Mapping[tuple[str, ...], Sequence[int]],
        now: float,
    ) -> None:
        at, nothing = int(now) // MINUTE * MINUTE, (0,) * len(_NUMBERS)
        for name, numbers in _counted(worker):
            known = before.get(name, nothing)
            change = [number - old for number, old in zip(numbers, known, strict=True)]
            if any(change):
                file.execute(_ADD, (at, MINUTE, *name, *change))
                file.execute(_SET_TOTAL, (worker.process, int(now), *name, *numbers))
        file.execute(_KEEP_TOTALS, (int(now), worker.process, int(now - HOUR)))

    def tend(self, now: float) -> None:
        """Add up what is old, and drop what is too old. To be called once an hour or so."""
        with self._file.transaction() as file:
            file.create_function("begins", 3, self._begins, deterministic=True)
            file.create_function("lasts", 3, self._lasts, deterministic=True)
            for span, into, keep in ((MINUTE, HOUR, KEEP_MINUTES), (HOUR, DAY, KEEP_HOURS)):
                before = int(now - keep) // into * into
                file.execute(_ROLL, {"span": span, "into": into, "before": before})
                file.execute("DELETE FROM usage WHERE span = ? AND at < ?", (span, before))
            file.execute("DELETE FROM usage WHERE at < ?", (int(now - self._terms.keep),))
            file.execute("DELETE FROM totals WHERE seen < ?", (int(now - KEEP_TOTALS),))
            if _has(file, "sites"):
                file.execute(_DROP_SITES, (int(now - self._terms.keep),))
            if not _has(file, "tags"):
                return
            before = int(now - KEEP_HOURS) // DAY * DAY
            file.execute(_ROLL_TAGS, {"span": HOUR, "into": DAY, "before": before})
            file.execute("DELETE FROM tags WHERE span = ? AND at < ?", (HOUR, before))
            file.execute("DELETE FROM tags WHERE at < ?", (int(now - self._terms.keep),))
            file.execute("DELETE FROM tag_totals WHERE seen < ?", (int(now - KEEP_TOTALS),))

    def _begins(self, at: int, origin: str, into: int) -> int:
        """When the hour or the day of an origin began that a time is in."""
        return at // into * into if into != DAY else int(day_around(at, self._terms.zones.of(origin))[0])

    def _lasts(self, at: int, origin: str, into: int) -> int:
        """For how long it does: days are of 23 to 25 hours."""
        if into != DAY:
            return into
        start, stop = day_around(at, self._terms.zones.of(origin))
        return int(stop - start)

    def tag_rows(self, start: float, stop: float) -> list[TagRow]:
        """As `rows`, of tags: hours, and days as they grow old. [] if none was ever counted."""
        if not self._terms.path.exists():
            return []
        query = f"SELECT {_TAG_KEY}, received, requests FROM tags WHERE at >= ? AND at < ? ORDER BY at, span"
        with self._file.transaction(writing=False) as file:
            if not _has(file, "tags"):
                return []
            return [TagRow(*row) for row in file.execute(query, (int(start), int(stop)))]

    def rows(self, start: float, stop: float) -> list[UsageRow]:
        """The usage of a time, in its order; rows that begin within it count. [] if there is no file."""
        if not self._terms.path.exists():
            return []
        query = f"SELECT {_KEY}, {', '.join(_NUMBERS)} FROM usage WHERE at >= ? AND at < ? ORDER BY at, span"
        with self._file.transaction(writing=False) as file:
            found = file.execute(query, (int(start), int(stop)))
            return [
                UsageRow(at, span, origin, route, reason, received, tuple(statuses))
                for at, span, origin, route, reason, received, *statuses in found
            ]

    def sites(self) -> list[SiteNote]:
        """Where origins were, and since when, in the order of time. [] if none was ever noted."""
        if not self._terms.path.exists():
            return []
        with self._file.transaction(writing=False) as file:
            return _sites_in(file) if _has(file, "sites") else []

    def identity(self) -> int:
        """What a copy has in common with it, and another ledger hasn't; 0: there is nothing in it yet."""
        with self._file.transaction(writing=False) as file:
            return _identity(file)

    def begins(self) -> int | None:
        """When the first row begins, in epoch seconds; None if there is none."""
        if not self._terms.path.exists():
            return None
        with self._file.transaction(writing=False) as file:
            (first,) = file.execute("SELECT MIN(at) FROM usage").fetchone()
            return None if first is None else int(first)

    def sums(self, start: float, stop: float) -> dict[str, tuple[int, ...]]:
        """Bytes and requests by class of status, by origin, of rows that begin within a time. {} without a file."""
        if not self._terms.path.exists():
            return {}
        columns = ", ".join([f"SUM({name})" for name in _NUMBERS])
        query = f"SELECT origin, {columns} FROM usage WHERE at >= ? AND at < ? AND origin != '' GROUP BY origin"
        with self._file.transaction(writing=False) as file:
            return {origin: tuple(numbers) for origin, *numbers in file.execute(query, (int(start), int(stop)))}


def _identity(file: sqlite3.Connection) -> int:
    (number,) = file.execute("PRAGMA application_id").fetchone()
    return int(number)


def _has(file: sqlite3.Connection, table: str) -> bool:
    query = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
    return file.execute(query, (table,)).fetchone() is not None


def _sites_in(file: sqlite3.Connection) -> list[SiteNote]:
    query = "SELECT origin, at, provider, region, bucket FROM sites ORDER BY at"
    return [SiteNote(origin, at, OriginSite(*site)) for origin, at, *site in file.execute(query)]


def _counted(worker: WorkerUsage) -> Iterator[tuple[tuple[str, str, str], tuple[int, ...]]]:
    """Names and totals of all that a worker has counted."""
    for reading in worker.readings:
        classes = dict.fromkeys(STATUSES, 0)
        for status, count in reading.statuses.items():
            classes[_class_of(status)] += count
        yield reading.account, (reading.received, *classes.values())
    for word, (requests, sent) in worker.served.items():
        yield (SERVED, "", word), (sent, requests, *[0] * (len(STATUSES) - 1))


def _class_of(status: int) -> str:
    name = f"{status // 100}xx"
    return name if name in STATUSES else "none"
