"""Counts bytes at origins by tags of responses: of those tags alone that cost is to be told by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from shield.messages import ResponseHead
from shield.rules.tags import tags_of

MOST_TAGS = 1000
"""Tags that a worker tells apart; further ones count together as `OTHERS`."""

OTHERS = "(more tags)"
TAGGED = ""
"""In place of a tag: responses with any of them, each once, since one may have several."""


class TagReading(NamedTuple):
    """Responses of an origin with a tag since the worker began, and bytes of their bodies."""

    origin: str
    tag: str
    requests: int
    received: int


class TagMeter:
    """Of one worker. `beginnings` are those of tags that count, `names` the fields that have tags, in lower case."""

    __slots__ = ("_beginnings", "_counts", "_names", "_tags")

    def __init__(self, beginnings: Sequence[bytes], names: Sequence[bytes]) -> None:
        self._beginnings, self._names = tuple(beginnings), tuple(names)
        self._counts: dict[tuple[str, str], list[int]] = {}
        self._tags: set[str] = set()

    def answered(self, origin: str, head: ResponseHead, size: int) -> None:
        """A response has begun, with a body of `size` bytes."""
        if not head.has_any(self._names):
            return
        found = {self._told_apart(tag) for tag in tags_of(head, self._names) if tag.startswith(self._beginnings)}
        for tag in (TAGGED, *found) if found else ():
            counts = self._counts.setdefault((origin, tag), [0, 0])
            counts[0] += 1
            counts[1] += size

    def _told_apart(self, tag: bytes) -> str:
        name = tag.decode("utf-8", "replace")
        if name not in self._tags:
            if len(self._tags) >= MOST_TAGS:
                return OTHERS
            self._tags.add(name)
        return name

    def readings(self) -> Iterator[TagReading]:
        for (origin, tag), (requests, received) in self._counts.items():
            yield TagReading(origin, tag, requests, received)
