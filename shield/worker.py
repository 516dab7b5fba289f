"""One worker process: sockets, signals, readiness and drain. uvicorn runs the listeners, we run uvicorn.

A node of one worker is this process alone. One of several is forked by the supervisor, which gives it sockets,
its seat and a line: READY goes up when it serves; orders come down, and the end of the line means that the supervisor
is gone. Orders aren't signals, since signals to a whole process group (Ctrl-C, systemd) would count twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import logging
import resource
import signal
import socket
import ssl
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import uvicorn
import uvloop

from shield.admin.listener import AdminConnection
from shield.build.edition import Edition
from shield.build.listeners import listener_tls
from shield.build.storage import hit_slots
from shield.config.settings import Settings
from shield.edge.connection import ClientConnection
from shield.edge.http2.stream import ClientStream
from shield.edge.pace import too_much
from shield.edge.tls import Greeter
from shield.errors import ConfigError
from shield.follower import Follower
from shield.heap import Heap
from shield.line import Kind, Line
from shield.node import Node
from shield.observe.logs import configure, mark_worker
from shield.replaced import marks_of
from shield.shared import SLOTS, Seat, Shared, Standing

log = logging.getLogger("shield.worker")

_BACKLOG = 4096
_ADMIN_IDLE_SECONDS = 90  # longer than scrape intervals: no request meets a connection being closed
_SWEEP_SECONDS = 1.0
_BEAT_SECONDS = 0.25
_SWITCH_SECONDS = 0.0005  # how long a disk writer's thread may hold up the loop; Python's: 5 ms

Build = Callable[[Edition, Seat], Node]
"""Makes the node that a worker serves. Called on its event loop."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The addresses of a worker, as (host, port), and how it stops."""

    listen: Sequence[tuple[str, int]]
    admin: tuple[str, int] | None
    tls: ssl.SSLContext | None  # of the listeners for clients
    drain_delay_seconds: float
    drain_timeout_seconds: float
    hit_slots: int = SLOTS  # counters of hits that workers share
    stall_seconds: float = 5.0  # one of several workers whose loop stalls for this long is replaced

    @classmethod
    def of(cls, settings: Settings) -> Plan:
        """What settings say of it. Raises ConfigError."""
        return cls(
            listen=settings.listen,
            admin=settings.admin.listen,
            tls=listener_tls(settings),
            drain_delay_seconds=settings.drain.delay,
            drain_timeout_seconds=settings.drain.timeout,
            hit_slots=hit_slots(settings),
            stall_seconds=settings.worker_stall,
        )

    @property
    def scheme(self) -> str:
        return "http" if self.tls is None else "https"


class ConfigWatch:
    """Looks at the settings' file, now and then, for changes that are complete."""

    def __init__(self, path: Path | None) -> None:
        self._path = [] if path is None else [path]
        self._known = self._seen = marks_of(self._path)

    def look(self) -> bool:
        """Whether the file is another than it was, and the same as at the last look. Blocks."""
        now, before = marks_of(self._path), self._seen
        self._seen = now
        if now == self._known or now != before or None in now:
            return False
        self._known = now
        return True


@dataclass(frozen=True, slots=True)
class Sockets:
    """The sockets from which a worker accepts connections: bound and listening."""

    clients: Sequence[socket.socket]
    admin: Sequence[socket.socket] = ()
    peers: Sequence[socket.socket] = ()

    def close(self) -> None:
        for listener in (*self.clients, *self.admin, *self.peers):
            listener.close()


def run(edition: Edition, build: Build, *, watch: bool = False) -> int:
    """Serve alone until SIGTERM or SIGINT; 0 after a clean stop. Raises ConfigError for an address or settings.

    `watch`: reload the settings when their file changes.
    """
    outlive_hangups()
    plan = Plan.of(edition.loaded.settings)
    clients = [bind(address)[0] for address in plan.listen]
    sockets = Sockets(clients, bind(plan.admin, key="admin.listen") if plan.admin is not None else ())
    seat = Seat(shared=Shared(slots=plan.hit_slots))
    watched = ConfigWatch(edition.loaded.source.path) if watch else None
    return serve(plan, edition, build, sockets, place=seat, line=None, watch=watched)


def serve(
    plan: Plan,
    edition: Edition,
    build: Build,
    sockets: Sockets,
    *,
    place: Seat,
    line: Line | None,
    watch: ConfigWatch | None = None,
) -> int:
    """Serve on these sockets until told to stop; 0 after a clean stop. Raises ConfigError for settings.

    `line` leads to the supervisor, if there is one.
    """
    _raise_descriptor_limit()

    async def work() -> int:
        node = build(edition, place)
        await node.open()
        return await _Worker(plan, node, place, line, watch).serve(sockets)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work())


def outlive_hangups() -> None:
    """SIGHUP reloads the settings, and never ends a node, not even before its handler is set."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def bind(address: tuple[str, int], times: int = 1, *, key: str = "listen") -> list[socket.socket]:
    """`times` listening TCP sockets on one address, over which the kernel spreads connections.

    ConfigError names the `key` in the settings, the address and the reason.
    """
    host, port = address
    made: list[socket.socket] = []
    try:
        family, kind, proto, _, where = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICSERV
        )[0]
    except OSError as error:
        raise ConfigError([f"{key} {host}:{port}: {error.strerror or error}"]) from error
    try:
        for _ in range(times):
            made.append(socket.socket(family, kind, proto))
            made[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made[-1].bind(where)  # before SO_REUSEPORT: the address must not be another node's
            where = made[-1].getsockname()
            if times > 1:
                made[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        for listener in made:
            listener.listen(_BACKLOG)
            listener.setblocking(False)
    except OSError as error:
        for listener in made:
            listener.close()
        said = f"{key} {host}:{port}: {error.strerror}"
        if error.errno == errno.EADDRINUSE:
            said += f"; another process has it: end that one, or set {key} to another address"
        raise ConfigError([said]) from error
    return made


def names(listeners: Sequence[socket.socket], scheme: str = "http") -> str:
    """URLs or addresses of TCP listeners, for logs."""
    return ", ".join(_name(listener, scheme) for listener in listeners) or "off"


class _Server(uvicorn.Server):
    """Leaves signals to the worker: uvicorn would end the process by the signal instead of exit code 0."""

    def __init__(
        self, config: uvicorn.Config, *, began: Callable[[], None] = lambda: None, ends: Callable[[int], None]
    ) -> None:
        super().__init__(config)
        self._began = began
        self._ends = ends

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
        await super().shutdown(sockets)


class _Worker:
    def __init__(self, plan: Plan, node: Node, place: Seat, line: Line | None, watch: ConfigWatch | None) -> None:
        self._plan = plan
        self._node = node
        self._place = place
        self._line = line
        self._watch = watch
        self._loop = asyncio.get_running_loop()
        assert node.renewal is not None  # it was built of an edition
        self._follower = Follower(node.renewal, line, self._adopt)
        node.reload.way = self._follower.reload
        self._sockets = Sockets(())
        self._greeters: list[Greeter] = []
        timeout = plan.drain_timeout_seconds
        self._front = _Server(
            _config(node.asgi, http=node.front.protocol, timeout=timeout), began=self._serving, ends=self._ending
        )
        self._front.config.load()
        self._peers = _Server(_config(node.asgi, http=node.peers.protocol, timeout=timeout), ends=lambda open: None)
        self._admin = _Server(
            _config(node.admin, http=node.admin_listener.protocol, timeout=None, date=True), ends=lambda open: None
        )
        self._draining = False
        self._signals = 0
        self._next_sweep = 0.0
        self._heap = Heap()
        self._sweeper: asyncio.TimerHandle
        self._beater: asyncio.TimerHandle

    async def serve(self, sockets: Sockets) -> int:
        loop, self._sockets = self._loop, sockets
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._take_signal, number)
        if self._line is None:
            loop.add_signal_handler(signal.SIGHUP, self._follower.begin)
        else:
            loop.add_reader(self._line.fileno(), self._take_orders, self._line)
        _calm_garbage_collector()
        sys.setswitchinterval(_SWITCH_SECONDS)
        self._next_sweep = loop.time() + _SWEEP_SECONDS
        self._sweeper = loop.call_later(_SWEEP_SECONDS, self._sweep)
        self._beat()
        admin = asyncio.ensure_future(_serve(self._admin, sockets.admin))
        peers = asyncio.ensure_future(_serve(self._peers, sockets.peers))
        try:
            await self._front.serve(sockets=list(sockets.clients) if self._plan.tls is None else [])
            await peers
        finally:
            for connection in self._connections(self._front, self._peers):
                connection.abort()
            await self._follower.close()
            closed = await self._node.close()
            for server in (self._peers, self._admin):
                server.should_exit = server.force_exit = True
            await asyncio.gather(peers, admin)
            self._sweeper.cancel()
            self._beater.cancel()
            if self._line is not None:
                loop.remove_reader(self._line.fileno())
        log.info("node %s has stopped", self._node.name)
        return 0 if closed else 1

    def _serving(self) -> None:
        if self._plan.tls is not None:
            front, state = self._node.front, self._front.server_state
            self._greeters = [front.greet(listener, self._plan.tls, state) for listener in self._sockets.clients]
            self._node.secrets.show = self._show
        self._place.shared.standing[self._place.worker] = Standing.SERVING
        if self._line is not None:
            self._line.send(Kind.READY)
            return
        clients, admin = names(self._sockets.clients, self._plan.scheme), names(self._sockets.admin)
        log.info("node %s serves on %s, admin on %s", self._node.name, clients, admin)

    def _show(self, context: ssl.SSLContext) -> None:
        """Certificates to be shown from now on."""
        for greeter in self._greeters:
            greeter.use(context)

    def _ending(self, connections: int) -> None:
        for greeter in self._greeters:
            greeter.close()
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
        for server in (self._front, self._peers):
            server.config.timeout_graceful_shutdown = cast(int, settings.drain.timeout)
        if self._draining:
            self._node.front.wind_down()
        configure(settings.log.level, style=settings.log.format)
        if self._line is not None:
            mark_worker(self._place.worker)

    def _drain(self, why: str) -> None:
        if self._draining:
            return
        self._draining = True
        log.info("%s: draining", why)
        self._node.vitals.ready = False
        self._node.front.wind_down()
        self._loop.call_later(self._plan.drain_delay_seconds, self._exit)

    def _exit(self) -> None:
        self._front.should_exit = self._peers.should_exit = True

    def _stop(self, why: str) -> None:
        log.warning("%s: stopping without waiting for transfers", why)
        self._exit()
        self._front.force_exit = self._peers.force_exit = True

    # periodic work

    def _beat(self) -> None:
        """A heartbeat: the loop runs."""
        loop = self._loop
        self._place.shared.beat(self._place.worker, loop.time())
        self._beater = loop.call_later(_BEAT_SECONDS, self._beat)

    def _sweep(self) -> None:
        """Once a second."""
        loop = self._loop
        self._node.vitals.loop_lag_seconds = max(0.0, loop.time() - self._next_sweep)
        self._next_sweep = loop.time() + _SWEEP_SECONDS
        self._sweeper = loop.call_later(_SWEEP_SECONDS, self._sweep)
        clients = self._connections(self._front)
        for connection in (*clients, *self._connections(self._peers)):
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
        if self._line is not None:
            self._line.flush()
        if self._watch is not None:
            loop.run_in_executor(None, self._watch.look).add_done_callback(self._looked)

    def _looked(self, looking: asyncio.Future[bool]) -> None:
        if not looking.cancelled() and looking.result() and not self._draining:
            log.info("the settings' file has changed")
            self._follower.begin()

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
        backlog=_BACKLOG,
        timeout_keep_alive=_ADMIN_IDLE_SECONDS,
        timeout_graceful_shutdown=cast(int, timeout),  # for asyncio.wait_for: a float works
    )


async def _serve(server: _Server, listeners: Sequence[socket.socket]) -> None:
    if listeners:
        await cast(Awaitable[None], server.serve(sockets=list(listeners)))


def _name(bound: socket.socket, scheme: str) -> str:
    host, port = bound.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _calm_garbage_collector() -> None:
    """Full collections walk every entry in RAM. Objects made at the start stay; later collections are rare."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def _raise_descriptor_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
