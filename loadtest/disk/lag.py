"""Shield with a probe on its event loop: how late a timer of a millisecond fires.

    python -m loadtest.disk.lag FILE serve --config shield.yaml

When the loop ends, the file has pairs of doubles: the monotonic time, and how many seconds late.
"""

from __future__ import annotations

import array
import sys
import time
from pathlib import Path

import uvloop

from shield.cli import main

TICK = 0.001

_make_loop = uvloop.new_event_loop
_seen = array.array("d")


def _watched() -> uvloop.Loop:
    loop = _make_loop()

    def tick(due: float) -> None:
        now = time.monotonic()
        _seen.extend((now, now - due))
        loop.call_later(TICK, tick, now + TICK)

    loop.call_soon(tick, time.monotonic())
    return loop


def samples(path: Path, start: float, stop: float) -> list[float]:
    """Seconds late, of all ticks between two moments."""
    seen = array.array("d", path.read_bytes())
    pairs = zip(seen[::2], seen[1::2], strict=True)
    return sorted(late for moment, late in pairs if start <= moment < stop)


if __name__ == "__main__":
    file = Path(sys.argv[1])
    sys.argv = ["shield", *sys.argv[2:]]
    uvloop.new_event_loop = _watched
    try:
        main()
    finally:
        file.write_bytes(_seen.tobytes())
