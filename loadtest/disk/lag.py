"""Shield with a probe on its event loop: how late a timer of a millisecond fires.

    python -m loadtest.disk.lag FILE serve --config shield.yaml

When the loop ends, the file has three doubles for each tick: the monotonic time, how many seconds late it was, and
for how many of them the thread could have run but others had the core.
"""

from __future__ import annotations

import array
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import uvloop

from shield.cli import main

TICK = 0.001

_make_loop = uvloop.new_event_loop
_seen = array.array("d")


def _watched() -> uvloop.Loop:
    loop = _make_loop()
    waited = _waiting()

    def tick(due: float, before: float) -> None:
        now, after = time.monotonic(), waited()
        _seen.extend((now, now - due, after - before))
        loop.call_later(TICK, tick, time.monotonic() + TICK, after)

    loop.call_soon(tick, time.monotonic(), waited())
    return loop


def _waiting() -> Callable[[], float]:
    """Seconds that this thread has waited for a core so far; 0 where the system doesn't say."""
    try:
        fd = os.open(f"/proc/self/task/{os.getpid()}/schedstat", os.O_RDONLY)
    except OSError:
        return lambda: 0.0
    return lambda: int(os.pread(fd, 100, 0).split()[1]) / 1e9


def samples(path: Path, start: float, stop: float) -> tuple[list[float], list[float]]:
    """Seconds late, of all ticks between two moments; and without what it waited for a core."""
    seen = array.array("d", path.read_bytes())
    ticks = [tick for tick in zip(seen[::3], seen[1::3], seen[2::3], strict=True) if start <= tick[0] < stop]
    late = [late for _, late, _ in ticks]
    return late, [max(0.0, late - waited) for _, late, waited in ticks]


if __name__ == "__main__":
    file = Path(sys.argv[1])
    sys.argv = ["shield", *sys.argv[2:]]
    uvloop.new_event_loop = _watched
    try:
        main()
    finally:
        file.write_bytes(_seen.tobytes())
