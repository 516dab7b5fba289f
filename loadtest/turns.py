"""A real node whose worker times each turn of its event loop. `loadtest.pauses --node` starts it:

    python -m loadtest.turns SETTINGS RESULT ENTRIES

A turn's CPU time hardly depends on what else the machine does. The worker's loop never waits, so that a turn begins
as soon as the one before it ends. The longest turns are in the file RESULT, which is written anew each second. If
somebody has taken it away, they are counted anew.

Before, the RAM tier is filled with copies of the entry of the first request, whose path ends with `SEED`.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from resource import RUSAGE_THREAD, getrusage
from types import FrameType
from typing import Any

from shield import app, supervisor
from shield.build.edition import Edition
from shield.config.loading import load
from shield.lifecycle.program import Program
from shield.node import Node
from shield.observe.logs import configure
from shield.rules.key import key_of_text
from shield.shared import Seat
from shield.store.entry import Entry
from shield.store.memory import MemoryTier

KEPT = 40
"""Of the longest turns."""
LONG_SECONDS = 0.002
"""Of CPU; then the place in the code is noted."""
FRAMES = 7
SEED = b"seed"
_BATCH = 2000


class Turns:
    """Times those of the running loop."""

    def __init__(self, result: Path) -> None:
        self._result = result
        self._loop = asyncio.get_running_loop()
        self._longest: list[dict[str, Any]] = []
        self._count = 0
        self._collected: list[tuple[int, float]] = []  # generations and seconds, in this turn
        self._places: list[str] = []
        self._began_at = self._written_at = time.monotonic()
        gc.callbacks.append(self._note_collection)
        signal.signal(signal.SIGPROF, self._note_place)
        self._thread, self._process, self._collecting = time.thread_time(), time.process_time(), 0.0
        self._faults = getrusage(RUSAGE_THREAD).ru_minflt
        self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        thread, process = time.thread_time(), time.process_time()
        took = thread - self._thread
        faults = getrusage(RUSAGE_THREAD).ru_minflt
        self._count += 1
        if len(self._longest) < KEPT or took > self._longest[-1]["cpu_ms"] / 1000:
            self._longest.append(
                {
                    "cpu_ms": round(took * 1000, 3),
                    "at_seconds": round(time.monotonic() - self._began_at, 2),
                    "other_threads_ms": round((process - self._process - took) * 1000, 3),
                    "page_faults": faults - self._faults,
                    "collections": [
                        [generation, round(seconds * 1000, 3)] for generation, seconds in self._collected
                    ],
                    "place": self._places[-1] if self._places else "",
                }
            )
            self._longest.sort(key=lambda turn: -turn["cpu_ms"])
            del self._longest[KEPT:]
        self._collected.clear()
        self._places.clear()
        if (now := time.monotonic()) > self._written_at + 1.0:
            if self._written_at > self._began_at and not self._result.exists():
                self._longest.clear()
                self._count = 0
            self._written_at = now
            self._result.write_text(json.dumps({"turns": self._count, "longest": self._longest}))
        self._loop.call_soon(self._turn)
        signal.setitimer(signal.ITIMER_PROF, LONG_SECONDS)
        self._thread, self._process = time.thread_time(), time.process_time()
        self._faults = getrusage(RUSAGE_THREAD).ru_minflt

    def _note_collection(self, phase: str, info: Mapping[str, int]) -> None:
        if phase == "start":
            self._collecting = time.thread_time()
        else:
            self._collected.append((info["generation"], time.thread_time() - self._collecting))

    def _note_place(self, number: int, frame: FrameType | None) -> None:
        """Where the turn is after that time."""
        stack = traceback.extract_stack(frame)[-FRAMES:]
        self._places.append(" < ".join(f"{Path(at.filename).stem}:{at.lineno} {at.name}" for at in reversed(stack)))


async def fill(memory: MemoryTier, entries: int) -> None:
    """Store copies of the seed, once it is there."""
    found: list[bytes] = []
    while not found:
        await asyncio.sleep(0.1)
        found = [text for text in memory.texts() if SEED in text]
    seed = memory.peek(found[0])
    assert seed is not None
    for number in range(entries):
        text = found[0].replace(SEED, b"%d" % number)
        copy = Entry(key_of_text(text), seed.head, seed.freshness, seed.blocks, origin=seed.origin)
        copy.tags, copy.stored_at, copy.since = seed.tags, seed.stored_at, seed.since
        memory.commit(copy)
        if number % _BATCH == 0:
            await asyncio.sleep(0)


def main() -> int:
    settings, result, entries = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    tasks = []

    async def watch(memory: MemoryTier) -> None:
        await fill(memory, entries)
        Turns(result)

    def build(edition: Edition, place: Seat) -> Node:
        node = app.build(edition.loaded.settings, place=place, edition=edition)
        tasks.append(asyncio.get_running_loop().create_task(watch(node.store._memory)))
        return node

    loaded = load(settings, environ=os.environ)
    configure(loaded.settings.log.level, style=loaded.settings.log.format)
    edition = Edition(loaded, generation=1, since=time.time())
    return supervisor.supervise(edition, build, Program.running(settings))


if __name__ == "__main__":
    sys.exit(main())
