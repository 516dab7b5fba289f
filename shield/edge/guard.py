"""Access: which requests are answered at all. Clients' listeners are guarded; those for workers and operators aren't.

What a connection settles (address, certificate) is settled when it is made; where no request of a connection needs a
look, it costs no more than without a guard. A denied request learns nothing but that it is denied.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from shield.edge.connection import ClientConnection
from shield.edge.front import Front, Listener
from shield.edge.reading import WATCHED
from shield.edge.states import Life
from shield.edge.turn import Turn, taken_apart
from shield.errors import RequestError
from shield.messages import Fields, Request
from shield.outcome import Outcome
from shield.reply import Reply
from shield.rules import dates
from shield.rules.access import AccessRules, Asked, DeniedError, Visitor
from shield.rules.headers import block
from shield.rules.limits import ClientLimits
from shield.rules.link_lifetime import REST
from shield.rules.signed_urls import signable

if TYPE_CHECKING:
    import asyncio

    from uvicorn.server import ServerState

    from shield.observe.access import AccessLog
    from shield.proxy import Proxy
    from shield.regime import InForce


class Guard:
    """Judges requests by the rules in force, and counts the rules that denied some. Without rules it denies none."""

    def __init__(self, in_force: InForce) -> None:
        self._in_force = in_force
        self.denied: dict[str, int] = {}  # by the rule that didn't hold

    @property
    def rules(self) -> AccessRules | None:
        return self._in_force.regime.access

    def judge(
        self, visitor: Visitor, target: bytes, *, host: bytes | None, told: Mapping[bytes, bytes], now: float
    ) -> tuple[bytes, int | None, DeniedError | None]:
        """The target without what only the guard may see, the seconds that its link still holds if it is one, and why
        the request is denied; None: it isn't.

        `told` are the request's fields in `rules.fields`.
        """
        regime = self._in_force.regime
        rules = regime.access
        if rules is None:
            return target, None, None
        requirement, link, text = rules.require, None, None
        if rules.links is not None:
            target, link = rules.links.taken_off(target)
        if rules.depend_on_target:
            try:
                path = _in_origin_form(target)
                resource = regime.targets.resolve(path)
                requirement = rules.routes.get(resource.route.name, requirement)
                text = None if link is None else signable(path, resource)
            except RequestError:
                pass  # it names nothing; a client that is let in is told so
        rest = None if link is None else link.rest(now)
        return target, rest, rules.judge(visitor, Asked(host, told, link, text, now), requirement)

    def visitor(self, peer: str, certificate: Mapping[str, Any] | None) -> Visitor | None:
        """Whom requests on a connection from this address, with this certificate, come from; None: all are let in."""
        rules = self.rules
        if rules is None:
            return None
        visitor = rules.visitor(peer, certificate)
        return None if rules.welcome(visitor) else visitor

    def without_link(self, target: bytes) -> bytes:
        """A target as logs may show it."""
        rules = self.rules
        return target if rules is None or rules.links is None else rules.links.taken_off(target)[0]

    def hold(self, request: Request, visitor: Visitor | None, now: float) -> DeniedError | None:
        """Judge a request of which nothing has been taken out yet, and take out what only the guard may see."""
        rules, fields = self.rules, request.fields
        if rules is None or visitor is None:
            return None
        told: dict[bytes, bytes] = {}
        for name, value in fields:
            if name in rules.fields:
                told[name] = told[name] + b", " + value if name in told else value
        if rules.header in told:
            fields[:] = [field for field in fields if field[0] != rules.header]
        request.target, rest, denied = self.judge(
            visitor, request.target, host=host_of(request.target, fields), told=told, now=now
        )
        if rest is not None:
            request.notable[REST] = b"%d" % rest
        return denied

    def denial(self, denied: DeniedError, method: bytes, now: float) -> Reply:
        """The reply to a denied request, which is counted. The access log says why it was denied."""
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
    """The host that a request means: that of its target, else of its Host field (RFC 9112 §3.2.2)."""
    if target[:1] != b"/" and (parts := taken_apart(target)) is not None:
        return parts[1]
    hosts = [value for name, value in fields if name == b"host"]
    return b", ".join(hosts) if hosts else None  # several are none of ours


def _in_origin_form(target: bytes) -> bytes:
    parts = None if target[:1] == b"/" else taken_apart(target)
    return target if parts is None else parts[2]


class GuardedFront(Front):
    """What all guarded connections share."""

    def __init__(
        self,
        proxy: Proxy,
        limits: ClientLimits,
        *,
        listener: Listener,
        guard: Guard,
        access: AccessLog | None,
        clock: Callable[[], float],
    ) -> None:
        super().__init__(proxy, limits, listener=listener, access=access, clock=clock)
        self.guard = guard

    def _connection(self, server_state: ServerState, life: Life) -> GuardedConnection:
        return GuardedConnection(self, server_state, life)


class GuardedConnection(ClientConnection):
    """Answers requests that the guard lets in. The first that it denies gets its reply, and the connection ends."""

    __slots__ = ("_guard",)

    def __init__(self, front: GuardedFront, server_state: ServerState, life: Life) -> None:
        super().__init__(front, server_state, life)
        self._guard = front.guard

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.reconsider(self._limits)

    def reconsider(self, limits: ClientLimits) -> None:
        """Judge this connection by the rules in force: whether its requests need a look."""
        super().reconsider(limits)
        rules = self._guard.rules
        self._visitor = self._guard.visitor(self._peer, self._transport.get_extra_info("peercert"))
        self._watched = WATCHED if rules is None or self._visitor is None else WATCHED | rules.fields

    def _let_in(self) -> bool:
        rules, visitor = self._guard.rules, self._visitor
        assert rules is not None and visitor is not None
        fields, notable = self._fields, self._notable
        told = {name: notable.pop(name) for name in rules.fields if name in notable}
        if rules.header in told:
            fields[:] = [each for each in fields if each[0] != rules.header]
        host = None if rules.hosts is None else host_of(self._target, fields)
        self._target, rest, denied = self._guard.judge(visitor, self._target, host=host, told=told, now=self._now)
        if denied is None:
            if rest is not None:
                notable[REST] = b"%d" % rest
            return True
        request = Request(self._parser.get_method(), self._target, [], {})
        self._take(Turn(request, False, False, self._now, denied))
        self._take_no_more()
        return False

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
