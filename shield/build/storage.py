"""The store of one worker: its RAM tier, and the tiers on disk."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from shield.config.settings import Settings, TierSettings
from shield.config.units import GIB
from shield.errors import ConfigError, StoreError
from shield.purge_log import PurgeLog
from shield.shared import SLOTS, Seat
from shield.store.admission import Admission
from shield.store.directory.files import Files
from shield.store.directory.premises import DirectoryLimits
from shield.store.disk import Disk, Tier
from shield.store.memory import MemoryTier
from shield.store.tiers import Store
from shield.store.upkeep.ground import Wish, notes
from shield.store.volume import Claimant, Volume, boot_id

_MEAN_ENTRY = 40 << 10


@dataclass(frozen=True, slots=True)
class Storage:
    """The store as a service of the node."""

    store: Store
    log: PurgeLog
    disk: Disk | None = None
    tiers: Sequence[Tier] = ()

    @property
    def name(self) -> str:
        return "the store"

    async def open(self) -> None:
        """Claim the directories. Raises ConfigError when another node has one of them."""
        if self.disk is None:
            return
        try:
            self.disk.open(self.tiers)
        except StoreError as error:
            await self.store.close()
            raise ConfigError([str(error)]) from None

    def tick(self) -> None:
        self.store.tick()

    async def close(self) -> None:
        await self.store.close()


def directory_notes(settings: Settings) -> list[str]:
    """Notes on the directories of the disk tiers, one line each."""
    wishes = [
        Wish(tier.name, directory.path, directory.capacity, directory.free_floor)
        for tier in settings.cache.tiers
        for directory in tier.directories
    ]
    return list(notes(wishes, user=os.geteuid(), show=lambda count: f"{count / GIB:.1f}GiB"))


def storage_of(settings: Settings, place: Seat, clock: Callable[[], float], files: Files | None = None) -> Storage:
    """The tiers of one worker. `files` is the system that disks are on; None: the real one."""
    cache = settings.cache
    capacity = cache.memory.capacity // place.workers
    memory = MemoryTier(capacity=capacity, max_entry=min(cache.memory.max_entry or capacity // 8, capacity))
    if not cache.tiers:
        store = Store(memory, place.shared)
        return Storage(store, _log(store, place, clock))
    disk = Disk(place.shared, clock=clock)
    admission = Admission(entries_in(cache.tiers) // place.workers) if cache.admission == "repeated" else None
    store = Store(memory, place.shared, disk=disk, slice_bytes=cache.slice_bytes, admission=admission)
    log = _log(store, place, clock)
    return Storage(store, log, disk, _tiers(settings, place, disk, log, files or Files()))


def _log(store: Store, place: Seat, clock: Callable[[], float]) -> PurgeLog:
    return PurgeLog(
        place.shared,
        state=place.state,
        marks=store.marks,
        directories=store.directories,
        clock=clock,
        worker=place.worker,
    )


def _tiers(settings: Settings, place: Seat, disk: Disk, log: PurgeLog, files: Files) -> list[Tier]:
    holder, tiers = Claimant(settings.node, boot_id(), place.writer, place.shared, rebuilds=place.worker == 0), []
    max_open = files.max_open() // 4 // sum(len(tier.directories) for tier in settings.cache.tiers)
    for level, tier in enumerate(settings.cache.tiers):
        volumes = [
            Volume(
                directory.path,
                DirectoryLimits(capacity=directory.capacity, free_floor=directory.free_floor, max_open=max_open),
                holder=holder,
                files=files,
                judge=disk.judge(level),
                screen=disk.screen,
                joining=log.join,
            )
            for directory in tier.directories
        ]
        tiers.append(Tier(tier.name, level, volumes, [directory.capacity for directory in tier.directories]))
    return tiers


def hit_slots(settings: Settings) -> int:
    """Counters of hits: about one for each entry that the disks may hold, in powers of two; a byte each."""
    return min(max(SLOTS, 1 << (entries_in(settings.cache.tiers) - 1).bit_length()), 1 << 26)


def entries_in(tiers: Sequence[TierSettings]) -> int:
    """A rough number of entries that fit into tiers, for an image platform."""
    capacity = sum(directory.capacity for tier in tiers for directory in tier.directories)
    return max(1, capacity // _MEAN_ENTRY)
