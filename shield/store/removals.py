"""Removals: from this worker's RAM at once, from all other workers, and from the disks for good.

Every removal has a number in one order for the whole node, its `sequence`. An entry to be stored carries the sequence
from before it set out, and isn't stored if its key was removed since. A worker that finds the node's sequence ahead
of its own, `seen`, catches up before it answers from RAM. Until the disks have forgotten a key it is `hidden`: its
entry may still be there, and isn't found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from shield.rules.key import CacheKey
from shield.shared import Shared
from shield.store.disk import Disk
from shield.store.memory import MemoryTier
from shield.store.pending import Pending
from shield.store.variants import Variants


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
        return removed is None or text in removed

    def catch_up(self) -> None:
        """Apply the removals of other workers to this one's RAM."""
        seen, self.seen = self.seen, self.node_sequence[0]
        removed = self._shared.removed_since(seen)
        if removed is None:
            self._clear()
            return
        for text in removed:
            self._forget(text)

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
        before, after = self._shared.publish([key.text for key in keys])
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
