"""Families of metrics of purges."""

from __future__ import annotations

from collections.abc import Mapping

from shield.cdn.passing import EdgeCounts
from shield.observe.metrics import Family, Sample, number
from shield.purge_upkeep import PurgeStatistics


def purge_families(purges: PurgeStatistics) -> list[Family]:
    """Of the marks of purges, of sweeps, and of their log."""
    return [
        _alike(
            "purge_marks",
            "Purges by tag, prefix, pattern or of everything that older entries fall under",
            purges.marks,
        ),
        _alike("purge_globs", "Those of them that are patterns; at most 64 can be in force", purges.globs),
        _alike("purge_unswept", "Cache directories that may still have entries which were purged", purges.unswept),
        _alike("purge_log_places", "Copies of the log of purges on disks", purges.log.places),
        number(
            "purge_swept",
            "Records on disk that were cleared away after a purge",
            purges.swept,
        ),
        number("purge_log_failures", "Failed reads and writes of a copy of the log of purges", purges.log.failures),
    ]


def edge_families(counts: Mapping[str, EdgeCounts]) -> list[Family]:
    """Of calls that pass purges on to CDNs. One worker makes them, and looks how many wait; the others have 0."""
    words = ("sent", "retried", "failed")
    return [
        Family(
            "edge_purges",
            "Calls that pass purges on to CDNs: sent, retried after a failure, or given up",
            [
                Sample(getattr(of, word), {"edge": name, "result": word})
                for name, of in counts.items()
                for word in words
            ],
        ),
        Family(
            "edge_purges_waiting",
            "Calls to CDNs that wait, to be sent once more as well",
            [Sample(of.waiting, {"edge": name}) for name, of in counts.items()],
            gauge=True,
            alike=True,
        ),
    ]


def _alike(name: str, text: str, value: int) -> Family:
    """All workers have the same."""
    return Family(name, text, [Sample(value)], gauge=True, alike=True)
