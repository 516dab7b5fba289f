"""The life of a fill: it brings one entry into the store, once for any number of requests.

A fill belongs to no client. Readers join it at any time, each at its own place, and are told to advance when more
arrives; a reader that leaves ends its request, never the fill that others wait for. Bytes are kept from the first on
if the entry can be stored, so that any reader can begin at any byte. Other bodies pass through a window that follows
the readers. A body that is stored in slices is handed to a `SlicedFill`, with all readers.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from shield.errors import Fault, OriginError
from shield.fill.buffer import FillBuffer
from shield.fill.doubt import settle_missing
from shield.fill.fetching import begin_fetch
from shield.fill.means import Means
from shield.fill.pacing import Pacing
from shield.fill.readers import OVER, Phase, Purse, Reader, Readers, has_all
from shield.fill.registry import Registry
from shield.fill.rest import Arriving, Rest, broke_off, rest_of
from shield.fill.run import Run
from shield.fill.settlement import (
    Question,
    Settlement,
    Step,
    Streaming,
    large_entry,
    negative_entry,
    settle_ordinary,
    whole_entry,
)
from shield.fill.sorting import commit, find_room, is_current, settle_any, variant_of
from shield.fill.telling import Telling, tell
from shield.fill.traces import begin_trace, end_trace
from shield.fill.whose import Releases, others
from shield.origin.plain import Fetching
from shield.origin.want import Absent, Failed, Fetched, Keeping
from shield.rules import exact
from shield.rules.freshness import Freshness
from shield.rules.heads import StoredHead
from shield.rules.ranges import Span
from shield.rules.routes import Resource
from shield.rules.verdict import Disposition, Reason, Share
from shield.store.entry import OVERHEAD, Entry
from shield.trace import FetchTrace

log = logging.getLogger("shield.fill")


class Fill:
    """One fetch and its readers. Made by `FillTable` only."""

    start: int = 0  # absolute offset of its first byte

    # known once the head is there
    head: StoredHead | None = None
    status: int = 0
    length: int | None = None  # of the whole body
    part: Span | None = None  # the part of the object that it brings, if not the whole
    freshness: Freshness | None = None
    disposition: Disposition | None = None
    origin: str | None = None
    by_peer: bool = False
    by_node: bool = False  # of the cluster
    was_hit: bool = False  # of another worker: for clients it is a hit of the node
    detail: str | None = None  # more on its outcome, for Cache-Status and logs
    attempts: int = 0  # requests to origins
    trace: FetchTrace | None = None
    tags: bytes | None = None  # of the response, one a line; None before its head is there
    _due: int | None = None  # bytes expected in all

    # known at the end
    entry: Entry | None = None
    committed: bool = False
    failure: Failed | OriginError | None = None

    _fetched: Fetched | None = None  # what the body comes from, at first
    _pacing: Pacing | None = None  # of that, once it may have to be held up
    _rest: Rest | None = None  # once that has broken off or is late
    _fetching: Fetching | None = None  # until it has a result
    _timer: asyncio.TimerHandle | None = None  # linger
    telling: Telling | None = None  # while several readers are told of progress

    def __init__(
        self, question: Question, means: Means, registry: Registry[Fill], *, background: bool = False
    ) -> None:
        """`background`: it continues without readers."""
        self.question = question
        self._means = means
        self._registry = registry
        self.background = background
        self.phase = Phase.OPENING
        self.keep = Keeping.ALL
        want = question.want
        if want.span is not None and not want.tentative:  # else it brings all of the object, or goes on in slices
            self.start = want.span.start
        want.request = question.request
        if means.traces is not None:
            self.trace = begin_trace(want, question.resource, means, is_background=self.background)
        self.generation = means.store.generation
        self._buffer = FillBuffer(means.memory)
        self._readers = want.readers = Readers(question.request, question.resource)
        want.sent = self._readers.latecomers.clear
        self._purse = Purse(means.clock)

    @property
    def resource(self) -> Resource:
        """Its resource; of one variant once its head has arrived."""
        return self.question.resource

    # readers

    @property
    def shared_by(self) -> int:
        """Its readers now."""
        return len(self._readers)

    @property
    def stores(self) -> bool:
        """Whether the body is being kept for the entry."""
        return self._buffer.retained

    @property
    def joinable(self) -> bool:
        """Whether new requests may share this fill, if its response admits them."""
        return self.question.shared and (
            self.phase is Phase.OPENING or (self.phase is Phase.STREAMING and self._buffer.retained)
        )

    def join(self, reader: Reader) -> None:
        self._purse.joined(reader, among=bool(self._readers))
        self._readers.add(reader)
        if self._timer is not None:
            self._stop_timer()
        if self._pacing is not None:
            self._pacing.progressed()

    def leave(self, reader: Reader) -> None:
        """A reader is done, or its client is gone. Without effect if it has left already."""
        if reader not in self._readers:
            return
        self._readers.remove(reader)
        if self.phase in OVER:
            return
        if self.telling is None:
            self.left(reader)
        else:
            self.telling.left(reader)

    def left(self, reader: Reader) -> None:
        """A reader has left, perhaps with others: see whether to go on."""
        if self._readers:
            self._purse.left_to(self._readers)
            self.progressed()
        elif self._due is not None and self._buffer.received == self._due:
            if self._pacing is not None:
                self._pacing.let_end()
        elif not self._worth_finishing(has_all=has_all(reader)):
            self._stop_timer()
            linger = self._means.policy.linger_seconds if self.joinable and self._purse.is_shared else 0.0
            if linger and (pacing := self._pace()) is not None:
                pacing.hold()  # a client that returns finds it, at no further cost
            self._timer = self._means.loop.call_later(linger, self.cancel)
        elif self._pacing is not None:
            self._pacing.release()

    def _worth_finishing(self, *, has_all: bool = False) -> bool:
        """Whether to continue without readers: it will be stored, and was of use or most of its cost is paid."""
        if self.background:
            return True
        small = self._means.policy.small_bytes
        return self._purse.affords_end(self._buffer, self.length, small_bytes=small, has_all=has_all)

    def cancel(self) -> None:
        """End the fetch; its readers get an error or an unclean end."""
        if self.phase in OVER:
            return
        if self._fetching is not None:
            self._fetching.cancel()
            self._fetching = None
        self.fail(OriginError(self.origin or "-", Fault.CANCELLED, "nobody waits for it any more"))

    def read(self, position: int, stop: int | None, reader: Reader) -> bytes | memoryview | None:
        """Bytes at an absolute offset, as many as lie in one piece; None when there are none (yet)."""
        return self._buffer.read(position - self.start)

    # opening

    def open(self) -> None:
        """Start fetching, or do so again, unless it is over. Readers are told nothing within this call."""
        if self.phase not in OVER:
            self._fetching = begin_fetch(self.question, self._means, self, self._readers)

    def fetched(self, result: Fetched | Absent | Failed) -> None:
        self._fetching = None
        try:
            if not self._take(result):
                self.open()
        except Exception as error:
            if isinstance(result, Fetched) and self.phase is Phase.OPENING:
                result.response.close()  # not ours yet: nobody else closes it
            self.failed_by_bug(error)

    def failed_by_bug(self, error: Exception) -> None:
        """A bug of ours must release the followers, too."""
        self._fetching = None
        log.error("fill of %s failed", self.resource.label, exc_info=error)
        self.fail(OriginError(self.origin or "-", Fault.CANCELLED, f"internal error: {type(error).__name__}"))

    def _take(self, result: Fetched | Absent | Failed) -> bool:
        """Carry out a result; False when the whole object must be fetched instead."""
        if not isinstance(result, Fetched):
            return self._take_none(result)
        settled = settle_ordinary(self.question, result, self._means.terms)
        if settled is None:
            return self._take_any(result)
        self._bring(settled, result)
        return True

    def _take_any(self, fetched: Fetched) -> bool:
        """Carry out a response that isn't ordinary."""
        question = self.question
        settled = settle_any(question, fetched, self._means)
        if settled.sorts:
            self._sort(settled, to_disk=fetched.keep is Keeping.ALL)
        if settled.step is Step.ASK_WHOLE:
            fetched.response.close()
            question.in_parts = question.in_parts and not settled.is_too_small
            self._ask_whole(drops=settled.drops)
            return False
        if settled.step in (Step.KEEP, Step.FRESHEN, Step.CONFIRM):
            self._note(settled, fetched)
            fetched.response.close()
            self._freshen(settled)
            return True
        self._let_go_of_others(settled)
        if settled.step is Step.SLICE:
            self._note(settled, fetched)
            self._go_on_in_slices(settled, fetched)
        else:
            self._bring(settled, fetched)
        return True

    def _take_none(self, result: Absent | Failed) -> bool:
        if isinstance(result, Absent):
            self._conclude_absent(result)
        elif self.question.stored is not None and result.names(Fault.VALIDATOR):
            self._ask_whole(drops=True)  # origins have another version
            return False
        else:
            self.fail(result)
        return True

    def _ask_whole(self, *, drops: bool) -> None:
        """The response was of no use. One to a fetch of the whole always is, so that this ends."""
        question = self.question
        if drops:
            self._means.store.drop(question.resource.key)
        question.stored, question.want = None, question.want.whole()
        question.want.sent = self._readers.latecomers.clear

    def _bring(self, settled: Settlement, fetched: Fetched) -> None:
        """Begin the body, to be kept or not."""
        self._note(settled, fetched)
        self.phase, self._due, self._fetched = Phase.STREAMING, settled.length, fetched
        if settled.step is not Step.STORE or not self._buffer.retain(settled.keeps_bytes):
            self._let_through(settled)
        if self._readers.latecomers and self.head is not None and self.freshness is not None:
            self._releases().late(Streaming(self.head, self.freshness), self._means.clock(), self.disposition)
        if not self._readers and not self._lingers():
            return
        fetched.response.start(self)
        if self._buffer.received == 0 and self.phase is Phase.STREAMING:
            self._tell()  # else the first bytes did, which go out with the head

    def _note(self, settled: Settlement, fetched: Fetched) -> None:
        """Note the response, for outcomes and for the entry."""
        self.origin, self.status, self.detail = fetched.origin or None, fetched.response.head.status, fetched.detail
        self.by_peer, self.by_node, self.was_hit = fetched.by_peer, fetched.by_node, fetched.was_hit
        self.keep, self.disposition, self.attempts = fetched.keep, settled.disposition, fetched.attempts
        self.freshness = None if settled.disposition is None else settled.disposition.freshness
        self.head, self.length, self.tags = settled.head, settled.length, settled.tags
        self._registry.note_sharing(self.question.resource.key.text, settled.hit_for_miss)

    def _let_go_of_others(self, settled: Settlement) -> None:
        """Release the readers that the response isn't for, before they learn of it."""
        if settled.is_too_large:
            self._registry.mark_large(self.resource)
        assert settled.disposition is not None
        if settled.of_equals and settled.disposition.share is not Share.LEADER_ONLY:  # which releases all anyway
            self._releases().unlike()

    def _let_through(self, settled: Settlement) -> None:
        """Pass the body through without keeping it: later requests can't join."""
        if settled.step is Step.PART:
            assert settled.span is not None
            self.part, self.start = settled.span, settled.span.start
            self._due = settled.span.stop - settled.span.start
        if settled.drops:
            self._registry.drop(self.resource.key)
        self._registry.forget(self)
        if settled.disposition is not None and settled.disposition.share is Share.LEADER_ONLY:
            self._releases().to_leader()

    def _lingers(self) -> bool:
        """Whether it continues without readers; if not it is cancelled."""
        if not self.joinable:
            self.cancel()
            return False
        if not self._worth_finishing() and (pacing := self._pace()) is not None:
            pacing.hold()
        return True

    def _sort(self, settled: Settlement, *, to_disk: bool) -> None:
        """Determine the variant of a response, and release the readers that get another (RFC 9111 §4.1)."""
        mine = variant_of(self.question, settled, self._means, self.generation, to_disk=to_disk)
        if mine.key != self.resource.key:
            self._registry.rename(self, mine)
            self._readers.send_on(others(self._readers, mine, self._means.store.variants))
        find_room(settled, mine, self._means, to_disk=to_disk)

    def _releases(self) -> Releases:
        """For readers that may not get the response."""
        return Releases(self._readers, self.resource, lambda: self._registry.forget(self))

    def _go_on_in_slices(self, settled: Settlement, fetched: Fetched) -> None:
        """Hand the response to the fill of this version's slices, and all readers with it."""
        assert self.head is not None and self.length is not None
        assert self.disposition is not None and settled.span is not None
        means = self._means
        self.entry = large_entry(self.resource, self.head, self.disposition, self.length, means.terms)
        self.entry.origin, self.entry.tags, self.entry.stored_at = self.origin, self.tags or b"", means.clock()
        sliced = self._registry.sliced(self.resource, self.question.request, self.entry, fetched.keeps_slices)
        adopted = sliced.adopt(fetched, settled.span)
        self.committed = sliced.is_kept and isinstance(adopted, Run)
        if not isinstance(adopted, Run):
            self.disposition = replace(self.disposition, reason=Reason.EXACT)
        if not sliced.is_kept and settled.drops:
            means.store.drop(self.resource.key)  # else its first slice on disk replaces it
        self._releases().late(self.entry, self._means.clock(), self.disposition)
        if sliced.is_kept and settled.drops and not sliced.shared_by and self.question.stored is not None:
            self._registry.outdate(self.question.stored, sliced)  # which nobody reads, so that it isn't stored
        self._finish(Phase.COMPLETE)
        sliced.begin(adopted)

    def _freshen(self, settled: Settlement) -> None:
        """Keep the stored entry: under a newer head, or stale rather than an error."""
        if settled.step is Step.KEEP:
            self.fail(OriginError(self.origin or "-", Fault.SERVER, f"{self.status}", status=self.status))
            return
        store, stored, entry = self._means.store, self.question.stored, settled.entry
        assert stored is not None and entry is not None
        to_disk = self.keep is Keeping.ALL
        self._conclude(settled, entry, lambda: store.freshen(entry, stored, still=self._is_current, to_disk=to_disk))

    def _conclude(self, settled: Settlement, entry: Entry, store: Callable[[], bool]) -> None:
        """End with an entry whose body isn't fetched, for the readers that may get it; `store` keeps it."""
        assert settled.disposition is not None
        self.entry, self.freshness, share = entry, entry.freshness, settled.disposition.share
        stored = self.question.stored
        self.tags = entry.tags if stored is None else b"%b\n%b" % (stored.tags, entry.tags)  # before and after
        if settled.of_equals and share is not Share.LEADER_ONLY:
            self._releases().unlike()
        if settled.step in (Step.STORE, Step.FRESHEN):
            self.committed = store()
        elif settled.drops:
            self._means.store.drop(self.resource.key)
        if share is Share.LEADER_ONLY:
            self._releases().to_leader()
        else:
            self._releases().late(entry, self._means.clock(), self.disposition)
        self._finish(Phase.COMPLETE)

    def _is_current(self, origin: str | None = None) -> bool:
        """Whether its response may still be stored, with bytes of this origin; None: they may be of others."""
        return is_current(self.question, self._means, self.generation, self.tags or b"", origin)

    def _conclude_absent(self, absent: Absent) -> None:
        """No origin has the object: make a negative entry with its own short lifetime."""
        means = self._means
        settled, self.detail = settle_missing(self.question, absent, means)
        if settled.sorts:
            self._sort(settled, to_disk=True)
        assert settled.disposition is not None
        self.status, self.attempts = absent.status, absent.attempts
        entry = negative_entry(self.resource.key, absent, settled.disposition.freshness, via=means.via)
        self._conclude(settled, entry, lambda: means.store.commit(entry, still=self._is_current))

    # streaming: called by the origin's connection

    def on_data(self, data: bytes) -> None:
        buffer, due, size = self._buffer, self._due, len(data)
        if (due is None or buffer.received + size > due) and not self._may_grow(size):
            return
        buffer.append(data)
        self._purse.cost(size)
        self._tell()
        if (buffer.received > exact.FREE or not buffer.retained) and (pacing := self._pace()) and pacing.came():
            self._registry.count_thrifty("paced")

    def _pace(self) -> Pacing | None:
        """The pace of the response; None before it has begun and after its end."""
        if self._pacing is None and self._fetched is not None:
            loop, response, finishes = self._means.loop, self._fetched.response, self._worth_finishing
            self._pacing = Pacing(
                loop, response, self._buffer, self._readers, self._purse, start=self.start, finishes=finishes
            )
        return self._pacing

    def _may_grow(self, size: int) -> bool:
        """Whether bytes may arrive beyond what was stated: if no length was. Without memory they aren't stored."""
        if self._due is not None:
            self.fail(OriginError(self.origin or "-", Fault.MALFORMED, f"more than {self._due} bytes, as stated"))
            return False
        whole, buffer = self._buffer.received + size + OVERHEAD, self._buffer
        if buffer.retained and (whole > self._means.terms.largest or not buffer.grow(whole)):
            self.keep_no_more()
        return True

    def on_end(self, error: OriginError | None) -> None:
        received, due = self._buffer.received, self._due
        if error is None and due is not None and due != received and self.question.want.method != b"HEAD":
            error = OriginError(self.origin or "-", Fault.SHORT_BODY, f"{received} of {due} bytes")
        if error is not None:
            broke_off(self, error, received)
            return
        if self._buffer.retained:
            assert self.head is not None and self.disposition is not None
            body, length = self._buffer.body(), None if self.length is not None else received
            self.entry = whole_entry(self.resource, self.head, self.disposition, body, length=length)
            entry, means, origin = self.entry, self._means, None if self._rest is not None else self.origin
            entry.origin, entry.tags, entry.stored_at = self.origin, self.tags or b"", means.clock()
            still = partial(self._is_current, origin)
            self.committed = commit(entry, self.question, means, self.keep, still)
        self._finish(Phase.COMPLETE)

    def _tell(self) -> None:
        """The phase has changed, or bytes have arrived."""
        if len(self._readers) > 1:
            tell(self, self._readers)
        else:
            self._readers.tell()

    def progressed(self) -> None:
        """Readers have advanced."""
        if self.telling is not None:
            return
        pacing = self._pacing if self._buffer.retained else self._pace()
        if pacing is not None:
            pacing.progressed()

    def rest(self) -> Rest | None:
        """The rest of its body, to be fetched elsewhere if need be; None if it can't be."""
        if self._rest is None and self._fetched is not None and self._due is not None and (pacing := self._pace()):
            body = Arriving(self._fetched, self._buffer, pacing, self.start, self.start + self._due)
            self._rest = rest_of(self, body, self.question, self._means, self._registry)
        return self._rest

    def keep_no_more(self) -> None:
        """Pass the rest of the body through, and don't store it."""
        if self._buffer.retained:
            self._buffer.become_window()
            self._registry.forget(self)

    # the end

    def fail(self, failure: Failed | OriginError) -> None:
        if self.phase in OVER:
            return
        self.failure = failure
        if self.phase is Phase.STREAMING:
            self._registry.count_broken()
        if (pacing := self._pace()) is not None:
            pacing.give_up()
        self._finish(Phase.FAILED)

    def _finish(self, phase: Phase) -> None:
        self.phase = phase
        if self.trace is not None:
            end_trace(self.trace, self, self._means.clock(), self._buffer.received)
        self._stop_timer()
        if self._pacing is not None:
            self._pacing.end()
        if self._rest is not None:
            self._rest.close()
        self._pacing = self._fetched = None
        self._registry.forget(self)
        self._buffer.release()
        self._tell()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
