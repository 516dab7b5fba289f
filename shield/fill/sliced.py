"""The life of a large entry while somebody reads it: from slices on disk, from slices on their way, from origins.

Its head is known. Readers join at any byte; what one needs and no disk has, a run fetches: the slices from there on
as far as readers want them. A complete slice goes to disk and is read from there by all who come later, each at its
own speed, so that a slow reader holds neither memory nor a connection to an origin. All runs ask for the very version
of the head: bytes of two versions never mix.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Protocol

from shield.errors import Fault, OriginError
from shield.fill.audience import Failure
from shield.fill.excerpts import Excerpt, Excerpts
from shield.fill.means import Means
from shield.fill.readers import Phase, Purse, Reader, taken
from shield.fill.run import Run
from shield.fill.runs import UNKEPT_RUNS, Runs
from shield.fill.setbacks import Setbacks
from shield.fill.shelf import Shelf
from shield.fill.telling import tell_all
from shield.fill.versions import EntryVersion
from shield.origin.want import Failed, Fetched
from shield.rules import exact
from shield.rules.persistence import ignores_parts
from shield.rules.ranges import Span
from shield.rules.routes import Resource
from shield.store.entry import Entry
from shield.store.slices import Unkept, Where

log = logging.getLogger("shield.fill")

PATIENCE_SECONDS = 2.0
"""How long a fetch waits for readers: then held slices are given up, and one that is far ahead ends. What is needed
later is fetched again."""


class SlicedRegistry(Protocol):
    """All fills of a worker, as that of one version's slices sees it."""

    def forget_sliced(self, fill: SlicedFill) -> None:
        """It is over."""

    def drop_sliced(self, fill: SlicedFill) -> None:
        """Origins have another version: what is stored of this one isn't to be found any more."""

    def touches_again(self, resource: Resource, number: int, reader: Reader) -> bool:
        """Whether a slice of which a reader wants little is to be fetched: another one wanted some of it before."""

    def count_thrifty(self, how: str) -> None:
        """An address over its budget of origin bytes was served thriftily."""

    def mark_large(self, resource: Resource) -> None:
        """It is too large to be kept: of later ranges nothing else is asked for."""

    def lacks_parts(self, fill: SlicedFill) -> None:
        """Its origin gives the object as a whole only: nobody need try again for a while."""

    def count_broken(self) -> None:
        """It failed after its head was known to readers."""

    def count_continued(self, origin: str) -> None:
        """Its body broke off or was late, and continued from this origin."""


class SlicedFill:
    """One version of a large object and those who read it: what is there lies on its `Shelf`, the rest `Runs` fetch,
    or `Excerpts` where little is wanted of a slice for the first time.

    What readers call (`read`, `progressed`, `leave`) never calls a reader back; what follows from it is done by
    `_tend`, on the loop's next turn.
    """

    def __init__(
        self,
        means: Means,
        registry: SlicedRegistry,
        resource: Resource,
        target: bytes,
        entry: Entry,
        *,
        keeps: bool = True,
    ) -> None:
        """`keeps` False: nothing is stored, since another node does that."""
        self.resource = resource
        self.entry = entry
        self.slice_bytes = entry.slice_bytes
        self.length = entry.length
        self.phase = Phase.STREAMING
        self.failure: Failure | None = None
        self.changed = False  # origins have another version
        self.has_given = False  # bytes to readers
        self.in_parts = True  # False: its origin gives it as a whole only
        self.outdated = False  # what is stored of it is to be dropped once nobody reads it
        self.generation = means.store.generation

        self._means = means
        self._registry = registry
        self._readers: dict[Reader, None] = {}
        self._shelf = Shelf(means.store.slices(entry) if keeps else Unkept(entry), means.memory)
        self._setbacks = setbacks = Setbacks(means.loop, seconds=means.policy.persist_seconds, chance=means.chance)
        self._version = version = EntryVersion(means.versions, resource, entry, self._shelf.held)
        self._runs = Runs(
            means,
            self._shelf,
            self._readers,
            resource=resource,
            target=target,
            entry=entry,
            setbacks=setbacks,
            version=version,
            continued=registry.count_continued,
        )
        self._excerpts = Excerpts(
            means, resource=resource, target=target, entry=entry, setbacks=setbacks, version=version
        )
        self._purse = Purse(means.clock)
        self._tending = False  # is about to
        self._telling = False
        self._timer: asyncio.TimerHandle | None = None

    def is_of(self, entry: Entry) -> bool:
        """Whether it brings this very version, in slices of the same size."""
        mine = self.entry
        same = (mine.etag, mine.length, mine.slice_bytes) == (entry.etag, entry.length, entry.slice_bytes)
        return same and self.phase is Phase.STREAMING and not self.changed and self.failure is None

    # readers

    @property
    def shared_by(self) -> int:
        """Its readers now."""
        return len(self._readers)

    def note_hops(self, hops: int) -> None:
        """A request that has come so far reads it: no node is asked for the rest that could wait for that one."""
        self._runs.hops = self._excerpts.hops = max(hops, self._runs.hops)

    def join(self, reader: Reader) -> None:
        self._purse.joined(reader, among=bool(self._readers))
        self._readers[reader] = None
        self._stop_timer()
        if self._runs.are_waiting:
            self.tend_soon()

    def leave(self, reader: Reader) -> None:
        if self._readers.pop(reader, self) is self:
            return
        self._excerpts.let_go(self._readers)
        has_all = reader.stop is not None and reader.position >= reader.stop
        linger = self._means.policy.linger_seconds
        if self._readers:
            self._purse.left_to(self._readers)
            self._runs.prune(finish=has_all)
            self.tend_soon()
        elif linger and self._runs and self._purse.is_shared and not has_all:
            self._stop_timer()
            self._runs.hold()  # whoever comes back finds it, at no further cost
            self._timer = self._means.loop.call_later(linger, self._wind_down)
        else:
            self._runs.prune(finish=has_all)
            self.settle()

    def read(self, position: int, stop: int | None, reader: Reader) -> bytes | memoryview | None:
        """Bytes at an absolute offset, as many as are at hand in one piece; None when there are none yet.

        What is nowhere is fetched; the reader is told to advance.
        """
        size, stop = self.slice_bytes, stop or self.length
        number, inside = divmod(position, size)
        after = (number + 1) * size
        is_next = inside > size // 2 and after < stop and not self._shelf.is_here(number + 1)
        if is_next and after - position <= exact.FREE + taken(reader):
            self._bring(after, stop, reader)  # so that nobody has to wait for it
        data = self._shelf.read(number, inside, self._read_from_disk)
        if data is Where.MISSING:
            data = self._excerpts.read(position)
        if data is not Where.MISSING:
            self.has_given = self.has_given or data is not None
            return data
        self._bring(position, stop, reader)
        return None

    def _bring(self, position: int, stop: int, reader: Reader) -> None:
        """Have fetched what a reader wants from there on: slices that are worth it, else just that."""
        if self.phase is not Phase.STREAMING or self._excerpts.covers(position):
            return
        if self._runs.are_last:
            self.tend_soon()
            return
        size = self.slice_bytes
        number = position // size
        begin = number * size
        end = begin + self._shelf.length(number)
        until = min(stop, end)
        if self._is_worth(number, until - position, reader):
            last = (stop - 1) // size
            if last > number and not exact.is_worth(self._shelf.length(last), stop - last * size, slack=reader.slack):
                stop = last * size
            self._runs.bring(number, stop, self)
            return
        if not self.is_kept and self._excerpts.under_way >= UNKEPT_RUNS:
            return  # each that ends has its reader told
        span = exact.rounded(position, min(until, position + exact.PIECE), slack=reader.slack)
        self._excerpts.bring(Span(max(span.start, begin), min(span.stop, end)), self)

    def _is_worth(self, number: int, wanted: int, reader: Reader) -> bool:
        """Whether a slice is to be fetched for a reader who wants so much of it."""
        if exact.is_worth(self._shelf.length(number), wanted, slack=reader.slack):
            return True
        if self._runs.brings(number):
            return True
        return self.is_kept and self._registry.touches_again(self.resource, number, reader)

    def progressed(self) -> None:
        """Readers have read on."""
        if self._runs.are_waiting or self._shelf.is_holding or self._excerpts:
            self.tend_soon()

    @property
    def is_kept(self) -> bool:
        """Whether a disk takes what comes, for later requests."""
        return self._shelf.is_kept

    def under_way(self) -> Iterable[Run]:
        """The fetches of its slices, if other origins may have them, too."""
        return list(self._runs) if self._runs and self._version.get() is not None else ()

    def holds(self, start: int, stop: int) -> bool:
        """Whether all bytes of a span are on disk; of a very long one the first are looked at."""
        return self._shelf.holds(start, stop)

    def adopt(self, fetched: Fetched, span: Span) -> Run | Excerpt | None:
        """An answer that is there already, with this part of the body. To be begun by the caller; None: it is closed,
        since memory is short or the part longer than a slice and not made of slices.
        """
        size = self.slice_bytes
        self._version.note_head(fetched)
        if not self.is_kept:
            self._registry.mark_large(self.resource)
        if span.start % size == 0 and (span.stop - span.start >= size or span.stop == self.length):
            return self._runs.adopt(fetched, span.start, span.stop, self)
        if span.stop - span.start > size:
            fetched.response.close()
            return None
        return self._excerpts.adopt(fetched, span, self)

    def begin(self, adopted: Run | Excerpt | None) -> None:
        """Let an adopted answer come in, if a reader needs it."""
        if isinstance(adopted, Run):
            self._runs.begin(adopted)
        elif adopted is not None:
            self._excerpts.let_go(self._readers)
            adopted.start_reading()  # which does nothing if nobody needs it
        self.settle()

    def cancel(self) -> None:
        """Give up; whoever reads gets an unclean end."""
        self._fail(OriginError("-", Fault.CANCELLED, "the node is stopping"))

    def _read_from_disk(self) -> None:
        self.tell()
        self.settle()

    # as the audience of its runs and excerpts

    def tell(self) -> None:
        tell_all(self._readers)

    def tell_soon(self) -> None:
        self._telling = True
        self.tend_soon()

    def spend(self, size: int) -> None:
        """An origin has sent so much for its readers."""
        self._purse.cost(size)

    def paced(self) -> None:
        self.be_patient()
        if self.is_thrifty():
            self._registry.count_thrifty("paced")

    def is_thrifty(self) -> bool:
        """Whether no more may come than is taken."""
        return self._purse.is_empty

    def be_patient(self) -> None:
        if self._timer is None:
            self._timer = self._means.loop.call_later(PATIENCE_SECONDS, self._lose_patience)

    def tend_soon(self) -> None:
        """Have it done what has become due by a reader's or a run's progress."""
        if not self._tending:
            self._tending = True
            self._means.loop.call_soon(self._tend)

    def is_current(self) -> bool:
        return not self._means.store.was_removed(self.resource.named.text, self.generation, self.entry.tags)

    def run_over(self, failure: Failure | None, *, is_final: bool) -> None:
        if failure is not None:
            self._note(failure)
            if is_final or self.changed:
                self._conclude(failure)
        self.tell_soon()

    def settle(self) -> None:
        """It is over if nothing is under way and nobody reads."""
        if self._readers or self._runs or self._tending or self._shelf.is_busy:
            return
        self._excerpts.let_go(self._readers)
        if self.phase is Phase.STREAMING:
            self.phase = Phase.COMPLETE
            self._finish()

    def _conclude(self, failure: Failure) -> None:
        """Asking again is of no use. Those go on for whom a fetch that is under way will do."""
        if isinstance(failure, Failed) and ignores_parts(failure.failures) and self.in_parts:
            self.in_parts = False
            self._registry.lacks_parts(self)
        if self.changed or not (self._runs or self._excerpts.under_way):
            self._fail(failure)
        elif self.failure is None:
            self.failure = failure
            self._runs.are_last = True
            self._registry.count_broken()

    def _detach_unserved(self) -> None:
        """Let go of those for whom nothing more will come."""
        for reader in list(self._readers):
            number = reader.position // self.slice_bytes
            is_coming = self._runs.will_bring(number) or self._excerpts.covers(reader.position)
            if not self._shelf.is_here(number) and not is_coming:
                self._readers.pop(reader, None)
                reader.detach()

    def _note(self, failure: Failure) -> None:
        if isinstance(failure, Failed):
            named = failure.names(Fault.VALIDATOR)
        else:
            named = failure.fault in (Fault.VALIDATOR, Fault.DAMAGED)  # then the slices before may be wrong, too
        name = self.resource.label
        log.warning("%s: slices of %s can't be fetched: %s", self.resource.route.name, name, failure)
        if named and not self.changed:
            self.changed = True
            self._registry.drop_sliced(self)
            if not isinstance(failure, Failed) and failure.fault is Fault.DAMAGED:
                self._means.store.purge(
                    [self.resource.named], _nothing
                )  # also of slices that are still being written

    # what is due

    def _tend(self) -> None:
        self._tending = False
        if self.phase is not Phase.STREAMING:
            return
        runs, readers = self._runs, self._readers
        self._shelf.let_go(readers)
        self._excerpts.let_go(readers)
        if runs.are_waiting and readers and not self._shelf.is_full:
            self._stop_timer()
            runs.resume()
        runs.admit(self)
        if runs.are_waiting and readers:
            self.be_patient()
        if self._telling:
            self._telling = False
            self.tell()
        if runs.are_last:
            self._detach_unserved()
        self.settle()

    def _lose_patience(self) -> None:
        self._timer = None
        self._runs.go_ahead(self._purse.affords)
        self._shelf.lose_patience()
        self._runs.stop_far_ahead()
        self.tend_soon()

    def _wind_down(self) -> None:
        """Nobody has read for a while."""
        self._timer = None
        self._runs.prune()
        self.settle()

    # the end

    def _fail(self, failure: Failure) -> None:
        if self.phase is not Phase.STREAMING:
            return
        self.phase, self.failure = Phase.FAILED, failure
        if self._readers:
            self._registry.count_broken()
        self._finish()
        self.tell()

    def _finish(self) -> None:
        self._stop_timer()
        self._registry.forget_sliced(self)
        self._runs.close()
        self._excerpts.close()
        self._setbacks.close()
        self._shelf.close()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _nothing() -> None:
    """Nothing waits for the removal."""
