"""Keys and entries of a simulated node: sizes and times, no bytes."""

from __future__ import annotations

from shield.rules.freshness import Freshness
from shield.store.disk import slice_digest
from shield.store.entry import OVERHEAD
from shield.store.fifo import MARK, size_of

_ABSENCE_BYTES = 182  # head and body of a node's own 404, about


class SimulatedKey:
    """What one canonical key names. `size` is that of its object as far as the log has told; `reached` is the end of
    the last part whose place no line told.
    """

    __slots__ = ("_doubtful", "digest", "is_guessed", "origin", "owner", "reached", "route", "size", "text")

    def __init__(self, text: bytes, digest: bytes, route: int, origin: str) -> None:
        self.text = text
        self.digest = digest
        self.route = route
        self.origin = origin
        self.owner = 0
        self.size = -1
        self.reached = 0
        self.is_guessed = False
        self._doubtful = -1

    @property
    def named(self) -> bytes:
        """The text behind the space: the object's path, and its query if it has one."""
        return self.text.partition(b":")[2]

    def observe(self, size: int) -> None:
        """A whole response had this size. A new one counts once it is seen twice: the first may have broken off."""
        if size == self.size:
            self._doubtful = -1
        elif size == self._doubtful:
            self.size, self._doubtful = size, -1
        else:
            self._doubtful = size


class SimulatedHead:
    """What verdicts need of a head."""

    __slots__ = ("etag", "fields", "last_modified", "must_revalidate", "no_cache")

    def __init__(self, status: int, freshness: Freshness) -> None:
        self.etag = b'"1"' if status == 200 else None
        self.last_modified = None
        self.fields = ()
        self.must_revalidate = freshness.error_grace <= 0.0 and freshness.grace <= 0.0
        self.no_cache = self.must_revalidate and freshness.lifetime <= 0.0


class SimulatedEntry:
    """As `shield.store.entry.Entry`, for tiers that look at sizes and uses only. `mark` is as in `fifo`.

    `slice_bytes`: on a disk, its body is in slices of this size; 0: it is whole.
    """

    __slots__ = (
        *("freshness", "head", "key", "length", "mark", "noted", "plain_hit_until", "slice_bytes", "status"),
    )

    def __init__(self, key: SimulatedKey, status: int, length: int, freshness: Freshness, head_bytes: int) -> None:
        self.key = key
        self.status = status
        self.length = length
        said = _ABSENCE_BYTES if status in (404, 410) else head_bytes + length
        self.mark = bytearray(MARK.pack(0, 0, OVERHEAD + len(key.text) + said))
        self.noted = -1
        self.slice_bytes = 0
        self.renew(freshness)

    def renew(self, freshness: Freshness) -> None:
        """It was validated."""
        self.freshness = freshness
        self.head = SimulatedHead(self.status, freshness)
        self.plain_hit_until = -1.0 if self.head.no_cache else freshness.born + freshness.lifetime

    @property
    def size(self) -> int:
        """As in RAM."""
        return size_of(self.mark)

    @property
    def is_large(self) -> bool:
        return self.slice_bytes > 0

    @property
    def of(self) -> bytes:
        """The text of the entry that it is, or is part of."""
        return self.key.text

    @property
    def entry_key(self) -> SimulatedKey:
        return self.key

    def as_head(self, slice_bytes: int) -> SimulatedEntry:
        """The record of its head, where the body is in slices."""
        made = SimulatedEntry(self.key, self.status, self.length, self.freshness, 0)
        made.mark[:] = MARK.pack(0, 0, self.size - self.length)
        made.slice_bytes = slice_bytes
        return made

    def copy(self) -> SimulatedEntry:
        """The same for another worker's RAM."""
        made = SimulatedEntry(self.key, self.status, self.length, self.freshness, 0)
        made.mark[:] = self.mark
        return made

    def is_over(self, now: float) -> bool:
        """Whether it is of no use any more, not even to be validated."""
        times = self.freshness
        return now > times.born + times.lifetime + max(times.keep, times.grace, times.error_grace)


class _SliceName:
    __slots__ = ("digest", "text")

    def __init__(self, key: SimulatedKey, number: int) -> None:
        self.text = slice_text(key.text, number)
        self.digest = slice_digest(key.digest, number)


class SimulatedSlice:
    """One slice of the entry `of`, whose whole body has `total` bytes, on a disk."""

    __slots__ = ("entry_key", "key", "of", "size", "slice_bytes", "total")

    def __init__(self, key: SimulatedKey, number: int, total: int, slice_bytes: int) -> None:
        self.key = _SliceName(key, number)
        self.entry_key = key
        self.of = key.text
        self.total = total
        self.slice_bytes = slice_bytes
        self.size = OVERHEAD + min(slice_bytes, total - number * slice_bytes)

    def is_of(self, head: SimulatedEntry) -> bool:
        """Whether it is of this very version."""
        return (self.total, self.slice_bytes) == (head.length, head.slice_bytes)


def slice_text(text: bytes, number: int) -> bytes:
    """The name of a slice, which no key has."""
    return b"%b\0%d" % (text, number)
