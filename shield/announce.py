"""Announcements carried out: their objects are fetched from the primary first, and absences are forgotten."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shield.errors import RequestError
from shield.fill.table import FillTable
from shield.messages import Request
from shield.purge import Purge
from shield.regime import InForce
from shield.rules.announcements import Announcement, BucketEvent, targets_of
from shield.rules.changes import ChangeKind, primary_of
from shield.rules.egress import FetchReason
from shield.store.tiers import Store

MOST_PREFETCHED = 64
"""Objects that are fetched at once because of one announcement: origins must bear it."""


@dataclass(frozen=True, slots=True)
class Announced:
    """The result of an announcement: keys that count as changed, entries removed, and objects being fetched.
    `ignored` are events that concern no key of this node; `unknown` are buckets that no origin has.
    """

    keys: int
    removed: int
    prefetched: int
    ignored: int
    unknown: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Announcing:
    """What an announcement is about: objects by their change, and events as in `Announced`."""

    wanted: Mapping[ChangeKind, Sequence[bytes]]
    ignored: int
    unknown: tuple[str, ...]


class Announcer:
    """Carries out announcements for the whole node."""

    def __init__(self, in_force: InForce, purge: Purge, store: Store, fills: FillTable) -> None:
        self._in_force = in_force
        self._purge = purge
        self._store = store
        self._fills = fills

    async def announce(self, announcement: Announcement) -> Announced:
        """When this returns, no worker serves a deleted object, or says that a new one is absent. Raises RequestError
        for a name that no client could request.
        """
        meant = self.meaning(announcement)
        keys, removed = await self.carry_out(meant.wanted)
        fetched = self.prefetch(meant.wanted) if announcement.prefetch else 0
        return Announced(keys, removed, fetched, meant.ignored, meant.unknown)

    def meaning(self, announcement: Announcement) -> Announcing:
        """What an announcement is about."""
        wanted: dict[ChangeKind, list[bytes]] = {}
        for kind, name in announcement.names:
            wanted.setdefault(kind, []).append(name)
        ignored, unknown = announcement.ignored, dict[str, None]()
        for event in announcement.events:
            targets = self._targets(event)
            if targets is None:
                unknown[event.bucket] = None
            ignored += not targets
            wanted.setdefault(event.kind, []).extend(targets or ())
        return Announcing(wanted, ignored, tuple(unknown))

    async def carry_out(self, wanted: Mapping[ChangeKind, Sequence[bytes]]) -> tuple[int, int]:
        """Have objects count as changed; returns the number of keys, and of entries removed. Raises as `announce`."""
        keys = removed = 0
        for kind, names in wanted.items():
            if kind is ChangeKind.DELETED:
                removed += await self._purge.forget(names)
                keys += len(names)
            else:
                keys += await self._purge.outdate(kind, names)
        return keys, removed

    def prefetch(self, wanted: Mapping[ChangeKind, Sequence[bytes]]) -> int:
        """Fetch the first of them; returns how many."""
        there = [name for kind, names in wanted.items() if kind is not ChangeKind.DELETED for name in names]
        return sum([self._prefetch(name) for name in there[:MOST_PREFETCHED]])

    def _targets(self, event: BucketEvent) -> list[bytes] | None:
        """The paths of the object that an event names; none if it isn't the primary's. None for an unknown bucket."""
        regime = self._in_force.regime
        origins = regime.buckets.get(event.bucket)
        if origins is None:
            return None
        primaries = {primary_of(route.facts) for route in regime.routes} - {None}
        if primaries and primaries.isdisjoint(origins):
            return []  # a replica has received it
        # Copies of the primary's bucket may have other names.
        copies = {name for names in regime.buckets.values() for name in names} if primaries else origins
        return list(targets_of(event.key, copies, regime.routes))

    def _prefetch(self, name: bytes) -> bool:
        try:
            resource = self._in_force.regime.targets.resolve(name)
        except RequestError:
            return False  # a key by its text
        request = Request.of(b"GET", name, ())
        if resource.route.particular and resource.route.forwarding.any:
            resource = self._store.variants.of(resource, request)
        if self._fills.is_paused(resource):
            return False
        entry = self._store.lookup(resource.key.text)
        self._fills.refresh(
            resource, request, None if entry is None or entry.is_marker else entry, purpose=FetchReason.PREFETCH
        )
        return True
