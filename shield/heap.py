"""Returns memory that this process has freed but still holds to the system, when there is much of it.

A thousand slow readers of large objects leave hundreds of megabytes behind: pieces of a few hundred kilobytes each,
between small objects that live on, so that the allocator can't shrink its heap from the end. Taking every piece from
the system and returning it at once would make each read cost several times as much. So the free pages in between are
returned together, once the process is idle: no thread can allocate meanwhile, for about a second per gigabyte.

It also keeps the garbage collector from pausing a busy process. Requests leave no reference cycles (a test proves
that), and entries in RAM are bytes, which the collector doesn't know of. So it is a net beneath what libraries leave,
and beneath mistakes: young objects are looked at often, in less than a millisecond each time; old ones, of which
thousands of connections have a hundred thousand, once the process is idle.
"""

from __future__ import annotations

import ctypes
import gc
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

SLACK = 32 << 20
"""Bytes above the lowest need so far that are kept."""

_YOUNG = 1_000  # objects: looking at so many takes 0.1 ms, half a one with cold caches
_YOUNG_TURNS = 1  # after one more of these, those that have survived both are looked at once more, and are old then
_NEVER = 1 << 30
_COLLECT_TICKS = 600  # seconds between collections of old objects in a process that is idle at times
_OVERDUE_TICKS = 86_400  # and in one that never is

_QUIET_CPU_SECONDS = 0.05  # most CPU time used in an idle second
_QUIET_TICKS = 10  # idle seconds in a row
_STATM = Path("/proc/self/statm")


def own_bytes() -> int:
    """Memory of this process that is in no file; 0 where the system doesn't report it."""
    with suppress(OSError, ValueError, IndexError):
        fields = _STATM.read_text().split()
        return (int(fields[1]) - int(fields[2])) * os.sysconf("SC_PAGE_SIZE")
    return 0


def trim() -> None:
    """Return all free pages to the system, if the C library supports it (glibc)."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def calm_collector() -> None:
    """Objects made so far aren't looked at any more, and old ones only by `Heap`. Call it once all parts are made."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, _YOUNG_TURNS, _NEVER)


class Heap:
    """The heap of one process. `own_bytes`, `trim` and `collect` are the system's functions."""

    def __init__(
        self,
        *,
        own_bytes: Callable[[], int] = own_bytes,
        trim: Callable[[], None] = trim,
        collect: Callable[[], object] = gc.collect,
    ) -> None:
        self._own_bytes = own_bytes
        self._trim = trim
        self._collect = collect
        self._uncollected_ticks = 0
        self._least = 0
        self._cpu_seconds = 0.0
        self._quiet_ticks = 0
        self._thread: threading.Thread | None = None

    def tick(self, cpu_seconds: float) -> None:
        """Call once a second, with the CPU time that this process has used since its start."""
        is_quiet = cpu_seconds - self._cpu_seconds < _QUIET_CPU_SECONDS
        self._cpu_seconds = cpu_seconds
        self._quiet_ticks = self._quiet_ticks + 1 if is_quiet else 0
        self._uncollected_ticks += 1
        is_idle = self._quiet_ticks >= _QUIET_TICKS
        if self._uncollected_ticks >= (_COLLECT_TICKS if is_idle else _OVERDUE_TICKS):
            self._uncollected_ticks = 0
            self._collect()
        if not is_idle:
            return
        self._quiet_ticks = 0
        own = self._own_bytes()
        if own < self._least + SLACK:
            self._least = min(self._least, own)
        elif self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._give_back, name="shield-heap", daemon=True)
            self._thread.start()

    def _give_back(self) -> None:
        self._trim()
        self._least = self._own_bytes()  # the remaining memory is in use

    def close(self) -> None:
        """Wait for a trim under way."""
        if self._thread is not None:
            self._thread.join()
