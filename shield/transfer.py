"""The life of a request that takes more than a moment: it waits for a disk or an origin, alone or with others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from shield.errors import Fault, OriginError
from shield.fill.fill import Fill, Phase
from shield.fill.sliced import SlicedFill
from shield.fill.table import FillTable
from shield.messages import Request
from shield.observe.counters import Counters
from shield.origin.origins import Failed, Want
from shield.outcome import Forward, Outcome
from shield.reply import Part, Replies, Reply
from shield.rules.conditional import is_strong
from shield.rules.ranges import Span
from shield.rules.routes import Resource
from shield.rules.selection import Selection, select
from shield.rules.verdict import Verdict, judge_lookup
from shield.store.entry import Entry
from shield.store.tiers import Cold, Store

_TIMEOUTS = frozenset(
    {
        Fault.CONNECT_TIMEOUT,
        Fault.POOL_TIMEOUT,
        Fault.FIRST_BYTE_TIMEOUT,
        Fault.BETWEEN_BYTES_TIMEOUT,
        Fault.TOTAL_TIMEOUT,
    }
)


class Client(Protocol):
    """Where a transfer writes; each front has one."""

    ready: bool  # False: don't write now; the front calls `Transfer.advance` when it is True again

    def reply(self, reply: Reply) -> None:
        """A whole answer, and the end of it."""

    def begin(self, head: bytes, data: Part | None, *, status: int, length: int | None, outcome: Outcome) -> None:
        """The head of a streamed answer, as in `Reply`, with the first bytes of its body if they are at hand.

        `length` None: only its end shows where the body ends.
        """

    def write(self, data: Part) -> None:
        """Body bytes, in order."""

    def finish(self, *, clean: bool) -> None:
        """The end of a streamed answer. If not clean, the client must be able to see that it isn't whole."""


class Transfer:
    """A reader of fills on behalf of one client. Ends with `client.reply`, `client.finish` or `abandon`.

    Usually one fill serves it from beginning to end. It goes on by itself when its fill lets go of it: from the
    start if nothing was sent, else with the rest of the very version whose head was sent. A large entry is read from
    the fill of its slices, whose head goes out with the first bytes.
    """

    __slots__ = (
        "_begun",
        "_client",
        "_clock",
        "_collapsed",
        "_counters",
        "_detail",
        "_entry",
        "_etag",
        "_fill",
        "_fills",
        "_forward",
        "_over",
        "_replies",
        "_request",
        "_resource",
        "_selection",
        "_sliced",
        "_stored",
        "position",
    )

    def __init__(
        self,
        request: Request,
        resource: Resource,
        client: Client,
        *,
        fills: FillTable,
        replies: Replies,
        counters: Counters,
        clock: Callable[[], float],
    ) -> None:
        self.position = 0
        self._request = request
        self._resource = resource
        self._client = client
        self._fills = fills
        self._replies = replies
        self._counters = counters
        self._clock = clock

        self._stored: Entry | None = None  # what was found, though it could not be served as it is
        self._forward: Forward | None = Forward.URI_MISS  # None: nothing is forwarded
        self._fill: Fill | None = None
        self._sliced: SlicedFill | None = None  # read instead of `_fill`
        self._entry: Entry | None = None  # the large one whose slices are read
        self._collapsed = False
        self._detail: str | None = None
        self._selection: Selection | None = None  # settled, though perhaps not sent yet
        self._etag: bytes | None = None  # of the version that was settled on
        self._begun = False
        self._over = False

    def start(self, store: Store) -> None:
        """Look up and go on from there. The client may be called back before this returns."""
        found = store.find(self._resource.key)
        if isinstance(found, Cold):
            store.read(found, self._resource.key, self._found)
        else:
            self._found(found)

    def _found(self, entry: Entry | None) -> None:
        """What was looked up is here: serve it if that is allowed, else ask an origin."""
        if self._over:
            return
        under_way = None if entry is not None else self._fills.under_way(self._resource)
        if under_way is not None:
            entry, self._collapsed = under_way.entry, True
        verdict = judge_lookup(self._request, entry, self._clock(), self._resource.route.freshness)
        if entry is not None and verdict in (Verdict.HIT, Verdict.STALE):
            if verdict is Verdict.STALE:
                self._fills.refresh(self._resource, self._request, entry)
            self._forward = Forward.URI_MISS if self._collapsed else None
            self._answer_with(entry)
            return
        if entry is not None:
            self._stored, self._forward = entry, Forward.STALE
        self._fill, self._collapsed = self._fills.join(self._resource, self._request, self, entry)
        self.advance()

    @property
    def over(self) -> bool:
        """The client has been told the end, or is gone."""
        return self._over

    @property
    def stop(self) -> int | None:
        """Where it needs no more bytes; None: at the end of the body."""
        return None if self._selection is None else self._selection.stop

    # called by the fill, and by the front when the client can take more

    def advance(self) -> None:
        if self._over:
            return
        if self._sliced is not None:
            if self._begun or self._begin_sliced(self._sliced):
                self._stream(self._sliced)
        elif self._fill is not None and (self._begun or self._begin(self._fill)):
            self._stream(self._fill)

    def detach(self) -> None:
        if self._over:
            return
        self._collapsed = False
        if self._begun:
            self._fetch_rest()
        else:
            self._fill = self._fills.alone(self._resource, self._request, self)

    def abandon(self) -> None:
        """The client is gone."""
        if not self._over:
            self._counters.count("abandoned")
            self._end()

    # the head

    def _begin(self, fill: Fill) -> bool:
        """Settle the answer and send its head; True when a body is to be streamed."""
        if fill.phase is Phase.OPENING:
            return False
        if fill.phase is Phase.FAILED:
            self._give_up(fill.failure)
            return False
        if fill.entry is not None and self._selection is None:
            self._answer_with(fill.entry)
            return False
        chosen = self._selection
        if chosen is None:
            assert fill.head is not None
            chosen = self._selection = select(self._request, fill.head, fill.length)
            self._etag, self.position = fill.head.etag, chosen.start
            if chosen.status == 206 and not fill.stores and is_strong(self._etag):
                fill.leave(self)  # the body isn't kept: fetch just that part of it
                self._collapsed = False
                self._fetch_rest()
                return False
        outcome, trailer = self._told(fill)
        head = chosen.block + trailer
        if chosen.stop is not None and chosen.start >= chosen.stop:
            self._reply(Reply(chosen.status, head, (), 0, outcome))
            return False
        self._begun = True
        self._counters.count(outcome.word)
        length = None if chosen.stop is None else chosen.stop - chosen.start
        # One write for both: a system call costs as much as a good part of all else that is done here.
        data = self._next(fill)
        self._client.begin(head, data, status=chosen.status, length=length, outcome=outcome)
        return not self._over

    def _told(self, fill: Fill) -> tuple[Outcome, bytes]:
        """What became of this request, and the field lines that say so; the same for many followers at a time."""
        now = self._clock()
        age = 0.0 if fill.freshness is None else fill.freshness.age(now)
        assert self._forward is not None
        key = (int(age), self._collapsed, self._forward, fill.stores)
        told = fill.told.get(key)
        if told is None:
            outcome = self._outcome(now)
            fill.told.clear()  # of a second that is over
            told = fill.told[key] = (outcome, self._replies.trailer(age, outcome))
        return told

    def _outcome(self, now: float) -> Outcome:
        fill, entry = self._fill, self._entry
        if fill is None:
            assert entry is not None
            ttl = entry.freshness.shown_ttl(now)
            is_hit = self._forward is None
            return Outcome(
                hit=is_hit,
                forward=self._forward,
                ttl=ttl,
                stored=not is_hit,
                collapsed=self._collapsed,
                detail=self._detail,
            )
        known = fill.entry or entry
        fresh = fill.freshness if known is None else known.freshness
        stores = fill.stores or fill.committed
        return Outcome(
            forward=self._forward,
            forward_status=fill.status,
            ttl=fresh.shown_ttl(now) if fresh is not None and stores else None,
            stored=stores,
            collapsed=self._collapsed,
            detail=None if stores or fill.disposition is None else fill.disposition.reason,
            origin=fill.origin,
        )

    # an entry, whole or in slices

    def _answer_with(self, entry: Entry) -> None:
        """All of the answer, unless its body is in slices: then their fill is joined."""
        now = self._clock()
        chosen = select(self._request, entry.head, entry.length)
        if not entry.is_large or chosen.empty:
            self._entry = entry
            self._reply(self._replies.of_entry(self._request, entry, now, self._outcome(now)))
            return
        self._entry, self._selection, self._etag = entry, chosen, entry.etag
        self.position = chosen.start
        if self._fill is not None:
            self._fill.leave(self)
        self._sliced = self._fills.reading(self._resource, self._request, self, entry)
        if self._forward is None and not self._sliced.holds(chosen.start, chosen.stop or entry.length):
            self._forward = Forward.PARTIAL
        self.advance()

    def _begin_sliced(self, sliced: SlicedFill) -> bool:
        """Send the head with the first bytes: until then an origin that fails needn't be seen."""
        chosen, entry = self._selection, self._entry
        assert chosen is not None and entry is not None
        data = self._next(sliced)
        if data is None:
            if sliced.phase is Phase.FAILED:
                self._restart_or_give_up(sliced)
            return False
        now = self._clock()
        outcome = self._outcome(now)
        head = chosen.block + self._replies.trailer(entry.freshness.age(now), outcome)
        self._begun = True
        self._counters.count(outcome.word)
        stop = entry.length if chosen.stop is None else chosen.stop
        length = stop - chosen.start
        self._client.begin(head, data, status=chosen.status, length=length, outcome=outcome)
        return not self._over

    def _restart_or_give_up(self, sliced: SlicedFill) -> None:
        """Nothing was sent yet: another version is fetched anew; else as after any failure."""
        sliced.leave(self)
        self._sliced, self._selection = None, None
        if not sliced.changed or self._forward is Forward.URI_MISS:
            self._stored = None  # what could be served of it was tried
            self._give_up(sliced.failure)
            return
        self._entry, self._forward = None, Forward.URI_MISS
        self._fill, self._collapsed = self._fills.join(self._resource, self._request, self)
        self.advance()

    # the body

    def _stream(self, fill: Fill | SlicedFill) -> None:
        assert self._selection is not None
        client, stop = self._client, self._selection.stop
        while client.ready and (stop is None or self.position < stop):
            data = self._next(fill)
            if data is None:
                break
            client.write(data)
            if self._over:
                return
        if stop is not None and self.position >= stop:
            self._finish(clean=True)
        elif fill.phase is Phase.FAILED:
            self._finish(clean=False)
        elif fill.phase is Phase.COMPLETE and self._peek(fill) is None:
            self._finish(clean=stop is None)
        else:
            fill.progressed()

    def _peek(self, fill: Fill | SlicedFill) -> Part | None:
        assert self._selection is not None
        if isinstance(fill, SlicedFill):
            return fill.read(self.position, self._selection.stop or fill.length)
        return fill.read(self.position)

    def _next(self, fill: Fill | SlicedFill) -> Part | None:
        """The next bytes for the client, counted as taken; None when there are none (yet)."""
        assert self._selection is not None
        data, stop = self._peek(fill), self._selection.stop
        if data is None:
            return None
        if stop is not None and len(data) > stop - self.position:
            data = memoryview(data)[: stop - self.position]
        self.position += len(data)
        return data

    def _fetch_rest(self) -> None:
        """What is missing of the version that was settled on, by ourselves."""
        chosen = self._selection
        assert chosen is not None
        if chosen.stop is None or not is_strong(self._etag):
            self._break_off()  # bytes of two versions could mix
            return
        span = Span(self.position, chosen.stop)
        want = Want(b"GET", self._resource.path, self._resource.query, span=span, etag=self._etag)
        self._fill = self._fills.alone(self._resource, self._request, self, want)

    def _break_off(self) -> None:
        if self._begun:
            self._finish(clean=False)
        else:
            self._give_up(OriginError("-", Fault.REFUSED, "the object has no strong ETag to fetch a part of it by"))

    # the end

    def _give_up(self, failure: Failed | OriginError | None) -> None:
        """Nothing was sent yet: stale if any may be served (RFC 9111 §4.2.4, RFC 5861 §4), else an honest error."""
        now = self._clock()
        detail, faults = _reasons(failure)
        stored = self._stored
        if stored is not None and not stored.no_cache and stored.freshness.in_error_grace(now):
            if self._fill is not None:
                self._fill.leave(self)
                self._fill = None
            self._forward, self._detail, self._collapsed = None, detail, False
            self._answer_with(stored)
            return
        outcome = Outcome(forward=self._forward, collapsed=self._collapsed, detail=detail)
        status = 504 if faults <= _TIMEOUTS else 503
        self._reply(self._replies.unavailable(status, self._request, now, outcome))

    def _reply(self, reply: Reply) -> None:
        self._end()
        self._counters.count(reply.outcome.word)
        self._client.reply(reply)

    def _finish(self, *, clean: bool) -> None:
        self._end()
        if not clean:
            self._counters.count("broken")
        self._client.finish(clean=clean)

    def _end(self) -> None:
        self._over = True
        if self._fill is not None:
            self._fill.leave(self)
        if self._sliced is not None:
            self._sliced.leave(self)


def _reasons(failure: Failed | OriginError | None) -> tuple[str, frozenset[Fault]]:
    """Short words for Cache-Status, and all faults; no fault at all means that the deadline passed."""
    if isinstance(failure, Failed):
        return failure.detail, frozenset(error.fault for error in failure.failures)
    if failure is None:
        return "deadline", frozenset()
    return failure.fault.value, frozenset({failure.fault})
