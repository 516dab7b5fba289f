"""Logs a lasting problem at once, and from then on once in a while, with the number of messages suppressed."""

from __future__ import annotations

import logging
from collections.abc import Hashable

SECONDS = 10.0
"""Between two lines on the same problem."""


class Complaints:
    """One line per kind of problem in `seconds`; others are counted, and their number is part of the next line.

    Kinds must be few, since all of them are remembered: an origin and its fault, say, but not a path.
    """

    __slots__ = ("_left_out", "_log", "_said", "_seconds")

    def __init__(self, log: logging.Logger, *, seconds: float = SECONDS) -> None:
        self._log = log
        self._seconds = seconds
        self._said: dict[Hashable, float] = {}
        self._left_out: dict[Hashable, int] = {}

    def say(self, kind: Hashable, now: float, message: str, *args: object) -> None:
        """Log a warning, unless one of its kind was logged less than `seconds` ago on the clock of `now`."""
        said = self._said.get(kind)
        if said is not None and abs(now - said) < self._seconds:
            self._left_out[kind] = self._left_out.get(kind, 0) + 1
            return
        self._said[kind] = now
        more = self._left_out.pop(kind, 0)
        if more:
            message, args = f"{message} (%d more like it)", (*args, more)
        self._log.warning(message, *args)
