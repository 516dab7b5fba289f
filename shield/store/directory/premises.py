"""The values that the parts of one open directory share, and its bounds."""

from __future__ import annotations

from dataclasses import dataclass

from shield.store.directory.claim import Claim
from shield.store.directory.files import Files
from shield.store.directory.index import Index
from shield.store.directory.segments import Segments


@dataclass(frozen=True, slots=True)
class DirectoryLimits:
    """`capacity` is never exceeded, index included; `free_floor` stays free on the file system for other uses.

    Zero means the default. Segments are then a 4096th of the capacity, at least 256 MiB and at most 1 GiB: few enough
    to have them all open up to a terabyte, and no more than 16,384 in 16 TiB.
    """

    capacity: int
    segment_bytes: int = 0
    index_bytes: int = 0  # a limit, not allocated; 0: an eighth of the capacity
    free_floor: int = 0
    max_open: int = 0  # segment files open at a time; 0: a quarter of what the process may open


@dataclass(frozen=True, slots=True)
class Premises:
    """A directory as seen by one process of the node; `worker` is that process's number."""

    claim: Claim
    limits: DirectoryLimits
    index: Index
    segments: Segments
    files: Files
    worker: int
