"""A level of the log for a while, as one number that all workers of a node share. Pure."""

from __future__ import annotations

from typing import NamedTuple

LEVELS = ("debug", "info", "warning", "error")
"""Levels as settings spell them, the lowest first."""

LONGEST_SECONDS = 86400.0
"""Nobody wants a debug log for longer by mistake."""

USUAL_SECONDS = 600.0

_MILLISECONDS = 1000


class LevelForNow(NamedTuple):
    """A level, and its end in epoch seconds."""

    level: str
    until: float


def packed(found: LevelForNow | None) -> int:
    """Of 8 bytes; None: the settings' own level."""
    return 0 if found is None else (int(found.until * _MILLISECONDS) << 8) | (LEVELS.index(found.level) + 1)


def unpacked(word: int, now: float) -> LevelForNow | None:
    """The level in force at that time. None also for a number without meaning."""
    until, place = (word >> 8) / _MILLISECONDS, (word & 0xFF) - 1
    if not 0 <= place < len(LEVELS) or not now < until <= now + LONGEST_SECONDS + 60.0:
        return None  # with a minute for clocks that are set back
    return LevelForNow(LEVELS[place], until)
