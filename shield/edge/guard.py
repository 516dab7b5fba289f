"""Access control on listeners for clients. Listeners for workers and operators have none.

Rules on the connection (address, certificate) are evaluated once, when it is made; a connection that satisfies all
rules costs no more than one without a guard. The reply to a denied request reveals only that it was denied.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from shield.edge.connection import ClientConnection
from shield.edge.front import Front, Listener
from shield.edge.reading import WATCHED
from shield.edge.states import Life
from shield.edge.turn import Turn, taken_apart
from shield.errors import OwnPathError, RequestError
from shield.messages import Fields, Request
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


class Guard:
    """Evaluates the rules in force, and counts denials by rule. Without rules every request is admitted."""

    def __init__(self, in_force: InForce) -> None:
        self._in_force = in_force
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
    ) -> tuple[bytes, int | None, DeniedError | None]:
        """The target without the parameters of a signed link, the remaining seconds of that link (None: it has none),
        and the denial, None if the request is admitted.

        `checked` are the request's fields that are in `rules.fields`; `now` is epoch seconds.
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
            except OwnPathError:
                requirement = requirement if rules.own is None else rules.own
            except RequestError:
                pass  # an invalid target: the proxy reports it to admitted clients
        rest = None if link is None else link.rest(now)
        return target, rest, rules.judge(identity, RequestFacts(host, checked, link, text, now), requirement)

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

    def hold(self, request: Request, identity: ClientIdentity | None, now: float) -> DeniedError | None:
        """Judge a whole request, and remove from it the secret header and the parameters of a signed link.

        For fronts that have whole requests (`edge.asgi`, `edge.http2`). Returns the denial, None if it is admitted.
        """
        rules, fields = self.rules, request.fields
        if rules is None or identity is None:
            return None
        checked: dict[bytes, bytes] = {}
        for name, value in fields:
            if name in rules.fields:
                checked[name] = checked[name] + b", " + value if name in checked else value
        if rules.header in checked:
            fields[:] = [field for field in fields if field[0] != rules.header]
        request.target, rest, denied = self.judge(
            identity, request.target, host=host_of(request.target, fields), checked=checked, now=now
        )
        if rest is not None:
            request.notable[REST] = b"%d" % rest
        return denied

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


def _in_origin_form(target: bytes) -> bytes:
    parts = None if target[:1] == b"/" else taken_apart(target)
    return target if parts is None else parts[2]


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
    """A connection with access control. The first denied request gets its reply, and the connection is closed."""

    __slots__ = ("_guard",)

    def __init__(self, front: GuardedFront, server_state: ServerState, life: Life) -> None:
        super().__init__(front, server_state, life)
        self._guard = front.guard

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.reconsider(self._limits)

    def reconsider(self, limits: ClientLimits) -> None:
        """Follow a new regime: its limits, and whether its access rules need each request to be checked."""
        super().reconsider(limits)
        rules = self._guard.rules
        self._identity = self._guard.identity(self._peer, self._transport.get_extra_info("peercert"))
        self._watched = WATCHED if rules is None or self._identity is None else WATCHED | rules.fields

    def _let_in(self) -> bool:
        rules, identity = self._guard.rules, self._identity
        assert rules is not None and identity is not None
        fields, notable = self._fields, self._notable
        checked = {name: notable.pop(name) for name in rules.fields if name in notable}
        if rules.header in checked:
            fields[:] = [each for each in fields if each[0] != rules.header]
        host = None if rules.hosts is None else host_of(self._target, fields)
        self._target, rest, denied = self._guard.judge(
            identity, self._target, host=host, checked=checked, now=self._now
        )
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
