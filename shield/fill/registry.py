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
        """It turned out to bring this variant: requests for that one find it from now on."""

    def forget(self, fill: F) -> None:
        """No later request joins it."""

    def drop(self, key: CacheKey) -> None:
        """The entry under the key isn't to be found any more."""

    def note_sharing(self, text: bytes, said: HitForMiss) -> None:
        """An answer under this key says whether the next requests need wait for each other."""

    def sliced(self, resource: Resource, request: Request, entry: Entry) -> SlicedFill:
        """The fill of this version's slices."""
