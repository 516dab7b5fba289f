"""An edition of a node's settings: the result of loading them, and its number."""

from __future__ import annotations

from dataclasses import dataclass, replace

from shield.config.loading import Loaded, load_again


@dataclass(frozen=True, slots=True)
class Edition:
    """One edition. Can be sent to another process. `since` is in epoch seconds; `waiting` are keys whose new values
    wait for a restart.
    """

    loaded: Loaded
    generation: int = 1
    since: float = 0.0
    waiting: tuple[str, ...] = ()
    is_latest: bool = True  # no later one was refused

    def next(self, now: float) -> Edition:
        """The next edition, loaded from the same sources. Blocks. Raises ConfigError."""
        loaded, waiting = load_again(self.loaded)
        return Edition(loaded, self.generation + 1, now, waiting)

    def outdated(self) -> Edition:
        """This edition, once a later one has been refused."""
        return replace(self, is_latest=False)
