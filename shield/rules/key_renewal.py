"""When credentials from a command or a cloud's chain are obtained again. Pure."""

from __future__ import annotations

AHEAD_SECONDS = 900.0
"""Before their expiry: a quarter of the shortest usual lifetime, one hour, so that a source may fail for a while."""

FIRST_RETRY = 5.0
LONGEST_RETRY = 60.0
"""Seconds after a failure, twofold each time."""

LEAST_SECONDS = 5.0
"""Between two runs: a source of expired credentials mustn't be run in a loop."""

SPREAD = 0.1
"""Part of a wait that is random, so that not all workers and nodes ask at once."""


def next_in(
    now: float, *, expires: float | None, refresh: float, failures: int, chance: float, least: float = LEAST_SECONDS
) -> float:
    """Seconds until the next attempt. `now` and `expires` are epoch seconds, `failures` those in a row, `chance` is
    from 0 to 1. The wait is only ever shortened by chance, by `SPREAD` at most.
    """
    if failures:
        wait = min(LONGEST_RETRY, FIRST_RETRY * 2.0 ** min(failures - 1, 16))
    elif expires is None:
        wait = refresh
    else:
        left = expires - now
        wait = left - min(AHEAD_SECONDS, left / 2.0)
    return max(least, wait * (1.0 - SPREAD * chance))
