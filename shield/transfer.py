"""The life of a request that takes more than a moment: it waits for a disk or an origin, alone or with others."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from shield.errors import Fault, OriginError
from shield.fill.fill import Fill
from shield.fill.readers import Phase
from shield.fill.sliced import SlicedFill
from shield.fill.table import FillTable
from shield.fill.telling import outcome_of
from shield.messages import Part, Request
from shield.origin.want import Failed, Want, ends_stale, is_no_part, reasons
from shield.outcome import Forward, Outcome
from shield.reply import Client, Replies, Reply
from shield.rules import exact
from shield.rules.amplification import Account
from shield.rules.conditional import is_strong
from shield.rules.multipart import Piece
from shield.rules.ranges import Span, has_parts
from shield.rules.routes import Resource
from shield.rules.selection import Selection, StoredHead
from shield.rules.verdict import Verdict, judge_lookup
from shield.store.entry import Entry
from shield.store.tiers import Cold, Store


class Mode(Enum):
    """Where a transfer stands, and what it does when it is told to advance."""

    LOOKING_UP = "looking up"  # a disk is being read: wait
    JOINED = "joined"  # it reads from a fill: once that has a head, settle the answer and send its own
    SLICED = "sliced"  # it reads from a large entry's slices: send the head with their first bytes
    STREAMING = "streaming"  # the head was sent: send bytes of the one or the other
    OVER = "over"  # the client was told the end, or is gone


class Transfer:
    """A reader of fills on behalf of one client. Ends with `client.reply`, `client.finish` or `abandon`.

    Usually one fill serves it from beginning to end. It goes on by itself when its fill lets go of it: from the
    start if nothing was sent, else with the rest of the very version whose head was sent. A large entry is read from
    the fill of its slices, whose head goes out with the first bytes. Between two calls it stands inside a piece of
    its selection, `position` being the next byte and `stop` the piece's end, or at the end of the last.
    """

    __slots__ = (
        "_client",
        "_clock",
        "_collapsed",
        "_detail",
        "_entry",
        "_etag",
        "_fill",
        "_fills",
        "_forward",
        "_in_parts",
        "_later",
        "_mode",
        "_replies",
        "_resource",
        "_selection",
        "_sliced",
        "_store",
        "_stored",
        "account",
        "position",
        "request",
        "slack",
        "stop",
        "touched",
    )

    def __init__(
        self,
        request: Request,
        resource: Resource,
        client: Client,
        *,
        store: Store,
        fills: FillTable,
        replies: Replies,
        clock: Callable[[], float],
        account: Account | None = None,
    ) -> None:
        self.account = account  # of the client's address; None: nothing is kept for it
        self.slack = exact.FREE
        self.touched: dict[int, bool] = {}
        self.position = 0
        self.stop: int | None = None  # where it needs no more bytes; None: at the end of the body
        self.request = request
        self._resource = resource
        self._client = client
        self._store = store
        self._fills = fills
        self._replies = replies
        self._clock = clock

        self._mode = Mode.LOOKING_UP
        self._stored: Entry | None = None  # what was found, though it could not be served as it is
        self._forward: Forward | None = Forward.URI_MISS  # None: nothing is forwarded
        self._fill: Fill | None = None
        self._sliced: SlicedFill | None = None  # read instead of `_fill`
        self._entry: Entry | None = None  # the large one whose slices are read
        self._collapsed = False
        self._detail: str | None = None
        self._selection: Selection | None = None  # settled, though perhaps not sent yet
        self._later: tuple[Piece, ...] = ()  # of the selection, after the piece under way
        self._etag: bytes | None = None  # of the version that was settled on
        self._in_parts = True  # False: it was tried in vain to fetch just a part

    def start(self) -> None:
        """Look up and go on from there. The client may be called back before this returns."""
        store, self._mode, route = self._store, Mode.LOOKING_UP, self._resource.route
        if route.particular and route.forwarding.any:
            self._resource = store.variants.of(self._resource, self.request)
        found = store.find(self._resource.key)
        if isinstance(found, Cold):
            store.read(found, self._resource.key, self._found)
        else:
            self._found(found)

    def _found(self, entry: Entry | None) -> None:
        """What was looked up is here: serve it if that is allowed, else ask an origin."""
        if self._mode is not Mode.LOOKING_UP:
            return
        if entry is not None and entry.is_marker:
            if self._resource.route.forwarding.any:
                self._store.variants.learn_from(entry)
                self.start()
                return
            entry = None  # of a route with the same keys that forwards, or of earlier settings
        if entry is not None and entry.is_large and self._fills.is_whole_only(self._resource.key.text):
            entry = None
        under_way = None if entry is not None else self._fills.under_way(self._resource)
        if under_way is not None:
            entry, self._collapsed = under_way.entry, True
        now = self._clock()
        verdict = judge_lookup(self.request, entry, now, self._resource.route.freshness)
        if entry is not None and verdict in (Verdict.HIT, Verdict.STALE):
            if verdict is Verdict.STALE:
                self._fills.refresh(self._resource, self.request, entry)
            self._forward = Forward.URI_MISS if self._collapsed else None
            self._answer_with(entry)
            return
        self._collapsed = False
        if verdict is Verdict.REFUSE:
            self._reply(self._replies.only_if_cached(self.request, now))
            return
        if entry is not None:
            # Fresh, and still not good enough: that is the request's doing (RFC 9211 §2.2).
            is_fresh = entry.freshness.ttl(now) > 0.0 and not entry.no_cache
            self._stored, self._forward = entry, Forward.REQUEST if is_fresh else Forward.STALE
        elif self._resource.base is not None:
            self._forward = Forward.VARY_MISS
        self._mode = Mode.JOINED
        if self.account is not None:
            self.account.begin()
        if verdict is Verdict.BYPASS:
            self._forward = Forward.REQUEST
            self._fill = self._fills.alone(self._resource, self.request, self)
        else:
            self._fill, self._collapsed = self._fills.join(self._resource, self.request, self, entry)
        if self._fill.phase is not Phase.OPENING:
            self.advance()

    @property
    def over(self) -> bool:
        """The client has been told the end, or is gone."""
        return self._mode is Mode.OVER

    def held(self) -> tuple[int, int] | None:
        """The body in memory that it goes through, and its bytes; None where it is a window or comes from a disk."""
        fill = self._fill
        if fill is None or not fill.stores or fill.length is None:
            return None
        return id(fill), fill.length

    # called by the fill, and by the front when the client can take more

    def advance(self) -> None:
        mode = self._mode
        if mode is Mode.STREAMING:
            self._stream()
        elif mode is Mode.JOINED:
            self._begin()
        elif mode is Mode.SLICED:
            self._begin_sliced()

    def inform(self, block: bytes) -> None:
        if self._mode is Mode.JOINED:
            self._client.inform(block)

    def detach(self) -> None:
        if self.over:
            return
        if self._sliced is not None:
            self._leave_slices(self._sliced)
            return
        self._collapsed = False
        if self._mode is Mode.STREAMING:
            self._fetch_rest()
        else:
            self._collapsed = False
            self._fill = self._fills.alone(self._resource, self.request, self)

    def go_on_alone(self) -> None:
        """The fill turned out to bring another variant than this request's, or what may not be reused for it."""
        if not self.over:
            self._fill, self._collapsed, self._stored, self._forward = None, False, None, Forward.URI_MISS
            self.start()

    def abandon(self) -> None:
        """The client is gone."""
        if not self.over:
            self._end()

    # the head

    def _begin(self) -> None:
        """Settle the answer and send its head, once the fill has one."""
        fill = self._fill
        assert fill is not None
        if fill.phase is Phase.OPENING:
            return
        if fill.phase is Phase.FAILED:
            if self._selection is None or not is_no_part(fill.failure):
                self._give_up(fill.failure)
            else:  # another version, or no part after all: read it from the whole
                fill.leave(self)
                self._selection, self._in_parts = None, False
                self._fill = self._fills.alone(self._resource, self.request, self, in_slices=False)
            return
        if fill.entry is not None and self._selection is None:
            self._answer_with(fill.entry)
            return
        chosen = self._selection
        if chosen is None:
            assert fill.head is not None
            now, fresh = self._clock(), fill.freshness
            # A window can't go back, nor do parts of one answer come from several fetches.
            chosen = self._replies.selection(
                self.request, fill.head, fill.length, now=now, freshness=fresh, in_parts=fill.stores
            )
            if chosen.status == 206 and self._is_wasteful(fill):
                if not fill.stores and self._may_fetch_part(fill.head):
                    self._settle(chosen, fill.head.etag)
                    self._fetch_rest()  # the body isn't kept: fetch just that part of it
                    return
                # A server may ignore Range (RFC 9110 §14.2): the client takes as much as the origin sends.
                request = self.request if chosen.is_cheap else self.request.whole()
                chosen = self._replies.selection(request, fill.head, fill.length, now=now, freshness=fresh)
            self._settle(chosen, fill.head.etag)
            if fill.part is not None and not chosen.lies_in(fill.part):
                if chosen.status == 206 and not self._later and is_strong(self._etag) and self._in_parts:
                    self._fetch_rest()
                else:
                    self._fetch_whole(fill)
                return
        outcome, trailer = self._told(fill)
        head = chosen.block + trailer
        if chosen.empty:
            self._reply(Reply(chosen.status, head, (), 0, outcome))
            return
        self._send_head(chosen, head, self._next(fill), outcome)

    def _is_wasteful(self, fill: Fill) -> bool:
        """Whether what a fill brings of the whole besides a part is of no use, or can't be afforded."""
        if fill.part is not None:
            return False
        return not fill.stores or (fill.phase is Phase.STREAMING and self._fills.is_thrifty(self))

    def _fetch_whole(self, fill: Fill) -> None:
        """All of the object: what came is a part of it in which the client's doesn't lie."""
        fill.leave(self)
        self._selection, self.stop, self.position, self._later = None, None, 0, ()
        self._fill, self._collapsed = self._fills.join(self._resource, self.request, self, self._stored, whole=True)
        if self._fill.phase is not Phase.OPENING:
            self.advance()

    def _may_fetch_part(self, head: StoredHead) -> bool:  # of this very version
        return self._in_parts and is_strong(head.etag) and has_parts(head.status, head.fields)

    def _settle(self, chosen: Selection, etag: bytes | None) -> None:
        """This is what the client gets."""
        self._selection, self._etag = chosen, etag
        if chosen.pieces:
            _, self.position, self.stop = chosen.pieces[0]
            self._later = chosen.pieces[1:]
            self.slack = exact.FREE // len(chosen.pieces)

    def _send_head(self, chosen: Selection, head: bytes, data: Part | None, outcome: Outcome) -> None:
        """Begin the answer, with the first bytes of its body if they are at hand, and go on."""
        self._mode = Mode.STREAMING
        before, client = chosen.pieces[0].before, self._client
        # One write for both: a system call costs as much as a good part of all else that is done here.
        client.begin(head, before or data, status=chosen.status, length=chosen.length, outcome=outcome)
        if before:
            if data is not None and not self.over:
                client.write(data)
            self._go_to_next_piece()
        if not self.over:
            self._stream()

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
                # with a detail it is served stale, since no origin answered
                stored=not is_hit and self._detail is None and (self._sliced is None or self._sliced.is_kept),
                collapsed=self._collapsed,
                detail=self._detail,
                key=entry.key.text,
            )
        return outcome_of(fill, entry, self._forward, now, collapsed=self._collapsed)

    # an entry, whole or in slices

    def _answer_with(self, entry: Entry) -> None:
        """All of the answer, unless its body is in slices: then their fill is joined."""
        now = self._clock()
        chosen = self._replies.selection(self.request, entry.head, entry.length, now=now, freshness=entry.freshness)
        if not entry.is_large or chosen.empty:
            self._entry = entry
            self._reply(self._replies.of_entry(self.request, entry, now, self._outcome(now)))
            return
        self._entry = entry
        self._settle(chosen, entry.etag)
        resource = self._resource
        if self._fill is not None:
            self._fill.leave(self)
            resource = self._fill.resource  # it knows of which variant it is
        self._mode = Mode.SLICED
        self._sliced = self._fills.reading(resource, self.request, self, entry)
        if self._forward is None and not all(
            self._sliced.holds(start, stop or entry.length) for _, start, stop in chosen.pieces
        ):
            self._forward = Forward.PARTIAL
        self.advance()

    def _begin_sliced(self) -> None:
        """Send the head with the first bytes: until then an origin that fails needn't be seen."""
        chosen, entry, sliced = self._selection, self._entry, self._sliced
        assert chosen is not None and entry is not None and sliced is not None
        data = self._next(sliced)
        if data is None:
            if sliced.phase is Phase.FAILED:
                self._restart_or_give_up(sliced)
            return
        now = self._clock()
        outcome = self._outcome(now)
        head = chosen.block + self._replies.trailer(entry.freshness.age(now), outcome)
        self._send_head(chosen, head, data, outcome)

    def _restart_or_give_up(self, sliced: SlicedFill) -> None:
        """Nothing was sent yet: another version, or what is to be had as a whole only, is fetched anew; else as after
        any failure."""
        sliced.leave(self)
        self._sliced, self._selection = None, None
        if sliced.in_parts and (not sliced.changed or self._forward is Forward.URI_MISS):
            self._stored = None  # what could be served of it was tried
            self._give_up(sliced.failure)
            return
        self._mode, self._entry, self._forward = Mode.JOINED, None, Forward.URI_MISS
        self._fill, self._collapsed = self._fills.join(self._resource, self.request, self)
        self.advance()

    def _leave_slices(self, sliced: SlicedFill) -> None:
        """Its slices won't come."""
        if self._mode is Mode.SLICED:
            self._restart_or_give_up(sliced)
        else:
            self._finish(clean=False)

    # the body

    def _stream(self) -> None:
        fill, client = self._sliced or self._fill, self._client
        assert fill is not None
        while client.ready and (self.stop is None or self.position < self.stop):
            data = self._next(fill)
            if data is None:
                break
            client.write(data)
            if self._later:
                self._go_to_next_piece()
            if self.over:
                return
        stop = self.stop
        if stop is not None and self.position >= stop:
            self._finish(clean=True)
        elif fill.phase is Phase.FAILED:
            self._finish(clean=False)
        elif fill.phase is Phase.COMPLETE and self._peek(fill) is None:
            self._finish(clean=stop is None)
        else:
            fill.progressed()

    def _go_to_next_piece(self) -> None:
        """Once a piece is sent to its end, begin with the next one that has bytes of the body."""
        while self._later and self.stop is not None and self.position >= self.stop and not self.over:
            (before, self.position, self.stop), *later = self._later
            self._later = tuple(later)
            self._client.write(before)

    def _peek(self, fill: Fill | SlicedFill) -> Part | None:
        if isinstance(fill, SlicedFill):
            return fill.read(self.position, self.stop or fill.length, self)
        return fill.read(self.position)

    def _next(self, fill: Fill | SlicedFill) -> Part | None:
        """The next bytes for the client, counted as taken; None when there are none (yet)."""
        data, stop = self._peek(fill), self.stop
        if data is None:
            return None
        if stop is not None and len(data) > stop - self.position:
            data = memoryview(data)[: stop - self.position]
        self.position += len(data)
        if self.account is not None:
            self.account.took(len(data))
        return data

    def _fetch_rest(self) -> None:
        """What is missing of the version that was settled on, by ourselves."""
        if self.stop is None or self._later or not is_strong(self._etag):
            self._break_off()  # bytes of two versions could mix
            return
        if self._fill is not None:
            self._fill.leave(self)
        self._collapsed, resource = False, self._resource
        span, forwarded = Span(self.position, self.stop), resource.forwarded
        want = Want(b"GET", resource.path, resource.query, span=span, etag=self._etag, forwarded=forwarded)
        want.version_of = None if self._fill is None else self._fill.origin
        self._fill = self._fills.alone(resource, self.request, self, want)

    def _break_off(self) -> None:
        if self._mode is Mode.STREAMING:
            self._finish(clean=False)
        else:
            self._give_up(OriginError("-", Fault.REFUSED, "the object has no strong ETag to fetch a part of it by"))

    # the end

    def _give_up(self, failure: Failed | OriginError | None) -> None:
        """Nothing was sent yet: stale if any may be served (RFC 9111 §4.2.4, RFC 5861 §4), else an honest error."""
        now = self._clock()
        detail, timed_out = reasons(failure)
        stored = self._stored
        may_stand_in = stored is not None and not stored.no_cache and not ends_stale(failure)
        if stored is not None and may_stand_in and stored.freshness.in_error_grace(now):
            if self._fill is not None:
                self._fill.leave(self)
                self._fill = None
            self._forward, self._detail, self._collapsed = Forward.STALE, detail, False
            self._answer_with(stored)
            return
        key = self._resource.key.text
        outcome = Outcome(forward=self._forward, collapsed=self._collapsed, detail=detail, key=key)
        # What must be validated is as if it came too late: RFC 9111 §5.2.2.2 wants 504.
        forbidden = stored is not None and stored.must_revalidate and stored.head.status < 400
        status = 504 if timed_out or forbidden else 503
        self._reply(self._replies.unavailable(status, self.request, now, outcome))

    def _reply(self, reply: Reply) -> None:
        self._end()
        self._client.reply(reply)

    def _finish(self, *, clean: bool) -> None:
        self._end()
        self._client.finish(clean=clean)

    def _end(self) -> None:
        self._mode = Mode.OVER
        if self._fill is not None:
            self._fill.leave(self)
        if self._sliced is not None:
            self._sliced.leave(self)
