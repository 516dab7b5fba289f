"""Keys that are hot: asked for so often in a short time that copies of them are worth their bytes.

A copy of what another node owns takes room that this node's own keys could have. Simulations with Zipf popularity say
that a third hit within ten seconds is the right moment: copies are a few keys of a hundred, and halve the requests
between nodes.
"""

from __future__ import annotations

_REMEMBERED = 10_000  # keys; more of them aren't hot


class Heat:
    """Counts hits of keys: the one that makes it `times` within `seconds`, and each after that, is hot. Remembers
    the keys that were hit last, some hundred bytes each.
    """

    __slots__ = ("_hits", "_seconds", "_times")

    def __init__(self, *, times: int, seconds: float) -> None:
        self._times = times
        self._seconds = seconds
        self._hits: dict[bytes, tuple[float, ...]] = {}  # times of the last ones

    def hit(self, digest: bytes, now: float) -> bool:
        """Note a hit; whether the key is hot."""
        since = now - self._seconds
        last = tuple([at for at in self._hits.pop(digest, ()) if at >= since])
        if len(last) + 1 >= self._times:
            self._hits[digest] = (*last, now)[-self._times + 1 :] if self._times > 1 else ()
            return True
        self._hits[digest] = (*last, now)
        if len(self._hits) > _REMEMBERED:
            del self._hits[next(iter(self._hits))]
        return False


class RoomForCopies:
    """A sum of sizes with a limit, of which the oldest are given up first."""

    __slots__ = ("_limit", "_sizes", "used")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._sizes: dict[bytes, int] = {}
        self.used = 0

    def take(self, name: bytes, size: int) -> list[bytes] | None:
        """Take so much for a name; returns the names that are to be given up for it, None if it is too much."""
        if size > self._limit:
            return None
        self.give_back(name)
        self._sizes[name] = size
        self.used += size
        given_up = []
        while self.used > self._limit:
            oldest = next(iter(self._sizes))
            self.give_back(oldest)
            given_up.append(oldest)
        return given_up

    def give_back(self, name: bytes) -> None:
        self.used -= self._sizes.pop(name, 0)

    def __len__(self) -> int:
        return len(self._sizes)

    def __contains__(self, name: object) -> bool:
        return name in self._sizes
