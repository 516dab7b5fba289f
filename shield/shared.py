"""Memory that all workers of a node share: removed keys, hit counts, the workers' standing and heartbeats, the homes
of cache directories, records of origins, their order by cost, keys that changed lately, the drill, alarms, the
budgets of rate limits and those of egress.

Made before the workers are forked, and taken over when the node's program is replaced by another version: then both
versions have it in use for a while, so a change of what is in it, or where, raises `LAYOUT`. A removal holds for all
workers once `publish` has returned, because each of them looks at `generation` before it answers from its RAM tier:

    seen = shared.generation[0]                     # at the start; the RAM tier is empty
    ...
    now = shared.generation[0]                      # on each hit
    if now != seen:
        removed = shared.removed_since(seen, now)   # None: too far behind, clear the whole RAM tier
        seen = now

Nothing here waits for other workers, except that one publishes at a time.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import threading
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

import xxhash

from shield import rankings, records
from shield.alarms.memory import SIZE as ALARM_SIZE
from shield.alarms.memory import AlarmMemory
from shield.budget_cells import BudgetCells
from shield.budget_cells import size_for as size_of_budgets
from shield.changed import SIZE, ChangedKeys
from shield.drill.memory import DrillMemory
from shield.drill.memory import size_for as size_of_drill
from shield.rankings import Rankings
from shield.rate_cells import FLOW_BYTES, RATE_BYTES, RateCells
from shield.records import Records

LOG_BYTES = 1 << 20
SLOTS = 1 << 20
LAYOUT = 23
"""The version of the memory's contents and their layout."""

_MOST_WORKERS = 256
_MAGIC = b"shield.m"
_HEAD = struct.Struct("<8sIIQQ")  # what it is, its layout, and the sizes of what differs: 0, log, counters
_WORDS = 56  # bytes: positions of the log (its own, and up to where it may be overwritten), of purges, and others
_FRAME = struct.Struct("<II")  # before each text: its length and checksum
_slot = struct.Struct("<2xI").unpack_from  # of a digest; its first two bytes choose its owner
_MOST_HITS = 3
_REMOVALS, _STREAM, _HOMES, _RECORDS, _CHANGES, _DRILL, _RANKINGS, _ALARMS = 0, 1, 2, 3, 4, 5, 6, 7  # the locks
_PURGES, _BUDGETS = 8, 9
_RATES, _FLOWS = 1 << 16, 1 << 20  # each the first of many
_RESIDENCE = struct.Struct("<QQQ?")  # a path's hash, and the fields of a `Residence`
_RESIDENCES = 256  # most directories remembered; others work, but aren't remembered


class Standing(IntEnum):
    """The state of a worker."""

    DOWN = 0  # not started, or dead: no worker waits for it
    SERVING = 1
    DRAINING = 2  # finishes its work, accepts no more


class Residence(NamedTuple):
    """The name under which a cache directory was last used in this run of the machine, and its device.

    `doubted`: its disk has failed since, and writes may be lost.
    """

    name: int
    device: int
    doubted: bool = False


class Kept(NamedTuple):
    """Descriptors of a memory, by which a program that takes this process over has it, too."""

    memory: int
    lock: int


class Shared:
    """`slots` is a power of two. Forked processes use the parent's object; it lives as long as any of them.

    `several`: processes use it; else this one alone does. `kept` is the memory of the program before this one, with
    the sizes that it has; ValueError if it is none, or of another layout.
    """

    def __init__(
        self,
        *,
        workers: int = 1,
        slots: int = SLOTS,
        log_bytes: int = LOG_BYTES,
        several: bool | None = None,
        kept: Kept | None = None,
    ) -> None:
        if slots & (slots - 1) or not 0 < workers <= _MOST_WORKERS:
            raise ValueError("slots must be a power of two, and workers from 1 to 256")
        if kept is not None:
            slots, log_bytes = _sizes(kept.memory)
        beats = _WORDS + _MOST_WORKERS
        of_origins = beats + 8 * _MOST_WORKERS
        of_routes = of_origins + records.size_for(_MOST_WORKERS)
        changes = of_routes + rankings.size_for(_MOST_WORKERS)
        drill = changes + SIZE
        alarms = drill + size_of_drill(_MOST_WORKERS)
        rates = alarms + ALARM_SIZE
        flows = rates + RATE_BYTES
        budgets = flows + FLOW_BYTES
        homes = budgets + size_of_budgets(_MOST_WORKERS)
        start = homes + _RESIDENCES * _RESIDENCE.size
        size = _HEAD.size + start + log_bytes + slots
        # Locks belong to the holder's process: the kernel releases them when it dies.
        self._lock: int | None = None
        self._fd = -1
        if kept is not None:
            self._fd, self._lock = kept
            if os.fstat(self._fd).st_size != size:
                raise ValueError(f"it has {os.fstat(self._fd).st_size} bytes instead of {size}")
        elif several or (several is None and workers > 1):
            self._fd, self._lock = os.memfd_create("shield-shared"), os.memfd_create("shield-lock")
            os.ftruncate(self._fd, size)
        self._memory = mmap.mmap(self._fd, size)
        _HEAD.pack_into(self._memory, 0, _MAGIC, LAYOUT, 0, log_bytes, slots)
        view = memoryview(self._memory)[_HEAD.size :]
        words = view[:_WORDS].cast("Q")
        self.generation = words[:1]
        """The position of the removal log, which only rises: a change means that something was removed."""
        self.standing = view[_WORDS : _WORDS + workers]
        """Each worker's `Standing`; written by itself, and set to DOWN by any process that finds it dead."""
        self._beats = view[beats : beats + 8 * workers].cast("d")
        self.records = Records(
            view[of_origins:of_routes], workers=workers, room=_MOST_WORKERS, alone=lambda: self._alone(_RECORDS)
        )
        """Outcomes of fetches from origins, and the treatment of these."""
        self.rankings = Rankings(view[of_routes:changes], workers=workers, alone=lambda: self._alone(_RANKINGS))
        """The order of origins by cost, and its basis."""
        self.drill = DrillMemory(view[drill:alarms], workers=workers, alone=lambda: self._alone(_DRILL))
        self.alarms = AlarmMemory(view[alarms:rates], alone=lambda: self._alone(_ALARMS))
        self.changes = ChangedKeys(view[changes:drill], alone=lambda: self._alone(_CHANGES))
        """Keys that changed lately."""
        self.rates = RateCells(view[rates:flows], lock=self._lock, first_byte=_RATES)
        """Budgets of rate limits."""
        self.flows = RateCells(view[flows:budgets], lock=self._lock, first_byte=_FLOWS)
        """The caps of origins."""
        self.budgets = BudgetCells(view[budgets:homes], workers=workers, alone=lambda: self._alone(_BUDGETS))
        """The egress of origins, and the measures of budgets."""
        self._overwritten = words[1:2]
        self.purges = words[2:5]
        """Of marks of purges: the newest sequence that was published, the last one assigned, and whether the log of
        purges was read by any worker; the last two change under `purging`."""
        self._publishing = threading.Lock()
        self.log_level = words[5:6]
        """Another level of the log for a while, as `rules.log_level` has it."""
        self.rates_part = words[6:].cast("B").cast("q")
        """By how much each node of a cluster divides its rate limits (`edge.rates`)."""
        self._homes = view[homes:start]
        self._log = view[start : start + log_bytes]
        self._log_bytes = log_bytes
        self._counts = view[start + log_bytes :]
        self._mask = slots - 1

    @property
    def kept(self) -> Kept:
        """For the program that takes over. Only where several processes use it."""
        assert self._lock is not None
        return Kept(self._fd, self._lock)

    # the removal log

    def publish(self, texts: Iterable[bytes], *, purge: int = 0) -> tuple[int, int]:
        """Publish the removal of these keys to all workers; returns the positions before and after.

        A worker that had read up to the first goes on from the second and needn't read this removal. `purge` is the
        sequence of the marks among the texts, if they are those of a purge. Any thread.
        """
        records = b"".join([_FRAME.pack(len(text), xxhash.xxh32_intdigest(text)) + text for text in texts])
        return self._append(len(records), records, purge)

    def removed_since(self, position: int, until: int | None = None) -> list[bytes] | None:
        """Key texts published between two positions, the second being the newest by default.

        None: too much was published to list it.
        """
        stop = self.generation[0] if until is None else until
        if not 0 <= stop - position <= self._log_bytes:
            return None
        data = self._read(position, stop - position)
        if self._overwritten[0] - position > self._log_bytes:
            return None  # perhaps during this call
        return _texts(data)

    def _append(self, size: int, records: bytes, purge: int) -> tuple[int, int]:
        with self._publishing, self._alone(_REMOVALS):
            before = self.generation[0]
            after = before + size
            self._overwritten[0] = after  # first, so that concurrent readers of these bytes notice
            if len(records) <= self._log_bytes:
                self._write(before, records)
            self.purges[0] = max(self.purges[0], purge)
            self.generation[0] = after  # last: bytes below it are whole, also when a writer is killed
        return before, after

    def _write(self, position: int, data: bytes) -> None:
        at = position % self._log_bytes
        first = min(len(data), self._log_bytes - at)
        self._log[at : at + first] = data[:first]
        self._log[: len(data) - first] = data[first:]

    def _read(self, position: int, size: int) -> bytes:
        at = position % self._log_bytes
        first = min(size, self._log_bytes - at)
        return bytes(self._log[at : at + first]) + bytes(self._log[: size - first])

    # hit counts

    def hit(self, digest: bytes) -> int:
        """Count a hit, up to 3, and return the count. Keys may share a count, two hits at once may count as one."""
        counts = self._counts
        slot: int = _slot(digest)[0] & self._mask
        count = counts[slot]
        if count < _MOST_HITS:
            count += 1
            counts[slot] = count
        return count

    def cool(self, digest: bytes) -> int:
        """Return the count and decrease it by one: often hit keys stay warm for a while."""
        slot: int = _slot(digest)[0] & self._mask
        count = self._counts[slot]
        if count:
            self._counts[slot] = count - 1
        return count

    # heartbeats

    def beat(self, worker: int, now: float) -> None:
        """Record that a worker's loop runs; `now` is the monotonic clock, shared by all processes. 0.0: not yet."""
        self._beats[worker] = now

    def last_beat(self, worker: int) -> float:
        """The time of a worker's last heartbeat; 0.0 before the first."""
        return self._beats[worker]

    def is_silent(self, worker: int, now: float, seconds: float) -> bool:
        """Whether a worker that had begun has sent no heartbeat for this long."""
        beat: float = self._beats[worker]
        return beat > 0.0 and now - beat > seconds

    # cache directories

    def residence(self, path: bytes) -> Residence | None:
        """The last recorded home of a directory's path, by any worker; None when there is none."""
        with self._alone(_HOMES):
            at = self._residence_at(path)
            if at is None:
                return None
            which, *residence = _RESIDENCE.unpack_from(self._homes, at)
        return Residence(*residence) if which else None

    def reside(self, path: bytes, residence: Residence) -> None:
        """Remember it for all workers, including later ones."""
        with self._alone(_HOMES):
            at = self._residence_at(path)
            if at is not None:
                _RESIDENCE.pack_into(self._homes, at, _path_hash(path), *residence)

    def _residence_at(self, path: bytes) -> int | None:
        """Offset of a path's record, or of a free one for it; None when there are too many."""
        which = _path_hash(path)
        for at in range(0, len(self._homes), _RESIDENCE.size):
            taken = int.from_bytes(self._homes[at : at + 8], "little")
            if taken in (which, 0):
                return at
        return None

    # exclusive use

    def purging(self) -> AbstractContextManager[None]:
        """Held by the one process that writes to the log of purges; it excludes no other thread of this process."""
        return self._alone(_PURGES)

    def writing_out(self) -> AbstractContextManager[None]:
        """Held while a worker writes to a stream shared by all of them, so that its output stays together."""
        return self._alone(_STREAM)

    @contextmanager
    def _alone(self, what: int) -> Iterator[None]:
        if self._lock is None:
            yield
            return
        fcntl.lockf(self._lock, fcntl.LOCK_EX, 1, what)
        try:
            yield
        finally:
            fcntl.lockf(self._lock, fcntl.LOCK_UN, 1, what)

    def close(self) -> None:
        """Release the descriptors; nothing can be published any more."""
        if self._lock is not None and self._lock >= 0:
            os.close(self._lock)
            os.close(self._fd)
            self._lock = -1


@dataclass(frozen=True, slots=True)
class Seat:
    """A worker's number in its node, and what it shares with the others. The default: the only worker.

    `peers` are the unix sockets on which workers take each other's requests, by worker. `tenant`: 0, or 1 if the
    process before this one, with the same number, may still be running. `state`: a directory for what outlasts the
    node, if it has one; `private`: one for what doesn't, None outside a node's processes.
    """

    worker: int = 0
    workers: int = 1
    shared: Shared = field(default_factory=Shared)
    peers: tuple[str, ...] = ()
    tenant: int = 0
    state: Path | None = None
    private: Path | None = None

    @property
    def writer(self) -> int:
        """The number under which it writes to cache directories: no two processes write under the same one."""
        return self.worker + self.tenant * _MOST_WORKERS


def worker_of(writer: int) -> int:
    """The number of the worker that writes to cache directories under this one."""
    return writer % _MOST_WORKERS


def _sizes(memory: int) -> tuple[int, int]:
    """Counters and bytes of the log in a memory. Raises ValueError."""
    try:
        magic, layout, _, log_bytes, slots = _HEAD.unpack(os.pread(memory, _HEAD.size, 0))
    except (OSError, struct.error):
        raise ValueError("it is no memory of a node") from None
    if magic != _MAGIC:
        raise ValueError("it is no memory of a node")
    if layout != LAYOUT:
        raise ValueError(f"it has layout {layout}, and this version has {LAYOUT}")
    if slots & (slots - 1) or not slots or not log_bytes:
        raise ValueError("its sizes can't be")
    return slots, log_bytes


def _path_hash(path: bytes) -> int:
    return xxhash.xxh3_64_intdigest(path) or 1


def _texts(data: bytes) -> list[bytes] | None:
    """The texts in these records; None when they are torn."""
    texts = []
    at = 0
    while at < len(data):
        if len(data) - at < _FRAME.size:
            return None
        length, checksum = _FRAME.unpack_from(data, at)
        at += _FRAME.size
        text = data[at : at + length]
        if len(text) != length or xxhash.xxh32_intdigest(text) != checksum:
            return None
        texts.append(text)
        at += length
    return texts
