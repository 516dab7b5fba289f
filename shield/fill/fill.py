"""The life of a fill: bringing one entry into the store, once, however many ask.

A fill belongs to no client. Readers join it at any time, each at its own place, and are told to advance when there
is more; a reader that leaves ends its request, never the fill that others wait for. Bytes are kept from the first on
while the entry can be stored, so that any reader can begin at any byte. What can't be stored runs through a window
that follows the readers; what is stored in slices is a `SlicedFill`'s, to which the readers go on.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING

from shield.errors import Fault, OriginError
from shield.fill.answers import (
    Streaming,
    freshened_entry,
    is_part,
    judged,
    kept_head,
    negative_entry,
    told_head,
    whole_head,
)
from shield.fill.buffer import FillBuffer
from shield.fill.question import Question
from shield.fill.readers import Reader, Readers
from shield.fill.window import Window
from shield.messages import Request, ResponseHead
from shield.origin.response import Response
from shield.origin.want import Absent, Failed, Fetched, Want
from shield.outcome import Forward, Outcome
from shield.rules import ranges
from shield.rules.conditional import HeadEffect, head_effect
from shield.rules.freshness import Freshness
from shield.rules.routes import Resource
from shield.rules.selection import StoredHead
from shield.rules.tags import labels
from shield.rules.vary import choosing, names_in
from shield.rules.verdict import Disposition, Share, Verdict, judge_lookup
from shield.store.entry import OVERHEAD, Entry

if TYPE_CHECKING:
    from shield.fill.table import FillTable

log = logging.getLogger("shield.fill")


class Phase(Enum):
    """Where a fill stands, and what its readers do."""

    OPENING = "opening"  # no origin has committed to an answer: wait
    STREAMING = "streaming"  # the head is known and bytes arrive: read from your own place
    COMPLETE = "complete"  # all bytes are here and their number holds: read to the end
    FAILED = "failed"  # nothing more will come: an error before the head, an unclean end after it


_OVER = (Phase.COMPLETE, Phase.FAILED)
_STALE_IF = frozenset({500, 502, 503, 504})  # RFC 5861 §4


@dataclass(frozen=True, slots=True)
class FillPolicy:
    """When a fill outlives its readers, and how long what can't be shared is remembered as such."""

    linger_seconds: float = 5.0
    small_bytes: int = 1 << 20
    hit_for_miss_seconds: float = 10.0


class Fill:
    """One fetch and those who read from it. Made by `FillTable` only."""

    __slots__ = (
        "_buffer",
        "_readers",
        "_request",
        "_response",
        "_table",
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
        "phase",
        "question",
        "resource",
        "shared",
        "start",
        "status",
        "told",
        "was_hit",
    )

    def __init__(self, table: FillTable, resource: Resource, request: Request, want: Want, *, shared: bool) -> None:
        self.resource = resource
        self.question = Question(table, resource, request, want, shared=shared)
        self.shared = shared
        self.background = False  # goes on though nobody reads
        # absolute offset of its first byte; what a tentative span brings is all of the object, or goes on in slices
        self.start = 0 if want.span is None or want.tentative else want.span.start

        # known once the head is there
        self.phase = Phase.OPENING
        self.head: StoredHead | None = None
        self.status = 0
        self.length: int | None = None  # of the body that this fill brings
        self.freshness: Freshness | None = None
        self.disposition: Disposition | None = None
        self.origin: str | None = None
        self.by_peer = False
        self.was_hit = False  # of another worker: to clients it is the node's
        self._tags = b""

        # what followers share of their answers; theirs to fill in
        self.told: dict[tuple[int, bool, Forward, bool], tuple[Outcome, bytes]] = {}

        # known at the end
        self.entry: Entry | None = None
        self.committed = False
        self.failure: Failed | OriginError | None = None

        self._table = table
        self._request = request
        self._buffer = FillBuffer(table.memory)
        self._response: Response | None = None
        self._readers = Readers(request)
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None  # linger
        self._window: Window | None = None  # of a body that isn't retained
        self.generation = table.store.generation

    @property
    def want(self) -> Want:
        """What it asks for."""
        return self.question.want

    @property
    def stored(self) -> Entry | None:
        """What is being validated."""
        return self.question.stored

    # readers

    @property
    def stores(self) -> bool:
        """Whether what arrives is being kept to become an entry."""
        return self._buffer.retained

    @property
    def joinable(self) -> bool:
        """Whether requests that come now may share this fill, as far as its answer lets them (`serves`)."""
        return self.shared and (
            self.phase is Phase.OPENING or (self.phase is Phase.STREAMING and self._buffer.retained)
        )

    def serves(self, request: Request, now: float) -> bool:
        """Whether what it brings may answer a request that comes now: as if it were stored (RFC 9111 §4)."""
        if self.phase is not Phase.STREAMING:
            return True
        assert self.head is not None and self.freshness is not None and self.disposition is not None
        if self.disposition.unstored:
            return False  # §5.2.2.4: its head has what only those may get who asked before it came
        stored = Streaming(self.head, self.freshness)
        verdict = judge_lookup(request, stored, now, self.resource.route.freshness)
        return verdict is Verdict.HIT or verdict is Verdict.STALE

    def join(self, reader: Reader) -> None:
        self._readers.add(reader)
        self._stop_timer()

    def leave(self, reader: Reader) -> None:
        """A reader has all it wanted, or its client is gone. Nothing happens if it isn't one any more."""
        if reader not in self._readers:
            return
        self._readers.remove(reader)
        if self.phase in _OVER:
            return
        if self._readers:
            self.progressed()
        elif not self._worth_finishing():
            self._stop_timer()
            linger = self._table.policy.linger_seconds if self.joinable else 0.0
            self._timer = self._table.loop.call_later(linger, self.cancel)

    def _worth_finishing(self) -> bool:
        """Nobody reads: go on all the same if it will be stored and most of the cost is paid already."""
        if self.background:
            return True
        if not self._buffer.retained or self.length is None:
            return False
        left = self.length - self._buffer.received
        return left <= self._table.policy.small_bytes or left <= self._buffer.received

    def cancel(self) -> None:
        """Give the fetch up; whoever reads gets an error or an unclean end."""
        if self.phase in _OVER:
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
        self._task = self._table.loop.create_task(self._open())

    async def _open(self) -> None:
        result = None
        try:
            result = await self.question.ask()
            if isinstance(result, Fetched):
                self._commit_to(result)
            elif isinstance(result, Absent):
                self._conclude_absent(result)
            else:
                self._fail(result)
        except Exception as error:  # a bug of ours must release the followers too
            log.exception("fill of %s failed", _name(self.resource))
            if isinstance(result, Fetched) and self.phase is Phase.OPENING:
                result.response.close()  # not ours yet: nobody else would
            self._fail(OriginError(self.origin or "-", Fault.CANCELLED, f"internal error: {type(error).__name__}"))
        finally:
            self._task = None

    def _commit_to(self, fetched: Fetched) -> None:
        """An origin has answered: settle what readers get and what is stored, then let the bytes come."""
        head, response = fetched.response.head, fetched.response
        self.origin, self.status = fetched.origin, head.status
        self.by_peer, self.was_hit = fetched.by_peer, fetched.was_hit
        if self.question.stored is not None and self._goes_on_with(self.question.stored, fetched):
            return
        part = None
        if head.status == 206:
            if is_part(fetched):
                part = ranges.parse_content_range(head.get(b"content-range") or b"")
            if self.question.want.tentative:
                head = whole_head(head)
        self.length = head.length
        self.disposition = judged(self._request, fetched, head, self.resource.route)
        if self.shared and self.resource.route.particular:
            self._settle_variant(head)
        self._tags = labels(head, self.resource.route.freshness.tags)
        self.freshness = self.disposition.freshness
        self.head = told_head(head, fetched, self.disposition, self.resource.route, via=self._table.via)
        if self.disposition.share is Share.STORE and self.question.may_slice(fetched):
            self._go_on_in_slices(fetched, (0, head.length or 0) if part is None else (part[0], part[1] + 1))
            return
        self._response = response
        self.phase = Phase.STREAMING
        self._settle_sharing()
        if not self._readers and not self.joinable:
            self.cancel()
            return
        response.start(self)
        if self._buffer.received == 0 and self.phase is Phase.STREAMING:
            self._readers.tell()  # else the first bytes told them, and went out with the head

    def _goes_on_with(self, stored: Entry, fetched: Fetched) -> bool:
        """Whether what was to be validated is the answer, or better than it."""
        head = fetched.response.head
        if head.status == 304 or self._is_of_same(stored, head):
            fetched.response.close()
            self._freshen(stored, fetched)
            return True
        if head.status in _STALE_IF and stored.freshness.in_error_grace(fetched.response_time):
            fetched.response.close()  # better what was good a while ago (RFC 5861 §4)
            self._fail(OriginError(fetched.origin, Fault.SERVER, f"{head.status}", status=head.status))
            return True
        return False

    def _is_of_same(self, stored: Entry, head: ResponseHead) -> bool:
        """Whether an answer to HEAD is of the very response that is stored; if of another, that one goes."""
        if self.want.method != b"HEAD" or head.status != 200 or stored.head.status != 200:
            return False
        effect = head_effect(stored.etag, stored.last_modified, stored.length, head)
        if effect is HeadEffect.OUTDATES:
            self._table.store.drop(self.resource.key)
        return effect is HeadEffect.FRESHENS

    def _settle_variant(self, head: ResponseHead) -> None:
        """Find out of which variant an answer is, and let go of the readers who get another (RFC 9111 §4.1)."""
        resource, table = self.resource, self._table
        assert self.disposition is not None
        if not resource.route.forwarding.any:
            return
        if self.disposition.share is not Share.STORE:
            self._let_go_of_others()
            return
        if self.disposition.freshness.lifetime <= 0.0:
            self._let_go_of_others()  # what must be validated each time is for who asked (§5.2.2.4)
        variants, names = table.store.variants, choosing(names_in(head.all(b"vary")) or (), resource.route.forwarding)
        if names and names != variants.names(resource.named):
            marker = variants.learn(resource.named, names, table.clock())
            table.store.commit(marker, still=self._is_current, to_disk=not self.by_peer)
        mine = variants.of(resource, self._request)
        if mine.key != resource.key:
            table.rename(self, mine)
            self._readers.send_on(lambda reader: variants.of(mine, reader.request).key != mine.key)
        freshness = self.disposition.freshness
        until = freshness.born + freshness.lifetime + freshness.grace  # what is only kept gives way
        if self.question.want.method == b"GET" and not variants.has_room(mine, table.clock(), until):
            self.disposition = replace(self.disposition, share=Share.SHARE, reason="too-many-variants")

    def _let_go_of_others(self) -> None:
        """Let those ask for themselves of whom the origin would have seen another request: the answer isn't theirs,
        since only what can be reused states all that it varies by (RFC 9110 §12.5.5)."""
        mine, forwarding = self.resource.forwarded, self.resource.route.forwarding
        if not all(forwarding.fields(reader.request) == mine for reader in self._readers):
            self._table.forget(self)
            self._readers.send_on(lambda reader: forwarding.fields(reader.request) != mine)

    def _go_on_in_slices(self, fetched: Fetched, span: tuple[int, int]) -> None:
        """Hand the answer to the fill of this version's slices, and all readers with it."""
        assert self.head is not None and self.freshness is not None and self.length is not None
        assert self.disposition is not None
        table, head = self._table, kept_head(self.head, self.disposition, None, self.resource.route)
        table.forget_hit_for_miss(self.resource.key.text)
        self.entry = Entry.large(
            self.resource.key, head, self.freshness, length=self.length, slice_bytes=table.store.slice_bytes
        )
        self.entry.origin, self.entry.tags = self.origin, self._tags
        self.committed = True
        sliced = table.sliced(self.resource, self._request, self.entry)
        run = sliced.adopt(fetched, *span)
        self._finish(Phase.COMPLETE)
        sliced.begin(run)

    def _settle_sharing(self) -> None:
        """Keep or let go of bytes, followers and what was stored before, as the answer demands (RFC 9111 §3, §4)."""
        assert self.disposition is not None
        table, text, want, share = self._table, self.resource.key.text, self.question.want, self.disposition.share
        if want.method == b"GET" and (want.span is None or want.tentative):  # it brings all of the object
            by_request = self.disposition.by_request  # then it says nothing of what others get
            if share is not Share.LEADER_ONLY:
                table.forget_hit_for_miss(text)
            elif not by_request:
                table.mark_hit_for_miss(text)
            size = (self.length or 0) + OVERHEAD
            retained = share is Share.STORE and size <= table.store.largest and self._buffer.retain(size)
            if not retained and not by_request:
                table.store.drop(self.resource.key)
        if not self.joinable:
            table.forget(self)
        if share is Share.LEADER_ONLY:
            self._readers.leave_to_leader(else_to_anyone=not self.resource.forwarded)

    def _freshen(self, stored: Entry, fetched: Fetched) -> None:
        """304, or a HEAD that says the same: what is stored holds on."""
        table, resource = self._table, self.resource
        self.entry, self.disposition = freshened_entry(stored, fetched, self._request, resource.route)
        self.freshness = self.entry.freshness
        share, stores = self.disposition.share, self.disposition.share is Share.STORE
        if resource.route.forwarding.any and self.shared:
            if stores and self._varies_otherwise(self.entry):
                stores = False  # the next fetch finds out of which variant it is
            if not stores or self.freshness.lifetime <= 0.0:
                self._let_go_of_others()
        if stores:
            on_disk = not self.by_peer
            self.committed = table.store.freshen(self.entry, stored, still=self._is_current, to_disk=on_disk)
        elif not self.disposition.by_request:
            table.store.drop(resource.key)
        if share is Share.LEADER_ONLY:
            table.forget(self)
            self._readers.leave_to_leader(else_to_anyone=not self.resource.forwarded)
        self._finish(Phase.COMPLETE)

    def _varies_otherwise(self, entry: Entry) -> bool:
        """Whether a later head says that a key's answers vary by other fields than was known (RFC 9111 §4.1)."""
        resource = self.resource
        said = names_in([value for name, value in entry.head.fields if name == b"vary"]) or ()
        return choosing(said, resource.route.forwarding) != self._table.store.variants.names(resource.named)

    def _is_current(self) -> bool:
        """Whether its key wasn't purged since it began: else what it brings isn't stored."""
        return not self._table.store.was_removed(self.resource.named.text, self.generation)

    def _conclude_absent(self, absent: Absent) -> None:
        """All origins know that there is no such object: a negative entry with its own short lifetime."""
        route, now, via = self.resource.route, self._table.clock(), self._table.via
        self.entry, for_all = negative_entry(self.resource.key, absent, self._request, route, now=now, via=via)
        self.status, self.freshness = absent.status, self.entry.freshness
        if not for_all:
            self._let_go_of_others()
        elif self.freshness.lifetime > 0:
            self.committed = self._table.store.commit(self.entry, still=self._is_current)
        else:
            self._table.store.drop(self.resource.key)
        self._finish(Phase.COMPLETE)

    # streaming: called by the origin's connection

    def on_data(self, data: bytes) -> None:
        buffer = self._buffer
        if self.length is None:
            buffer.append(data)
            if buffer.retained:
                self._grow()
        elif buffer.received + len(data) <= self.length:
            buffer.append(data)
        else:
            self._fail(OriginError(self.origin or "-", Fault.MALFORMED, f"more than the {self.length} bytes stated"))
            return
        self._readers.tell()
        if not buffer.retained:
            self.progressed()

    def _grow(self) -> None:
        """The length wasn't stated: take memory as bytes come, and give up storing when there is none."""
        size = self._buffer.received + OVERHEAD
        if size > self._table.store.largest or not self._buffer.grow(size):
            self._buffer.become_window()
            self._table.forget(self)

    def on_end(self, error: OriginError | None) -> None:
        self._response = None
        received = self._buffer.received
        if error is None and self.length not in (None, received) and self.want.method != b"HEAD":
            error = OriginError(self.origin or "-", Fault.SHORT_BODY, f"{received} of {self.length} bytes")
        if error is not None:
            log.warning("%s; body of %s cut off after %d bytes", error, _name(self.resource), received)
            self._fail(error)
            return
        if self._buffer.retained:
            assert self.head is not None and self.freshness is not None and self.disposition is not None
            length = None if self.length is not None else received
            head = kept_head(self.head, self.disposition, length, self.resource.route)
            body = self._buffer.body()
            self.entry = Entry(self.resource.key, head, self.freshness, body, origin=self.origin)
            self.entry.tags = self._tags
            self.committed = self._table.store.commit(self.entry, still=self._is_current, to_disk=not self.by_peer)
        self._finish(Phase.COMPLETE)

    # a body that isn't retained

    def progressed(self) -> None:
        """Readers have read on: give up what all have passed; pause the origin while one holds a full window."""
        if self._buffer.retained or self._response is None:
            return
        if self._window is None:
            loop = self._table.loop
            self._window = Window(loop, self._buffer, self._readers, start=self.start, lose=self._lose)
        self._window.progressed(self._response)

    def _lose(self, reader: Reader, response: Response) -> None:
        """A reader holds the others up."""
        if response is self._response:
            self._readers.detach(reader)

    # the end

    def _fail(self, failure: Failed | OriginError) -> None:
        if self.phase in _OVER:
            return
        self.failure = failure
        if self.phase is Phase.STREAMING:
            self._table.broken += 1
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
        self._table.forget(self)
        self._buffer.release()
        self._readers.tell()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _name(resource: Resource) -> str:
    return resource.key.text.decode("ascii", "replace")
