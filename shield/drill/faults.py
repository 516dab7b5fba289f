"""The faults of a drill, injected just before a request goes to its origin, and the count of requests that go
elsewhere instead.

A fault comes as the origin's own would: as an exception of the same kind, or as a response that is read and judged as
any other. Its text ends with `MARK`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from cachetools import FIFOCache

from shield.drill.memory import DrillRow
from shield.errors import Fault, OriginError
from shield.messages import ResponseHead
from shield.origin.asked import Asked
from shield.origin.pool import Pool
from shield.origin.response import Response
from shield.origin.want import Want
from shield.rules import digests
from shield.rules.drill import MARK, SLOW_SECONDS, DrillMode, DrillOrder, is_drilled

_MOST_PATHS = 8192  # remembered of those that had a fault; the oldest are forgotten
_BUFFER_BYTES = 64 * 1024  # of a changed body that nobody reads yet

_RESPONSES = {
    DrillMode.SERVER: (500, b"InternalError", ()),
    DrillMode.THROTTLE: (503, b"SlowDown", ((b"retry-after", b"1"),)),
    DrillMode.EXPIRED_KEY: (400, b"ExpiredToken", ()),
}


class DrilledPaths:
    """Paths whose requests had a fault, or went to another origin at once because of the drill."""

    def __init__(self) -> None:
        self._paths: FIFOCache[bytes, None] = FIFOCache(_MOST_PATHS)

    def add(self, path: bytes) -> None:
        self._paths[path] = None

    def __contains__(self, path: bytes) -> bool:
        return path in self._paths


class DrillFaults:
    """At the origin of the drill: injects its faults."""

    def __init__(
        self, order: DrillOrder, seed: int, row: DrillRow, paths: DrilledPaths, *, first_byte: float, md5_etags: bool
    ) -> None:
        """`first_byte`: the origin's time limit for it, in seconds. `md5_etags`: its ETags are digests."""
        self.order = order
        self.mode: str | None = order.mode.value
        self.faults = 0
        self._seed = seed
        self._row = row
        self._paths = paths
        self._first_byte = first_byte
        self._md5_etags = md5_etags
        self._loop = asyncio.get_running_loop()
        self._over: asyncio.Future[None] = self._loop.create_future()

    def end(self) -> None:
        """Requests that wait for nothing are sent now. The origin has no drill any more."""
        if not self._over.done():
            self._over.set_result(None)

    async def fetch(self, pool: Pool, want: Want, asked: Asked) -> Response:
        """The response, or a fault. Raises OriginError."""
        order = self.order
        if not is_drilled(want.path, self._seed, order.scope):
            return await pool.fetch(asked)
        self.faults += 1
        self._row.fault()
        self._paths.add(want.path)
        mode = order.mode
        if mode is DrillMode.BLACKHOLE:
            if asked.sent is not None:
                asked.sent()
            await self._wait(min(asked.deadline, self._loop.time() + self._first_byte))
            return await pool.fetch(asked)
        if mode is DrillMode.REFUSE:
            raise OriginError(order.origin, Fault.CONNECT, f"connection refused {MARK}")
        if mode is DrillMode.SLOW:
            return await self._slow(pool, asked)
        if mode is DrillMode.CORRUPT:
            return self._corrupt(want, await pool.fetch(asked))
        return _response(mode)

    async def _slow(self, pool: Pool, asked: Asked) -> Response:
        began = self._loop.time()
        response = await pool.fetch(asked)
        try:
            limit = min(asked.deadline, began + self._first_byte)
            await self._wait(limit, began + SLOW_SECONDS)
        except BaseException:
            response.close()
            raise
        return response

    async def _wait(self, limit: float, until: float | None = None) -> None:
        """Wait until then, or until the drill is over. Raises OriginError at the limit."""
        now = self._loop.time()
        stop = limit if until is None else min(until, limit)
        await asyncio.wait((self._over,), timeout=max(0.0, stop - now))
        if not self._over.done() and (until is None or until > limit):
            detail = f"no response within {stop - now:.1f} s {MARK}"
            raise OriginError(self.order.origin, Fault.FIRST_BYTE_TIMEOUT, detail)

    def _corrupt(self, want: Want, response: Response) -> Response:
        """The response with a wrong byte; unchanged if it states no digest by which that can be noticed."""
        head = response.head
        is_whole = want.method == b"GET" and head.status == 200 and head.length != 0
        if not is_whole or not digests.lines(head, "asked", md5_etags=self._md5_etags):
            self.faults -= 1
            self._row.spare()
            return response
        return _Corruption(self.order.origin, response).response


class DrillWitness:
    """At another origin: counts requests that it gets because of the drill."""

    mode: str | None = None

    def __init__(self, at: int, row: DrillRow, is_moved: Callable[[bytes], bool]) -> None:
        """`at`: its number among the other origins. `is_moved`: whether the drill has sent a path here."""
        self._at = at
        self._row = row
        self._is_moved = is_moved

    async def fetch(self, pool: Pool, want: Want, asked: Asked) -> Response:
        counts = self._is_moved(want.path)
        if counts:
            self._row.elsewhere(self._at, 0, requests=1)
        response = await pool.fetch(asked)
        if counts:
            self._row.elsewhere(self._at, response.head.length or 0)
        return response


class _NoCarrier:
    """Carries a response that no connection brings."""

    def hold(self) -> None: ...

    def proceed(self) -> None: ...

    def abandon(self) -> None: ...

    def unread(self) -> int:
        return 0


def _response(mode: DrillMode) -> Response:
    status, code, extra = _RESPONSES[mode]
    body = b"<Error><Code>%b</Code><Message>%b</Message></Error>" % (code, MARK.encode())
    fields = ((b"content-type", b"application/xml"), (b"content-length", b"%d" % len(body)), *extra)
    response = _new(_NoCarrier())
    response.arrive(ResponseHead(status, fields, len(body)))
    response.deliver(body)
    response.finish(None)
    return response


def _new(carrier: _NoCarrier | _Corruption) -> Response:
    return Response(carrier, _BUFFER_BYTES)


class _Corruption:
    """Reads the `real` response, and carries one whose body fails its digest at the end.

    The wrong byte is the last one, which is never delivered: a client that wants only the beginning would get a wrong
    byte with a clean end, and one that wants the whole would have all that Content-Length states before the failure.
    """

    def __init__(self, origin: str, real: Response) -> None:
        self._origin = origin
        self._real = real
        self._last = b""
        self.response = _new(self)
        self.response.kept = real.kept
        self.response.arrive(real.head)
        real.start(self)

    # the reader of the real one

    def on_data(self, data: bytes) -> None:
        data, self._last = self._last + data[:-1], data[-1:]
        if data:
            self.response.deliver(data)

    def on_end(self, error: OriginError | None) -> None:
        detail = f"the body doesn't match its stated digest {MARK}"
        self.response.finish(error or OriginError(self._origin, Fault.MALFORMED, detail))

    # the carrier of the other

    def hold(self) -> None:
        self._real.pause()

    def proceed(self) -> None:
        self._real.resume()

    def abandon(self) -> None:
        self._real.close()

    def unread(self) -> int:
        return self._real.unread()
