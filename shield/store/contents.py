"""What a node has under a key: in the RAM of each worker, on the way to a disk, and on disks. Looking
counts as no use.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from shield.rules.freshness import Freshness
from shield.rules.key import CacheKey, key_of_text
from shield.store.entry import Entry
from shield.store.tiers import Store

MEMORY = "memory"
WRITING = "writing"
"""The tiers of entries that are on no disk, or not yet."""

MOST_SIZES = 500
"""Objects in one question for sizes: their keys are found without others having a turn."""

_MOST_TAGS = 100
_SIZES = b"sizes,"  # begins another query than for one key, which is in hexadecimal
_QUERY_BYTES = 8 << 10

AskOtherWorkers = Callable[[bytes], Awaitable[Iterable[bytes]]]
"""Sends a query to the other workers; those that respond."""


@dataclass(frozen=True, slots=True)
class ShownEntry:
    """An entry for people. Times in seconds; `ttl` is negative if it is stale. `worker` None: all workers have it."""

    key: str
    tier: str
    worker: int | None
    directory: str | None
    status: int
    bytes: int
    age: float
    ttl: float
    grace: float
    error_grace: float
    etag: str | None
    tags: list[str]
    origin: str | None


@dataclass(frozen=True, slots=True)
class ShownContents:
    """All entries under a key and its variants; `vary` are the fields by which these differ."""

    vary: tuple[str, ...]
    entries: tuple[ShownEntry, ...]


class Contents:
    """Of one worker, and through it of the node."""

    def __init__(self, store: Store, worker: int, *, clock: Callable[[], float]) -> None:
        self._store = store
        self._worker = worker
        self._clock = clock

    async def of_all(self, key: CacheKey, others: AskOtherWorkers) -> ShownContents:
        """The entries of all workers that answer, and of the disks."""
        parts = [self._own(key), *[json.loads(each) for each in await others(key.text.hex().encode())]]
        texts = list(dict.fromkeys([text for part in parts for text in part.get("keys", ())]))
        keys = [key, *[key_of_text(bytes.fromhex(text)) for text in texts]]
        entries = [ShownEntry(**each) for part in parts for each in part.get("entries", ())]
        on_disks = await asyncio.get_running_loop().run_in_executor(None, self._on_disks, keys)
        vary = {name: None for part in parts for name in part.get("vary", ())}
        return ShownContents(tuple(vary), (*entries, *on_disks))

    async def sizes(self, keys: Sequence[CacheKey], others: AskOtherWorkers) -> dict[bytes, int]:
        """The lengths of objects' bodies, by the texts of their keys, as far as a disk or a worker has them."""
        found = await asyncio.get_running_loop().run_in_executor(None, self._sizes_on_disks, keys)
        found |= self._sizes_in_memory([key.text for key in keys if key.text not in found])
        for texts in _batches([key.text for key in keys if key.text not in found]):
            query = _SIZES + b",".join([text.hex().encode() for text in texts])
            for each in await others(query):
                found |= {bytes.fromhex(text): size for text, size in json.loads(each).items()}
        return found

    def _sizes_on_disks(self, keys: Sequence[CacheKey]) -> dict[bytes, int]:
        """Blocks."""
        sizes = [(key.text, self._store.size_on_disks(key)) for key in keys]
        return {text: size for text, size in sizes if size is not None}

    def _sizes_in_memory(self, texts: Iterable[bytes]) -> dict[bytes, int]:
        entries = [(text, entry) for text in texts for entry in self._store.shown(text) if entry is not None]
        return {text: entry.length for text, entry in entries if entry.head.status == 200 and not entry.is_marker}

    def answer(self, query: bytes) -> bytes:
        """This worker's entries in RAM, for another one."""
        if query.startswith(_SIZES):
            texts = [bytes.fromhex(text.decode()) for text in query.removeprefix(_SIZES).split(b",")]
            return json.dumps({text.hex(): size for text, size in self._sizes_in_memory(texts).items()}).encode()
        try:
            key = key_of_text(bytes.fromhex(query.decode("ascii", "replace")))
        except ValueError:
            return b"{}"
        return json.dumps(self._own(key)).encode()

    def _own(self, key: CacheKey) -> dict[str, Any]:
        variants = self._store.variants.keys(key)
        entries = [
            self._shown(entry.key, tier, entry.freshness, entry)
            for each in (key, *variants)
            for tier, entry in zip((MEMORY, WRITING), self._store.shown(each.text), strict=True)
            if entry is not None and not entry.is_marker
        ]
        return {
            "vary": [_text(name) for name in self._store.variants.names(key)],
            "keys": [each.text.hex() for each in variants],
            "entries": [asdict(entry) for entry in entries],
        }

    def _shown(self, key: CacheKey, tier: str, freshness: Freshness, entry: Entry) -> ShownEntry:
        now = self._clock()
        return ShownEntry(
            key=_text(key.text),
            tier=tier,
            worker=self._worker,
            directory=None,
            status=entry.head.status,
            bytes=entry.length,
            **_times(freshness, now),
            etag=None if entry.etag is None else _text(entry.etag),
            tags=_tags(entry.tags),
            origin=entry.origin,
        )

    def _on_disks(self, keys: Iterable[CacheKey]) -> list[ShownEntry]:
        """Blocks."""
        now, shown = self._clock(), []
        for key in keys:
            for place, stored, freshness in self._store.records(key):
                if not place.found.status:
                    continue  # it only says what the responses vary by
                record = stored.header.record
                shown.append(
                    ShownEntry(
                        key=_text(key.text),
                        tier=place.tier.name,
                        worker=None,
                        directory=str(place.volume.path),
                        status=place.found.status,
                        bytes=place.found.total or place.found.body_length,
                        **_times(freshness, now),
                        etag=None if record.etag is None else _text(record.etag),
                        tags=_tags(stored.header.tags),
                        origin=record.origin,
                    )
                )
        return shown


def _batches(texts: Iterable[bytes]) -> Iterator[list[bytes]]:
    """As many at a time as a question to another worker may have."""
    batch, size = list[bytes](), 0
    for text in texts:
        if batch and size + 2 * len(text) > _QUERY_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(text)
        size += 2 * len(text)
    if batch:
        yield batch


def _times(freshness: Freshness, now: float) -> dict[str, float]:
    return {
        "age": round(freshness.age(now), 3),
        "ttl": round(freshness.ttl(now), 3),
        "grace": freshness.grace,
        "error_grace": freshness.error_grace,
    }


def _tags(tags: bytes) -> list[str]:
    return [_text(tag) for tag in tags.split(b"\n")[:_MOST_TAGS] if tag]


def _text(value: bytes) -> str:
    return value.decode("ascii", "backslashreplace")
