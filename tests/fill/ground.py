"""Fills, transfers and a proxy without a socket: an origin that answers when it is told to, clients that keep what
they are sent, a store in memory, and a clock that only tests move.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from shield.errors import Fault, OriginError
from shield.fill.buffer import FillMemory
from shield.fill.means import FillPolicy, Means
from shield.fill.table import FillTable
from shield.messages import Field, Part, Request, ResponseHead
from shield.observe.accounting import Accounting
from shield.observe.counters import Counters
from shield.origin.plain import FetchTaker
from shield.origin.response import Response
from shield.origin.want import Absent, Failed, Fetched, Want
from shield.outcome import Outcome
from shield.proxy import Proxy
from shield.regime import InForce, Regime
from shield.reply import Replies, Reply
from shield.rules.amplification import AmplificationLimits
from shield.rules.key import CacheKey
from shield.rules.purging import PurgeMark
from shield.rules.routes import Route, Routes
from shield.shared import Shared
from shield.store.directory.files import Files
from shield.store.directory.premises import DirectoryLimits
from shield.store.disk import Disk, Tier
from shield.store.memory import MemoryTier
from shield.store.notices import marking
from shield.store.tiers import Store
from shield.store.volume import Claimant, Volume, boot_id
from shield.transfer import Transfer
from tests.client import PATIENCE
from tests.node import FakeClock

T = TypeVar("T")
MIB = 1 << 20
SLICE = 64 << 10
VIA = b"1.1 test-1"
PEER = "192.0.2.1"


class FakeConnection:
    """Where a response comes from; counts how often it was held up, and whether it was given up."""

    def __init__(self) -> None:
        self.holds = 0
        self.is_held = False
        self.is_abandoned = False

    def hold(self) -> None:
        self.holds += 1
        self.is_held = True

    def proceed(self) -> None:
        self.is_held = False

    def abandon(self) -> None:
        self.is_abandoned = True

    def unread(self) -> int:
        return 0


class Fetch:
    """One fetch that waits for its answer."""

    def __init__(self, key: CacheKey, want: Want, clock: Callable[[], float]) -> None:
        self.key = key
        self.want = want
        self.connection = FakeConnection()
        self.response = Response(self.connection, MIB)
        self.result: asyncio.Future[Fetched | Absent | Failed] = asyncio.get_running_loop().create_future()
        self._clock = clock

    @property
    def fields(self) -> dict[bytes, bytes]:
        """What it asks with."""
        return dict(self.want.fields())

    def goes_out(self) -> None:
        """It had to wait, and is sent now; or it is sent once more."""
        assert self.want.sent is not None
        self.want.sent()

    def answers(
        self,
        *fields: Field,
        status: int = 200,
        length: int | None = None,
        body: bytes | None = None,
        origin: str = "fra",
        by_peer: bool = False,
    ) -> None:
        """The head comes, and all of the body if it is given."""
        stated = len(body) if length is None and body is not None else length
        head = ResponseHead(status, fields, stated)
        self.response.arrive(head)
        if body is not None:
            self.sends(body, ends=True)
        now = self._clock()
        self.result.set_result(Fetched(origin, self.response, now, now, by_peer=by_peer))

    def sends(self, data: bytes, *, ends: bool = False) -> None:
        """Bytes of the body come, and perhaps its end."""
        if data:
            self.response.deliver(data)
        if ends:
            self.response.finish(None)

    def breaks_off(self) -> None:
        """The connection is lost within the body."""
        self.response.finish(OriginError("fra", Fault.RESET, "within the body"))

    def fails(
        self, *faults: Fault, detail: str = "refused", status: int | None = None, retry_after: float | None = None
    ) -> None:
        """No origin gives an answer, each for its reason."""
        errors = [
            OriginError(origin, fault, detail, status=status, retry_after=retry_after)
            for origin, fault in zip(("fra", "iad"), faults or (Fault.CONNECT,), strict=False)
        ]
        self.result.set_result(Failed(tuple(errors)))

    def is_absent(self, status: int = 404, *, vary: tuple[bytes, ...] | None = ()) -> None:
        self.result.set_result(Absent(status, vary=vary))


class FakeSource:
    """Keeps all fetches, the first first."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.fetches: list[Fetch] = []
        self._clock = clock

    async def fetch(self, names: Sequence[str], want: Want) -> Fetched | Absent | Failed:
        assert want.key is not None
        fetch = Fetch(want.key, want, self._clock)
        self.fetches.append(fetch)
        return await fetch.result

    def begin(self, names: Sequence[str], want: Want, taker: FetchTaker) -> None:
        """All of its fetches take a task."""

    @property
    def last(self) -> Fetch:
        return self.fetches[-1]


class FakeClient:
    """Takes an answer, as long as it is `ready`."""

    def __init__(self) -> None:
        self.ready = True
        self.untaken = 0
        self.transfer: Transfer | None = None
        self.status: int | None = None
        self.head = b""
        self.body = b""
        self.interims: list[bytes] = []
        self.outcome: Outcome | None = None
        self.clean: bool | None = None  # None: it isn't over

    def inform(self, block: bytes) -> None:
        self.interims.append(block)

    def reply(self, reply: Reply) -> None:
        self.status, self.head, self.outcome = reply.status, reply.head, reply.outcome
        self.body = b"".join(map(bytes, reply.parts))
        self.clean = True

    def begin(self, head: bytes, data: Part | None, *, status: int, length: int | None, outcome: Outcome) -> None:
        assert self.status is None
        self.status, self.head, self.outcome = status, head, outcome
        self.body = b"" if data is None else bytes(data)

    def write(self, data: Part) -> None:
        assert self.status is not None and self.clean is None
        self.body += bytes(data)

    def finish(self, *, clean: bool) -> None:
        assert self.clean is None
        self.clean = clean

    # what a test does with it

    def takes_more(self) -> None:
        """It was slow and can take bytes again."""
        self.ready = True
        if self.transfer is not None:
            self.transfer.advance()

    def leaves(self) -> None:
        if self.transfer is not None:
            self.transfer.abandon()

    @property
    def is_over(self) -> bool:
        return self.clean is not None

    @property
    def told(self) -> str:
        """Cache-Status as it was sent."""
        lines = [line for line in self.head.split(b"\r\n") if line.startswith(b"cache-status: ")]
        return lines[0].removeprefix(b"cache-status: test-1; ").decode() if lines else ""


def _store(path: Path | None, clock: Callable[[], float]) -> Store:
    """In memory, or with a disk tier of one directory, and slices, below it."""
    shared, memory = Shared(), MemoryTier(capacity=64 * MIB, max_entry=8 * MIB)
    if path is None:
        return Store(memory, shared)
    disk = Disk(shared, clock=clock)
    holder, limits = Claimant("test-1", boot_id(), 0), DirectoryLimits(capacity=64 * MIB, free_floor=0)
    volume = Volume(path, limits, holder=holder, files=Files(), judge=disk.judge(0))
    disk.open([Tier("nvme", 0, [volume], [1.0])])
    return Store(memory, shared, disk=disk, slice_bytes=SLICE)


class Ground:
    """A worker's proxy, store and fills over a `FakeSource`. To be made on a running loop.

    `path` is for a disk tier, where there is to be one.
    """

    def __init__(
        self,
        *,
        route: Route | None = None,
        path: Path | None = None,
        policy: FillPolicy | None = None,
        memory: int = 64 * MIB,
        amplification: AmplificationLimits | None = None,
    ) -> None:
        self.clock = FakeClock()
        self.source = FakeSource(self.clock)
        self.store = _store(path, self.clock)
        self.memory = FillMemory(memory)
        self.means = Means(
            self.source,
            self.store,
            self.memory,
            policy=policy or FillPolicy(),
            via=VIA,
            clock=self.clock,
            chance=lambda: 0.0,
        )
        self.fills = FillTable(self.means)
        self.counters = Counters()
        regime = Regime(Routes([route or Route("default", origins=("fra",))]), amplification=amplification)
        in_force = InForce(regime, origins=lambda: {"fra", "iad"})
        replies = Replies(node="test-1", via=VIA, retry_after_seconds=1.0)
        self.proxy = Proxy(
            in_force, self.store, self.fills, replies=replies, accounting=Accounting(self.counters), clock=self.clock
        )

    def marked(self, mark: PurgeMark) -> None:
        """Entries are purged by a mark."""
        self.store._removals._shared.publish([marking(mark)], purge=mark.sequence)

    def asks(
        self,
        target: bytes = b"/a",
        fields: Mapping[bytes, bytes] | None = None,
        *,
        method: bytes = b"GET",
        ready: bool = True,
    ) -> FakeClient:
        """A client whose request is under way, or answered already."""
        client = FakeClient()
        client.ready = ready
        request = Request.of(method, target, (fields or {}).items())
        reply = self.proxy.try_hit(request, self.clock())
        if reply is not None:
            client.reply(reply)
        else:
            transfer = self.proxy.open(request, client, peer=PEER)
            assert isinstance(transfer, Transfer)
            client.transfer = transfer
        return client

    async def asked(
        self, target: bytes = b"/a", fields: Mapping[bytes, bytes] | None = None, *, method: bytes = b"GET"
    ) -> FakeClient:
        """The same, once its fetch is under way if it needs one."""
        client = self.asks(target, fields, method=method)
        await turns()
        return client

    async def until(self, predicate: Callable[[], object]) -> None:
        """Let threads do their work on the disk."""
        async with asyncio.timeout(PATIENCE):
            while not predicate():  # noqa: ASYNC110  # nothing tells
                await asyncio.sleep(0.001)

    async def end(self) -> None:
        """Nothing may be left behind."""
        self.fills.cancel_all()
        await self.store.close()
        assert self.memory.used == 0


async def turns() -> None:
    """Let all that is due be done."""
    for _ in range(8):
        await asyncio.sleep(0)


def on_ground(scenario: Callable[[Ground], Coroutine[Any, Any, T]], **changes: Any) -> T:
    """Run a scenario on a loop of its own."""

    async def run() -> T:
        ground = Ground(**changes)
        result = await scenario(ground)
        await ground.end()
        return result

    return asyncio.run(run())
