"""Comparison of a stored object with another origin's copy, for a sample of the fills. Pure.

Replicas drift apart unnoticed: a lost delete, an overwrite that was never replicated, another encoder. A listing
shows what is missing; only the bytes show what is wrong. A few comparisons a minute, most by a HEAD, find out in
days what an audit of everything would.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from shield.rules.identity import Proof

LARGEST = 8 << 20
"""Bytes of a body that is fetched to be compared; larger objects are compared by their heads alone."""

QUARANTINES = 10_000
"""Keys in quarantine at an origin at most; the oldest is forgotten."""

QUARANTINE_SECONDS = 6 * 3600.0
"""After which a key is trusted at that origin again: it may have been repaired, and is found again if not."""


class SpotResult(Enum):
    """The result of comparing two origins' copies of an object."""

    SAME = "same"
    DIFFERENT = "different"
    ABSENT = "absent"  # the other one doesn't have it, though it should
    LAGGING = "lagging"  # they differ, but one of them was written too lately to be there yet
    UNKNOWN = "unknown"  # the bytes weren't compared: too large, the budget is spent, or a fault

    @property
    def is_wrong(self) -> bool:
        """Whether an origin has other bytes."""
        return self is SpotResult.DIFFERENT


@dataclass(frozen=True, slots=True)
class SpotCopy:
    """One origin's copy. `modified` is its Last-Modified in epoch seconds, if stated; `max_lag` is the origin's, in
    seconds.
    """

    origin: str
    is_primary: bool = False
    max_lag: float = 0.0
    modified: float | None = None


def partner(
    filled: str, origins: Sequence[str], *, primary: str | None, newcomers: Sequence[str], chance: float
) -> str | None:
    """The origin whose copy is compared with that of the fill; None if there is none.

    `origins` are those that can be asked now, `newcomers` those whose share of keys grows; `chance` is from 0 to 1.
    """
    others = [name for name in origins if name != filled]
    if not others:
        return None
    for name in newcomers:
        if name in others:
            return name
    if primary in others:
        return primary
    return others[min(int(chance * len(others)), len(others) - 1)]


def by_heads(proof: Proof, ours: SpotCopy, theirs: SpotCopy, now: float) -> SpotResult | None:
    """The result as far as heads tell; None if the bytes must be compared."""
    if proof.is_full:
        return SpotResult.SAME
    return None if proof is Proof.OVERLAP else differing(ours, theirs, now)


def differing(ours: SpotCopy, theirs: SpotCopy, now: float) -> SpotResult:
    """The result for copies with other bytes: a late replication isn't a wrong copy."""
    lag = max(ours.max_lag, theirs.max_lag)
    times = [copy.modified for copy in (ours, theirs) if copy.modified is not None]
    return SpotResult.LAGGING if times and now - max(times) < lag else SpotResult.DIFFERENT


def missing(ours: SpotCopy, theirs: SpotCopy, now: float, *, holds_part: bool) -> SpotResult:
    """The result for a copy that isn't there. `holds_part`: that origin has only some of the objects."""
    if holds_part:
        return SpotResult.UNKNOWN
    lag = max(ours.max_lag, theirs.max_lag)
    is_young = ours.modified is not None and now - ours.modified < lag
    return SpotResult.LAGGING if is_young else SpotResult.ABSENT


def suspect(ours: SpotCopy, theirs: SpotCopy) -> str:
    """The origin whose copy isn't trusted after a difference: never the primary's."""
    return ours.origin if theirs.is_primary else theirs.origin


class ByteBudget:
    """Bytes for comparisons: so many per day, a sixteenth of them at once at most."""

    __slots__ = ("_at", "_most", "_rate", "_saved")

    def __init__(self, per_day: float, now: float) -> None:
        self._rate = per_day / 86_400.0
        self._most = self._saved = per_day / 16.0
        self._at = now

    def take(self, size: int, now: float) -> bool:
        """Whether so many bytes may be fetched now; if so, they are paid for."""
        self._saved = min(self._most, self._saved + max(0.0, now - self._at) * self._rate)
        self._at = now
        if self._saved < size:
            return False
        self._saved -= size
        return True


class Quarantined(NamedTuple):
    """An object that an origin isn't asked for, for so many seconds; the text of its entry's key, if it is known."""

    path: bytes
    origin: str
    left: float
    key: bytes = b""


class Quarantine:
    """Keys that an origin isn't asked for, since its copy has been shown to differ: here, or at another node.

    Of one worker.
    """

    __slots__ = ("_heard", "_keys", "_until")

    def __init__(self) -> None:
        self._until: dict[tuple[bytes, str], float] = {}  # found here
        self._keys: dict[tuple[bytes, str], bytes] = {}  # of the entries by which that was found
        self._heard: dict[tuple[bytes, str], float] = {}

    def __len__(self) -> int:
        return len(self._until) + len(self._heard)

    def add(self, path: bytes, origin: str, now: float, key: bytes = b"") -> None:
        """Don't ask this origin for the object from now on. `key` is the text of the entry's key."""
        self._until.pop((path, origin), None)
        self._until[path, origin] = now + QUARANTINE_SECONDS
        self._keys[path, origin] = key
        if len(self._until) > QUARANTINES:
            oldest = next(iter(self._until))
            del self._until[oldest], self._keys[oldest]

    def hear(self, found: Mapping[tuple[bytes, str], float]) -> None:
        """These are all that others found, by path and origin: until when."""
        self._heard = dict(found)

    def own(self, now: float, most: int) -> list[Quarantined]:
        """The newest of those that were found here and hold, the newest last."""
        found: list[Quarantined] = []
        for (path, origin), until in reversed(self._until.items()):
            if until <= now or len(found) >= most:
                break  # all before it have ended, too
            found.append(Quarantined(path, origin, until - now, self._keys[path, origin]))
        return found[::-1]

    def trusted(self, path: bytes, origins: Sequence[str], now: float) -> Sequence[str]:
        """The origins in their order, those in quarantine for this object left out; all of them if none is left."""
        if not self._until and not self._heard:
            return origins
        own, heard = self._until, self._heard
        left = [name for name in origins if own.get((path, name), now) <= now and heard.get((path, name), now) <= now]
        return left or origins
