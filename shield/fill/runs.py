"""Fetches that bring the slices of a large entry: those under way, and when others begin.

All ask for the very version of the entry's head, of whichever origin has it: bytes of two versions never mix.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from shield.fill.audience import Audience, Failure
from shield.fill.buffer import FillBuffer
from shield.fill.means import Means
from shield.fill.readers import Reader, keeps_up
from shield.fill.run import Run
from shield.fill.setbacks import Setbacks
from shield.fill.shelf import Shelf
from shield.fill.traces import end_trace_of_run
from shield.fill.versions import EntryVersion
from shield.messages import Request
from shield.origin.version import Version
from shield.origin.want import Fetched, Want
from shield.rules.egress import FetchReason
from shield.rules.purging import Filled
from shield.rules.ranges import Span
from shield.rules.routes import Resource
from shield.rules.warming import MARK
from shield.store.entry import Entry

RUN_SLICES = 4
"""Slices that one fetch brings at most, unless it was begun as a fetch of the whole; and how far such a one may be
ahead of its readers once they have taken as much: what nobody comes to read was paid for in vain."""

UNKEPT_RUNS = 4
"""Fetches of one object at a time where there is no disk: other readers of it queue, and leave connections to all."""


class Runs:
    """The fetches of one version that are under way, for these readers.

    It refers to its audience by its runs only: what is over must go without the garbage collector.
    """

    def __init__(
        self,
        means: Means,
        shelf: Shelf,
        readers: Collection[Reader],
        *,
        resource: Resource,
        target: bytes,
        entry: Entry,
        setbacks: Setbacks,
        version: EntryVersion,
        continued: Callable[[str], None],
    ) -> None:
        """`version` is the entry's; `continued` is told the origin from which a broken run continues."""
        self.means = means
        self._version = version
        self.count_continued = continued
        self.resource = resource
        self.target = target
        self.shelf = shelf
        self.slice_bytes = entry.slice_bytes
        self._entry = entry
        self._readers = readers
        self._all: list[Run] = []
        self._waiting: set[Run] = set()  # for their readers, or for memory
        self._queue: dict[int, int] = {}  # slices that no run could be begun for yet, and where their readers stop
        self.hops = 0  # of the readers, as in `Request.hops`
        self.are_last = False  # no other is begun: what they don't bring isn't to be had
        self._setbacks = setbacks

    def __len__(self) -> int:
        return len(self._all)

    @property
    def version(self) -> Version | None:
        return self._version.get()

    def __iter__(self) -> Iterator[Run]:
        return iter(self._all)

    def __contains__(self, run: object) -> bool:
        return run in self._all

    @property
    def are_waiting(self) -> bool:
        return bool(self._waiting or self._queue)

    def adopt(self, fetched: Fetched, start: int, stop: int, audience: Audience) -> Run:
        """A run over an answer that is there already; its body begins at `start`. To be begun by the caller."""
        run = Run(self, start, stop, audience)
        run.take(fetched)
        self._all.append(run)
        return run

    def begin(self, run: Run) -> None:
        """Let an adopted answer come in, if a reader needs it."""
        if run in self._all:
            if self._is_needed(run) and (self.shelf.is_kept or self._is_near(run)):
                run.start()
            else:
                self._end(run)

    def brings(self, number: int) -> bool:
        """Whether a run is about to bring a slice."""
        first = number * self.slice_bytes
        return any(run.at <= first < run.stop and first - run.at < self.slice_bytes for run in self._all)

    def bring(self, number: int, stop: int, audience: Audience) -> None:
        """Have a slice fetched, and those after it that its readers want, unless that is under way or due later."""
        if self.are_last or self._setbacks.is_resting(number):
            return
        if self.brings(number):
            return
        if not self.shelf.is_kept and (self._queue or not self._has_room()):
            self._queue.setdefault(number, stop)
            audience.tend_soon()
            return
        self._begin_run(number, stop, audience)

    def _begin_run(self, number: int, stop: int, audience: Audience) -> None:
        size = self.slice_bytes
        first, end = number * size, number + 1
        last = min(-(-stop // size), number + RUN_SLICES)
        while end < last and not self.shelf.is_here(end):
            end += 1
        for run in self._all:
            if first < run.at:
                end = min(end, run.at // size)
        run = Run(self, first, min(end * size, self._entry.length), audience)
        self._all.append(run)
        run.fetch()

    def _has_room(self) -> bool:
        """Whether a run may begin where only memory takes what it brings: else it would hold a connection in vain."""
        return len(self._all) < UNKEPT_RUNS and not self.shelf.is_short

    def admit(self, audience: Audience) -> None:
        """Begin runs for slices that had to wait, as far as there is room, in the order in which they were wanted."""
        if not self._queue:
            return
        places = {reader.position // self.slice_bytes for reader in self._readers}
        for number, stop in list(self._queue.items()):
            is_wanted = number in places or number - 1 in places
            if is_wanted and not self.shelf.is_here(number) and not self._setbacks.is_resting(number):
                if not self._has_room():
                    return
                if not self.will_bring(number):
                    self._begin_run(number, stop, audience)
            self._queue.pop(number, None)

    def want(self, span: Span) -> Want:
        resource, entry, mark = self.resource, self._entry, self._mark()
        request = Request(b"GET", self.target, [], mark)
        if self.hops:
            request.note_hops(self.hops)
        return Want(
            b"GET",
            resource.path,
            resource.query,
            span=span,
            etag=entry.etag,
            length=entry.length,
            version_of=entry.origin,
            resumes=self._setbacks.broken_by(span.start // self.slice_bytes),
            forwarded=resource.forwarded,
            key=resource.named,
            request=request,
            purpose=FetchReason.WARM if mark else None,
            choice=resource.route.choice,
            route=resource.route.name,
        )

    def _mark(self) -> dict[bytes, bytes]:
        """Whether it is for warming only."""
        readers = self._readers
        return {MARK: b""} if readers and all(MARK in reader.request.notable for reader in readers) else {}

    def will_bring(self, number: int) -> bool:
        """Whether a slice is on its way, or will be."""
        first = number * self.slice_bytes
        return any(run.at <= first < run.stop for run in self._all)

    # called by runs

    def answered(self, run: Run) -> None:
        """What it asked for is to be had: those that are far behind needn't bring it."""
        for other in self._all:
            if other.at < run.at < other.stop:
                other.stop_at(run.at)

    def begin_slice(self, run: Run, number: int) -> FillBuffer | None:
        """A buffer for the slice that arrives next; None when there is no memory for it: `run` is resumed later."""
        if not self._readers:
            self._waiting.add(run)  # for the next one, or the end of the linger
            return None
        if self.shelf.is_full or self._is_far_ahead(run):
            self._waiting.add(run)
            run.audience.be_patient()
            return None
        buffer = self.shelf.begin(number)
        if buffer is None:
            self._waiting.add(run)
            self.means.memory.wait(run.audience.tend_soon)
        return buffer

    def slice_complete(self, run: Run, number: int) -> None:
        self._setbacks.overcome(number)
        audience, filled = run.audience, Filled(run.origin, self.means.clock())
        still = audience.is_current
        if run.by_peer or run.is_partly or not self.shelf.write(number, audience.settle, still=still, filled=filled):
            self.shelf.hold(number)
            audience.tend_soon()
        if run.at < run.stop and self._readers and not self._is_needed(run):
            run.stop_at(run.at)

    def ended(self, run: Run, failure: Failure | None) -> None:
        self._forget(run)
        if run.trace is not None:
            end_trace_of_run(run.trace, run.origin, failure, self.means.clock())
        is_final = failure is not None and (self.are_last or not self._may_ask_again(run, failure))
        run.audience.run_over(failure, is_final=is_final)

    def _may_ask_again(self, run: Run, failure: Failure) -> bool:
        """Whether what a run didn't bring may still come; then it is asked for again after a while."""
        return self._setbacks.note(run.at // self.slice_bytes, failure, run.began, run.audience)

    # called by their audience

    def resume(self) -> None:
        """Have those go on that wait, as far as they can by now."""
        waiting, self._waiting = self._waiting, set()
        for run in waiting:
            if self.outruns(run):
                self._waiting.add(run)
            else:
                run.resume()  # it may come to wait again

    def hold(self) -> None:
        """Let nothing more come until there are readers again."""
        for run in self._all:
            self.wait_for_readers(run)

    def wait_for_readers(self, run: Run) -> None:
        """Have one resumed when its readers have come nearer."""
        self._waiting.add(run)
        run.pause()

    def outruns(self, run: Run) -> bool:
        """Whether one is farther ahead of its readers than they have come: what they leave was sent in vain."""
        if run.at < run.granted:
            return False
        readers = [reader for reader in self._readers if reader.position < run.stop]
        return bool(readers) and not any(keeps_up(reader, run.at) for reader in readers)

    def go_ahead(self, affords: Callable[[int], bool]) -> None:
        """Have those go on to the end of their slices that have waited for slow readers, if that can be paid for."""
        for run in self._waiting:
            number, inside = divmod(run.at, self.slice_bytes)
            left = self.shelf.length(number) - inside
            if inside and affords(left):
                run.granted = run.at + left

    def stop_far_ahead(self) -> None:
        """End those that have waited for their readers for long enough: what is needed later is fetched again. Where
        only memory takes what they bring, those that wait for it, too: others need their connections."""
        size, is_kept = self.slice_bytes, self.shelf.is_kept
        if self.are_last:
            return
        for run in [r for r in self._waiting if r.at % size == 0 and (not is_kept or self._is_far_ahead(r))]:
            self._waiting.discard(run)
            run.stop_at(run.at)

    def prune(self, *, finish: bool = False) -> None:
        """End runs that bring what no reader wants. A slice that is half here is finished all the same, and with
        `finish` any: it is worth its price."""
        for run in list(self._all):
            if not self._is_needed(run):
                self._end(run, finish=finish)

    def close(self) -> None:
        """Fetch no more."""
        runs, self._all = self._all, []
        self._waiting.clear()
        self._queue.clear()
        for run in runs:
            run.close()

    def _is_far_ahead(self, run: Run) -> bool:
        """Whether no reader is near to the slice that it brings next."""
        nearest = self._nearest(run)
        return self.outruns(run) or (
            nearest is not None and run.at - nearest.position > RUN_SLICES * self.slice_bytes
        )

    def _nearest(self, run: Run) -> Reader | None:
        """The reader who is nearest to what a run brings next."""
        return max([r for r in self._readers if r.position < run.stop], key=_position, default=None)

    def _is_near(self, run: Run) -> bool:
        """Whether a reader needs what it brings soon."""
        limit = run.at + RUN_SLICES * self.slice_bytes
        return any(run.at <= r.position < limit for r in self._readers)

    def _is_needed(self, run: Run) -> bool:
        return any(r.position < run.stop and (r.stop is None or r.stop > run.at) for r in self._readers)

    def _end(self, run: Run, *, finish: bool = False) -> None:
        if run.at >= run.stop:
            return  # its end is about to be told
        number, inside = divmod(run.at, self.slice_bytes)
        is_cheap = finish or (run.slice_share >= 0.5 and not run.audience.is_thrifty())
        if inside and is_cheap and self.shelf.is_kept:
            run.stop_at(min((number + 1) * self.slice_bytes, run.stop))
            if run in self._waiting:
                self._waiting.discard(run)
                run.resume()
        else:
            self._forget(run)
            run.close()

    def _forget(self, run: Run) -> None:
        if run in self._all:
            self._all.remove(run)
        self._waiting.discard(run)


def _position(reader: Reader) -> int:
    return reader.position
