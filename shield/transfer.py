"""The life of a request that takes more than a moment: it waits for a disk or an origin, alone or with others."""

from __future__ import annotations

from enum import Enum

from shield.delivery import (
    Delivery,
    TransferMeans,
    choose,
    identifier_line,
    outcome_of_entry,
    outcome_of_fill,
    part_of,
    shown_by,
    stands_in,
    status_of,
)
from shield.errors import Fault, OriginError
from shield.fill.fill import Fill
from shield.fill.readers import Phase
from shield.fill.sliced import SlicedFill
from shield.messages import Part, Request
from shield.origin.want import Failed, asked_again_after, attempts_of, is_no_part, is_over_budget, reasons
from shield.outcome import MEMORY, Forward, Outcome
from shield.reply import OVER_BUDGET, UNAVAILABLE, Client, Reply
from shield.rules import exact
from shield.rules.amplification import Account
from shield.rules.conditional import is_strong
from shield.rules.multipart import Piece
from shield.rules.ranges import Span
from shield.rules.routes import Resource
from shield.rules.selection import Selection
from shield.rules.verdict import Verdict, judge_lookup
from shield.store.entry import Entry
from shield.store.tiers import Cold
from shield.trace import FetchTrace

_LOOKED_UP = (b"GET", b"HEAD")
_BY_ORIGIN = (Verdict.REVALIDATE, Verdict.MISS)


class Mode(Enum):
    """The state of a transfer, and what it does in it when told to advance."""

    LOOKING_UP = "looking up"  # a disk is being read: wait
    JOINED = "joined"  # it reads from a fill: once that has a head, choose the response and send its head
    SLICED = "sliced"  # it reads from a large entry's slices: send the head with their first bytes
    STREAMING = "streaming"  # the head was sent: send bytes of the one or the other
    OVER = "over"  # the client has got the end, or is gone


class Transfer:
    """A reader of fills on behalf of one client. Ends with `client.reply`, `client.finish` or `abandon`.

    Usually one fill serves it from beginning to end. If the fill releases it, it continues by itself: from the start
    if nothing was sent, else with the rest of the very version whose head was sent. A large entry is read from the
    fill of its slices, and its head is sent with the first bytes. Between two calls it is inside a piece of its
    selection, `position` being the next byte and `stop` the piece's end, or at the end of the last.
    """

    slack: int = exact.FREE
    position: int = 0
    given: int = 0  # bytes of the body to the client
    stop: int | None = None  # where it is done; None: the end of the body

    _stored: Entry | None = None  # the entry that was found, but must be validated first
    _fill: Fill | None = None
    _sliced: SlicedFill | None = None  # read instead of `_fill`
    _entry: Entry | None = None  # the large one whose slices are read
    _collapsed: bool = False
    _detail: str | None = None
    _tier: str | None = None  # of the entry, if that had to be read from a disk
    _attempts: int = 0  # of a fetch that failed
    _trace: FetchTrace | None = None  # of the last fetch
    _selection: Selection | None = None  # chosen, though perhaps not sent yet
    _later: tuple[Piece, ...] = ()  # of the selection, after the piece under way
    _etag: bytes | None = None  # of the chosen version
    _in_parts: bool = True  # False: fetching just a part has failed
    _begins_anew: bool = False  # a fill has released it, perhaps with others

    def __init__(
        self,
        request: Request,
        resource: Resource,
        client: Client,
        means: TransferMeans,
        account: Account | None = None,
    ) -> None:
        """`account` is the budget of the client's address; None: it has no limit."""
        self.request = request
        self._resource = resource
        self._client, self._means = client, means
        self.account = account
        self.touched: dict[int, bool] = {}
        self._mode = Mode.LOOKING_UP
        self._forward: Forward | None = Forward.URI_MISS  # None: nothing is forwarded

    def start(self) -> None:
        """Look up the entry and continue from there. The client may be called back before this returns."""
        store, self._mode, route = self._means.store, Mode.LOOKING_UP, self._resource.route
        if route.particular and route.forwarding.any:
            self._resource = store.variants.of(self._resource, self.request)
        found = store.find(self._resource.key)
        if isinstance(found, Cold):
            self._tier = found.place.tier.name
            store.read(found, self._resource.key, self._found)
        else:
            self._found(found)

    def _found(self, entry: Entry | None) -> None:
        """Continue with the entry that was looked up: serve it if that is allowed, else fetch."""
        if self._mode is not Mode.LOOKING_UP:
            return
        fills, resource = self._means.fills, self._resource
        fill = fills.begin(resource, self.request, self) if entry is None and not self._begins_anew else None
        if fill is None and self._is_served(entry):
            return
        if self._stored is None and resource.base is not None:
            self._forward = Forward.VARY_MISS
        if self.account is not None:
            self.account.earn(exact.FREE)
        if fill is None:
            fill, self._collapsed = fills.join(resource, self.request, self, self._stored)
        self._go_to(fill)

    def _is_served(self, entry: Entry | None) -> bool:
        """Answer without a shared fill, if the entry or the request's directives allow or demand that (RFC 9111 §4);
        False if they don't."""
        if entry is not None and entry.is_marker:
            if self._resource.route.forwarding.any:
                self._means.store.variants.learn_from(entry)
                self.start()
                return True
            entry = None  # of a route with the same keys that forwards, or of earlier settings
        if entry is not None and entry.is_large and self._means.fills.is_whole_only(self._resource.key.text):
            entry = None
        under_way = self._means.fills.under_way(self._resource) if entry is None else None
        if under_way is not None:
            entry, self._collapsed = under_way.entry, True
        if entry is None and not self.request.notable and self.request.method in _LOOKED_UP:
            return False
        now = self._means.clock()
        fills, rules = self._means.fills, self._resource.route.freshness
        verdict = judge_lookup(self.request, entry, now, rules, doubted_before=self._means.store.doubted_before)
        if entry is not None and verdict in _BY_ORIGIN and (why := fills.unasked(self._resource)):
            verdict, self._detail = judge_lookup(self.request, entry, now, rules, is_cut_off=True), why
        if entry is not None and verdict in (Verdict.HIT, Verdict.STALE):
            if verdict is Verdict.STALE:
                fills.refresh(self._resource, self.request, entry)
            self._forward = Forward.URI_MISS if self._collapsed else None
            self._answer_with(entry)
            return True
        self._collapsed, self._detail = False, None
        if verdict is Verdict.REFUSE:
            self._reply(self._means.replies.only_if_cached(self.request, now))
            return True
        if entry is not None:
            # Fresh, and still not good enough: that is the request's doing (RFC 9211 §2.2), if it isn't doubted.
            is_fresh = now < entry.plain_hit_until and entry.freshness.born >= self._means.store.doubted_before
            self._stored, self._forward = entry, Forward.REQUEST if is_fresh else Forward.STALE
        if verdict is not Verdict.BYPASS:
            return False
        self._forward = Forward.REQUEST
        if self.account is not None:
            self.account.earn(exact.FREE)
        self._go_to(self._means.fills.alone(self._resource, self.request, self))
        return True

    def _go_to(self, fill: Fill) -> None:
        """Continue with a fill that was joined or begun."""
        self._mode, self._fill, self._trace = Mode.JOINED, fill, fill.trace
        if fill.phase is not Phase.OPENING:
            self.advance()

    @property
    def over(self) -> bool:
        """Whether the client has got the end, or is gone."""
        return self._mode is Mode.OVER

    @property
    def untaken(self) -> int:
        """Those of the bytes `given` that wait for the client."""
        return self._client.untaken

    def held(self) -> tuple[int, int] | None:
        """The body in memory that it reads, and its bytes; None for a window or a body on disk."""
        fill = self._fill
        if fill is None or not fill.stores or fill.length is None:
            return None
        return id(fill), fill.length

    # called by the fill, and by the front when the client can take more

    def advance(self) -> None:
        if self.push():
            self.conclude()

    def push(self) -> bool:
        mode = self._mode
        if mode is Mode.STREAMING:
            return self._stream()
        if mode is Mode.JOINED:
            return self._begin()
        if mode is Mode.SLICED:
            return self._begin_sliced()
        return False

    def conclude(self) -> None:
        if self._mode is Mode.STREAMING:
            self._finish(clean=True)

    def inform(self, block: bytes) -> None:
        if self._mode is Mode.JOINED:
            self._client.inform(block)

    def detach(self) -> None:
        if self.over:
            return
        if self._sliced is not None and self._mode is Mode.SLICED:
            self._restart_or_give_up(self._sliced)
            return
        if self._sliced is not None:
            self._finish(clean=False)
            return
        self._collapsed = False
        if self._mode is Mode.STREAMING:
            self._fetch_rest()
        else:
            self._fill = self._means.fills.alone(self._resource, self.request, self)

    def go_on_alone(self) -> None:
        """The fill is of another variant, or its response may not be reused for this request."""
        if not self.over:
            self._fill, self._collapsed, self._stored, self._forward = None, False, None, Forward.URI_MISS
            self._begins_anew = True
            self.start()

    def abandon(self) -> None:
        """The client is gone."""
        if not self.over:
            self._end()

    # the head. As `push`, these return whether the response is complete, and only its end is due.

    def _begin(self) -> bool:
        """Send the head of the response, once the fill has one: to a plain request that of the whole."""
        fill, request = self._fill, self.request
        assert fill is not None
        if fill.phase is Phase.OPENING:
            return False
        head, length = fill.head, fill.length
        is_whole = fill.phase is Phase.STREAMING and fill.stores and self._selection is None
        if not is_whole or head is None or length == 0 or request.notable or request.method != b"GET":
            return self._begin_chosen(fill)
        outcome, _, block = shown_by(fill, self._entry, self._forward, self._means, collapsed=self._collapsed)
        if self._means.naming:
            block += identifier_line(self._means.naming, request)
        self._mode, self.stop, self._etag = Mode.STREAMING, length, head.etag
        data = self._next(fill)
        self._client.begin(block, data, status=head.status, length=length, outcome=outcome)
        return not self.over and self._stream()

    def _begin_chosen(self, fill: Fill) -> bool:
        """The same for any request, by its conditions and ranges."""
        if not self._choose(fill):
            return False
        chosen = self._selection
        assert chosen is not None
        outcome, trailer, _ = shown_by(fill, self._entry, self._forward, self._means, collapsed=self._collapsed)
        head = chosen.block + trailer
        if chosen.empty:
            self._reply(Reply(chosen.status, head, (), 0, outcome))
            return False
        return self._send_head(chosen, head, self._next(fill), outcome)

    def _choose(self, fill: Fill) -> bool:
        """Choose the part of the response that the client gets; False if the request took another way."""
        if fill.phase is Phase.FAILED:
            if self._selection is None or not is_no_part(fill.failure):
                self._give_up(fill.failure)
            else:  # another version, or no part after all: read from the whole
                fill.leave(self)
                self._selection, self._in_parts = None, False
                self._fill = self._means.fills.alone(self._resource, self.request, self, in_slices=False)
            return False
        if self._selection is not None:
            return True
        if fill.entry is not None:
            self._answer_with(fill.entry)
            return False
        assert fill.head is not None
        means, is_thrifty = self._means, self._means.fills.is_thrifty(self)
        chosen, delivery = choose(
            self.request, fill, means.replies, means.clock(), in_parts=self._in_parts, is_thrifty=is_thrifty
        )
        self._settle(chosen, fill.head.etag)
        if delivery is Delivery.FETCH_PART:
            self._fetch_rest()
        elif delivery is Delivery.FETCH_WHOLE:
            self._fetch_whole(fill)
        return delivery is Delivery.SEND

    def _fetch_whole(self, fill: Fill) -> None:
        """Fetch all of the object: the fill brings a part that doesn't contain the client's."""
        fill.leave(self)
        self._selection, self.stop, self.position, self._later = None, None, 0, ()
        fill, self._collapsed = self._means.fills.join(self._resource, self.request, self, self._stored, whole=True)
        self._go_to(fill)

    def _settle(self, chosen: Selection, etag: bytes | None) -> None:
        """Remember the choice."""
        self._selection, self._etag = chosen, etag
        if chosen.pieces:
            _, self.position, self.stop = chosen.pieces[0]
            self._later = chosen.pieces[1:]
            self.slack = exact.FREE // len(chosen.pieces)

    def _send_head(self, chosen: Selection, head: bytes, data: Part | None, outcome: Outcome) -> bool:
        """Begin the response, with the first bytes of its body if they are there, and continue."""
        self._mode = Mode.STREAMING
        before, client = chosen.pieces[0].before, self._client
        head += identifier_line(self._means.naming, self.request)
        # One write for both: a system call costs as much as a good part of all other work here.
        client.begin(head, before or data, status=chosen.status, length=chosen.length, outcome=outcome)
        if before:
            if data is not None and not self.over:
                client.write(data)
            self._go_to_next_piece()
        return not self.over and self._stream()

    def _outcome(self, now: float) -> Outcome:
        fill, entry = self._fill, self._entry
        if fill is not None:
            return outcome_of_fill(fill, entry, self._forward, now, collapsed=self._collapsed)
        assert entry is not None
        is_kept = self._sliced is None or self._sliced.is_kept
        outcome = outcome_of_entry(
            entry, self._forward, now, collapsed=self._collapsed, detail=self._detail, is_kept=is_kept
        )
        if outcome.hit or self._detail is not None:
            on_disk = self._means.store.tier_of(entry.key) if entry.is_large else None
            outcome.tier = self._tier or on_disk or MEMORY
        elif not self._collapsed:
            outcome.origin = entry.origin
        outcome.attempts, outcome.trace = self._attempts, self._trace
        return outcome

    # an entry, whole or in slices

    def _answer_with(self, entry: Entry) -> None:
        """Answer from an entry; if its body is in slices, join their fill."""
        now = self._means.clock()
        chosen = self._means.replies.selection(
            self.request, entry.head, entry.length, now=now, freshness=entry.freshness
        )
        self._entry = entry
        if not entry.is_large or chosen.empty:
            self._reply(self._means.replies.of_entry(self.request, entry, now, self._outcome(now)))
            return
        self._settle(chosen, entry.etag)
        resource = self._resource
        if self._fill is not None:
            self._fill.leave(self)
            resource = self._fill.resource  # it is that of the variant
        self._mode = Mode.SLICED
        self._sliced = self._means.fills.reading(resource, self.request, self, entry)
        if self._forward is None and not all(
            self._sliced.holds(start, stop or entry.length) for _, start, stop in chosen.pieces
        ):
            self._forward = Forward.PARTIAL
        self.advance()

    def _begin_sliced(self) -> bool:
        """Send the head with the first bytes: until then a failing origin can be hidden."""
        chosen, entry, sliced = self._selection, self._entry, self._sliced
        assert chosen is not None and entry is not None and sliced is not None
        data = self._next(sliced)
        if data is None:
            if sliced.phase is Phase.FAILED:
                self._restart_or_give_up(sliced)
            return False
        means, now = self._means, self._means.clock()
        outcome = self._outcome(now)
        head = chosen.block + means.replies.trailer(entry.freshness.age(now), outcome)
        return self._send_head(chosen, head, data, outcome)

    def _restart_or_give_up(self, sliced: SlicedFill) -> None:
        """Nothing was sent yet: fetch another version or an object without ranges anew, else give up."""
        sliced.leave(self)
        self._sliced, self._selection = None, None
        if sliced.in_parts and (not sliced.changed or self._forward is Forward.URI_MISS):
            self._stored = None  # serving it was tried
            self._give_up(sliced.failure)
            return
        self._entry, self._forward = None, Forward.URI_MISS
        fill, self._collapsed = self._means.fills.join(self._resource, self.request, self)
        self._go_to(fill)

    # the body

    def _stream(self) -> bool:
        """Send what there is and the client takes; whether that was all, and only the end is due."""
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
                return False
        stop = self.stop
        if stop is not None and self.position >= stop:
            return True
        if fill.phase is Phase.FAILED:
            self._finish(clean=False)
        elif fill.phase is Phase.COMPLETE and fill.read(self.position, stop, self) is None:
            self._finish(clean=stop is None)
        else:
            fill.progressed()
        return False

    def _go_to_next_piece(self) -> None:
        """After the end of a piece, begin with the next one that has bytes of the body."""
        while self._later and self.stop is not None and self.position >= self.stop and not self.over:
            (before, self.position, self.stop), *later = self._later
            self._later = tuple(later)
            self._client.write(before)

    def _next(self, fill: Fill | SlicedFill) -> Part | None:
        """The next bytes for the client, counted as sent; None when there are none (yet)."""
        position, stop = self.position, self.stop
        data: Part | None = fill.read(position, stop, self)
        if data is None:
            return None
        if stop is not None and len(data) > stop - position:
            data = memoryview(data)[: stop - position]
        size = len(data)
        self.position, self.given = position + size, self.given + size
        if self.account is not None:
            self.account.took(size)
        return data

    def _fetch_rest(self) -> None:
        """Fetch the missing bytes of the chosen version with a fill of our own."""
        if self.stop is None or self._later or not is_strong(self._etag):
            if self._mode is Mode.STREAMING:  # bytes of two versions could mix
                self._finish(clean=False)
            else:
                said = "the object has no strong ETag to fetch a part of it by"
                self._give_up(OriginError("-", Fault.REFUSED, said))
            return
        if self._fill is not None:
            self._fill.leave(self)
        self._collapsed, origin = False, None if self._fill is None else self._fill.origin
        want = part_of(self._resource, Span(self.position, self.stop), self._etag, origin)
        self._fill = self._means.fills.alone(self._resource, self.request, self, want)

    # the end

    def _give_up(self, failure: Failed | OriginError | None) -> None:
        """Nothing was sent yet: serve the stale entry if allowed (RFC 9111 §4.2.4, RFC 5861 §4), else an error."""
        now, stored, key = self._means.clock(), self._stored, self._resource.key.text
        detail, status = reasons(failure)[0], status_of(failure, stored)
        self._attempts = attempts_of(failure)
        if stored is not None and stands_in(stored, failure, now):
            if self._fill is not None:
                self._fill.leave(self)
                self._fill = None
            self._forward, self._detail, self._collapsed = Forward.STALE, detail, False
            self._answer_with(stored)
            return
        outcome = Outcome(forward=self._forward, collapsed=self._collapsed, detail=detail, key=key)
        outcome.attempts, outcome.trace = self._attempts, self._trace
        again = asked_again_after(failure)
        text = OVER_BUDGET if is_over_budget(failure) else UNAVAILABLE
        self._reply(self._means.replies.unavailable(status, self.request, now, outcome, retry_after=again, text=text))

    def _reply(self, reply: Reply) -> None:
        self._end()
        reply.head += identifier_line(self._means.naming, self.request)
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
