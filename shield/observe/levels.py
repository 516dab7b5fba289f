"""The level of the log, by the settings or by another one for a while, which all workers of a node take over."""

from __future__ import annotations

import logging
from collections.abc import Callable

from shield.rules.log_level import LevelForNow, packed, unpacked

log = logging.getLogger("shield.log")

_OURS = logging.getLogger("shield")


class LogLevels:
    """`usual` is the settings' own level; `word` is shared by all workers. `tick` once a second."""

    def __init__(self, usual: str, word: memoryview, *, clock: Callable[[], float]) -> None:
        self.usual = usual
        self._word = word
        self._clock = clock
        self._applied: LevelForNow | None = None

    @property
    def now(self) -> LevelForNow | None:
        """The other level that holds now."""
        return unpacked(self._word[0], self._clock())

    def set(self, level: str, seconds: float) -> LevelForNow:
        """Another level for so long, here at once and in all workers within a second."""
        self._word[0] = packed(LevelForNow(level, self._clock() + seconds))
        self.tick()
        return self.now or LevelForNow(level, self._clock())

    def end(self) -> None:
        """Back to the settings' own."""
        self._word[0] = packed(None)
        self.tick()

    def tick(self) -> None:
        """Apply the levels in force now."""
        found, before = self.now, self._applied
        if found is None:
            if before is not None:
                self._applied = None
                _put(self.usual, "the level of the log is %s again, as the settings say", self.usual)
        elif found != before:
            self._applied = found
            left = found.until - self._clock()
            _put(found.level, "the level of the log is %s for %.0f s", found.level, left)
        elif logging.getLevelName(found.level.upper()) != _OURS.level:  # a reload has put the settings' own in force
            _OURS.setLevel(found.level.upper())


def _put(level: str, message: str, *args: object) -> None:
    """Change the level, and say so as long as that isn't left out itself."""
    number = logging.getLevelName(level.upper())
    if number > logging.WARNING:
        log.warning(message, *args)
    _OURS.setLevel(number)
    if number <= logging.WARNING:
        log.warning(message, *args)
