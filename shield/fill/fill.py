"""The life of a fill: bringing one entry into the store, once, however many ask.

A fill belongs to no client. Readers join it at any time, each at its own place, and are told to advance when there
is more; a reader that leaves ends its request, never the fill that others wait for. Bytes are kept from the first on
while the entry can be stored, so that any reader can begin at any byte. What can't be stored runs through a window
that follows the readers; what is stored in slices is a `SlicedFill`'s, to which the readers go on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from dataclasses import replace

from shield.errors import Fault, OriginError
from shield.fill.buffer import FillBuffer
from shield.fill.means import Means
from shield.fill.purse import Brake, Purse
from shield.fill.readers import OVER, Phase, Reader, Readers
from shield.fill.registry import Registry
from shield.fill.runs import Run
from shield.fill.settlement import (
    Question,
    Settlement,
    Step,
    Streaming,
    large_entry,
    negative_entry,
    settle_absence,
    settle_ordinary,
    whole_entry,
)
from shield.fill.sorting import find_room, is_current, settle_any, variant_of
from shield.fill.whose import late, may_reuse, others, unlike
from shield.fill.window import Window
from shield.messages import Request
from shield.origin.response import Response
from shield.origin.want import Absent, Failed, Fetched
from shield.outcome import Forward, Outcome
from shield.peers.words import judged_by
from shield.rules.freshness import Freshness
from shield.rules.ranges import Span
from shield.rules.routes import Resource
from shield.rules.selection import StoredHead
from shield.rules.verdict import Disposition, Reason, Share, Stored
from shield.store.entry import OVERHEAD, Entry

log = logging.getLogger("shield.fill")


class Fill:
    """One fetch and those who read from it. Made by `FillTable` only."""

    __slots__ = (
        "_brake",
        "_buffer",
        "_due",
        "_means",
        "_purse",
        "_readers",
        "_registry",
        "_response",
        "_tags",
        "_task",
        "_timer",
        "_window",
        "background",
        "by_peer",
        "committed",
        "disposition",
        "entry",
        "failure",
        "freshness",
        "generation",
        "head",
        "length",
        "origin",
        "part",
        "phase",
        "question",
        "start",
        "status",
        "told",
        "was_hit",
    )

    def __init__(self, question: Question, means: Means, registry: Registry[Fill]) -> None:
        self.question = question
        self.background = False  # goes on though nobody reads
        # absolute offset of its first byte; what a tentative span brings is all of the object, or goes on in slices
        want = question.want
        self.start = 0 if want.span is None or want.tentative else want.span.start
        want.asked = question.request.fields

        # known once the head is there
        self.phase = Phase.OPENING
        self.head: StoredHead | None = None
        self.status = 0
        self.length: int | None = None  # of the body that it brings, or brings a part of
        self.part: Span | None = None  # what it brings of the object, if just that
        self._due: int | None = None  # bytes that it brings in all
        self.freshness: Freshness | None = None
        self.disposition: Disposition | None = None
        self.origin: str | None = None
        self.by_peer = False
        self.was_hit = False  # of another worker: to clients it is the node's
        self._tags = b""

        # what followers share of their answers; theirs to fill in
        self.told: dict[tuple[int, bool, Forward, bool], tuple[Outcome, bytes]] = {}

        self.entry: Entry | None = None  # known at the end
        self.committed = False
        self.failure: Failed | OriginError | None = None

        self._means = means
        self._registry = registry
        self._buffer = FillBuffer(means.memory)
        self._response: Response | None = None
        self._readers = Readers(question.request, question.resource)
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None  # linger
        self._purse = Purse(means.clock)
        self._brake = Brake()
        self._window: Window | None = None  # of a body that isn't retained
        self.generation = means.store.generation

    @property
    def resource(self) -> Resource:
        """What it brings, once its head is there: of which variant it is."""
        return self.question.resource

    # readers

    @property
    def stores(self) -> bool:
        """Whether what arrives is being kept to become an entry."""
        return self._buffer.retained

    @property
    def joinable(self) -> bool:
        """Whether requests that come now may share this fill, as far as its answer lets them (`serves`)."""
        return self.question.shared and (
            self.phase is Phase.OPENING or (self.phase is Phase.STREAMING and self._buffer.retained)
        )

    def serves(self, request: Request, now: float) -> bool:
        """Whether what it brings may answer a request that comes now: as if it were stored (RFC 9111 §4)."""
        if self.phase is not Phase.STREAMING:
            return True
        assert self.head is not None and self.freshness is not None
        answer = Streaming(self.head, self.freshness)
        return may_reuse(answer, request, now, self.disposition, self.resource.route.freshness)

    def join(self, reader: Reader) -> None:
        self._purse.joined(reader, among=bool(self._readers))
        self._readers.add(reader)
        self._stop_timer()
        self.progressed()

    def leave(self, reader: Reader) -> None:
        """A reader has all it wanted, or its client is gone. Nothing happens if it isn't one any more."""
        if reader not in self._readers:
            return
        self._readers.remove(reader)
        if self.phase in OVER:
            return
        if self._readers:
            self._purse.left_to(self._readers)
            self.progressed()
        elif not self._worth_finishing(has_all=reader.stop is not None and reader.position >= reader.stop):
            self._stop_timer()
            linger = self._means.policy.linger_seconds if self.joinable and self._purse.is_shared else 0.0
            if linger:
                self._brake.hold(self._response)  # whoever comes back finds it, at no further cost
            self._timer = self._means.loop.call_later(linger, self.cancel)

    def _worth_finishing(self, *, has_all: bool) -> bool:
        """Nobody reads: go on all the same if it will be stored, and was of use or most of its cost is paid."""
        if self.background:
            return True
        small = self._means.policy.small_bytes
        return self._purse.affords_end(self._buffer, self.length, small_bytes=small, has_all=has_all)

    def cancel(self) -> None:
        """Give the fetch up; whoever reads gets an error or an unclean end."""
        if self.phase in OVER:
            return
        if self._task is not None:
            self._task.cancel()
        self._fail(OriginError(self.origin or "-", Fault.CANCELLED, "nobody waits for it any more"))

    def read(self, position: int) -> bytes | memoryview | None:
        """Bytes at an absolute offset, as many as are at hand in one piece; None when there are none (yet)."""
        return self._buffer.read(position - self.start)

    # opening

    def open(self) -> None:
        """Start fetching."""
        want = self.question.want
        want.sent = self._readers.question_sent
        if self.resource.route.early_hints:
            want.inform = self._readers.inform
        self._task = self._means.loop.create_task(self._open())

    async def _open(self) -> None:
        result = None
        try:
            result = await self._ask()
            while not self._take(result):
                result = await self._ask()
        except Exception as error:  # a bug of ours must release the followers too
            log.exception("fill of %s failed", self.resource.label)
            if isinstance(result, Fetched) and self.phase is Phase.OPENING:
                result.response.close()  # not ours yet: nobody else would
            self._fail(OriginError(self.origin or "-", Fault.CANCELLED, f"internal error: {type(error).__name__}"))
        finally:
            self._task = None

    async def _ask(self) -> Fetched | Absent | Failed:
        question, fetch = self.question, self._means.source.fetch
        resource, request, judged = question.resource, question.request, None
        if question.shared:
            judged = judged_by(request, resource.forwarded) if request.notable else ()
        self._readers.question_sent()  # soon; the source tells when it is
        # Variants have one owner, that of their key.
        return await fetch(resource.named, request.target, resource.tried, question.want, judged)

    def _take(self, result: Fetched | Absent | Failed) -> bool:
        """Do as an answer says; False when the whole object is to be asked for instead."""
        if not isinstance(result, Fetched):
            return self._take_none(result)
        question, means = self.question, self._means
        settled = settle_ordinary(question, result, means.terms)
        if settled is None:
            settled = settle_any(question, result, means)
            if settled.sorts:
                self._sort(settled, to_disk=not result.by_peer)
        if settled.step is Step.ASK_WHOLE:
            result.response.close()
            question.in_parts = question.in_parts and not settled.is_too_small
            self._ask_whole(drops=settled.drops)
            return False
        self.origin, self.status = result.origin, result.response.head.status
        self.by_peer, self.was_hit = result.by_peer, result.was_hit
        if settled.step in (Step.KEEP, Step.FRESHEN, Step.CONFIRM):
            result.response.close()
            self._freshen(settled)
        else:
            self._bring(settled, result)
        return True

    def _take_none(self, result: Absent | Failed) -> bool:
        if isinstance(result, Absent):
            self._conclude_absent(result)
        elif self.question.stored is not None and result.names(Fault.VALIDATOR):
            self._ask_whole(drops=True)  # origins validate something else
            return False
        else:
            self._fail(result)
        return True

    def _ask_whole(self, *, drops: bool) -> None:
        """What came is of no use; a question for all of the object can't come to that."""
        question = self.question
        if drops:
            self._means.store.drop(question.resource.key)
        question.stored, question.want = None, question.want.whole()

    def _bring(self, settled: Settlement, fetched: Fetched) -> None:
        """Let the bytes come, to be kept or not."""
        disposition = settled.disposition
        assert disposition is not None
        self.disposition, self.freshness = disposition, disposition.freshness
        self.head, self.length, self._tags = settled.head, settled.length, settled.tags
        if settled.step is not Step.STORE or settled.of_equals:
            self._let_go_of_others(settled, disposition.share)
        self._registry.note_sharing(self.question.resource.key.text, settled.hit_for_miss)
        if settled.step is Step.SLICE:
            self._go_on_in_slices(settled, fetched)
            return
        self.phase, self._response, self._due = Phase.STREAMING, fetched.response, self.length
        if settled.step is not Step.STORE or not self._buffer.retain(settled.keeps_bytes):
            self._let_through(settled, disposition.share)
        if settled.head is not None and self._readers.latecomers:
            self._send_late_on(Streaming(settled.head, disposition.freshness))
        if not self._readers and not self._lingers(fetched.response):
            return
        fetched.response.start(self)
        if self._buffer.received == 0 and self.phase is Phase.STREAMING:
            self._readers.tell()  # else the first bytes told them, and went out with the head

    def _let_go_of_others(self, settled: Settlement, share: Share) -> None:
        """Let those begin anew whom the answer isn't for, before anything is known of it."""
        if settled.is_too_large:
            self._registry.mark_large(self.resource)
        if settled.of_equals and share is not Share.LEADER_ONLY:  # which lets go of all, and at once
            self._send_on(unlike(self._readers, self.resource))

    def _let_through(self, settled: Settlement, share: Share) -> None:
        """Nothing of the body is kept: no later request can join."""
        if settled.step is Step.PART:
            assert settled.span is not None
            self.part, self.start = settled.span, settled.span.start
            self._due = settled.span.stop - settled.span.start
        if settled.drops:
            self._registry.drop(self.resource.key)
        self._registry.forget(self)
        if share is Share.LEADER_ONLY:
            self._readers.leave_to_leader(else_to_anyone=not self.resource.route.forwarding.any)

    def _lingers(self, response: Response) -> bool:
        """Whether it goes on though nobody is left to read; if not it is cancelled."""
        if not self.joinable:
            self.cancel()
            return False
        if not self._worth_finishing(has_all=False):
            self._brake.hold(response)
        return True

    def _sort(self, settled: Settlement, *, to_disk: bool) -> None:
        """Find out of which variant an answer is, and let go of the readers who get another (RFC 9111 §4.1)."""
        mine = variant_of(self.question, settled, self._means, self.generation, to_disk=to_disk)
        if mine.key != self.resource.key:
            self._registry.rename(self, mine)
            self._readers.send_on(others(self._readers, mine, self._means.store.variants))
        find_room(settled, mine, self._means, to_disk=to_disk)

    def _send_on(self, readers: Collection[Reader]) -> None:
        """Let these begin anew, all together: the answer isn't theirs."""
        if readers:
            self._registry.forget(self)
            self._readers.send_on(readers)

    def _send_late_on(self, answer: Stored) -> None:
        """Let those begin anew who came after the question, unless the answer may be reused."""
        rules = self.resource.route.freshness
        self._send_on(late(self._readers, answer, self._means.clock(), self.disposition, rules))

    def _go_on_in_slices(self, settled: Settlement, fetched: Fetched) -> None:
        """Hand the answer to the fill of this version's slices, and all readers with it."""
        assert self.head is not None and self.length is not None
        assert self.disposition is not None and settled.span is not None
        means = self._means
        self.entry = large_entry(self.resource, self.head, self.disposition, self.length, means.terms)
        self.entry.origin, self.entry.tags = self.origin, self._tags
        sliced = self._registry.sliced(self.resource, self.question.request, self.entry)
        adopted = sliced.adopt(fetched, settled.span)
        self.committed = sliced.is_kept and isinstance(adopted, Run)
        if not isinstance(adopted, Run):
            self.disposition = replace(self.disposition, reason=Reason.EXACT)
        if not sliced.is_kept and settled.drops:
            means.store.drop(self.resource.key)  # else its first slice on disk would take the place
        self._send_late_on(self.entry)
        self._finish(Phase.COMPLETE)
        sliced.begin(adopted)

    def _freshen(self, settled: Settlement) -> None:
        """What is stored holds on, under a later head; or what was good a while ago is better than an error."""
        if settled.step is Step.KEEP:
            origin = self.origin or "-"
            self._fail(OriginError(origin, Fault.SERVER, f"{self.status}", status=self.status))
            return
        store, stored, entry = self._means.store, self.question.stored, settled.entry
        assert stored is not None and entry is not None and settled.disposition is not None
        self.entry, self.disposition, self.freshness = entry, settled.disposition, entry.freshness
        if settled.of_equals and settled.disposition.share is not Share.LEADER_ONLY:
            self._send_on(unlike(self._readers, self.resource))
        if settled.step is Step.FRESHEN:
            self.committed = store.freshen(entry, stored, still=self._is_current, to_disk=not self.by_peer)
        elif settled.drops:
            store.drop(self.resource.key)
        if settled.disposition.share is Share.LEADER_ONLY:
            self._registry.forget(self)
            self._readers.leave_to_leader(else_to_anyone=not self.resource.route.forwarding.any)
        else:
            self._send_late_on(entry)
        self._finish(Phase.COMPLETE)

    def _is_current(self) -> bool:
        """Whether what it brings may be stored by now."""
        return is_current(self.question, self._means, self.generation)

    def _conclude_absent(self, absent: Absent) -> None:
        """All origins know that there is no such object: a negative entry with its own short lifetime."""
        means, known = self._means, self._means.store.variants.names(self.resource.named)
        settled = settle_absence(self.question, absent, means.clock(), known=known)
        if settled.sorts:
            self._sort(settled, to_disk=True)
        assert settled.disposition is not None
        self.status, self.freshness = absent.status, settled.disposition.freshness
        self.entry = negative_entry(self.resource.key, absent, self.freshness, via=means.via)
        if settled.step is Step.LEADER_ONLY:
            self._registry.forget(self)
            self._readers.leave_to_leader(else_to_anyone=not self.resource.route.forwarding.any)
        elif settled.of_equals:
            self._send_on(unlike(self._readers, self.resource))
        if settled.step is Step.STORE:
            self.committed = means.store.commit(self.entry, still=self._is_current)
        elif settled.drops:
            means.store.drop(self.resource.key)
        self._send_late_on(self.entry)
        self._finish(Phase.COMPLETE)

    # streaming: called by the origin's connection

    def on_data(self, data: bytes) -> None:
        buffer, due = self._buffer, self._due
        if (due is None or buffer.received + len(data) > due) and not self._may_grow(len(data)):
            return
        buffer.append(data)
        self._purse.cost(len(data))
        self._readers.tell()
        if buffer.retained and self._is_outrun:
            self._brake.hold(self._response)
            self._registry.count_thrifty("paced")
        if not buffer.retained:
            self.progressed()

    def _may_grow(self, size: int) -> bool:
        """Whether so many bytes more may come than were stated. Memory is taken as they come, and storing given up
        when there is none."""
        if self._due is not None:
            fault = f"more than the {self._due} bytes stated"
            self._fail(OriginError(self.origin or "-", Fault.MALFORMED, fault))
            return False
        whole, buffer = self._buffer.received + size + OVERHEAD, self._buffer
        if buffer.retained and (whole > self._means.terms.largest or not buffer.grow(whole)):
            buffer.become_window()
            self._registry.forget(self)
        return True

    def on_end(self, error: OriginError | None) -> None:
        self._response = None
        received, due = self._buffer.received, self._due
        if error is None and due not in (None, received) and self.question.want.method != b"HEAD":
            error = OriginError(self.origin or "-", Fault.SHORT_BODY, f"{received} of {due} bytes")
        if error is not None:
            log.warning("%s; body of %s cut off after %d bytes", error, self.resource.label, received)
            self._fail(error)
            return
        if self._buffer.retained:
            assert self.head is not None and self.disposition is not None
            length = None if self.length is not None else received
            body = self._buffer.body()
            self.entry = whole_entry(self.resource, self.head, self.disposition, body, length=length)
            self.entry.origin, self.entry.tags = self.origin, self._tags
            self.committed = self._means.store.commit(self.entry, still=self._is_current, to_disk=not self.by_peer)
        self._finish(Phase.COMPLETE)

    @property
    def _is_outrun(self) -> bool:
        return self._purse.is_outrun(self._buffer.received, self._readers, self.start)

    def progressed(self) -> None:
        """Readers have read on: give up what all have passed; pause the origin while one holds a full window."""
        if self._brake.is_on and not self._is_outrun:
            self._brake.release(self._response)
        if self._buffer.retained or self._response is None:
            return
        if self._window is None:
            self._window = Window(self._means.loop, self._buffer, self._readers, start=self.start, lose=self._lose)
        self._window.progressed(self._response)

    def _lose(self, reader: Reader, response: Response) -> None:
        """A reader holds the others up."""
        if response is self._response:
            self._readers.detach(reader)

    # the end

    def _fail(self, failure: Failed | OriginError) -> None:
        if self.phase in OVER:
            return
        self.failure = failure
        if self.phase is Phase.STREAMING:
            self._registry.count_broken()
        if self._response is not None:
            self._response.close()
            self._response = None
        self._finish(Phase.FAILED)

    def _finish(self, phase: Phase) -> None:
        self.phase = phase
        self._stop_timer()
        if self._window is not None:
            self._window.stop()
            self._window = None  # it refers to the fill
        self._registry.forget(self)
        self._buffer.release()
        self._readers.tell()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
