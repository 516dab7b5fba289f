"""An S3 origin on a real socket that does what a test tells it to, well or badly, and remembers what it saw.

It runs in a thread with an event loop of its own, so tests with and without a loop can use it. Words:
`steps` are single acts on a connection, `faults` spoil an ordinary answer, a `gate` stops the origin
until the test lets it go on. Unknown paths are absent, as on S3.

    with FaultyOrigin() as origin:
        origin.serves("/a", b"0123456789", lifetime=60)
        gate = origin.gate()
        origin.spoils("/a", at_body(4, Wait(gate)), at_body(7, Reset()), times=1)
        ...                                   # ask for origin.url + "/a"
        gate.reached()                        # four bytes are out (`reached_async` in a test with a loop)
        gate.open()                           # three more, then RST
        assert origin.fetches("/a") == 1
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Coroutine, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

from tests.doubles import s3
from tests.doubles.connection import SERVER_NAMES, Connection
from tests.doubles.faults import Fault
from tests.doubles.gate import PATIENCE, Gate
from tests.doubles.ledger import Ledger, Received
from tests.doubles.pattern import Body
from tests.doubles.plan import ANY, Answer, Plan, Turn, wall_clock
from tests.doubles.s3 import Object, Refusal
from tests.doubles.signature import Verifier
from tests.doubles.steps import Bytes, Step

T = TypeVar("T")
HOST = "127.0.0.1"
YEAR = 365 * 86400.0


class FaultyOrigin:
    """`with FaultyOrigin() as origin:` listens on 127.0.0.1; leaving ends every connection and the thread.

    Leaving raises when the double itself broke. With `bucket`, path-style targets (`/bucket/key`) are known
    by their key alone. `socket_buffer` makes the kernel's buffers small, so that backpressure shows early.
    """

    def __init__(
        self,
        *,
        tls: ssl.SSLContext | None = None,
        bucket: str | None = None,
        clock: Callable[[], float] = wall_clock,
        socket_buffer: int | None = None,
    ) -> None:
        self._tls = tls
        self._bucket = bucket
        self._socket_buffer = socket_buffer
        self._ledger = Ledger()
        self._plan = Plan(self._ledger.watch, clock)
        self._server: asyncio.Server | None = None
        self._connections: set[Connection] = set()
        self._fillers: list[socket.socket] = []  # hold the accept queue full while nothing gets through
        if tls is not None:
            tls.sni_callback = _remember_server_name

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="faulty-origin", daemon=True)
        # Never listens: it keeps the port ours while the origin refuses connections.
        self._place = _bound(0, None)
        self.port: int = self._place.getsockname()[1]
        self._thread.start()
        self._call(self._listen())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._call(self._end())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(PATIENCE)
            self._loop.close()
            self._place.close()
        if self._ledger.crashes and error is None:
            raise AssertionError("the faulty origin itself broke") from self._ledger.crashes[0]

    @property
    def url(self) -> str:
        """Scheme, host and port, without a slash at the end."""
        return f"{'https' if self._tls else 'http'}://{HOST}:{self.port}"

    # What it has.

    def serves(
        self,
        path: str,
        body: Body = b"",
        *,
        fields: Mapping[str, str] | None = None,
        lifetime: float | None = None,
        grace: float | None = None,
    ) -> None:
        """An object from now on: 200 with length and validators, honouring ranges, conditions and HEAD.

        `lifetime` and `grace` become Cache-Control's max-age and stale-while-revalidate.
        """
        told = dict(fields or {})
        directives = [f"max-age={lifetime:.0f}"] if lifetime is not None else []
        directives += [f"stale-while-revalidate={grace:.0f}"] if grace is not None else []
        if directives:
            told["cache-control"] = ", ".join(directives)
        self._plan.put(path, Object.of(body, told, modified=self._plan.now() - YEAR))

    def changes(self, path: str, body: Body, *, after: int = 1, fields: Mapping[str, str] | None = None) -> None:
        """The object changes under the client: the old one for `after` more requests, then this one."""
        new = Object.of(body, fields or {}, modified=self._plan.now())
        old = self._plan.put(path, new)
        if old is None:
            raise ValueError(f"nothing at {path} that could change")
        self._plan.queue(path, Turn(lambda request, _: old.answer(request, self._plan.now()), after))

    def makes(self, path: str, make: Callable[[Received], Answer]) -> None:
        """Answer as is made of each request."""
        self._plan.queue(path, Turn(lambda request, ordinary: make(request), None))

    def varies(
        self,
        path: str,
        bodies: Callable[[Received], bytes],
        *faults: Fault,
        vary: str | None,
        lifetime: float = 60,
    ) -> None:
        """An object whose body depends on the request, with these faults; `vary` is what it says about that."""
        fields = {"cache-control": f"max-age={lifetime:.0f}"} | ({} if vary is None else {"vary": vary})

        def make(request: Received, ordinary: Callable[[], Answer]) -> Answer:
            now = self._plan.now()
            answer: Answer = Object.of(bodies(request), fields, modified=now - YEAR).answer(request, now)
            for fault in faults:
                answer = fault(answer)
            return answer

        self._plan.queue(path, Turn(make, None))

    def absent(self, path: str) -> None:
        """404 NoSuchKey from now on."""
        self._plan.put(path, None)

    def default(self, *steps: Step) -> None:
        """For all paths it has no object for, instead of 404; without steps 404 again."""
        self._plan.default = (lambda request: steps) if steps else None

    # What goes wrong. All of these can be queued; without `times` the last one lasts until `recovers`.

    def fails(
        self,
        path: str,
        code: str | Refusal = "ServiceUnavailable",
        *,
        status: int | None = None,
        times: int | None = None,
        fields: Mapping[str, str] | None = None,
    ) -> None:
        """An S3 error, by default with its usual status, so many times and then as before.

        `path` may be "*" here and below. A `Refusal` instead of a code brings more elements of the XML.
        """
        refusal = code if isinstance(code, Refusal) else Refusal(code, status)

        def make(request: Received, ordinary: Callable[[], Answer]) -> Answer:
            return s3.error(request, refusal, now=self._plan.now(), fields=fields)

        self._plan.queue(path, Turn(make, times))

    def answers(self, path: str, raw: bytes, *, times: int | None = None) -> None:
        """Exactly these bytes; the connection stays open."""
        self._plan.queue(path, Turn(lambda request, _: [Bytes(raw)], times))

    def script(self, path: str, *steps: Step, times: int | None = 1) -> None:
        """Exactly these steps, for one request: a second script is for the second request."""
        self._plan.queue(path, Turn(lambda request, _: steps, times))

    def spoils(self, path: str, *faults: Fault, times: int | None = None) -> None:
        """The ordinary answer, with these faults put in, in order."""

        def make(request: Received, ordinary: Callable[[], Answer]) -> Answer:
            answer = ordinary()
            for fault in faults:
                answer = fault(answer)
            return answer

        self._plan.queue(path, Turn(make, times))

    def recovers(self, path: str = ANY) -> None:
        """Forget what is queued for the path, or for every path; connections already at it go on."""
        self._plan.clear(path)

    def greets(self, *steps: Step, times: int | None = 1) -> None:
        """Steps for the next connection before a byte of it is read; under TLS, before the handshake."""
        self._plan.greet(steps, times)

    def halts_handshakes(self, gate: Gate | None, *, after: int = 100) -> None:
        """From now on TLS handshakes stop when so many bytes of them are out, until the gate opens; None: no more.

        For a handshake that doesn't even begin there is `greets(Wait(gate))`.
        """
        self._plan.halt = (after if gate is not None else None, gate)

    def ignores(self, *names: str) -> None:
        """It doesn't know these request fields, as some S3 clones don't; signatures may cover them all the same."""
        self._plan.ignored = frozenset(name.lower() for name in names)

    def skews(self, seconds: float) -> None:
        """Its clock is off by so much: Date, and what it thinks of a signature's time."""
        self._plan.skew = seconds

    def gate(self) -> Gate:
        """A closed gate, for `Wait(gate)` and `Drip(..., gate)`."""
        return Gate()

    def trusts(self, access_key_id: str, secret_key: str, *, region: str, session_token: str | None = None) -> None:
        """From now on only requests signed with these credentials (SigV4) are answered, others refused as S3 does."""
        self._plan.verify = Verifier(access_key_id, secret_key, region, session_token)

    def also_trusts(
        self,
        access_key_id: str,
        secret_key: str,
        *,
        region: str,
        session_token: str | None = None,
        but: frozenset[str] = frozenset(),
    ) -> None:
        """As well as others. `but` are paths of objects that it denies to these credentials."""
        before, own = self._plan.verify, Verifier(access_key_id, secret_key, region, session_token)

        def verify(request: Received, now: float) -> Refusal | None:
            found = own(request, now)
            if found is None and request.target in but:
                return Refusal("AccessDenied")
            return None if found is None or before is None else before(request, now)

        self._plan.verify = verify

    # Its listener and its connections.

    def refuses(self) -> None:
        """New connections are refused; those that are open stay."""
        self._call(self._stop_listening())

    def vanishes(self) -> None:
        """New connections hang, as behind a firewall that drops: no SYN is answered."""
        self._call(self._stop_listening())
        self._hang()

    def stops(self) -> None:
        """As a killed process: new connections are refused, open ones reset."""
        self._call(self._stop_listening())
        self.drops_connections()

    def returns(self) -> None:
        """Listens again on the same port."""
        self._call(self._listen())

    def drops_connections(self) -> None:
        """RST on every open connection."""
        self._call(self._drop(idle_only=False))

    def closes_idle_connections(self) -> None:
        """FIN on every connection that has no request on it, as a server's keep-alive timeout does."""
        self._call(self._drop(idle_only=True))

    # What it saw.

    @property
    def requests(self) -> list[Received]:
        """All requests in the order they came."""
        with self._ledger.watch.lock:
            return list(self._ledger.requests)

    def fetches(self, path: str) -> int:
        """How many GETs came for a path."""
        with self._ledger.watch.lock:
            return sum(1 for seen in self._ledger.requests if seen.path == path and seen.method == "GET")

    @property
    def connections_opened(self) -> int:
        return self._ledger.connections_opened

    @property
    def connections_open(self) -> int:
        return self._ledger.connections_open

    @property
    def connections_peak(self) -> int:
        return self._ledger.connections_peak

    @property
    def requests_active(self) -> int:
        return self._ledger.requests_active

    @property
    def requests_peak(self) -> int:
        return self._ledger.requests_peak

    def acknowledged(self) -> int:
        """Bytes that clients' kernels have taken of all answers so far, heads included: what really left it."""

        async def count() -> int:
            is_open = [connection.acknowledged() for connection in self._connections if connection.made]
            return self._ledger.acknowledged_by_closed + sum(is_open)

        return self._call(count())

    @property
    def handshakes_failed(self) -> int:
        return self._ledger.handshakes_failed

    @property
    def malformed(self) -> list[bytes]:
        """Heads that were no HTTP requests; each got a 400."""
        return list(self._ledger.malformed)

    def wait_for(self, predicate: Callable[[], object], timeout: float = PATIENCE) -> None:
        """Block until it holds, looking again at every event here; TimeoutError otherwise."""
        self._ledger.watch.wait(predicate, timeout)

    async def wait_for_async(self, predicate: Callable[[], object], timeout: float = PATIENCE) -> None:
        """As `wait_for`, for a test with an event loop of its own."""
        await self._ledger.watch.wait_async(predicate, timeout)

    # On its own loop.

    def _run(self) -> None:
        self._loop.set_exception_handler(self._complain)
        self._loop.run_forever()

    def _complain(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self._ledger.crashed(context.get("exception") or RuntimeError(context["message"]))

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)

    def _accept(self) -> Connection:
        gone = self._connections.discard
        connection = Connection(self._plan, self._ledger, tls=self._tls, bucket=self._bucket, gone=gone)
        self._connections.add(connection)
        return connection

    async def _listen(self) -> None:
        self._unhang()
        if self._server is None:
            listener = _bound(self.port, self._socket_buffer)
            self._server = await self._loop.create_server(self._accept, sock=listener, backlog=1024)

    async def _stop_listening(self) -> None:
        self._unhang()
        if self._server is not None:
            self._server.close()
            self._server = None
            await asyncio.sleep(0)

    def _hang(self) -> None:
        deaf = _bound(self.port, None)
        deaf.listen(0)
        self._fillers.append(deaf)
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                filler.connect((HOST, self.port))
            self._fillers.append(filler)

    def _unhang(self) -> None:
        for filler in self._fillers:
            filler.close()
        self._fillers.clear()

    async def _drop(self, *, idle_only: bool) -> None:
        for connection in [connection for connection in self._connections if connection.made]:
            if not idle_only:
                connection.abort()
            elif connection.idle:
                await connection.close()
        await asyncio.sleep(0)

    async def _end(self) -> None:
        await self._stop_listening()
        await self._drop(idle_only=False)
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._ledger.watch.wait_async(lambda: not self._ledger.connections_open)


def _bound(port: int, buffer: int | None) -> socket.socket:
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if buffer is not None:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    bound.bind((HOST, port))
    return bound


def _remember_server_name(secured: Any, name: str | None, context: ssl.SSLContext) -> None:
    if name is not None:
        SERVER_NAMES[secured] = name
