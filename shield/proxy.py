"""The life of a request: from what the client asks to what it is sent.

`try_hit` answers from RAM, or from a disk whose page is in memory, at once, without a task and without an await; it
is the hot path, and every front calls it first. What needs an origin, or a disk that must be waited for, becomes a
`Transfer`.
"""

from __future__ import annotations

from collections.abc import Callable

from shield.errors import RequestError
from shield.fill.table import FillTable
from shield.messages import Request
from shield.observe.counters import Counters
from shield.outcome import OPTIONS, PLAIN_HIT, Outcome
from shield.reply import Client, Replies, Reply
from shield.rules.loops import loop_objection, passed
from shield.rules.routes import Resource, Route, Routes
from shield.rules.verdict import Verdict, judge_lookup
from shield.store.entry import Entry
from shield.store.tiers import Cold, Store
from shield.transfer import Transfer

_MEMO_LIMIT = 16384
_MEMO_TARGET = 512  # longer targets aren't remembered: bounds the memo's memory


class Proxy:
    """Decides what each request gets. One per worker."""

    def __init__(
        self,
        routes: Routes,
        store: Store,
        fills: FillTable,
        *,
        replies: Replies,
        counters: Counters,
        clock: Callable[[], float],
    ) -> None:
        self.clock = clock
        self.counters = counters
        self.replies = replies
        self._routes = routes
        self._store = store
        self._fills = fills
        # What targets name, in two generations: what was asked for since the last turn survives the next.
        self._young: dict[bytes, Resource] = {}
        self._old: dict[bytes, Resource] = {}

    def try_hit(self, request: Request, now: float) -> Reply | None:
        """The whole answer if it can be given now, or a refusal; None when it takes a `Transfer`."""
        method, notable = request.method, request.notable
        if (
            (method != b"GET" and method != b"HEAD")
            or b"content-length" in notable
            or b"transfer-encoding" in notable
            or b"cdn-loop" in notable
        ):
            answer = self._without_lookup(request, now)
            if answer is not None:
                return answer
        resource = self._young.get(request.target)
        if resource is None:
            try:
                resource = self.resolve(request.target)
            except RequestError as error:
                return self.refuse(error, request, now)
        if resource.route.particular:
            if method not in resource.route.methods:
                return self.refuse(_not_allowed(resource.route), request, now)
            if resource.route.forwarding.any:
                try:
                    resource = self._store.variants.of(resource, request)
                except RequestError as error:
                    return self.refuse(error, request, now)
        key = resource.key
        entry = self._store.lookup(key.text)
        in_memory = entry is not None
        if entry is None:
            plain = None if notable else self._store.plain(key, now)
            if plain is not None:
                return self.replies.of_plain(plain, key, with_body=method == b"GET")
            found = self._store.on_disk(key)
            if found is None or isinstance(found, Cold):
                return None
            entry = found
        if entry.is_large and method == b"GET":
            return None
        if notable or now >= entry.plain_hit_until:
            return self._judged(request, resource, entry, now)
        age = int(now - entry.freshness.born)
        if age != entry.rendered_age:
            self.replies.render_hit(entry, max(age, 0))
            if in_memory:
                self._store.note_hit(entry)  # once a second is enough for disks to know what is hot
        if method == b"GET":
            return Reply(entry.head.status, entry.rendered, entry.blocks, entry.length, PLAIN_HIT)
        return Reply(entry.head.status, entry.rendered, (), 0, PLAIN_HIT)

    def _without_lookup(self, request: Request, now: float) -> Reply | None:
        """The answer to a request that no entry can have; None if it is looked up after all."""
        looked_up = request.method in (b"GET", b"HEAD")
        if not looked_up:
            try:
                route = self.resolve(request.target).route
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

    def _judged(self, request: Request, resource: Resource, entry: Entry, now: float) -> Reply | None:
        if entry.is_marker:
            if not resource.route.forwarding.any:
                return None  # of a route with the same keys that forwards, or of earlier settings
            self._store.variants.learn_from(entry)
            return self.try_hit(request, now)
        verdict = judge_lookup(request, entry, now, resource.route.freshness)
        if verdict is Verdict.STALE:
            self._fills.refresh(resource, request, entry)
        elif verdict is not Verdict.HIT:
            return None
        outcome = Outcome(hit=True, ttl=entry.freshness.shown_ttl(now), key=entry.key.text)
        return self.replies.of_entry(request, entry, now, outcome)

    def refuse(self, error: RequestError, request: Request, now: float) -> Reply:
        """Our answer to a request that is not even looked up."""
        return self.replies.refusal(error, request, now)

    def resolve(self, target: bytes) -> Resource:
        """What a target names, remembered; RequestError if nothing."""
        resource = self._young.get(target)
        if resource is not None:
            return resource
        resource = self._old.get(target) or self._routes.resolve(target)
        if len(target) <= _MEMO_TARGET:
            if len(self._young) >= _MEMO_LIMIT:
                self._old, self._young = self._young, {}
            self._young[target] = resource
        return resource

    def route_of(self, target: bytes) -> str | None:
        """The name of the route that a target leads to; None if to none."""
        try:
            return self.resolve(target).route.name
        except RequestError:
            return None

    def open(self, request: Request, client: Client) -> Transfer:
        """Begin what `try_hit` had no answer for. The client may be called back before this returns."""
        transfer = Transfer(
            request,
            self.resolve(request.target),
            client,
            fills=self._fills,
            replies=self.replies,
            clock=self.clock,
        )
        transfer.start(self._store)
        return transfer


def _objection(request: Request, node: bytes) -> RequestError | None:
    """What is wrong with a request wherever it leads: that it has been here, or has a body."""
    notable = request.notable
    if b"cdn-loop" in notable:
        objection = loop_objection(passed(request.fields), node)
        if objection is not None:
            return objection
    if b"transfer-encoding" in notable or notable.get(b"content-length", b"0") != b"0":
        return RequestError(400, "body-not-allowed")
    return None


def _not_allowed(route: Route) -> RequestError:
    return RequestError(405, "method-not-allowed", allow=route.allow)
