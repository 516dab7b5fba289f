"""Access control and rate limits on listeners for clients. Listeners for workers and operators have none.

Rules on the connection (address, certificate) are evaluated once, when it is made; a connection that satisfies all
rules, and that no limit concerns, costs no more than one without a guard. The reply to a denied request reveals only
that it was denied. Requests that are denied count for no limit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from shield.edge.connection import ClientConnection
from shield.edge.front import Front, Listener
from shield.edge.plain import WATCHED
from shield.edge.rates import ClientRates, RateLimiter
from shield.edge.states import Life
from shield.edge.turn import Turn, in_origin_form, taken_apart
from shield.errors import OwnPathError, RequestError
from shield.messages import NOTABLE, Fields, Request
from shield.outcome import Outcome
from shield.reply import Reply
from shield.rules import dates
from shield.rules.access import AccessRules, ClientIdentity, DeniedError, RequestFacts
from shield.rules.heads import block
from shield.rules.limits import ClientLimits
from shield.rules.link_lifetime import REST
from shield.rules.signed_urls import signable

if TYPE_CHECKING:
    import asyncio

    from uvicorn.server import ServerState

    from shield.proxy import Proxy
    from shield.regime import InForce


class Screening(NamedTuple):
    """The result of the access rules for a request: its target without the parameters of a signed link, the remaining
    seconds of that link (None: it has none), the denial, None if the request is admitted, and the id of the key of a
    valid link, where limits depend on it.
    """

    target: bytes
    rest: int | None = None
    denied: DeniedError | None = None
    key: bytes | None = None


class Guard:
    """Evaluates the rules in force, and counts denials by rule. Without rules every request is admitted."""

    def __init__(self, in_force: InForce, limiter: RateLimiter) -> None:
        self._in_force = in_force
        self.limiter = limiter
        self.denied: dict[str, int] = {}  # requests by the rule that denied them

    @property
    def rules(self) -> AccessRules | None:
        return self._in_force.regime.access

    def judge(
        self,
        identity: ClientIdentity,
        target: bytes,
        *,
        host: bytes | None,
        checked: Mapping[bytes, bytes],
        now: float,
    ) -> Screening:
        """Whether a request is admitted. `checked` are its fields in `rules.fields`; `now` is epoch seconds."""
        regime = self._in_force.regime
        rules = regime.access
        if rules is None:
            return Screening(target)
        requirement, link, text = rules.require, None, None
        if rules.links is not None:
            target, link = rules.links.taken_off(target)
        if rules.depend_on_target:
            try:
                path = in_origin_form(target)
                resource = regime.targets.resolve(path)
                requirement = rules.routes.get(resource.route.name, requirement)
                text = None if link is None else signable(path, resource)
            except OwnPathError:
                requirement = requirement if rules.own is None else rules.own
            except RequestError:
                pass  # an invalid target: the proxy reports it to admitted clients
        denied = rules.judge(identity, RequestFacts(host, checked, link, text, now), requirement)
        if link is None or rules.links is None:
            return Screening(target, None, denied)
        key = None
        if regime.rates is not None and regime.rates.depend_on_key and not rules.links.objection(link, text, now):
            key = link.key
        return Screening(target, link.rest(now), denied, key)

    def identity(self, peer: str, certificate: Mapping[str, Any] | None) -> ClientIdentity | None:
        """The identity that requests on a connection from this address, with this certificate, have; None: no rule in
        force needs them checked."""
        rules = self.rules
        if rules is None:
            return None
        identity = rules.identify(peer, certificate)
        return None if rules.admits_all_of(identity) else identity

    def without_link(self, target: bytes) -> bytes:
        """A target without the parameters of a signed link, for logs."""
        rules = self.rules
        return target if rules is None or rules.links is None else rules.links.taken_off(target)[0]

    def hold(
        self, request: Request, identity: ClientIdentity | None, rates: ClientRates | None, now: float
    ) -> RequestError | None:
        """Judge a whole request, and remove from it the secret header and the parameters of a signed link.

        For fronts that have whole requests (`edge.asgi`, `edge.http2`). Returns the denial, or the refusal of one
        beyond a limit; None if it is admitted.
        """
        rules, fields = self.rules, request.fields
        names = self.fields_for(identity, rates)
        checked: dict[bytes, bytes] = {}
        for name, value in fields if names else ():
            if name in names:
                checked[name] = checked[name] + b", " + value if name in checked else value
        key = None
        if rules is not None and identity is not None:
            if rules.header in checked:
                fields[:] = [field for field in fields if field[0] != rules.header]
            request.target, rest, denied, key = self.judge(
                identity, request.target, host=host_of(request.target, fields), checked=checked, now=now
            )
            if rest is not None:
                request.notable[REST] = b"%d" % rest
            if denied is not None:
                return denied
        return None if rates is None else rates.judge(request.target, checked, key, now)

    def fields_for(self, identity: ClientIdentity | None, rates: ClientRates | None) -> frozenset[bytes]:
        """Names of the fields that matter for a client, as from `identity` and from `RateLimiter.of`."""
        rules, limits = self.rules, self.limiter.limits
        names: frozenset[bytes] = frozenset()
        if rules is not None and identity is not None:
            names |= rules.fields
        if limits is not None and rates is not None:
            names |= limits.fields
        return names

    def denial(self, denied: DeniedError, method: bytes, now: float) -> Reply:
        """Reply to a denied request; counts it. Only the access log has the reason."""
        for rule in denied.rules:
            self.denied[rule.value] = self.denied.get(rule.value, 0) + 1
        body = denied.reason.encode() + b"\n"
        lines = (
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store"),
            (b"date", dates.imf_fixdate(now)),
        )
        outcome = Outcome(detail=denied.why, refused=True)
        parts = () if method == b"HEAD" else (body,)
        reply = Reply(denied.status, block(denied.status, lines), parts, sum(map(len, parts)), outcome)
        reply.close = True
        return reply


def host_of(target: bytes, fields: Fields) -> bytes | None:
    """The host of a target in absolute-form, else the value of Host (RFC 9112 §3.2.2); None without either.

    Several Host lines are joined, and so match no configured host.
    """
    if target[:1] != b"/" and (parts := taken_apart(target)) is not None:
        return parts[1]
    hosts = [value for name, value in fields if name == b"host"]
    return b", ".join(hosts) if hosts else None


class GuardedFront(Front):
    """The front of a listener with access control."""

    def __init__(
        self,
        proxy: Proxy,
        limits: ClientLimits,
        *,
        listener: Listener,
        guard: Guard,
        clock: Callable[[], float],
    ) -> None:
        super().__init__(proxy, limits, listener=listener, clock=clock)
        self.guard = guard

    def _connection(self, server_state: ServerState, life: Life) -> GuardedConnection:
        return GuardedConnection(self, server_state, life)


class GuardedConnection(ClientConnection):
    """A connection with access control. The first denied request gets its reply, and the connection is closed; it
    stays open after requests beyond a limit.
    """

    __slots__ = ("_checked_fields", "_guard", "_guarded", "_identity", "_rates")

    def __init__(self, front: GuardedFront, server_state: ServerState, life: Life) -> None:
        super().__init__(front, server_state, life)
        self._guarded = front
        self._guard = front.guard
        self._identity: ClientIdentity | None = None
        self._rates: ClientRates | None = None
        self._checked_fields: frozenset[bytes] = frozenset()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._follow_guard()

    def reconsider(self, limits: ClientLimits) -> None:
        """Follow a new regime: its limits, and whether its access rules or rate limits need each request to be
        checked.
        """
        super().reconsider(limits)
        self._follow_guard()

    def _follow_guard(self) -> None:
        guard = self._guard
        self._identity = guard.identity(self._peer, self._transport.get_extra_info("peercert"))
        self._rates = guard.limiter.of(self._peer)
        self._is_checked = self._identity is not None or self._rates is not None
        if self._is_checked or self._checked_fields:
            self._checked_fields = guard.fields_for(self._identity, self._rates)
            self._watched = WATCHED | self._checked_fields
            self._plain_heads = self._guarded.plain_heads(self._watched)

    def _objection_to(self, request: Request) -> RequestError | None:
        notable, checked, key = request.notable, {}, None
        for name in self._checked_fields:
            if name in notable:
                checked[name] = notable[name] if name in NOTABLE else notable.pop(name)
        identity, rates = self._identity, self._rates
        if identity is not None:
            screening = self._judged(request, identity, checked)
            if screening.denied is not None:
                return screening.denied
            key = screening.key
        return None if rates is None else rates.judge(request.target, checked, key, self._now)

    def _judged(self, request: Request, identity: ClientIdentity, checked: Mapping[bytes, bytes]) -> Screening:
        rules, fields = self._guard.rules, request.fields
        assert rules is not None
        if rules.header in checked:
            fields[:] = [each for each in fields if each[0] != rules.header]
        host = None if rules.hosts is None else host_of(request.target, fields)
        screening = self._guard.judge(identity, request.target, host=host, checked=checked, now=self._now)
        request.target = screening.target
        if screening.rest is not None:
            request.notable[REST] = b"%d" % screening.rest
        return screening

    def _refuse(self, error: RequestError) -> None:
        self._target = self._guard.without_link(self._target)
        super()._refuse(error)

    def _answer(self, turn: Turn) -> None:
        if not isinstance(turn.error, DeniedError):
            super()._answer(turn)
            return
        reply = self._guard.denial(turn.error, turn.request.method, self._now)
        self._send(reply, False)
        self._account(turn.request, reply, turn.began)
