"""The RAM tier: whole entries, bounded in bytes. `fifo` decides which stay, `packed` is the form in which they do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from shield.store.entry import Block, Body, Entry
from shield.store.fifo import MAX_FREQUENCY, SHARDS, S3Fifo, use
from shield.store.packed import HEAD_AT, INSIDE, SMALL, is_inside, origin_of, pack, plain_fields, set_since, unpacked
from shield.store.plain import MEMORY, Plain

_plain: Final = tuple.__new__  # without a call of Python code

_ROOM_BESIDE: Final = 8 << 20
_UNPACKED: Final = 256  # entries kept as objects, too, for requests that need more than a head and a body


@dataclass(frozen=True, slots=True)
class MemoryStatistics:
    entries: int
    used_bytes: int
    capacity_bytes: int
    evictions: int
    refused: int


class MemoryTier:
    """Entries in RAM, at most `capacity` bytes in total, none larger than `max_entry`. One event loop only.

    An entry is made of what is stored when it is looked up: two lookups may return two objects of the same.
    """

    def __init__(self, *, capacity: int, max_entry: int) -> None:
        self._fifo = S3Fifo[bytearray](
            capacity, max_entry=max_entry, mark_of=_itself, on_gone=lambda text, packed: self._forget(text)
        )
        self.shards = self._fifo.shards
        """As there, for the way of a hit."""
        self.find = self._fifo.find
        """The packed entry under a key's text. This doesn't count as use."""
        self.bodies: list[dict[bytes, Block]] = [{} for _ in range(SHARDS)]
        """Bodies that aren't inside: pieces of bytes, which the garbage collector doesn't look at."""
        # the few bodies that consist of several
        self._long: dict[bytes, Body] = {}
        self._origins: dict[str | None, int] = {None: 0}
        self._origin_names: list[str | None] = [None]
        self._unpacked: dict[bytes, Entry] = {}
        self.beside: dict[bytes, Any] = {}
        """By key texts, what others made of entries, until these change or go, or a second is over."""
        self._room_beside = _ROOM_BESIDE

    def tell_evicted(self, listener: Callable[[Entry], None]) -> None:
        """Call `listener` with each evicted entry that was requested more than once."""
        self._fifo.on_evict = lambda text, packed: listener(self._entry(text, packed))

    def reused(self) -> Iterator[Entry]:
        """The entries that were requested more than once."""
        for text, packed in self._fifo.reused():
            yield self._entry(text, packed)

    @property
    def max_entry(self) -> int:
        """The largest entry taken, in bytes of body and head."""
        return self._fifo.max_entry

    def lookup(self, text: bytes) -> Entry | None:
        """The entry under a key's text, fresh or not. Counts as use."""
        packed = self.find(text)
        if packed is None:
            return None
        use(packed)
        return self.entry(text, packed)

    def peek(self, text: bytes) -> Entry | None:
        """As `lookup`, but doesn't count as use."""
        packed = self.find(text)
        return None if packed is None else self._entry(text, packed)

    def entry(self, text: bytes, packed: bytearray) -> Entry:
        """What `find` has found, as an entry. It is remembered for a while: for entries that are requested."""
        entry = self._unpacked.get(text)
        if entry is None:
            entry = self._entry(text, packed)
            if len(self._unpacked) >= _UNPACKED:
                self._unpacked.clear()
            self._unpacked[text] = entry
        return entry

    def plain(self, text: bytes, packed: bytearray, now: float) -> Plain | None:
        """The response to a plain request from what `find` has found; None if it isn't fresh. Counts as use."""
        flags, status, length, shown_end, body_at, until, born, lifetime = plain_fields(packed)
        if now >= until:
            return None
        if packed[0] < MAX_FREQUENCY:
            packed[0] += 1
        age = int(now - born)
        ttl = int(lifetime) - age
        if age < 0:  # the clock was set back
            age = 0
        elif born + age + 1.0 < until:
            until = born + age + 1.0
        parts: Body = ()
        if flags & INSIDE == 0:
            block = self.bodies[hash(text) % SHARDS].get(text)
            parts = self._long[text] if block is None else (block,)
        elif length:
            parts = (memoryview(packed)[body_at:],)
        head = packed[HEAD_AT:shown_end]
        return _plain(Plain, (status, head, parts, length, age, ttl, MEMORY, packed, until))

    def body(self, text: bytes) -> Body:
        """The body of an entry that isn't inside of what is packed."""
        block = self.bodies[hash(text) % SHARDS].get(text)
        return self._long[text] if block is None else (block,)

    def holds(self, entry: Entry) -> bool:
        """Whether this is the entry stored under its key."""
        return entry.packed is not None and self.find(entry.key.text) is entry.packed

    def mark(self, entry: Entry, since: int) -> None:
        """An entry is known to fall under no mark of a purge up to `since`."""
        entry.since = since
        if entry.packed is not None:
            set_since(entry.packed, since)

    def commit(self, entry: Entry) -> bool:
        """Store an entry, replacing the one under its key; False when it is larger than the tier takes."""
        text, origin = entry.key.text, entry.origin
        number = self._origins.get(origin)
        if number is None:
            number = self._origins[origin] = len(self._origin_names)
            self._origin_names.append(origin)
        packed = pack(entry, number)
        if not self._fifo.put(text, packed):
            return False
        entry.packed = packed
        if entry.length > SMALL:
            blocks = entry.blocks
            if len(blocks) == 1:
                block = blocks[0]
                self.bodies[hash(text) % SHARDS][text] = bytes(block) if type(block) is memoryview else block
            else:
                self._long[text] = blocks
        return True

    def remove(self, text: bytes) -> bool:
        """Drop a key; False when there was none. Readers of the entry keep their bytes."""
        return self._fifo.remove(text)

    def texts(self) -> Iterator[bytes]:
        """Texts of the keys of all entries; those added or removed meanwhile may be missing or present."""
        for shard in self._fifo.shards:
            yield from list(shard)

    def entries(self) -> Iterator[Entry]:
        """All entries, without counting as use. Those added or removed meanwhile may be missing or present."""
        for batch in self._fifo.batches():
            for text, packed in batch:
                if self.find(text) is packed:
                    yield self._entry(text, packed)

    def tick(self) -> None:
        """Call once a second."""
        self.beside.clear()
        self._room_beside = _ROOM_BESIDE

    def has_room_beside(self, size: int) -> bool:
        """Whether a copy of so many bytes may be kept beside an entry; it is counted."""
        if size > self._room_beside:
            return False
        self._room_beside -= size
        return True

    def clear(self) -> None:
        self._fifo.clear()
        for bodies in self.bodies:
            bodies.clear()
        for others in (self._long, self._unpacked, self.beside):
            others.clear()

    def statistics(self) -> MemoryStatistics:
        fifo = self._fifo
        return MemoryStatistics(
            entries=len(fifo),
            used_bytes=fifo.used,
            capacity_bytes=fifo.capacity,
            evictions=fifo.evictions,
            refused=fifo.refused,
        )

    def _entry(self, text: bytes, packed: bytearray) -> Entry:
        body = None if is_inside(packed) else self.body(text)
        return unpacked(text, packed, body, self._origin_names[origin_of(packed)])

    def _forget(self, text: bytes) -> None:
        if text in self._unpacked:
            del self._unpacked[text]
        if text in self.beside:
            del self.beside[text]
        if self.bodies[hash(text) % SHARDS].pop(text, None) is None:
            self._long.pop(text, None)


def _itself(packed: bytearray) -> bytearray:
    return packed
