"""Settings as a node has them at one time: what is loaded, and which of its loads it is."""

from __future__ import annotations

from dataclasses import dataclass, replace

from shield.config.loading import Loaded, load_again


@dataclass(frozen=True, slots=True)
class Edition:
    """Can be sent to another process. `since` is in epoch seconds; `waiting` are keys that wait for a restart."""

    loaded: Loaded
    generation: int = 1
    since: float = 0.0
    waiting: tuple[str, ...] = ()
    is_latest: bool = True  # no later one was refused

    def next(self, now: float) -> Edition:
        """Read again where these came from. Blocks. Raises ConfigError."""
        loaded, waiting = load_again(self.loaded)
        return Edition(loaded, self.generation + 1, now, waiting)

    def outdated(self) -> Edition:
        """The same, once a later one has been refused."""
        return replace(self, is_latest=False)
