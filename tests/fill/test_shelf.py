"""Slices of a large entry: in memory while they come, held where no disk takes them, read from disk after that."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from shield.fill.buffer import FillMemory
from shield.fill.shelf import HELD, Shelf
from shield.messages import Request
from shield.rules.amplification import Account
from shield.rules.freshness import Freshness
from shield.rules.heads import of_fields
from shield.rules.purging import Filled
from shield.rules.routes import cache_key
from shield.store.entry import Entry
from shield.store.slices import Where
from tests.client import PATIENCE
from tests.fill.ground import SLICE, Ground, on_ground

LENGTH = 3 * SLICE + 10


class At:
    """A reader that stands somewhere."""

    stop = None
    slack = given = untaken = 0
    account: Account | None = None

    def __init__(self, position: int) -> None:
        self.request = Request.of(b"GET", b"/a")
        self.position = position
        self.touched: dict[int, bool] = {}

    def advance(self) -> None: ...

    def push(self) -> bool:
        return False

    def conclude(self) -> None: ...

    def inform(self, block: bytes) -> None: ...

    def detach(self) -> None: ...

    def go_on_alone(self) -> None: ...


def large() -> Entry:
    head = of_fields(200, ((b"etag", b'"1"'), (b"content-length", b"%d" % LENGTH)))
    freshness = Freshness(0.0, 3600.0, 0.0, 0.0)
    return Entry.large(cache_key(b"", b"/a", b""), head, freshness, length=LENGTH, slice_bytes=SLICE)


def shelf_of(ground: Ground, memory: FillMemory) -> Shelf:
    return Shelf(ground.store.slices(large()), memory)


def put(shelf: Shelf, number: int) -> bytes:
    """A whole slice, as a run brings it."""
    data = bytes([number]) * shelf.length(number)
    buffer = shelf.begin(number)
    assert buffer is not None
    buffer.append(data)
    return data


def unheard() -> None:
    raise AssertionError("nothing had to be read from a disk")


async def called(work: Callable[[Callable[[], None]], object]) -> None:
    """Do what calls back, and wait for that."""
    done = asyncio.Event()
    work(done.set)
    async with asyncio.timeout(PATIENCE):
        await done.wait()


def test_a_slice_on_its_way_is_read_from_memory_and_one_that_is_nowhere_is_missing(tmp_path: Path) -> None:
    async def scenario(ground: Ground) -> None:
        shelf = shelf_of(ground, FillMemory(1 << 20))
        buffer = shelf.begin(1)
        assert buffer is not None
        buffer.append(b"0123")

        assert shelf.read(1, 2, unheard) == b"23"
        assert shelf.read(1, 4, unheard) is None  # it comes
        assert shelf.read(0, 0, unheard) is Where.MISSING
        assert (shelf.is_here(1), shelf.is_here(0), shelf.holds(SLICE, SLICE + 1)) == (True, False, False)
        shelf.close()

    on_ground(scenario, path=tmp_path)


def test_a_slice_that_was_written_gives_its_memory_back_and_is_read_from_disk(tmp_path: Path) -> None:
    async def scenario(ground: Ground) -> None:
        memory = FillMemory(1 << 20)
        shelf = shelf_of(ground, memory)
        data = put(shelf, 0)
        assert memory.used == SLICE
        assert shelf.is_busy
        await called(lambda done: shelf.write(0, done, still=lambda: True, filled=Filled()))

        assert (memory.used, shelf.is_busy, shelf.holds(0, SLICE)) == (0, False, True)
        found = shelf.read(0, 100, lambda: None)
        assert isinstance(found, memoryview) and bytes(found) == data[100:]

    on_ground(scenario, path=tmp_path)


def test_what_was_purged_meanwhile_is_not_written_and_stays_for_its_readers(tmp_path: Path) -> None:
    async def scenario(ground: Ground) -> None:
        shelf = shelf_of(ground, FillMemory(1 << 20))
        data = put(shelf, 0)

        assert not shelf.write(0, unheard, still=lambda: False, filled=Filled())
        assert not shelf.holds(0, SLICE)
        assert shelf.read(0, 0, unheard) == data
        shelf.close()

    on_ground(scenario, path=tmp_path)


def test_held_slices_stay_until_all_readers_have_passed_them(tmp_path: Path) -> None:
    async def scenario(ground: Ground) -> None:
        memory = FillMemory(1 << 20)
        shelf = shelf_of(ground, memory)
        for number in range(HELD):
            put(shelf, number)
            shelf.hold(number)
        assert shelf.is_full
        slow, fast = At(10), At(2 * SLICE)

        shelf.let_go([slow, fast])
        assert (shelf.is_here(0), shelf.is_here(1)) == (True, True)  # the next one is about to be needed
        slow.position = SLICE
        shelf.let_go([slow, fast])
        assert (shelf.is_here(0), shelf.is_here(1), shelf.is_full) == (False, True, False)
        shelf.close()
        assert memory.used == 0

    on_ground(scenario, path=tmp_path)


def test_a_reader_that_holds_all_others_up_costs_the_oldest_slice(tmp_path: Path) -> None:
    async def scenario(ground: Ground) -> None:
        shelf = shelf_of(ground, FillMemory(1 << 20))
        put(shelf, 0)
        shelf.hold(0)
        shelf.lose_patience()
        assert shelf.is_here(0)  # there is room for another
        put(shelf, 1)
        shelf.hold(1)
        shelf.lose_patience()
        assert (shelf.is_here(0), shelf.is_here(1)) == (False, True)
        shelf.close()

    on_ground(scenario, path=tmp_path)


def test_without_memory_no_slice_begins(tmp_path: Path) -> None:
    async def scenario(ground: Ground) -> None:
        memory = FillMemory(SLICE)
        shelf = shelf_of(ground, memory)
        put(shelf, 0)

        assert shelf.begin(1) is None
        assert not shelf.is_here(1)
        shelf.close()
        assert memory.used == 0

    on_ground(scenario, path=tmp_path)
