"""Memory that was freed goes back to the system: when there is much of it, and nobody is kept waiting for that."""

from __future__ import annotations

import ctypes
import gc
import itertools
from collections.abc import Iterator

import pytest

from shield.heap import SLACK, Heap, calm_collector, own_bytes

MIB = 1 << 20


class Process:
    """One that uses and holds as much as it is told to."""

    def __init__(self) -> None:
        self.used, self.held, self.trims = 100 * MIB, 100 * MIB, 0
        self.cpu = 0.0
        self.collections = 0
        self.heap = Heap(own_bytes=lambda: self.held, trim=self._trim, collect=self._collect)
        self.runs(10)

    def _collect(self) -> None:
        self.collections += 1

    def _trim(self) -> None:
        self.trims += 1
        self.held = self.used

    def runs(self, seconds: int, *, busy: float = 0.0) -> None:
        for _ in range(seconds):
            self.cpu += busy
            self.heap.tick(self.cpu)
            self.heap.close()


def test_what_was_freed_goes_back_after_ten_quiet_seconds() -> None:
    process = Process()
    before = process.trims
    process.held += SLACK

    process.runs(9)
    assert process.trims == before
    process.runs(1)

    assert (process.trims, process.held) == (before + 1, 100 * MIB)


def test_a_busy_process_is_never_kept_waiting() -> None:
    process = Process()
    before = process.trims
    process.held += 10 * SLACK

    for _ in range(20):
        process.runs(9)
        process.runs(1, busy=0.5)

    assert process.trims == before


def test_little_is_left_alone_and_what_is_in_use_is_asked_for_once() -> None:
    process = Process()
    before = process.trims

    process.held += SLACK - 1
    process.runs(100)
    assert process.trims == before
    process.used = process.held = 500 * MIB
    process.runs(100)

    assert process.trims == before + 1


def test_memory_freed_between_small_objects_that_live_on_goes_back_for_real() -> None:
    if not hasattr(ctypes.CDLL(None), "malloc_trim"):
        pytest.skip("this C library can't give memory back")
    for _ in range(10):
        bytearray(256 << 10)  # from now on pieces of this size come from the heap
    pieces, small = [], []
    for number in range(400):
        pieces.append(bytearray(b"x") * (256 << 10))
        small.append(bytes(600 + number % 100))
    full = own_bytes()
    pieces.clear()
    heap = Heap()

    for cpu in itertools.repeat(0.0, 10):
        heap.tick(cpu)
    heap.close()

    assert own_bytes() < full - 80 * MIB
    assert len(small) == 400


def test_old_objects_are_collected_while_the_process_is_idle_or_else_once_a_day() -> None:
    process = Process()

    process.runs(85_000, busy=1.0)
    assert process.collections == 0
    process.runs(10)
    assert process.collections == 1

    process.runs(1200)
    assert process.collections == 3
    process.runs(86_500, busy=1.0)
    assert process.collections == 4


@pytest.fixture
def thresholds() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


@pytest.mark.usefixtures("thresholds")
def test_a_busy_process_never_looks_at_its_old_objects() -> None:
    calm_collector()
    before = [stats["collections"] for stats in gc.get_stats()]

    kept = [[] for _ in range(200_000)]  # type: ignore[var-annotated]

    young, middle, old = (stats["collections"] - was for stats, was in zip(gc.get_stats(), before, strict=True))
    assert len(kept) == 200_000 and young > 10 and middle > 2 and old == 0
