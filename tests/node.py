"""A whole node in the test's process: real sockets on both sides, a clock that only tests move.

It runs in a thread with a loop of its own, so that tests read as a client's story. Leaving checks that nothing is
left behind: no task, no connection, no reserved memory.
"""

from __future__ import annotations

import asyncio
import io
import json
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from types import SimpleNamespace, TracebackType
from typing import Any, Self, TypeVar

import uvloop

from shield.app import build
from shield.build.edition import Edition
from shield.config.loading import Loaded
from shield.config.settings import Settings
from shield.node import Node
from shield.shared import Seat
from shield.store.directory.files import Files
from tests.client import PATIENCE, Answer, Client, Fields, fetch
from tests.doubles.faulty_origin import FaultyOrigin

T = TypeVar("T")
START = 1_750_000_000.0


class FakeClock:
    """Epoch seconds that stand still until they are advanced."""

    def __init__(self, now: float = START) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


def settings_of(plain: Mapping[str, FaultyOrigin], **changes: Any) -> Settings:
    """Plain origins in this order, as `shield serve` would have them; `changes` are whole top-level keys."""
    return Settings.model_validate(
        {
            "node": "test-1",
            "origins": {
                name: {"provider": "http", "endpoint": origin.url, "role": "primary" if place == 0 else "replica"}
                for place, (name, origin) in enumerate(plain.items())
            },
            "cache": {"memory": {"capacity": "64MiB"}},
            "access_log": {"hits": 1},
            "probes": {"interval": "off"},  # fetches are counted
            **changes,
        }
    )


_LEFT_OPEN: list[asyncio.AbstractEventLoop] = []
"""Loops of tests that failed: closing one waits forever for a server that the test left open."""


class Shield:
    """`with Shield(settings) as shield:` serves on 127.0.0.1."""

    def __init__(
        self,
        settings: Settings,
        *,
        clock: FakeClock | None = None,
        loaded: Loaded | None = None,
        loop_factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop,
        files: Files | None = None,
        place: Seat | None = None,
    ) -> None:
        self._files = files
        self._seat = place
        self.clock = clock or FakeClock()
        self.access = io.StringIO()
        self.node: Node
        self.port = 0
        self._settings = settings
        self._edition = None if loaded is None else Edition(loaded)
        self._loop = loop_factory()
        self._thread = threading.Thread(target=self._turn, name="shield", daemon=True)
        self._is_open = False
        self._is_whole = False  # nothing is left on the loop, so that it can be closed
        self._server: asyncio.Server
        self._state: Any = SimpleNamespace(connections=set(), tasks=set(), total_requests=0)
        self._troubles: list[str] = []
        self._loop.set_exception_handler(lambda loop, context: self._troubles.append(repr(context)))

    def __enter__(self) -> Self:
        self._thread.start()
        self.run(self._open())
        self._is_open = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_open = False
        left = ["a node that doesn't close in time"]
        try:
            left = self.run(self._close())
        finally:
            self._is_whole = error is None and not left
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(PATIENCE)
            if not self._loop.is_closed():
                _LEFT_OPEN.append(self._loop)
        if error is None:
            assert not self._troubles, self._troubles
            assert not left, left
            assert not self._thread.is_alive(), "something is left that the loop waits for"

    # as a client

    def get(self, target: str, fields: Fields = (), *, method: str = "GET") -> Answer:
        """One request on a connection of its own."""
        with self.client() as client:
            return client.ask(target, fields, method=method)

    def get_together(self, target: str, *, times: int) -> list[Answer]:
        """Many requests at once."""

        async def together() -> list[Answer]:
            return list(await asyncio.gather(*[fetch(self.port, target) for _ in range(times)]))

        answers = asyncio.run(together())
        self.settle()
        return answers

    def client(self, *, receive_buffer: int | None = None) -> Client:
        return Client(self.port, receive_buffer=receive_buffer, settle=self.settle)

    # as its keeper

    def settle(self) -> None:
        """Let the loop end what it is at. A client may have all of an answer before the node has noted that."""
        if self._is_open:
            self.call(lambda: None)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the node's loop. One that waits gives up before this does, and says more."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(2 * PATIENCE)

    def call(self, work: Callable[[], T]) -> T:
        """Call a function on the node's loop."""

        async def run() -> T:
            return work()

        return self.run(run())

    def state(self) -> Mapping[str, Any]:
        return self.call(self.node.state)

    def sweep(self, times: int = 1) -> None:
        """What the worker does once a second."""

        def sweep() -> None:
            for _ in range(times):
                for connection in list(self._state.connections):
                    connection.sweep()

        self.call(sweep)

    def shut_down(self) -> None:
        """What uvicorn does to every connection when it begins to stop."""
        self.call(lambda: [connection.shutdown() for connection in list(self._state.connections)])

    def wait_for(self, predicate: Callable[[], object]) -> None:
        """Let the node's loop turn until it holds; the predicate is called there."""

        async def wait() -> None:
            async with asyncio.timeout(PATIENCE):
                while not predicate():  # noqa: ASYNC110  # it may be about anything
                    await asyncio.sleep(0.001)

        self.run(wait())

    def log(self) -> Sequence[Mapping[str, Any]]:
        """Access log lines so far."""

        async def flush() -> None:
            self.node.tick()
            await self.node.access.close()

        self.run(flush())
        return [json.loads(line) for line in self.access.getvalue().splitlines()]

    @property
    def connections(self) -> int:
        """Clients' connections that are open."""
        return len(self._state.connections)

    def _turn(self) -> None:
        """The loop, and its end: in its own thread, for a close that waits forever would hang all tests."""
        self._loop.run_forever()
        if self._is_whole:
            self._loop.close()

    async def _open(self) -> None:
        self.node = build(
            self._settings,
            clock=self.clock,
            access_stream=self.access,
            edition=self._edition,
            files=self._files,
            place=self._seat,
        )
        await self.node.open()
        front = self.node.front
        self._server = await self._loop.create_server(
            lambda: front.protocol(None, self._state, {}),  # type: ignore[arg-type]  # it looks at nothing of it
            "127.0.0.1",
            0,
            backlog=2048,
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> list[str]:
        self._server.close()
        for connection in list(self._state.connections):
            connection.abort()
        await asyncio.sleep(0)
        await self.node.close()
        left = []
        try:
            async with asyncio.timeout(PATIENCE):
                while left := self._left_behind():  # noqa: ASYNC110  # nothing tells of it
                    await asyncio.sleep(0.001)
        except TimeoutError:
            pass
        return left

    def _left_behind(self) -> list[str]:
        """Everything that should be gone once the node is closed."""
        state = self.node.state()
        fills: Any = state["fills"]
        origins: Any = state["origins"]
        left = [repr(task) for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        left += [repr(connection) for connection in self._state.connections]
        left += [f"{key}: {fills[key]}" for key in ("in_flight", "memory_used_bytes") if fills[key]]
        left += [f"{n}: {o['pool']}" for n, o in origins.items() if o["pool"]["idle"] or o["pool"]["busy"]]
        return left
