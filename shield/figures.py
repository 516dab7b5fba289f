"""What a worker knows of itself as metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from shield.observe.metrics import Family, Sample
from shield.store.directory.directory import DirectoryStatistics
from shield.store.tiers import DiskStatistics


def number(name: str, text: str, value: float, *, gauge: bool = False, alike: bool = False) -> Family:
    return Family(name, text, [Sample(value)], gauge=gauge, alike=alike)


def labelled(name: str, text: str, label: str, values: Mapping[str, int]) -> Family:
    return Family(name, text, [Sample(value, {label: key}) for key, value in values.items()])


def disk_families(disk: DiskStatistics) -> list[Family]:
    """The tiers on disk. What lies there is the same for all workers of a node, what was done is each one's own."""
    hits = {tier.name: tier.hits for tier in disk.tiers}
    read = {tier.name: tier.read_bytes for tier in disk.tiers}
    return [
        labelled("disk_hits", "Records read for clients", "tier", hits),
        labelled("disk_read_bytes", "Body bytes read for clients", "tier", read),
        number("disk_cold_reads", "Reads that waited for a disk", disk.cold_reads),
        number("disk_promoted", "Records written to the first tier again since they were hit", disk.promoted),
        number("disk_unwritten", "Entries that no disk took", disk.unwritten),
        number("disk_pending", "Entries on their way to a disk", disk.pending, gauge=True),
        _of_directories(disk, "disk_written_bytes", "Bytes written", lambda d: d.written_bytes),
        _of_directories(disk, "disk_damaged", "Records found damaged", lambda d: d.damaged),
        _of_directories(disk, "disk_errors", "Calls that the system refused", lambda d: d.errors),
        _of_directories(disk, "disk_entries", "Entries and slices stored", lambda d: d.entries, alike=True),
        _of_directories(disk, "disk_segments", "Segment files", lambda d: d.segments, alike=True),
        _of_directories(disk, "disk_segment_bytes", "Bytes of segments", lambda d: d.segment_bytes, alike=True),
        _of_directories(disk, "disk_index_bytes", "Bytes of the index", lambda d: d.index_bytes, alike=True),
        _of_directories(disk, "disk_capacity_bytes", "Bytes it may use", lambda d: d.capacity_bytes, alike=True),
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


def _of_directories(
    disk: DiskStatistics, name: str, text: str, value: Callable[[DirectoryStatistics], int], *, alike: bool = False
) -> Family:
    """One sample for each directory that is open. `alike`: what each worker sees of the same thing."""
    samples = [
        Sample(value(volume.directory), {"tier": tier.name, "directory": volume.path})
        for tier in disk.tiers
        for volume in tier.volumes
        if volume.directory is not None
    ]
    return Family(name, text, samples, gauge=alike, alike=alike)
