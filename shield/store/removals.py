"""Removals: from this worker's RAM at once, from all other workers, and from the disks for good. And soft purges,
which only make entries stale, in the same ways.

Every removal has a number in one order for the whole node, its `sequence`. An entry to be stored carries the sequence
from before it set out, and isn't stored if its key was removed since. A worker that finds the node's sequence ahead
of its own, `seen`, catches up before it answers from RAM. Until the disks have forgotten a key it is `hidden`: its
entry may still be there, and isn't found.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence

from shield.rules.key import CacheKey
from shield.shared import Shared
from shield.store.disk import Disk
from shield.store.entry import Entry
from shield.store.memory import MemoryTier
from shield.store.pending import Pending, record_for
from shield.store.variants import Variants

_SOFT = b"\0"  # before the time and the text of a key whose entry became stale: no text begins so
_MOMENT = struct.Struct("<d")


class Removals:
    """Of one worker; its event loop only. `disk` and `pending` are both given or neither."""

    def __init__(
        self, shared: Shared, memory: MemoryTier, variants: Variants, *, disk: Disk | None, pending: Pending | None
    ) -> None:
        self._shared = shared
        self._memory = memory
        self._variants = variants
        self._disk = disk
        self._pending = pending
        self.node_sequence = shared.generation
        """Its one item is the sequence of the newest removal by any worker."""
        self.seen = self.node_sequence[0]
        """This worker's RAM reflects the removals up to this sequence: if the node's is another one, `catch_up`."""
        self.hidden: dict[bytes, int] = {}
        """Texts of keys that the disks are forgetting, each with the number of its pending removals."""

    # queries

    def since(self, text: bytes, sequence: int) -> bool:
        """Whether a key was removed after this sequence. Removals too old to be remembered count as yes."""
        if self.node_sequence[0] == sequence:
            return False
        removed = self._shared.removed_since(sequence)
        return removed is None or text in removed or any(_outdated(each) == text for each in removed)

    def catch_up(self) -> None:
        """Apply the removals of other workers to this one's RAM."""
        seen, self.seen = self.seen, self.node_sequence[0]
        removed = self._shared.removed_since(seen)
        if removed is None:
            self._clear()
            return
        for text in removed:
            outdated = _outdated(text)
            if outdated is None:
                self._forget(text)
            else:
                self._outdate(outdated, *_MOMENT.unpack_from(text, 1))

    # removing

    def remove(self, keys: Sequence[CacheKey], then: Callable[[], None]) -> None:
        """Remove keys from all workers and all disks, durably, then call back."""
        for key in keys:
            self._forget(key.text)
        self._publish(keys)
        if self._disk is None:
            then()
            return
        self._hide(keys)

        def done() -> None:
            self._unhide(keys)
            self._publish(keys)  # again, for entries that another worker has read from a disk since
            then()

        self._disk.purge(keys, done)

    def outdate(self, entry: Entry, now: float, then: Callable[[], None]) -> None:
        """Make an entry stale in all workers and on the disks, durably, then call back. A fill that began earlier
        isn't stored, as after a removal.
        """
        text = entry.key.text
        said = _SOFT + _MOMENT.pack(now) + text
        self._outdate(text, now)
        self._publish_texts((said,))

        def done(well: bool) -> None:
            if not well:
                self.remove((entry.key,), then)
                return
            self._outdate(text, now)
            self._publish_texts((said,))  # again, for workers that have read it from a disk since
            then()

        if self._disk is None or not self._disk.freshen(record_for(outdated(entry, now)), done):
            then()

    def _outdate(self, text: bytes, now: float) -> None:
        entry = self._memory.find(text)
        if entry is not None and entry.freshness.ttl(now) > 0.0:
            self._memory.commit(outdated(entry, now))

    def remove_from_memory(self) -> None:
        """Empty the RAM tiers of all workers."""
        self._clear()
        _, self.seen = self._shared.publish_all()

    def drop_from_disks(self, key: CacheKey) -> None:
        """Forget the entries that the disks have, or will soon have, under a key. No removal in the node's order."""
        if self._disk is None or self._pending is None:
            return
        if key.text in self._pending or self._disk.lookup(key.digest) is not None:
            self._hide((key,))
            self._disk.purge((key,), lambda: self._unhide((key,)))

    def _publish(self, keys: Iterable[CacheKey]) -> None:
        self._publish_texts([key.text for key in keys])

    def _publish_texts(self, texts: Iterable[bytes]) -> None:
        before, after = self._shared.publish(texts)
        if before != self.seen:
            self.catch_up()
        self.seen = after

    def _forget(self, text: bytes) -> None:
        self._memory.remove(text)
        self._variants.forget(text)

    def _clear(self) -> None:
        self._memory.clear()
        self._variants.clear()

    def _hide(self, keys: Iterable[CacheKey]) -> None:
        for key in keys:
            if self._pending is not None:
                self._pending.forget(key.text)
            self.hidden[key.text] = self.hidden.get(key.text, 0) + 1

    def _unhide(self, keys: Iterable[CacheKey]) -> None:
        for key in keys:
            left = self.hidden.get(key.text, 1) - 1
            if left:
                self.hidden[key.text] = left
            else:
                self.hidden.pop(key.text, None)


def outdated(entry: Entry, now: float) -> Entry:
    """The same entry, stale from now on; its grace begins."""
    return entry.freshened(entry.head, entry.freshness.outdated(now))


def _outdated(text: bytes) -> bytes | None:
    """The text of a key whose entry became stale; None for a removal."""
    return text[1 + _MOMENT.size :] if text.startswith(_SOFT) else None
