"""Families of metrics of the store: the RAM tier, and the tiers on disk."""

from __future__ import annotations

from collections.abc import Callable

from shield.observe.metrics import Family, Sample, labelled, number
from shield.store.directory.directory import DirectoryStatistics, DirectoryWork
from shield.store.memory import MemoryStatistics
from shield.store.tiers import DiskStatistics


def memory_families(memory: MemoryStatistics) -> list[Family]:
    """The RAM tier."""
    return [
        number("memory_entries", "Entries in the RAM tier", memory.entries, gauge=True),
        number("memory_used_bytes", "Bytes used in the RAM tier", memory.used_bytes, gauge=True),
        number("memory_capacity_bytes", "Bytes the RAM tier may use", memory.capacity_bytes, gauge=True),
        number("memory_evictions", "Entries evicted from the RAM tier", memory.evictions),
    ]


def disk_families(disk: DiskStatistics) -> list[Family]:
    """The tiers on disk. Their contents are the same for all workers of a node; work is counted by worker."""
    hits = {tier.name: tier.hits for tier in disk.tiers}
    read = {tier.name: tier.read_bytes for tier in disk.tiers}
    return [
        labelled("disk_hits", "Records read for clients", "tier", hits),
        labelled("disk_read_bytes", "Body bytes read for clients", "tier", read),
        number("disk_cold_reads", "Reads that waited for a disk", disk.cold_reads),
        number("disk_promoted", "Records promoted to the first tier", disk.promoted),
        number("disk_unwritten", "Entries that no disk took", disk.unwritten),
        number("disk_pending", "Entries on their way to a disk", disk.pending, gauge=True),
        _of_work(disk, "disk_written_bytes", "Bytes written", lambda work: work.written_bytes),
        _of_work(disk, "disk_damaged", "Records found damaged", lambda work: work.damaged),
        _of_work(disk, "disk_errors", "Failed system calls", lambda work: work.errors),
        _of_directories(disk, "disk_entries", "Entries and slices stored", lambda d: d.entries),
        _of_directories(disk, "disk_segments", "Segment files", lambda d: d.segments),
        _of_directories(disk, "disk_segment_bytes", "Bytes of segments", lambda d: d.segment_bytes),
        _of_directories(disk, "disk_index_bytes", "Bytes of the index", lambda d: d.index_bytes),
        _of_directories(disk, "disk_capacity_bytes", "Capacity in bytes", lambda d: d.capacity_bytes),
        Family(
            "disk_unwell",
            "1 while a directory can't be written or is out of use",
            [
                Sample(float(volume.health != "well"), {"tier": tier.name, "directory": volume.path})
                for tier in disk.tiers
                for volume in tier.volumes
            ],
            gauge=True,
            alike=True,
        ),
    ]


def _of_work(disk: DiskStatistics, name: str, text: str, value: Callable[[DirectoryWork], int]) -> Family:
    """One sample for each directory, also while it is out of use, so that its counts don't fall."""
    samples = [
        Sample(value(volume.work), {"tier": tier.name, "directory": volume.path})
        for tier in disk.tiers
        for volume in tier.volumes
    ]
    return Family(name, text, samples)


def _of_directories(
    disk: DiskStatistics, name: str, text: str, value: Callable[[DirectoryStatistics], int]
) -> Family:
    """One sample for each open directory. Every worker has the same figure."""
    samples = [
        Sample(value(volume.directory), {"tier": tier.name, "directory": volume.path})
        for tier in disk.tiers
        for volume in tier.volumes
        if volume.directory is not None
    ]
    return Family(name, text, samples, gauge=True, alike=True)
