"""The life of a large entry while somebody reads it: from slices on disk, from slices on their way, from origins.

Its head is known. Readers join at any byte; what one needs and no disk has, a run fetches: the slices from there on
as far as readers want them. A complete slice goes to disk and is read from there by all who come later, each at its
own speed, so that a slow reader holds neither memory nor a connection to an origin. All runs ask for the very version
of the head: bytes of two versions never mix.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from shield.errors import Fault, OriginError
from shield.fill.buffer import FillBuffer
from shield.fill.fill import Phase
from shield.fill.readers import Reader
from shield.fill.run import Failure, Run
from shield.origin.want import Failed, Fetched, Want
from shield.rules.ranges import Span
from shield.rules.routes import Resource
from shield.store.entry import Entry
from shield.store.slices import Where

if TYPE_CHECKING:
    from shield.fill.table import FillTable

log = logging.getLogger("shield.fill")

RUN_SLICES = 4
"""Slices that one fetch brings at most, unless it was begun as a fetch of the whole; and how far such a one may be
ahead of its readers: what nobody comes to read was paid for in vain."""

READ = 256 << 10
"""Bytes read from a disk at a time."""

HELD = 2
"""Complete slices kept in memory at most when no disk takes them; then they wait for their readers."""

PATIENCE_SECONDS = 2.0
"""How long a fetch waits for readers: then held slices are given up, and one that is far ahead ends. What is needed
later is fetched again."""

STRIKES = 3
"""Fetches in a row that bring not one slice, and end it."""

_SHOWN_SLICES = 64


class SlicedFill:
    """One version of a large object and those who read it. Made by `FillTable` only.

    What readers call (`read`, `progressed`, `leave`) never calls a reader back; what follows from it is done by
    `_tend`, on the loop's next turn.
    """

    def __init__(self, table: FillTable, resource: Resource, target: bytes, entry: Entry) -> None:
        self.table = table
        self.resource = resource
        self.target = target
        self.entry = entry
        self.slices = table.store.slices(entry)
        self.slice_bytes = entry.slice_bytes
        self.head = entry.head
        self.length = entry.length
        self.phase = Phase.STREAMING
        self.failure: Failure | None = None
        self.changed = False  # origins have another version

        self._readers: dict[Reader, None] = {}
        self._runs: list[Run] = []
        self._arriving: dict[int, FillBuffer] = {}  # slices in memory: on their way, or on theirs to the disk
        self._held: list[int] = []  # complete ones that no disk takes, the oldest first
        self._cold: set[tuple[int, int]] = set()  # slice and offset of what a thread reads
        self._warm: tuple[tuple[int, int], bytearray] | None = None  # what one has just read
        self._waiting: set[Run] = set()  # runs that wait for their readers, or for memory
        self._tending = False  # is about to
        self._telling = False
        self._strikes = 0
        self.generation = table.store.generation
        self._timer: asyncio.TimerHandle | None = None

    def is_of(self, entry: Entry) -> bool:
        """Whether it brings this very version, in slices of the same size."""
        mine = self.entry
        same = (mine.etag, mine.length, mine.slice_bytes) == (entry.etag, entry.length, entry.slice_bytes)
        return same and self.phase is Phase.STREAMING and not self.changed

    # readers

    def join(self, reader: Reader) -> None:
        self._readers[reader] = None
        self._stop_timer()
        if self._waiting:
            self.tend_soon()

    def leave(self, reader: Reader) -> None:
        if self._readers.pop(reader, self) is self:
            return
        if self._readers:
            self._prune()
            self.tend_soon()
        elif self._runs:
            self._stop_timer()
            self._timer = self.table.loop.call_later(self.table.policy.linger_seconds, self._wind_down)
        else:
            self._settle()

    def read(self, position: int, stop: int) -> bytes | memoryview | None:
        """Bytes at an absolute offset, as many as are at hand in one piece; None when there are none yet.

        What is nowhere is fetched; whoever asked is told to advance.
        """
        number, inside = divmod(position, self.slice_bytes)
        if inside > self.slice_bytes // 2 and (number + 1) * self.slice_bytes < stop and not self.is_here(number + 1):
            self._bring(number + 1, stop)  # so that nobody has to wait for it
        arriving = self._arriving.get(number)
        if arriving is not None:
            return arriving.read(inside)
        start = inside - inside % READ
        if self._warm is not None and self._warm[0] == (number, start):
            return memoryview(self._warm[1])[inside - start :]
        end = min(start + READ, self.slices.length(number))
        data = self.slices.read_nowait(number, start, end)
        if isinstance(data, bytearray):
            return memoryview(data)[inside - start :]
        if data is Where.COLD:
            self._read_cold(number, start, end)
        elif self.phase is Phase.STREAMING:
            self._bring(number, stop)
        return None

    def progressed(self) -> None:
        """Readers have read on."""
        if self._waiting:
            self.tend_soon()

    def holds(self, start: int, stop: int) -> bool:
        """Whether all bytes of a span are on disk; of a very long one the first are looked at."""
        first, last = start // self.slice_bytes, -(-stop // self.slice_bytes)
        return all(self.slices.has(number) for number in range(first, min(last, first + _SHOWN_SLICES)))

    def cancel(self) -> None:
        """Give up; whoever reads gets an unclean end."""
        self._fail(OriginError("-", Fault.CANCELLED, "the node is stopping"))

    def _tell(self) -> None:
        for reader in list(self._readers):
            reader.advance()

    # reading from disk

    def _read_cold(self, number: int, start: int, end: int) -> None:
        where = (number, start)
        if where in self._cold:
            return
        self._cold.add(where)

        def done(data: bytearray | None) -> None:
            self._cold.discard(where)
            self._warm = None if data is None else (where, data)
            self._tell()
            self._warm = None
            self._settle()

        self.slices.read(number, start, end, done)

    # fetching

    def adopt(self, fetched: Fetched, start: int, stop: int) -> Run:
        """A run over an answer that is there already; its body begins at `start`. To be started by the caller."""
        run = Run(self, start, stop)
        run.take(fetched)
        self._runs.append(run)
        return run

    def begin(self, run: Run) -> None:
        """Let an adopted answer come in, if a reader needs it."""
        if self.has_run(run):
            if self._is_needed(run):
                run.start()
            else:
                self._end(run)
                self._settle()

    def _bring(self, number: int, stop: int) -> None:
        """Have a slice fetched, and those after it that its readers want, unless that is under way."""
        first = number * self.slice_bytes
        if any(run.at <= first < run.stop and first - run.at < self.slice_bytes for run in self._runs):
            return
        end = number + 1
        last = min(-(-stop // self.slice_bytes), number + RUN_SLICES)
        while end < last and not self.is_here(end):
            end += 1
        for run in self._runs:
            if run.at < first < run.stop:
                run.stop_at(first)  # it is far behind: what is needed now comes first
            elif first < run.at:
                end = min(end, run.at // self.slice_bytes)
        run = Run(self, first, min(end * self.slice_bytes, self.length))
        self._runs.append(run)
        run.fetch(self._want)

    def _want(self, span: Span) -> Want:
        resource = self.resource
        etag, forwarded = self.entry.etag, resource.forwarded
        want = Want(b"GET", resource.path, resource.query, span=span, etag=etag, forwarded=forwarded)
        want.length, want.version_of = self.entry.length, self.entry.origin
        return want

    def has_run(self, run: Run) -> bool:
        return run in self._runs

    # called by runs

    def is_here(self, number: int) -> bool:
        """Whether a slice needn't be fetched."""
        return number in self._arriving or self.slices.has(number)

    def begin_slice(self, run: Run, number: int) -> FillBuffer | None:
        """A buffer for the slice that arrives next; None when there is no memory for it: `run` is resumed later."""
        if not self._readers:
            self._waiting.add(run)  # for the next one, or the end of the linger
            return None
        buffer = FillBuffer(self.table.memory)
        if len(self._held) >= HELD or self._is_far_ahead(run):
            self._waiting.add(run)
            self._be_patient()
            return None
        if not buffer.retain(self.slices.length(number)):
            self._waiting.add(run)
            self.table.memory.wait(self.tend_soon)
            return None
        self._arriving[number] = buffer
        return buffer

    def _is_far_ahead(self, run: Run) -> bool:
        """Whether no reader is near to what it brings next."""
        nearest = max((r.position for r in self._readers if r.position < run.stop), default=run.at)
        return run.at - nearest > RUN_SLICES * self.slice_bytes

    def advanced(self) -> None:
        """More bytes are there."""
        self._tell()

    def slice_complete(self, run: Run, number: int) -> None:
        self._strikes = 0
        buffer = self._arriving[number]

        def written(well: bool) -> None:
            if well:
                self._release(number)
            else:
                self._hold(number)
            self._settle()

        if run.by_peer or not self.slices.commit(number, buffer.body(), written, still=self._is_current):
            self._hold(number)
        if run.at < run.stop and self._readers and not self._is_needed(run):
            run.stop_at(run.at)

    def _is_current(self) -> bool:
        """Whether its key wasn't purged since it began."""
        return not self.table.store.was_removed(self.resource.named.text, self.generation)

    def slice_lost(self, number: int) -> None:
        """A slice that was on its way won't come to its end."""
        self._release(number)

    def ended(self, run: Run, failure: Failure | None) -> None:
        if run in self._runs:
            self._runs.remove(run)
        self._waiting.discard(run)
        if failure is not None:
            self._strikes += 1
            self._note(failure)
            if self._strikes >= STRIKES or self.changed or _is_final(failure):
                self._fail(failure)
                return
        self._telling = True
        self.tend_soon()

    def _note(self, failure: Failure) -> None:
        fault = Fault.VALIDATOR
        named = failure.names(fault) if isinstance(failure, Failed) else failure.fault is fault
        log.warning("%s: slices of %s can't be fetched: %s", self.resource.route.name, self.name, failure)
        if named and not self.changed:
            self.changed = True
            self.table.drop_sliced(self)

    # slices that no disk takes

    def _hold(self, number: int) -> None:
        if number in self._arriving and number not in self._held:
            self._held.append(number)
            self.tend_soon()

    def tend_soon(self) -> None:
        """Have it done what has become due by a reader's or a run's progress."""
        if not self._tending:
            self._tending = True
            self.table.loop.call_soon(self._tend)

    def _tend(self) -> None:
        self._tending = False
        if self.phase is not Phase.STREAMING:
            return
        self._let_go()
        if self._waiting and self._readers and len(self._held) < HELD:
            self._stop_timer()
            waiting, self._waiting = self._waiting, set()
            for run in waiting:
                run.resume()  # it may come to wait again
        if self._waiting and self._readers:
            self._be_patient()
        if self._telling:
            self._telling = False
            self._tell()
        self._settle()

    def _let_go(self) -> None:
        """Give up held slices that all readers have passed or won't come to."""
        size = self.slice_bytes
        for number in list(self._held):
            start, stop = number * size, (number + 1) * size
            if not any(r.position < stop and r.position >= start - size for r in self._readers):
                self._release(number)

    def _be_patient(self) -> None:
        if self._timer is None:
            self._timer = self.table.loop.call_later(PATIENCE_SECONDS, self._lose_patience)

    def _lose_patience(self) -> None:
        self._timer = None
        if len(self._held) >= HELD:
            self._release(self._held[0])
        for run in [run for run in self._waiting if self._is_far_ahead(run)]:
            self._waiting.discard(run)
            run.stop_at(run.at)
        self.tend_soon()

    def _release(self, number: int) -> None:
        buffer = self._arriving.pop(number, None)
        if number in self._held:
            self._held.remove(number)
        if buffer is not None:
            buffer.release()

    # the end

    def _is_needed(self, run: Run) -> bool:
        return any(r.position < run.stop and (r.stop is None or r.stop > run.at) for r in self._readers)

    def _prune(self) -> None:
        """End runs that bring what no reader wants; a slice that is half here is finished all the same."""
        for run in list(self._runs):
            if not self._is_needed(run):
                self._end(run)

    def _wind_down(self) -> None:
        """Nobody has read for a while."""
        self._timer = None
        for run in list(self._runs):
            self._end(run)
        self._settle()

    def _end(self, run: Run) -> None:
        if run.at >= run.stop:
            return  # its end is about to be told
        if run.slice_share >= 0.5:
            number = run.at // self.slice_bytes
            run.stop_at(min((number + 1) * self.slice_bytes, run.stop))
        else:
            self._runs.remove(run)
            self._waiting.discard(run)
            run.close()

    def _fail(self, failure: Failure) -> None:
        if self.phase is not Phase.STREAMING:
            return
        self.phase, self.failure = Phase.FAILED, failure
        if self._readers:
            self.table.broken += 1
        self._finish()
        self._tell()

    def _settle(self) -> None:
        """Nothing is under way and nobody reads: it is over."""
        if self._readers or self._runs or self._cold or self._tending or self.phase is not Phase.STREAMING:
            return
        if any(number not in self._held for number in self._arriving):
            return  # on its way to the disk
        self.phase = Phase.COMPLETE
        self._finish()

    def _finish(self) -> None:
        self._stop_timer()
        self.table.forget_sliced(self)
        runs, self._runs = self._runs, []
        self._waiting.clear()
        for run in runs:
            run.close()
        for number in list(self._arriving):
            self._release(number)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def name(self) -> str:
        return self.resource.key.text.decode("ascii", "replace")


def _is_final(failure: Failure) -> bool:
    """Whether asking again is of no use: no origin of several gave it."""
    return isinstance(failure, Failed)
