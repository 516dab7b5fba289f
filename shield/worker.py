"""One worker process: sockets, signals, readiness and drain. uvicorn runs the listeners, we run uvicorn."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import resource
import signal
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import uvicorn
import uvloop

from shield.app import Node
from shield.edge.connection import ClientConnection
from shield.errors import ConfigError

log = logging.getLogger("shield.worker")

_BACKLOG = 4096
_SWEEP_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What a worker listens on, as (host, port), and how it stops."""

    listen: Sequence[tuple[str, int]]
    admin: tuple[str, int] | None
    tls: ssl.SSLContext | None  # of the listeners for clients
    drain_delay_seconds: float
    drain_timeout_seconds: float


def run(plan: Plan, build: Callable[[], Node]) -> int:
    """Serve until SIGTERM or SIGINT; 0 after a clean stop. Raises ConfigError for an address that can't be used.

    `build` is called on the event loop.
    """
    sockets = [bind(address) for address in plan.listen]
    admin_sockets = [bind(plan.admin)] if plan.admin is not None else []
    _raise_descriptor_limit()

    async def serve() -> int:
        return await _Worker(plan, build()).serve(sockets, admin_sockets)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(serve())


def bind(address: tuple[str, int]) -> socket.socket:
    """A bound TCP socket; ConfigError names the address and why it can't be had."""
    host, port = address
    try:
        family, kind, proto, _, where = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICSERV
        )[0]
        made = socket.socket(family, kind, proto)
    except OSError as error:
        raise ConfigError([f"listen {host}:{port}: {error.strerror or error}"]) from error
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(where)
        made.listen(_BACKLOG)
        made.setblocking(False)
    except OSError as error:
        made.close()
        raise ConfigError([f"listen {host}:{port}: {error.strerror}; is another process using it?"]) from error
    return made


class _Server(uvicorn.Server):
    """Signals are the worker's business: uvicorn would end the process by the signal instead of exit code 0."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for listener in (*self.servers, *(sockets or ())):
            listener.close()
        log.info("nothing new is accepted; %d connections are open", len(self.server_state.connections))
        await super().shutdown(sockets)


class _Worker:
    def __init__(self, plan: Plan, node: Node) -> None:
        self._plan = plan
        self._node = node
        self._front = _Server(
            uvicorn.Config(
                node.asgi,
                http=cast(type[asyncio.Protocol], node.front.protocol),  # a factory does as well as a class
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                date_header=False,
                backlog=_BACKLOG,
                timeout_graceful_shutdown=cast(
                    int, plan.drain_timeout_seconds
                ),  # for asyncio.wait_for: a float will do
            )
        )
        self._front.config.load()
        self._front.config.ssl = plan.tls
        self._admin = _Server(
            uvicorn.Config(
                node.admin,
                http="h11",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
            )
        )
        self._signals = 0
        self._next_sweep = 0.0
        self._sweeper: asyncio.TimerHandle

    async def serve(self, sockets: list[socket.socket], admin_sockets: list[socket.socket]) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, number)
        _calm_garbage_collector()
        names = ", ".join(_name(s, tls=self._plan.tls is not None) for s in sockets)
        admin_names = ", ".join(_name(s) for s in admin_sockets) or "off"
        self._next_sweep = loop.time() + _SWEEP_SECONDS
        self._sweeper = loop.call_later(_SWEEP_SECONDS, self._sweep)
        admin = asyncio.ensure_future(self._admin.serve(sockets=admin_sockets)) if admin_sockets else None
        log.info("node %s serves on %s, admin on %s", self._node.name, names, admin_names)
        try:
            await self._front.serve(sockets=sockets)
        finally:
            for connection in self._connections():
                connection.abort()
            await self._node.close()
            self._admin.should_exit = self._admin.force_exit = True
            if admin is not None:
                await admin
            self._sweeper.cancel()
        log.info("node %s has stopped", self._node.name)
        return 0

    def _stop(self, number: int) -> None:
        """First signal: say not ready, wait for load balancers to notice, then drain. Second: stop at once."""
        self._signals += 1
        if self._signals > 1:
            log.warning("second signal: stopping without waiting for transfers")
            self._front.should_exit = self._front.force_exit = True
            return
        log.info("%s: draining", signal.Signals(number).name)
        self._node.ready = False
        delay = self._plan.drain_delay_seconds
        asyncio.get_running_loop().call_later(delay, setattr, self._front, "should_exit", True)

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        self._node.loop_lag_seconds = max(0.0, loop.time() - self._next_sweep)
        self._next_sweep = loop.time() + _SWEEP_SECONDS
        self._sweeper = loop.call_later(_SWEEP_SECONDS, self._sweep)
        connections = self._connections()
        for connection in connections:
            connection.sweep()
        self._node.connections = len(connections)
        self._node.tick()

    def _connections(self) -> list[ClientConnection]:
        """Clients' connections: uvicorn's set holds what `protocol` made, and nothing else."""
        return cast(list[ClientConnection], list(self._front.server_state.connections))


def _name(bound: socket.socket, *, tls: bool = False) -> str:
    host, port = bound.getsockname()[:2]
    scheme = "https" if tls else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _calm_garbage_collector() -> None:
    """Full collections walk every entry in RAM. What is there at the start stays; later ones come rarely."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def _raise_descriptor_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
