"""Figures of this process as the system and Python have them: memory, CPU, descriptors, garbage collection."""

from __future__ import annotations

import gc
import os
import resource
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_STATM = Path("/proc/self/statm")
_DESCRIPTORS = Path("/proc/self/fd")


@dataclass(frozen=True, slots=True)
class ProcessStatistics:
    resident_bytes: int  # pages of files and shared memory included; 0 where the system doesn't say
    cpu_seconds: float
    descriptors: int  # open ones
    descriptors_limit: int
    collections: Mapping[int, int]  # of garbage, by generation
    collection_seconds: float  # in which nothing else ran


class Pauses:
    """The time that garbage collections took since `begin`. One for a process; `end` it."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._began = 0.0
        self.seconds = 0.0

    def begin(self) -> None:
        if self._note not in gc.callbacks:
            gc.callbacks.append(self._note)

    async def end(self) -> None:
        with suppress(ValueError):
            gc.callbacks.remove(self._note)

    def _note(self, phase: str, info: Mapping[str, int]) -> None:
        if phase == "start":
            self._began = self._now()
        else:
            self.seconds += self._now() - self._began


def process_statistics(pauses: Pauses) -> ProcessStatistics:
    """The figures now: some system calls, 20 us."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return ProcessStatistics(
        resident_bytes=_resident(),
        cpu_seconds=usage.ru_utime + usage.ru_stime,
        descriptors=_descriptors(),
        descriptors_limit=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        collections={generation: stats["collections"] for generation, stats in enumerate(gc.get_stats())},
        collection_seconds=pauses.seconds,
    )


def _resident() -> int:
    with suppress(OSError, ValueError, IndexError):
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def _descriptors() -> int:
    """Linux since 6.2 says it without a list, which takes a millisecond for a thousand of them."""
    with suppress(OSError):
        return _DESCRIPTORS.stat().st_size or sum(1 for _ in _DESCRIPTORS.iterdir())
    return 0
