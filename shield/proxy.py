"""The life of a request, from the client's request to the response.

`try_hit` answers from RAM, or from a disk whose page is in memory, at once, without a task and without an await; it
is the hot path, and every front calls it first. A request that needs an origin, or has to wait for a disk, becomes a
`Transfer`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from shield.delivery import TransferMeans
from shield.errors import OwnPathError, RequestError
from shield.fill.table import FillTable
from shield.messages import Request
from shield.observe.accounting import Accounting
from shield.observe.request_ids import RequestIds
from shield.outcome import MEMORY, OPTIONS, Exchange, Outcome
from shield.purge_request import METHOD as PURGE
from shield.purge_request import PurgeRequests
from shield.regime import InForce, Regime
from shield.reply import Client, Replies, Reply, UnderWay
from shield.rules.addresses import UNIX
from shield.rules.amplification import Accounts
from shield.rules.loops import NAME as CDN_LOOP
from shield.rules.loops import loop_objection
from shield.rules.routes import Resource, Route
from shield.rules.verdict import Verdict, judge_lookup
from shield.store.entry import Entry
from shield.store.fifo import use
from shield.store.packed import SMALL
from shield.store.plain import plain_of
from shield.store.tiers import Cold, Store
from shield.transfer import Transfer

_HOT: Final = 1024  # replies that are kept in a second, beside their entries, as long as they would be the same

_COUNTED: Final = 8  # uses of each that are counted; more don't make its entry stay longer
_JOINED: Final = 64 << 10  # a body of up to this size is joined to its head for the uses after those

HealthAnswer = Callable[[bytes], tuple[int, bytes]]
"""The status and the JSON on the node's own path, by its query."""

_QUESTIONABLE: Final = frozenset({CDN_LOOP, b"content-length", b"transfer-encoding"})
"""Fields of a loop or of a body: `_objection` looks at them."""


class _HotReply:
    """A reply that stays the same from `began` until `until`, for its route and the node's way of replying."""

    __slots__ = ("began", "packed", "replies", "reply", "route", "until", "uses")

    def __init__(
        self, reply: Reply, packed: bytearray, route: Route, replies: Replies, began: float, until: float
    ) -> None:
        self.reply = reply
        self.packed = packed
        self.route = route
        self.replies = replies
        self.began = began
        self.until = until
        self.uses = 0


class Proxy:
    """Answers each request under the regime in force at its start. One per worker."""

    def __init__(
        self,
        in_force: InForce,
        store: Store,
        fills: FillTable,
        *,
        replies: Replies,
        accounting: Accounting,
        clock: Callable[[], float],
        ids: RequestIds | None = None,
    ) -> None:
        self.clock = clock
        self.ids = ids or RequestIds()
        self._name = self.ids.of  # bound once, rather than for each request
        self.accounting = accounting
        self.replies = replies  # `use` others
        self.in_force = in_force
        self.health: HealthAnswer | None = None
        """Answers on the node's own path; None: that path is refused like others that name no object."""
        self.purges: PurgeRequests | None = None
        """Carries out PURGE requests, if the regime has them; None: they are refused like other methods."""
        self._store = store
        self._fills = fills
        self._means = TransferMeans(store, fills, replies, clock, self.ids.answer)
        self._accounts = Accounts()

    def use(self, replies: Replies) -> None:
        """Answer in this way from now on; transfers under way stay as they are."""
        self.replies = replies
        self._means = TransferMeans(self._store, self._fills, replies, self.clock, self.ids.answer)

    def try_hit(self, request: Request, now: float, regime: Regime | None = None) -> Reply | None:
        """The whole response if it is available now, or a refusal; None when it takes a `Transfer`.

        `regime` is the one under which the request began; None: it begins now.
        """
        targets = (regime or self.in_force.regime).targets
        method, notable = request.method, request.notable
        if (method != b"GET" and method != b"HEAD") or not _QUESTIONABLE.isdisjoint(notable):
            answer = self._without_lookup(request, regime or self.in_force.regime, now)
            if answer is not None or method == PURGE:
                return answer
        try:
            resource = targets.young.get(request.target) or targets.resolve(request.target)
            if resource.route.particular:
                resource = self._specific(resource, request)
        except RequestError as error:
            return self.refuse(error, request, now)
        key, store = resource.key, self._store
        if not notable:
            kept: _HotReply | None = store.beside.get(key.text)
            if kept is not None and method == b"GET" and self._holds(kept, resource.route, now):
                return kept.reply
            plain = store.plain(key, now)
            if plain is not None:
                reply = self.replies.of_plain(plain, resource, with_body=method == b"GET")
                if plain.packed is not None and method == b"GET" and len(store.beside) < _HOT:
                    made = _HotReply(reply, plain.packed, resource.route, self.replies, now, plain.until)
                    store.beside[key.text] = made
                return reply
        entry = store.lookup(key.text)
        in_memory = entry is not None
        if entry is None:
            if not store.has_disk:
                return None
            found = store.on_disk(key)
            if found is None or isinstance(found, Cold):
                return None
            entry = found
        if entry.is_large and method == b"GET":
            return None
        if notable or now >= entry.plain_hit_until or store.doubted_before:
            return self._judged(request, resource, entry, now, regime, in_memory=in_memory)
        return self.replies.of_plain(plain_of(entry, now), resource, with_body=method == b"GET")

    def _holds(self, kept: _HotReply, route: Route, now: float) -> bool:
        """Whether a reply is still right. If so it counts as used, and is worth joining if that happens often."""
        is_in_time = kept.began <= now < kept.until
        if not is_in_time or kept.route is not route or kept.replies is not self.replies:
            return False
        store, reply = self._store, kept.reply
        if not store.is_settled():
            return False
        kept.uses += 1
        if kept.uses <= _COUNTED:
            use(kept.packed)
            is_due = kept.uses == (1 if reply.length <= SMALL else _COUNTED)
            if is_due and reply.length <= _JOINED and store.has_room_beside(reply.length):
                reply.is_hot = True
        return True

    def _specific(self, resource: Resource, request: Request) -> Resource:
        """The resource for just this request; RequestError if its route doesn't allow that."""
        route = resource.route
        if request.method not in route.methods:
            raise _not_allowed(route)
        return self._store.variants.of(resource, request) if route.forwarding.any else resource

    def _without_lookup(self, request: Request, regime: Regime, now: float) -> Reply | None:
        """The response to a request that no entry can answer; None if it is looked up after all, or is a PURGE."""
        looked_up = request.method in (b"GET", b"HEAD")
        if request.method == PURGE and self.purges is not None and regime.purging is not None:
            looked_up = True
        elif not looked_up:
            try:
                route = regime.targets.resolve(request.target).route
            except RequestError:
                return self.refuse(RequestError(405, "method-not-allowed"), request, now)
            if request.method not in route.methods:
                return self.refuse(_not_allowed(route), request, now)
        objection = _objection(request, self.replies.node)
        if objection is not None:
            return self.refuse(objection, request, now)
        return None if looked_up else self._tell_options(route, now)

    def _tell_options(self, route: Route, now: float) -> Reply:
        return self.replies.options(route.allow, route.fields.of_options, now, Outcome(detail=OPTIONS))

    def _judged(
        self,
        request: Request,
        resource: Resource,
        entry: Entry,
        now: float,
        regime: Regime | None,
        *,
        in_memory: bool,
    ) -> Reply | None:
        if entry.is_marker:
            if not resource.route.forwarding.any:
                return None  # of a route with the same keys that forwards, or of earlier settings
            self._store.variants.learn_from(entry)
            return self.try_hit(request, now, regime)
        doubted = self._store.doubted_before
        verdict = judge_lookup(request, entry, now, resource.route.freshness, doubted_before=doubted)
        if verdict is Verdict.STALE:
            self._fills.refresh(resource, request, entry)
        elif verdict is not Verdict.HIT:
            return None
        tier = (None if in_memory else self._store.tier_of(resource.key)) or MEMORY
        outcome = Outcome(hit=True, ttl=entry.freshness.shown_ttl(now), key=entry.key.text, tier=tier)
        return self.replies.of_entry(request, entry, now, outcome)

    def refuse(self, error: RequestError, request: Request, now: float) -> Reply:
        """Our response to a request that isn't even looked up."""
        if isinstance(error, OwnPathError) and self.health is not None:
            status, body = self.health(error.query)
            return self.replies.health(status, body, request, now)
        return self.replies.refusal(error, request, now)

    def resolve(self, target: bytes, regime: Regime | None = None) -> Resource:
        """The resource of a target under the regime of its request, or in force; RequestError if there is none."""
        return (regime or self.in_force.regime).targets.resolve(target)

    def locate(self, exchange: Exchange, regime: Regime | None = None) -> None:
        """Note the route and the key of an exchange's target, under the regime of its request, if there are any."""
        try:
            resource = (regime or self.in_force.regime).targets.resolve(exchange.target)
        except RequestError:
            return
        exchange.route, exchange.key = resource.route.name, resource.key.text

    def identify(self, request: Request) -> None:
        """Give a request the identifier by which logs and origins know it, as soon as one of them reads it."""
        request.identify_by(self._name)

    def open(self, request: Request, client: Client, regime: Regime | None = None, *, peer: str = UNIX) -> UnderWay:
        """Begin a request that `try_hit` couldn't answer, under the same regime. Call it at once after that.

        `peer` is the address that the client comes from. The client may be called back before this returns.
        """
        regime = regime or self.in_force.regime
        if request.method == PURGE and self.purges is not None and regime.purging is not None:
            return self.purges.begin(request, client, self.replies, regime.purging, peer=peer)
        account = self._accounts.of(peer, regime.amplification, self.clock())
        transfer = Transfer(request, regime.targets.resolve(request.target), client, self._means, account)
        transfer.start()
        return transfer


def _objection(request: Request, node: bytes) -> RequestError | None:
    """The error in a request on any route: that it loops, or has a body."""
    notable = request.notable
    if b"cdn-loop" in notable:
        objection = loop_objection(request.get(CDN_LOOP), node)
        if objection is not None:
            return objection
    if b"transfer-encoding" in notable or notable.get(b"content-length", b"0") != b"0":
        return RequestError(400, "body-not-allowed")
    return None


def _not_allowed(route: Route) -> RequestError:
    return RequestError(405, "method-not-allowed", allow=route.allow)
