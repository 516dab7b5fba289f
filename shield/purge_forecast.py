"""What a purge would remove, and what fetching that again would ask of the origins: for orders that are only tried.

The headers of records on disk are read by a thread, segments in any order, for a few seconds at most; then the rest
is estimated from what has been read. In RAM only this worker's entries can be seen.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from shield.errors import RequestError, StoreError
from shield.origin.origins import Origins
from shield.regime import InForce
from shield.rules.key import CacheKey
from shield.rules.prices import Price
from shield.rules.purge_orders import OrderError, PurgeOrder, shown
from shield.rules.purge_scope import Bearing, PurgeScope, Refetch, ScopeTally, advice, refetches
from shield.rules.purging import Provenance
from shield.rules.written import keys_of
from shield.store.directory.directory import CacheDirectory
from shield.store.directory.index import IndexHaltedError
from shield.store.directory.reading import GoneError
from shield.store.directory.record import DamagedError, Record, RecordKind
from shield.store.directory.segments import START
from shield.store.tiers import Store

SCAN_SECONDS = 8.0
"""That an operator waits for."""

_BATCH = 1000  # entries in RAM that are looked at before others have their turn
_NO_ENTRIES = (RecordKind.SLICE, RecordKind.REMOVED)  # slices belong to their entry
_LOOK = 64  # records between two looks at the time


@dataclass(frozen=True, slots=True)
class PurgeForecast:
    """What would be purged, as far as it is known. `scanned` is the share of the disks whose headers were read: below
    1, their figures are estimated from it. `in_memory` is what only this worker's RAM has.
    """

    on_disk: ScopeTally
    in_memory: ScopeTally
    scanned: float
    workers: int
    fetches: Sequence[Refetch]
    advice: Sequence[str]

    def shown(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "entries": self.on_disk.entries + self.in_memory.entries,
            "bytes": self.on_disk.bytes + self.in_memory.bytes,
            "disk": {
                "entries": self.on_disk.entries,
                "bytes": self.on_disk.bytes,
                "estimated": self.scanned < 1.0,
                "scanned": round(self.scanned, 4),
            },
            "memory_alone": {
                "entries": self.in_memory.entries,
                "bytes": self.in_memory.bytes,
                "workers": 1,
                "of_workers": self.workers,
            },
            "origins": {fetch.origin or "unknown": fetch.shown() for fetch in self.fetches},
            "advice": list(self.advice),
        }


class PurgeForecaster:
    """Of one worker. It changes nothing."""

    def __init__(
        self, in_force: InForce, store: Store, origins: Origins, *, workers: int, seconds: float = SCAN_SECONDS
    ) -> None:
        """`seconds`: how long the disks may be read."""
        self._in_force = in_force
        self._store = store
        self._origins = origins
        self._workers = workers
        self._seconds = seconds

    async def forecast(self, order: PurgeOrder) -> PurgeForecast:
        """The effect of the order now. Raises OrderError for a path that no request could have."""
        keys = self._keys(order)
        scope = PurgeScope(order, [key.text for key in keys])
        loop = asyncio.get_running_loop()
        self._store.catch_up()
        directories = self._store.directories()
        reading = _DiskReading(directories, self._is_gone)
        if scope.is_exact:
            on_disk, scanned = await loop.run_in_executor(None, reading.of_keys, keys), 1.0
        else:
            until = loop.time() + self._seconds
            on_disk, scanned = await loop.run_in_executor(None, reading.scan, scope, lambda: loop.time() < until)
        in_memory = await self._in_memory(scope, directories)
        fetches = refetches(on_disk.plus(in_memory), self._bearings())
        said = advice(order, on_disk.plus(in_memory), fetches)
        return PurgeForecast(on_disk, in_memory, scanned, self._workers, fetches, said)

    def _keys(self, order: PurgeOrder) -> list[CacheKey]:
        routes, keys = self._in_force.regime.routes, []
        for at, name in enumerate(order.paths):
            try:
                keys += keys_of(name, routes)
            except RequestError as error:
                path = shown(name.decode("ascii", "replace"))
                said = f"paths[{at}]: got {path}; it would be rejected in a request: {error.reason}"
                raise OrderError(said) from None
        return keys

    async def _in_memory(self, scope: PurgeScope, directories: Sequence[CacheDirectory]) -> ScopeTally:
        """Entries that no disk has: those of the disks have been counted."""
        tally, entries = ScopeTally(), self._store.in_memory()
        while batch := [*itertools.islice(entries, _BATCH)]:
            for entry in batch:
                is_covered = not entry.is_marker and scope.covers(entry.key.text, entry.tags)
                if is_covered and self._is_gone(entry.key.text, entry.tags, entry.since, entry):
                    continue
                if is_covered and not any(directory.peek(entry.key.digest) for directory in directories):
                    tally.add(entry.origin, entry.length)
            await asyncio.sleep(0)
        return tally

    def _is_gone(self, text: bytes, tags: bytes, since: int, filled: Provenance) -> bool:
        mark = self._store.marks.verdict(text, tags, since, filled)
        return mark is not None and not mark.soft

    def _bearings(self) -> Mapping[str, Bearing]:
        prices: dict[str, Price | None] = {}
        for route in self._in_force.regime.routes:
            prices |= {each.name: each.price for each in route.facts}
        found = {}
        for origin in self._origins.all():
            figures = origin.statistics()
            found[origin.name] = Bearing(figures.gate.limit, figures.health.p95_seconds, prices.get(origin.name))
        return found


class _DiskReading:
    """Reads the disks; all methods block. `is_gone`: whether an entry fell under the mark of an earlier purge."""

    def __init__(
        self, directories: Sequence[CacheDirectory], is_gone: Callable[[bytes, bytes, int, Provenance], bool]
    ) -> None:
        self._directories = directories
        self._is_gone = is_gone

    def of_keys(self, keys: Sequence[CacheKey]) -> ScopeTally:
        """The entries of these keys; their variants aren't known by them."""
        tally = ScopeTally()
        for key in dict.fromkeys(keys):
            for directory in self._directories:
                found = directory.peek(key.digest)
                if found is None:
                    continue
                if found.status:
                    with suppress(GoneError):
                        record = directory.fetch(found, key).header.record
                        if not self._is_gone(key.text, record.tags, found.since, record):
                            tally.add(record.origin, self._bytes(record, found.body_length))
                break
        return tally

    def scan(self, scope: PurgeScope, has_time: Callable[[], bool]) -> tuple[ScopeTally, float]:
        """What is covered, and the share of bytes that was read; estimated from that if there was no time for more.

        Raises StoreError.
        """
        tally, read, whole = ScopeTally(), 0, 0
        try:
            segments = []
            for at, directory in enumerate(self._directories):
                for number, _ in directory.index.rows():
                    with suppress(FileNotFoundError):  # it has been reclaimed since
                        segments.append((at, number, directory.segments.path(number).stat().st_size))
            whole = sum(size for _, _, size in segments)
            random.Random(len(segments)).shuffle(segments)  # in an order that doesn't depend on their age
            for at, number, size in segments:
                end = self._in_segment(tally, scope, (at, number, size), has_time)
                read += end
                if end < size:
                    break
        except (OSError, IndexHaltedError) as error:
            raise StoreError(f"the disks can't be read: {error}") from None
        if read >= whole:
            return tally, 1.0
        return tally.scaled(whole / read) if read else tally, read / whole

    def _in_segment(
        self, tally: ScopeTally, scope: PurgeScope, place: tuple[int, int, int], has_time: Callable[[], bool]
    ) -> int:
        """Add what is covered in a segment, until there is no time; the position up to which it was read. `place` is
        the directory, the segment's number there and its size."""
        at, number, size = place
        directory, before = self._directories[at], self._directories[:at]
        try:
            segment = directory.segments.open(number)
        except (DamagedError, FileNotFoundError):
            return size
        for count, (offset, header) in enumerate(directory.segments.scan(segment, START, size)):
            if count % _LOOK == 0 and not has_time():
                return offset
            if header.kind in _NO_ENTRIES or not scope.covers(header.text, header.tags):
                continue
            found = directory.index.peek(header.digest)
            if found is None or (found.segment, found.offset) != (number, offset) or not found.status:
                continue  # replaced, or a marker of variants
            if self._is_gone(header.text, header.tags, found.since, header):
                continue
            if not any(other.peek(header.digest) for other in before):
                tally.add(header.record.origin, self._bytes(header.record, found.body_length))
        return size

    def _bytes(self, record: Record, body_length: int) -> int:
        """The bytes of an entry's body that are stored."""
        if record.kind is not RecordKind.HEAD:
            return body_length
        sizes: dict[int, int] = {}
        for directory in self._directories:
            for number, found in directory.index.slices(record.key.digest):
                if found.identity == record.identity:
                    sizes[number] = found.body_length
        return sum(sizes.values())
