"""One worker process: sockets, signals, readiness and drain. uvicorn runs the listeners, we run uvicorn.

It is forked by the supervisor, which gives it sockets, its seat and a line: READY goes up when it serves; orders come
down, and the end of the line means that the supervisor is gone. Orders aren't signals, since signals to a whole
process group (Ctrl-C, systemd) would count twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import signal
import socket
import ssl
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import uvicorn
import uvloop

from shield.admin.listener import AdminConnection
from shield.build.cluster import nodes_tls
from shield.build.edition import Edition
from shield.build.listeners import listener_tls
from shield.build.origins import all_authorities
from shield.build.storage import hit_slots
from shield.config.settings import Settings
from shield.edge.connection import ClientConnection
from shield.edge.http2.stream import ClientStream
from shield.edge.pace import too_much
from shield.edge.tls import Greeter, ServerContext
from shield.follower import Follower
from shield.heap import Heap, calm_collector
from shield.lifecycle.listening import BACKLOG
from shield.line import Kind, Line
from shield.node import Node
from shield.observe.logs import configure, mark_worker
from shield.shared import SLOTS, Seat, Standing

log = logging.getLogger("shield.worker")

_ADMIN_IDLE_SECONDS = 90  # longer than scrape intervals: no request meets a connection being closed
_SWEEP_SECONDS = 1.0
_LINGER_LOOK_SECONDS = 0.05
_BEAT_SECONDS = 0.25
_SWITCH_SECONDS = 0.0005  # how long a disk writer's thread may hold up the loop; Python's: 5 ms

Build = Callable[[Edition, Seat], Node]
"""Makes the node that a worker serves. Called on its event loop."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The addresses of a worker, as (host, port), and how it stops."""

    listen: Sequence[tuple[str, int]]
    tls: ServerContext | None  # of the listeners for clients
    drain_delay_seconds: float
    drain_timeout_seconds: float
    hit_slots: int = SLOTS  # counters of hits that workers share
    stall_seconds: float = 5.0  # one of several workers whose loop stalls for this long is replaced
    nodes_tls: ServerContext | None = None  # of the listener for other nodes
    authorities: tuple[ssl.SSLContext, ...] = ()  # of origins, which workers needn't read again

    @classmethod
    def of(cls, settings: Settings) -> Plan:
        """Its terms by the settings. Raises ConfigError."""
        return cls(
            listen=settings.listen,
            tls=listener_tls(settings),
            drain_delay_seconds=settings.drain.delay,
            drain_timeout_seconds=settings.drain.timeout,
            hit_slots=hit_slots(settings),
            stall_seconds=settings.worker_stall,
            nodes_tls=nodes_tls(settings),
            authorities=all_authorities(settings),
        )

    def followed_by(self, plan: Plan) -> Plan:
        """The plan after this one, with which clients' TLS sessions go on as far as they may."""
        if self.tls is None or plan.tls is None:
            return plan
        return replace(plan, tls=self.tls.renewed(plan.tls))

    @property
    def scheme(self) -> str:
        return "http" if self.tls is None else "https"


@dataclass(frozen=True, slots=True)
class Sockets:
    """The sockets from which a worker accepts connections: bound and listening."""

    clients: Sequence[socket.socket]
    admin: Sequence[socket.socket] = ()
    peers: Sequence[socket.socket] = ()
    nodes: Sequence[socket.socket] = ()

    def all(self) -> Iterator[socket.socket]:
        yield from (*self.clients, *self.admin, *self.peers, *self.nodes)

    def close(self) -> None:
        for listener in self.all():
            listener.close()


def serve(plan: Plan, edition: Edition, build: Build, sockets: Sockets, *, place: Seat, line: Line) -> int:
    """Serve on these sockets until told to stop; 0 after a clean stop. Raises ConfigError for settings.

    `line` leads to the supervisor.
    """
    _raise_descriptor_limit()

    async def work() -> int:
        return await _Worker(plan, build(edition, place), place, line).serve(sockets)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work())


class _Server(uvicorn.Server):
    """Leaves signals to the worker: uvicorn would end the process by the signal instead of exit code 0."""

    def __init__(
        self, config: uvicorn.Config, *, began: Callable[[], None] = lambda: None, ends: Callable[[int], None]
    ) -> None:
        super().__init__(config)
        self._began = began
        self._ends = ends
        self.lingers = False  # whether connections that are idle wait for one more request

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._began()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for listener in (*self.servers, *(sockets or ())):
            listener.close()
        self._ends(len(self.server_state.connections))
        if self.lingers:
            await self._linger()
        await super().shutdown(sockets)

    async def _linger(self) -> None:
        """Wait until each connection has had its last answer, or for half of the time that there is to stop.

        A connection that is closed while it is idle may just have been sent a request.
        """
        loop, left = asyncio.get_running_loop(), self.config.timeout_graceful_shutdown or 0
        began = loop.time()
        until, connections = began + left / 2, self.server_state.connections
        # Connections leave uvicorn's set by themselves; there is no event to await, and uvicorn polls it as well.
        while self.lingers and connections and loop.time() < until:  # noqa: ASYNC110
            await asyncio.sleep(_LINGER_LOOK_SECONDS)
        self.config.timeout_graceful_shutdown = cast(int, max(0.0, left - (loop.time() - began)))


class _Worker:
    def __init__(self, plan: Plan, node: Node, place: Seat, line: Line) -> None:
        self._plan = plan
        self._node = node
        self._place = place
        self._line = line
        self._loop = asyncio.get_running_loop()
        assert node.renewal is not None  # it was built of an edition
        self._follower = Follower(node.renewal, line, self._adopt)
        node.reload.way, node.upgrade.way = self._follower.reload, self._follower.upgrade
        self._sockets = Sockets(())
        self._greeters: list[Greeter] = []
        timeout = plan.drain_timeout_seconds
        self._front = _Server(
            _config(node.asgi, http=node.front.protocol, timeout=timeout), began=self._serving, ends=self._ending
        )
        self._front.config.load()
        self._peers = _Server(_config(node.asgi, http=node.peers.protocol, timeout=timeout), ends=lambda open: None)
        self._nodes: _Server | None = None  # None: the node is alone
        if node.for_nodes is not None:
            self._nodes = _Server(
                _config(node.asgi, http=node.for_nodes.protocol, timeout=timeout), ends=lambda open: None
            )
        self._admin = _Server(
            _config(node.admin, http=node.admin_listener.protocol, timeout=None, date=True), ends=lambda open: None
        )
        self._draining = False
        self._is_replaced = False  # another process has this worker's number
        self._signals = 0
        self._next_sweep = 0.0
        self._heap = Heap()
        self._leaving: asyncio.Task[None] | None = None
        self._sweeper: asyncio.TimerHandle
        self._beater: asyncio.TimerHandle

    async def serve(self, sockets: Sockets) -> int:
        loop, self._sockets = self._loop, sockets
        nodes = await self._open(sockets)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._take_signal, number)
        loop.add_reader(self._line.fileno(), self._take_orders, self._line)
        calm_collector()
        sys.setswitchinterval(_SWITCH_SECONDS)
        self._next_sweep = loop.time() + _SWEEP_SECONDS
        self._sweeper = loop.call_later(_SWEEP_SECONDS, self._sweep)
        self._next_beat = loop.time()
        self._beat()
        admin = asyncio.ensure_future(_serve(self._admin, sockets.admin))
        peers = asyncio.ensure_future(_serve(self._peers, sockets.peers))
        try:
            await self._front.serve(sockets=list(sockets.clients) if self._plan.tls is None else [])
            await asyncio.gather(peers, nodes)
        finally:
            for connection in self._connections(self._front, self._peers, *self._of_nodes):
                connection.abort()
            await self._follower.close()
            closed = await self._node.close()
            self._end(self._peers, self._admin, *self._of_nodes)
            await asyncio.gather(peers, admin, nodes)
            self._sweeper.cancel()
            self._beater.cancel()
            loop.remove_reader(self._line.fileno())
        log.info("the worker has stopped")
        return 0 if closed else 1

    async def _open(self, sockets: Sockets) -> asyncio.Future[None]:
        """Open the node, and serve other nodes: before that, since nodes that start together ask each other; but not
        while another process does, on the same sockets, which this one is about to replace.
        """
        if self._place.shared.standing[self._place.worker] == Standing.SERVING:
            await self._node.open()
            return asyncio.ensure_future(self._serve_nodes(sockets.nodes))
        nodes = asyncio.ensure_future(self._serve_nodes(sockets.nodes))
        try:
            await self._node.open()
        except BaseException:
            self._end(*self._of_nodes)
            await nodes
            raise
        return nodes

    def _serving(self) -> None:
        if self._plan.tls is not None:
            front, state = self._node.front, self._front.server_state
            self._greeters = [front.greet(listener, self._plan.tls, state) for listener in self._sockets.clients]
            self._node.vitals.certificate_expires = self._plan.tls.expires
            self._node.secrets.show = self._show
        self._place.shared.standing[self._place.worker] = Standing.SERVING
        self._line.send(Kind.READY)

    @property
    def _of_nodes(self) -> tuple[_Server, ...]:
        return () if self._nodes is None else (self._nodes,)

    async def _serve_nodes(self, listeners: Sequence[socket.socket]) -> None:
        """Take requests of other nodes."""
        front, tls, server = self._node.for_nodes, self._plan.nodes_tls, self._nodes
        if front is None or server is None:
            return
        if tls is None:
            await _serve(server, listeners)
            return
        server.config.load()
        greeters = [front.greet(listener, tls, server.server_state) for listener in listeners]

        def show(context: ServerContext) -> None:
            for greeter in greeters:
                greeter.use(context)

        self._node.secrets.show_nodes = show
        try:
            await _serve(server, (), even_without=True)
        finally:
            for greeter in greeters:
                greeter.close()

    def _show(self, context: ServerContext) -> None:
        """Certificates to be shown from now on."""
        context = context if self._plan.tls is None else self._plan.tls.renewed(context)
        self._plan = replace(self._plan, tls=context)
        self._node.vitals.certificate_expires = context.expires
        for greeter in self._greeters:
            greeter.use(context)

    def _ending(self, connections: int) -> None:
        for greeter in self._greeters:
            greeter.close()
        if not self._is_replaced:
            self._place.shared.standing[self._place.worker] = Standing.DRAINING
        log.info("no longer accepting connections; %d are open", connections)

    # stopping

    def _take_signal(self, number: int) -> None:
        """First signal: report not ready, wait for load balancers to notice, then drain. Second: stop at once."""
        self._signals += 1
        if self._signals == 1:
            self._drain(signal.Signals(number).name)
        else:
            self._stop("second signal")

    def _take_orders(self, line: Line) -> None:
        try:
            messages = line.receive()
        except EOFError:
            self._loop.remove_reader(line.fileno())
            self._drain("the supervisor is gone")
            return
        for kind, body in messages:
            if kind is Kind.STOP:
                self._stop("ordered by the supervisor")
            elif kind is Kind.DRAIN:
                self._drain("ordered by the supervisor")
            elif kind is Kind.RETIRE:
                self._retire()
            else:
                self._follower.take(kind, body)

    def _adopt(self, edition: Edition) -> None:
        """Other settings are in force."""
        settings = edition.loaded.settings
        self._plan = replace(
            self._plan,
            drain_delay_seconds=settings.drain.delay,
            drain_timeout_seconds=settings.drain.timeout,
        )
        for server in (self._front, self._peers, *self._of_nodes):
            server.config.timeout_graceful_shutdown = cast(int, settings.drain.timeout)
        if self._draining:
            self._node.front.wind_down()
        configure(settings.log.level, style=settings.log.format)
        mark_worker(self._place.worker)

    def _drain(self, why: str) -> None:
        self._front.lingers = False
        if self._draining:
            return
        self._draining = True
        log.info("%s: draining", why)
        self._node.vitals.ready = False
        self._node.front.wind_down()
        self._leaving = self._loop.create_task(self._leave())

    async def _leave(self) -> None:
        """Stop once everything that others need is handed over, and not before the delay."""
        least = self._loop.time() + self._plan.drain_delay_seconds
        await self._node.hand_over()
        await asyncio.sleep(max(0.0, least - self._loop.time()))
        self._exit()

    def _retire(self) -> None:
        """Another process answers under this number, on the same sockets: the node goes on, and stays ready."""
        self._is_replaced = True
        self._beater.cancel()
        if self._draining:
            return
        self._draining = True
        log.info("replaced: draining")
        self._node.front.wind_down()
        self._front.lingers = self._admin.should_exit = True
        self._exit()

    def _exit(self) -> None:
        for server in (self._front, self._peers, *self._of_nodes):
            server.should_exit = True

    def _end(self, *servers: _Server) -> None:
        for server in servers:
            server.should_exit = server.force_exit = True

    def _stop(self, why: str) -> None:
        log.warning("%s: stopping without waiting for transfers", why)
        self._front.lingers = False
        self._end(self._front, self._peers, *self._of_nodes)

    # periodic work

    def _beat(self) -> None:
        """A heartbeat: the loop runs."""
        loop = self._loop
        now = loop.time()
        self._place.shared.beat(self._place.worker, now)
        self._node.vitals.loop_delays.add(max(0.0, now - self._next_beat))
        self._next_beat = now + _BEAT_SECONDS
        self._beater = loop.call_later(_BEAT_SECONDS, self._beat)

    def _sweep(self) -> None:
        """Once a second."""
        loop = self._loop
        self._node.vitals.loop_lag_seconds = max(0.0, loop.time() - self._next_sweep)
        self._next_sweep = loop.time() + _SWEEP_SECONDS
        self._sweeper = loop.call_later(_SWEEP_SECONDS, self._sweep)
        clients = self._connections(self._front)
        for connection in (*clients, *self._connections(self._peers, *self._of_nodes)):
            connection.sweep()
        for visitor in list(self._admin.server_state.connections):
            cast(AdminConnection, visitor).sweep()
        front = self._node.front
        holders: list[ClientConnection | ClientStream] = [*clients, *front.http2.under_way]
        for holder in too_much(holders, front.limits.unsent_bytes):
            holder.abort()
        self._node.vitals.connections = len(self._front.server_state.connections)
        self._node.tick()
        self._heap.tick(time.process_time())
        self._line.flush()

    def _connections(self, *servers: _Server) -> list[ClientConnection]:
        """uvicorn's sets hold only objects that `protocol` made."""
        return [cast(ClientConnection, each) for server in servers for each in server.server_state.connections]


def _config(application: Any, *, http: object, timeout: float | None, date: bool = False) -> uvicorn.Config:
    return uvicorn.Config(
        application,
        http=cast(type[asyncio.Protocol], http),  # a factory works as well as a class
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=date,
        backlog=BACKLOG,
        timeout_keep_alive=_ADMIN_IDLE_SECONDS,
        timeout_graceful_shutdown=cast(int, timeout),  # for asyncio.wait_for: a float works
    )


async def _serve(server: _Server, listeners: Sequence[socket.socket], *, even_without: bool = False) -> None:
    if listeners or even_without:
        await cast(Awaitable[None], server.serve(sockets=list(listeners)))


def _raise_descriptor_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
