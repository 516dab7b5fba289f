"""All fills of a worker, as one of them sees it."""

from __future__ import annotations

from typing import Protocol, TypeVar

from shield.fill.settlement import HitForMiss
from shield.fill.sliced import SlicedFill, SlicedRegistry
from shield.messages import Request
from shield.rules.key import CacheKey
from shield.rules.routes import Resource
from shield.store.entry import Entry

F = TypeVar("F", contravariant=True)


class Registry(SlicedRegistry, Protocol[F]):
    """All fills of a worker, as one of them, an F, sees it."""

    def rename(self, fill: F, resource: Resource) -> None:
        """It turned out to be of this variant: requests for that one join it from now on."""

    def forget(self, fill: F) -> None:
        """Later requests don't join it."""

    def drop(self, key: CacheKey) -> None:
        """Drop the entry under the key."""

    def outdate(self, stored: Entry, found: SlicedFill) -> None:
        """Origins have another version than the stored entry: it is dropped once nobody reads it."""

    def note_sharing(self, text: bytes, said: HitForMiss) -> None:
        """A response under this key shows whether the next requests need wait for each other."""

    def sliced(self, resource: Resource, request: Request, entry: Entry, keeps: bool = True) -> SlicedFill:
        """The fill of this version's slices; `keeps` False: another node stores them."""
