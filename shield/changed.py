"""Keys that changed lately, in the memory that all workers share; a miss looks them up (`rules.changes`).

Bounded: a new key takes the place of the oldest among its neighbours, and whatever is forgotten before its time makes
all keys count as purged for as long. Keys that were taken down are never forgotten; beyond their number no more are
accepted.

    if changes.live[0]:                     # one load while nothing has changed
        changed = changes.find(key, now)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext

import xxhash

from shield.errors import StoreError
from shield.rules.changes import Changed, ChangeKind
from shield.rules.key import CacheKey

KEYS = 1 << 14
"""Places for keys: about as many as are purged or uploaded in a quarter of an hour on a busy platform."""

MARKS = 64
"""Prefixes that are remembered; beyond that all keys count as purged."""

MOST_TAKEN_DOWN = 1 << 13
"""Keys that can be taken down at a time."""

# Words of the head.
_LIVE = 0  # the time until which anything is in the table; infinite while keys are taken down
_ALL_AT, _ALL_UNTIL = 1, 2  # the change of all keys
_TAKEN = 3  # the number of keys that are taken down
_LOADED = 4  # not 0: those on disk are in the table
_ANY_MARK = 5  # the time until which there are marks
_HEAD = 6

# Words of a mark, and of a key's place.
_HASH, _LENGTH, _MARK_AT, _MARK_UNTIL, _MARK_WORDS = 0, 1, 2, 3, 4
_FIRST, _SECOND, _AT, _UNTIL, _KIND, _VERSION, _KEY_WORDS = 0, 1, 2, 3, 4, 5, 6

_NEIGHBOURS = 8  # places in which a key may be
_GONE = 1  # first word of a place whose key is no longer taken down
_TAKEN_PLACES = 2 * MOST_TAKEN_DOWN
_MARKED_AT = _HEAD
_KEYS_AT = _MARKED_AT + MARKS * _MARK_WORDS
_TAKEN_AT = _KEYS_AT + KEYS * _KEY_WORDS
_WORDS = _TAKEN_AT + _TAKEN_PLACES * 2

SIZE = 8 * _WORDS
"""The bytes of zeroed memory that it needs."""


class ChangedKeys:
    """`memory` is shared by all workers; `alone` excludes other processes. Times are epoch seconds."""

    __slots__ = ("_alone", "_times", "_words", "live")

    def __init__(
        self,
        memory: memoryview | None = None,
        *,
        alone: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        memory = memoryview(bytearray(SIZE)) if memory is None else memory
        self._alone = alone
        self._words = memory.cast("q")
        self._times = memory.cast("d")
        self.live = self._times[:1]
        """Its one item is 0.0 as long as nothing is in the table."""

    # looking up

    def find(self, key: CacheKey, now: float) -> Changed | None:
        """The change of a key; None if there is none that still matters."""
        if self.is_taken_down(key):
            return Changed(ChangeKind.TAKEN_DOWN, 0.0, math.inf)
        first, second = _halves(key.digest)
        words, times = self._words, self._times
        for at in _places(first):
            if words[at] == first and words[at + 1] == second and times[at + _UNTIL] > now:
                found = Changed(
                    ChangeKind(words[at + _KIND]), times[at + _AT], times[at + _UNTIL], words[at + _VERSION]
                )
                if words[at] == first and words[at + 1] == second:  # else it was replaced meanwhile
                    return found
        return self._marked(key.text, now)

    def _marked(self, text: bytes, now: float) -> Changed | None:
        words, times = self._words, self._times
        if times[_ALL_UNTIL] > now:
            return Changed(ChangeKind.PURGED, times[_ALL_AT], times[_ALL_UNTIL])
        if times[_ANY_MARK] <= now:
            return None
        spaceless = text[text.find(b":") + 1 :]
        for at in range(_MARKED_AT, _KEYS_AT, _MARK_WORDS):
            if times[at + _MARK_UNTIL] > now:
                length, wanted = words[at + _LENGTH], words[at + _HASH]
                if any(_hash(each[:length]) == wanted for each in (text, spaceless)):
                    return Changed(ChangeKind.PURGED, times[at + _MARK_AT], times[at + _MARK_UNTIL])
        return None

    def is_taken_down(self, key: CacheKey) -> bool:
        """Whether only the primary can bring a key back."""
        return bool(self._words[_TAKEN]) and self._taken_place(*_halves(key.digest))[0] is not None

    @property
    def taken_down(self) -> int:
        """The number of keys that are taken down."""
        return self._words[_TAKEN]

    # adding

    def add(self, kind: ChangeKind, keys: Iterable[tuple[CacheKey, int]], now: float, until: float) -> None:
        """Note a change of keys, each with the version of its removed entry (0: unknown)."""
        if until <= now:
            return
        with self._alone():
            for key, version in keys:
                self._put(kind, key, version, now, until)
            self._live_until(until)

    def add_prefixes(self, prefixes: Sequence[bytes], now: float, until: float) -> None:
        """Note a purge of all keys whose text begins so, with their space or without it."""
        if until <= now:
            return
        with self._alone():
            for prefix in prefixes:
                self._mark(prefix, now, until)
            self._live_until(until)

    def add_all(self, now: float, until: float) -> None:
        """Note a purge of all keys."""
        if until <= now:
            return
        with self._alone():
            self._all(now, until)
            self._live_until(until)

    def take_down(self, keys: Sequence[CacheKey]) -> None:
        """From now on only the primary can bring these keys back. Raises StoreError when there are too many."""
        with self._alone():
            new = {key.digest for key in keys if self._taken_place(*_halves(key.digest))[0] is None}
            if self._words[_TAKEN] + len(new) > MOST_TAKEN_DOWN:
                raise StoreError(f"{MOST_TAKEN_DOWN} keys can be taken down at a time: lift some of them first")
            for digest in new:
                self._set_taken(digest)

    def lift(self, keys: Sequence[CacheKey]) -> None:
        """End the takedown of these keys."""
        with self._alone():
            for key in keys:
                at = self._taken_place(*_halves(key.digest))[0]
                if at is not None:
                    self._words[at], self._words[at + 1] = _GONE, 0
                    self._words[_TAKEN] -= 1
            self._settle_live()

    def load(self, read: Callable[[], Iterable[bytes]]) -> None:
        """Take down the keys with the digests that `read` returns, if no worker has done so yet. Blocks."""
        if self._words[_LOADED]:
            return
        digests = list(read())
        with self._alone():
            for digest in digests[:MOST_TAKEN_DOWN]:
                if self._taken_place(*_halves(digest))[0] is None:
                    self._set_taken(digest)
            self._words[_LOADED] = 1

    def tick(self, now: float) -> None:
        """Once a second: misses needn't look once nothing matters any more."""
        if 0.0 < self.live[0] <= now:
            with self._alone():
                if self.live[0] <= now:
                    self.live[0] = 0.0

    # with others excluded

    def _live_until(self, until: float) -> None:
        self.live[0] = max(self.live[0], until)

    def _settle_live(self) -> None:
        if not self._words[_TAKEN] and math.isinf(self.live[0]):
            times = self._times
            untils = [times[at + _UNTIL] for at in range(_KEYS_AT, _TAKEN_AT, _KEY_WORDS)]
            untils += [times[at + _MARK_UNTIL] for at in range(_MARKED_AT, _KEYS_AT, _MARK_WORDS)]
            self.live[0] = max(times[_ALL_UNTIL], *untils)

    def _put(self, kind: ChangeKind, key: CacheKey, version: int, now: float, until: float) -> None:
        words, times = self._words, self._times
        first, second = _halves(key.digest)
        places = _places(first)
        own = next((at for at in places if words[at] == first and words[at + 1] == second), None)
        if own is None:
            own = min(places, key=lambda at: times[at + _UNTIL])
            if times[own + _UNTIL] > now:
                self._all(now, times[own + _UNTIL])  # it is forgotten before its time
        elif not version and times[own + _UNTIL] > now:
            version = words[own + _VERSION]  # purged again, before it was stored again
        words[own] = 0  # readers don't find it while it changes
        words[own + 1] = second
        times[own + _AT], times[own + _UNTIL] = now, until
        words[own + _KIND], words[own + _VERSION] = kind, version
        words[own] = first

    def _mark(self, prefix: bytes, now: float, until: float) -> None:
        words, times = self._words, self._times
        wanted, places = _hash(prefix), range(_MARKED_AT, _KEYS_AT, _MARK_WORDS)
        same = [at for at in places if words[at + _HASH] == wanted and words[at + _LENGTH] == len(prefix)]
        own = same[0] if same else min(places, key=lambda at: times[at + _MARK_UNTIL])
        if not same and times[own + _MARK_UNTIL] > now:
            self._all(now, times[own + _MARK_UNTIL])
        times[own + _MARK_UNTIL] = 0.0
        words[own + _HASH], words[own + _LENGTH] = wanted, len(prefix)
        times[own + _MARK_AT], times[own + _MARK_UNTIL] = now, until
        times[_ANY_MARK] = max(times[_ANY_MARK], until)

    def _all(self, now: float, until: float) -> None:
        self._times[_ALL_AT] = now
        self._times[_ALL_UNTIL] = max(self._times[_ALL_UNTIL], until)

    def _set_taken(self, digest: bytes) -> None:
        first, second = _halves(digest)
        at = self._taken_place(first, second)[1]
        self._words[at + 1] = second
        self._words[at] = first
        self._words[_TAKEN] += 1
        self.live[0] = math.inf

    def _taken_place(self, first: int, second: int) -> tuple[int | None, int]:
        """The place of a key that is taken down, and a free one for it."""
        words, free, at = self._words, None, first % _TAKEN_PLACES
        for step in range(_TAKEN_PLACES):
            place = _TAKEN_AT + (at + step) % _TAKEN_PLACES * 2
            if words[place] == first and words[place + 1] == second:
                return place, place
            if words[place] in (0, _GONE) and free is None:
                free = place
            if not words[place]:
                break
        assert free is not None  # twice as many places as keys
        return None, free


def _places(first: int) -> list[int]:
    return [_KEYS_AT + (first + step) % KEYS * _KEY_WORDS for step in range(_NEIGHBOURS)]


def _halves(digest: bytes) -> tuple[int, int]:
    """A digest as two words, of which the first is greater than `_GONE`."""
    first, second = int.from_bytes(digest[:8], "little") >> 1, int.from_bytes(digest[8:], "little") >> 1
    return first | 2, second


def _hash(text: bytes) -> int:
    return xxhash.xxh3_64_intdigest(text) >> 1
