"""All fills of a worker, as one of them sees it."""

from __future__ import annotations

from typing import Protocol, TypeVar

from shield.fill.sliced import SlicedFill, SlicedRegistry
from shield.messages import Request
from shield.rules.routes import Resource
from shield.store.entry import Entry

Fill = TypeVar("Fill", contravariant=True)


class Registry(SlicedRegistry, Protocol[Fill]):
    """All fills of a worker, as one of them sees it."""

    def rename(self, fill: Fill, resource: Resource) -> None:
        """It turned out to bring this variant: those who want that one find it from now on."""

    def forget(self, fill: Fill) -> None:
        """No later request joins it."""

    def mark_large(self, resource: Resource) -> None:
        """It is too large to be kept: of later ranges nothing else is asked for."""

    def mark_hit_for_miss(self, text: bytes) -> None:
        """Answers under this key can't be shared: the next ones needn't wait to find out."""

    def forget_hit_for_miss(self, text: bytes) -> None: ...

    def sliced(self, resource: Resource, request: Request, entry: Entry) -> SlicedFill:
        """The fill of this version's slices."""
