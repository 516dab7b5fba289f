"""Removals: from this worker's RAM at once, from all other workers, and from the disks for good. And soft purges,
which only make entries stale, in the same ways.

Every removal has a number in one order for the whole node, its `sequence`. An entry to be stored carries the sequence
from before it set out, and isn't stored if its key was removed since. A worker that finds the node's sequence ahead
of its own, `seen`, catches up before it answers from RAM. Until the disks have forgotten a key it is `hidden`: its
entry may still be there, and isn't found.

A purge of many entries is a mark among the removals (`rules.purging`): nothing is looked for, and each entry is
compared with the marks that are later than itself when it is next looked up, or swept.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence

from shield.rules.changes import version_of
from shield.rules.key import CacheKey
from shield.rules.purging import PurgeMark, PurgeMarks
from shield.shared import Shared
from shield.store.disk import Disk, softens
from shield.store.entry import Entry
from shield.store.memory import MemoryTier
from shield.store.notices import mark_of, outdated_of, outdating
from shield.store.packed import since_of
from shield.store.pending import Pending, record_for
from shield.store.variants import Variants

Purged = Callable[[CacheKey, int, PurgeMark], None]
"""Called with the key of an entry, its version (`version_of`) and the mark that it fell under."""


def _unnoticed(key: CacheKey, version: int, mark: PurgeMark) -> None:
    """Nobody wants to know."""


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
        self.marks = PurgeMarks() if disk is None else disk.marks
        """Of purges of many entries, as far as this worker has seen them."""
        self.is_lost = False
        """Whether marks were missed, so that they must be read again."""
        self._distrusted = 0  # up to which marks were missed
        self.tell: Purged = _unnoticed
        self.node_sequence = shared.generation
        """Its one item is the sequence of the newest removal by any worker."""
        self.seen = self.node_sequence[0]
        """This worker's RAM reflects the removals up to this sequence: if the node's is another one, `catch_up`."""
        self.hidden: dict[bytes, int] = {}
        """Texts of keys that the disks are forgetting, each with the number of its pending removals."""
        self._swept = 0  # no entry in RAM falls under a mark up to this one
        self._unswept: Iterator[bytes] = iter(())  # texts of keys in RAM that are still to be looked at
        self._sweeping = 0  # and up to which mark
        self.is_doubted = False
        """Whether entries are judged at each use, though none falls under a mark: `doubt`."""
        self.settled = self.seen
        """As `seen`, or -1 while an entry in RAM may fall under a mark: then it is to be `checked`."""

    # queries

    def since(
        self, text: bytes, sequence: int, tags: bytes | None, origin: str | None = None, until: int | None = None
    ) -> bool:
        """Whether a key was removed after this sequence, and up to `until` (None: the newest), or an entry with these
        tags, one a line, or from this origin; None: they aren't known, and may be any. Removals too old to be
        remembered count as yes.
        """
        if self.node_sequence[0] == sequence:
            return False
        removed = self._shared.removed_since(sequence, until)
        return removed is None or any(_is_about(notice, text, tags, origin) for notice in removed)

    def checked(self, entry: Entry) -> Entry | None:
        """An entry in RAM, or on its way to a disk, from before the newest mark, as it may be served; None if it is
        purged. Later calls cost nothing.
        """
        marks = self.marks
        newest, mark = marks.newest, marks.verdict(entry.key.text, entry.tags, entry.since, entry)
        if mark is None:
            self._memory.mark(entry, newest)
            return entry
        text = entry.key.text
        in_memory = self._memory.holds(entry)
        self.tell(entry.key, version_of(entry.etag, entry.length), mark)
        if mark.soft and softens(entry.head.status):
            fresh = outdated(entry, mark.at)
            fresh.since = newest
            if in_memory:
                self._memory.commit(fresh)
            return fresh
        if in_memory:
            self._memory.remove(text)
        if self._pending is not None and self._pending.get(text) is entry:
            self._pending.forget(text)
        return None

    def catch_up(self) -> None:
        """Apply the removals of other workers to this one's RAM."""
        seen, self.seen = self.seen, self.node_sequence[0]
        removed, newest = self._shared.removed_since(seen, self.seen), self.marks.newest
        if removed is None:
            self._clear()
            published = self._shared.purges[0]
            if published > newest:
                self.is_lost, self._distrusted = True, published
                self.marks.distrust(published)
        marks: list[PurgeMark] = []
        for notice in removed or ():
            mark, soft = mark_of(notice), outdated_of(notice)
            if mark is not None:
                marks.append(mark)
                if mark.sequence <= newest and mark not in self.marks:
                    self._memory.clear()  # a directory brought it, and entries were compared without it
            elif soft is not None:
                self._outdate(*soft)
            else:
                self._forget(notice)
        self.marks.add(*marks)  # together: an order has several of one sequence
        self._settle()

    def restore(self, marks: Iterable[PurgeMark], newest: int) -> None:
        """Take these marks, of which the newest that was published is `newest`, in place of those that are known;
        unless later ones were missed meanwhile: then they are to be read again.
        """
        if newest < self._distrusted:
            return
        self.is_lost = False
        self.marks.restore(marks, newest)
        self._settle()

    def _settle(self) -> None:
        is_swept = self._swept >= max(self.marks.newest, self.marks.alive)
        self.settled = self.seen if is_swept and not self.is_doubted else -1

    def doubt(self, is_doubted: bool) -> None:
        """Have RAM count as unsettled, or no longer."""
        if is_doubted is not self.is_doubted:
            self.is_doubted = is_doubted
            self._settle()

    # sweeping

    @property
    def swept(self) -> int:
        """No entry in RAM falls under a mark up to this one."""
        return self._swept

    def sweep(self, most: int) -> bool:
        """Look at so many entries in RAM; False once none falls under a mark."""
        marks, memory = self.marks, self._memory
        texts = [*itertools.islice(self._unswept, most)]
        if not texts:
            self._swept = max(self._swept, self._sweeping)
            self._settle()
            if self._swept >= marks.newest:
                return False
            self._sweeping, self._unswept = marks.newest, memory.texts()
            texts = [*itertools.islice(self._unswept, most)]
        for text in texts:
            packed = memory.find(text)
            if packed is not None and since_of(packed) < marks.alive:
                entry = memory.peek(text)
                assert entry is not None
                self.checked(entry)
        return True

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
        said = outdating(text, now)
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
        entry = self._memory.peek(text)
        if entry is not None and entry.freshness.ttl(now) > 0.0:
            self._memory.commit(outdated(entry, now))

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
        else:
            self.seen = after
            self._settle()

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


def _is_about(notice: bytes, text: bytes, tags: bytes | None, origin: str | None) -> bool:
    """Whether a notice is about a key, or may be."""
    if notice[:1] > b"\1":  # the usual case
        return notice == text
    mark, soft = mark_of(notice), outdated_of(notice)
    if mark is not None:
        return mark.is_about(text, tags, origin)
    return (notice if soft is None else soft[0]) == text
