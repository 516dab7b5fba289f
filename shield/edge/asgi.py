"""An ASGI application for servers of HTTP/2 and HTTP/3 (hypercorn), with the same decisions as the HTTP/1.1 front.

ASGI can't express a response that breaks off. An application that fails in the middle of a body has that effect:
hypercorn and uvicorn then close an HTTP/1.1 connection before its length or last chunk. An HTTP/2 stream would stay
open, so `hypercorn.HypercornStream` resets it. HTTP/1.0 clients can't detect the truncation of a body without a
length.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from typing import Any

from shield.edge.front import Listener
from shield.edge.guard import Guard
from shield.edge.hypercorn import HypercornStream, mend
from shield.edge.pace import pace
from shield.edge.turn import may_be_empty, may_have_body, objection_to_whole
from shield.errors import RequestError
from shield.messages import Part, Request
from shield.outcome import End, Exchange, Outcome
from shield.proxy import Proxy
from shield.reply import Reply, UnderWay
from shield.rules.access import DeniedError
from shield.rules.heads import split_block
from shield.rules.limits import ClientLimits

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_HIGH_WATER = 256 * 1024
_CLOSE = b"connection: close\r\n"
_VERSIONS = ("1.0", "1.1", "2", "3")
_tokens = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z,-]*").fullmatch
_control = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]").search
_PIECE = 256 * 1024  # large bodies are sent in pieces, so that the server's flow control can work


class BrokenTransferError(Exception):
    """Ends a response that can't be completed: the server must close the stream or connection uncleanly."""


class Application:
    """An ASGI 3 application over a proxy. Lifespan is only acknowledged: the worker starts and stops the node."""

    def __init__(self, proxy: Proxy, *, listener: Listener, guard: Guard) -> None:
        self._proxy = proxy
        self._guard = guard
        self._listener = listener
        self._accounting = proxy.accounting

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            mend()
            await _lifespan(receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close"})
        else:
            raise ValueError(f"scope type {scope['type']} isn't served")

    async def _answer(self, scope: Message, receive: Receive, send: Send) -> None:
        proxy, regime = self._proxy, self._proxy.in_force.regime
        request, began, limits = _request(scope), proxy.clock(), regime.limits
        peer = self._listener.name_of(scope.get("client"))
        guard = self._guard
        held = guard.hold(request, guard.identity(peer, _certificate(send)), guard.limiter.of(peer), began)
        error = held if isinstance(held, DeniedError) else self._objection(scope, request, limits) or held
        if error is None and scope["http_version"] == "1.1" and may_be_empty(request):
            del request.notable[b"transfer-encoding"]
        if error is None and request.method in (b"GET", b"HEAD") and not may_have_body(request):
            try:
                async with asyncio.timeout(limits.head_seconds):
                    has_body = await _has_body(receive)
            except TimeoutError:
                error = RequestError(408, "head-too-slow")
            else:
                if has_body is None:
                    return
                if has_body:
                    error = RequestError(400, "body-not-allowed")
        now = proxy.clock()
        reply: Reply | None
        if isinstance(error, DeniedError):
            reply = guard.denial(error, request.method, now)
        else:
            reply = proxy.try_hit(request, now, regime) if error is None else proxy.refuse(error, request, now)
        if reply is not None and reply.close and scope["http_version"] not in ("2", "3"):
            reply.head += _CLOSE
        refused = reply is not None and reply.outcome.refused
        exchange = Exchange(request.method, request.target, peer, began)
        if not refused:
            proxy.locate(exchange, regime)
        if reply is None or not reply.outcome.plain:
            proxy.identify(request)
        exchange.take_from(request)
        if reply is not None and reply.length <= _PIECE:
            await self._give(send, reply, exchange, limits.send_seconds)
            return
        if limits.max_rate and (writer := _writer(send)) is not None:
            pace(writer, limits.max_rate)
        client = _AsgiClient(send, exchange, send_seconds=limits.send_seconds, clock=proxy.clock)
        watcher = asyncio.ensure_future(client.watch(receive))
        transfer: UnderWay | None = None
        try:
            if reply is None:
                transfer = proxy.open(request, client, regime, peer=peer)
                while await client.deliver():
                    transfer.advance()
                reply = client.whole
            if reply is not None:
                await client.deliver_whole(reply)
        finally:
            watcher.cancel()
            if transfer is not None:
                transfer.abandon()
            exchange.finish(client.end, proxy.clock())
            self._accounting.finished(exchange)
        if client.broken:
            await client.reset()
            raise BrokenTransferError(f"{request!r} was cut off")

    async def _give(self, send: Send, reply: Reply, exchange: Exchange, send_seconds: float) -> None:
        """Send a whole response that is small."""
        exchange.answer(reply.status, reply.outcome, self._proxy.clock())
        end = End.ABANDONED
        try:
            async with asyncio.timeout(send_seconds):
                await send(_start(reply.head))
                for message in _bodies(reply):
                    await send(message)
            end, exchange.sent = End.WHOLE, reply.length
        except TimeoutError:
            raise BrokenTransferError(f"{exchange.target!r} wasn't taken") from None
        finally:
            exchange.finish(end, self._proxy.clock())
            self._accounting.finished(exchange)

    def _objection(self, scope: Message, request: Request, limits: ClientLimits) -> RequestError | None:
        """The error for an invalid request, as at the HTTP/1.1 front, as far as ASGI reveals it; None if valid."""
        fields, version = request.fields, scope["http_version"]
        if version not in _VERSIONS:
            return RequestError(505, "http-version")
        if not _tokens(b",".join([name for name, _ in fields])) or _control(b"".join([value for _, value in fields])):
            return RequestError(400, "malformed-request")
        node = self._proxy.replies.node
        return objection_to_whole(request, limits, node=node, host_needed=version != "1.0")


class _AsgiClient:
    """Buffers the output of a transfer until the server takes it. Implements `Client`."""

    def __init__(self, send: Send, exchange: Exchange, *, send_seconds: float, clock: Callable[[], float]) -> None:
        self._exchange = exchange
        self._send_seconds = send_seconds
        self._clock = clock
        self.ready = True
        self.broken = False  # the response is incomplete: end it uncleanly
        self.whole: Reply | None = None
        self._send = send
        self._stream = HypercornStream(send)
        self._messages: list[Message] = []
        self._waiting = 0
        self._gone = False
        self._over = False
        self._given_up = False  # the transfer can't deliver the rest
        self._complete = False  # the server has taken the last of it
        self._more = asyncio.Event()

    # called by the transfer

    @property
    def untaken(self) -> int:
        return 0 if self.ready else self._waiting

    def inform(self, block: bytes) -> None:
        """Ignored: ASGI can't express interim responses."""

    def reply(self, reply: Reply) -> None:
        self.whole = reply
        self._end()

    def begin(self, head: bytes, data: Part | None, *, status: int, length: int | None, outcome: Outcome) -> None:
        self._exchange.answer(status, outcome, self._clock())
        self._messages.append(_start(head))
        if data is not None:
            self.write(data)
        self._more.set()

    def write(self, data: Part) -> None:
        self._messages.append({"type": "http.response.body", "body": bytes(data), "more_body": True})
        self._waiting += len(data)
        self.ready = self._waiting < _HIGH_WATER
        self._more.set()

    def finish(self, *, clean: bool) -> None:
        if clean:
            self._messages.append({"type": "http.response.body", "body": b"", "more_body": False})
        self.broken = self._given_up = not clean
        self._end()

    def _end(self) -> None:
        self._over = True
        self._more.set()

    @property
    def end(self) -> End:
        """The end of the exchange, once nothing more is delivered."""
        if self._given_up:
            return End.BROKEN
        return End.WHOLE if self._complete else End.ABANDONED

    # towards the server

    async def watch(self, receive: Receive) -> None:
        """Wait for the client to disconnect."""
        while (await receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        self._more.set()
        await self._stream.release()

    async def deliver(self) -> bool:
        """Wait for messages and send them; False after the last one."""
        await self._more.wait()
        self._more.clear()
        messages, self._messages = self._messages, []
        for message in messages:
            if not await self._deliver(message):
                return False
        self._waiting = sum(len(message.get("body", b"")) for message in self._messages)
        self.ready = self._waiting < _HIGH_WATER
        return not (self._gone or (self._over and not self._messages))

    async def deliver_whole(self, reply: Reply) -> None:
        self._exchange.answer(reply.status, reply.outcome, self._clock())
        if await self._deliver(_start(reply.head)):
            for message in _bodies(reply):
                if not await self._deliver(message):
                    return

    async def _deliver(self, message: Message) -> bool:
        if self._gone:
            return False
        body = message.get("body")
        try:
            async with asyncio.timeout(self._send_seconds):
                await self._send(message)
                if body:
                    self._exchange.sent += len(body)
                    await self._stream.drain()
        except TimeoutError:  # it takes nothing
            self.broken = True
            return False
        self._complete = message.get("more_body") is False
        return True

    async def reset(self) -> None:
        """Reset the stream of an incomplete response."""
        if not self._gone:
            await self._stream.reset()


def _certificate(send: Send) -> Mapping[str, Any] | None:
    """The client's certificate on the connection behind an ASGI `send`, which hypercorn doesn't expose."""
    writer = _writer(send)
    return None if writer is None else writer.get_extra_info("peercert")


def _writer(send: Send) -> Any:
    """hypercorn's stream to the client behind an ASGI `send`; None over HTTP/3, and at other servers."""
    protocol: Any = getattr(getattr(getattr(send, "__self__", None), "send", None), "__self__", None)
    server: Any = getattr(getattr(protocol, "send", None), "__self__", None)
    return getattr(server, "writer", None)


def _request(scope: Message) -> Request:
    target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
    return Request.of(scope["method"].encode(), target, [(n.lower(), v) for n, v in scope["headers"]])


async def _has_body(receive: Receive) -> bool | None:
    """Whether the request has a body, announced or not: HTTP/2 needs no Content-Length. None: the client has left."""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        if message.get("body") or not message.get("more_body"):
            return bool(message.get("body"))


def _start(head: bytes) -> Message:
    status, fields = split_block(head)
    return {"type": "http.response.start", "status": status, "headers": fields}


def _bodies(reply: Reply) -> Iterator[Message]:
    for part in reply.parts:
        for at in range(0, len(part), _PIECE):
            yield {"type": "http.response.body", "body": bytes(part[at : at + _PIECE]), "more_body": True}
    yield {"type": "http.response.body", "body": b"", "more_body": False}


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
