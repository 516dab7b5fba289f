"""How long a node that has just started asks the node that stood in for it, before it asks origins.

While a node is away, the second of a key's order answers for it, and has what was asked for. When it is back, that is
nearer and cheaper than an origin: but each key that isn't there costs a round trip. So it goes on for a while, and
ends early if it isn't worth it: after a start of the whole cluster, nobody has anything.
"""

from __future__ import annotations

SECONDS = 600.0
"""After this time, all objects still in demand have been requested."""

TRIED = 200
"""Keys after each of which is judged whether it is worth it."""

LEAST = 0.02
"""The share of them that must have been there."""


class Heritage:
    """Of a node that starts `now`."""

    __slots__ = ("_asked", "_found", "_until", "found", "is_open")

    def __init__(self, now: float) -> None:
        self._until = now + SECONDS
        self._asked = self._found = 0
        self.found = 0
        self.is_open = True

    def note(self, *, was_there: bool, now: float) -> None:
        """A key was asked for."""
        self._asked += 1
        self._found += was_there
        self.found += was_there
        if self._asked >= TRIED:
            self.is_open = self._found >= LEAST * self._asked
            self._asked = self._found = 0
        if now >= self._until:
            self.is_open = False
