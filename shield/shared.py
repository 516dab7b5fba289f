"""Memory that all workers of a node share: which keys were removed, how often keys were hit, which workers serve and
are alive, and where cache directories were at home.

Made before the workers are forked; a node of one worker has it too. What a removal takes away is gone for all workers
once `publish` has returned, because each of them looks at `generation` before it answers from its RAM tier:

    seen = shared.generation[0]                     # at the start; the RAM tier is empty
    ...
    now = shared.generation[0]                      # on each hit
    if now != seen:
        removed = shared.removed_since(seen, now)   # None: too far behind, clear the whole RAM tier
        seen = now

Nothing here waits for other workers, save that one publishes at a time.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

import xxhash

LOG_BYTES = 1 << 20
SLOTS = 1 << 20

_MOST_WORKERS = 256
_WORDS = 16  # bytes: the log's position, and how far bytes may have been overwritten already
_FRAME = struct.Struct("<II")  # before each text: its length and checksum
_slot = struct.Struct("<2xI").unpack_from  # of a digest; its first two bytes name the worker that owns it
_MOST_HITS = 3
_REMOVALS, _STREAM, _HOMES = 0, 1, 2  # what is locked
_RESIDENCE = struct.Struct("<QQQ?")  # a path's hash, and what a `Residence` has
_RESIDENCES = 256  # directories remembered; more of them are none the worse, but for this


class Standing(IntEnum):
    """What a worker is doing."""

    DOWN = 0  # not started, or dead: nobody waits for it
    SERVING = 1
    DRAINING = 2  # finishes what it has, takes nothing new


class Residence(NamedTuple):
    """Under which name a cache directory was last used, and on which device, in this run of the machine.

    `doubted`: its disk has failed since, and may have lost what was written.
    """

    name: int
    device: int
    doubted: bool = False


class Shared:
    """`slots` is a power of two. Forked processes use the parent's object; it lives as long as any of them."""

    def __init__(self, *, workers: int = 1, slots: int = SLOTS, log_bytes: int = LOG_BYTES) -> None:
        if slots & (slots - 1) or not 0 < workers <= _MOST_WORKERS:
            raise ValueError("slots must be a power of two, and workers from 1 to 256")
        beats = _WORDS + _MOST_WORKERS
        homes = beats + 8 * _MOST_WORKERS
        start = homes + _RESIDENCES * _RESIDENCE.size
        self._memory = mmap.mmap(-1, start + log_bytes + slots)
        view = memoryview(self._memory)
        words = view[:_WORDS].cast("Q")
        self.generation = words[:1]
        """The position of the removal log, which only rises: another one means that something was removed."""
        self.standing = view[_WORDS : _WORDS + workers]
        """Each worker's `Standing`; written by itself, and DOWN by whoever finds it dead."""
        self._beats = view[beats : beats + 8 * workers].cast("d")
        self._overwritten = words[1:]
        self._homes = view[homes:start]
        self._log = view[start : start + log_bytes]
        self._log_bytes = log_bytes
        self._counts = view[start + log_bytes :]
        self._mask = slots - 1
        # Its locks are their holder's process's: the kernel takes them from one that dies.
        self._lock = os.memfd_create("shield-lock") if workers > 1 else None

    # the removal log

    def publish(self, texts: Iterable[bytes]) -> tuple[int, int]:
        """Tell all workers that these keys were removed: positions before and after.

        Who had read up to the first has nothing to learn from it, and goes on from the second. From one thread only.
        """
        records = b"".join([_FRAME.pack(len(text), xxhash.xxh32_intdigest(text)) + text for text in texts])
        return self._append(len(records), records)

    def publish_all(self) -> tuple[int, int]:
        """Tell all workers that everything was removed; else as `publish`."""
        return self._append(self._log_bytes + 1, b"")

    def removed_since(self, position: int, until: int | None = None) -> list[bytes] | None:
        """Key texts published between two positions, the second the newest if it isn't given.

        None: so much was published that they can't be told any more.
        """
        stop = self.generation[0] if until is None else until
        if not 0 <= stop - position <= self._log_bytes:
            return None
        data = self._read(position, stop - position)
        if self._overwritten[0] - position > self._log_bytes:
            return None  # perhaps while we read
        return _texts(data)

    def _append(self, size: int, records: bytes) -> tuple[int, int]:
        with self._alone(_REMOVALS):
            before = self.generation[0]
            after = before + size
            self._overwritten[0] = after  # first, so that whoever reads what goes now finds out
            if len(records) <= self._log_bytes:
                self._write(before, records)
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
        """Count a hit, up to 3, and give the count. Keys may share a count, and two hits at once be one."""
        counts = self._counts
        slot: int = _slot(digest)[0] & self._mask
        count = counts[slot]
        if count < _MOST_HITS:
            count += 1
            counts[slot] = count
        return count

    def cool(self, digest: bytes) -> int:
        """The count, which goes down by one: what was hit often stays warm for a while."""
        slot: int = _slot(digest)[0] & self._mask
        count = self._counts[slot]
        if count:
            self._counts[slot] = count - 1
        return count

    # signs of life

    def beat(self, worker: int, now: float) -> None:
        """A worker's event loop turns; `now` is of the monotonic clock, which all processes share. 0.0: not yet."""
        self._beats[worker] = now

    def last_beat(self, worker: int) -> float:
        """When a worker's loop turned last; 0.0 until it has."""
        return self._beats[worker]

    def is_silent(self, worker: int, now: float, seconds: float) -> bool:
        """Whether a worker that had begun has given no sign of life for so long."""
        beat: float = self._beats[worker]
        return beat > 0.0 and now - beat > seconds

    # cache directories

    def residence(self, path: bytes) -> Residence | None:
        """What any worker last said of a directory's path; None when none did."""
        with self._alone(_HOMES):
            at = self._residence_at(path)
            if at is None:
                return None
            which, *residence = _RESIDENCE.unpack_from(self._homes, at)
        return Residence(*residence) if which else None

    def reside(self, path: bytes, residence: Residence) -> None:
        """Remember it for all workers, also those that come after this one's end."""
        with self._alone(_HOMES):
            at = self._residence_at(path)
            if at is not None:
                _RESIDENCE.pack_into(self._homes, at, _path_hash(path), *residence)

    def _residence_at(self, path: bytes) -> int | None:
        """Where a path's is, or may be put; None when there are too many."""
        which = _path_hash(path)
        for at in range(0, len(self._homes), _RESIDENCE.size):
            taken = int.from_bytes(self._homes[at : at + 8], "little")
            if taken in (which, 0):
                return at
        return None

    # one at a time

    def writing_out(self) -> AbstractContextManager[None]:
        """Held while a worker writes to a stream that all of them have: what it writes stays together."""
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
        """Give the locks' descriptor back; nothing can be published any more."""
        if self._lock is not None and self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


@dataclass(frozen=True, slots=True)
class Seat:
    """Which of a node's workers one is, and what it shares with them. The default: the only one.

    `peers` are the unix sockets on which workers take each other's requests, by worker.
    """

    worker: int = 0
    workers: int = 1
    shared: Shared = field(default_factory=Shared)
    peers: tuple[str, ...] = ()


def _path_hash(path: bytes) -> int:
    return xxhash.xxh3_64_intdigest(path) or 1


def _texts(data: bytes) -> list[bytes] | None:
    """The texts in these records; None when they aren't whole."""
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
