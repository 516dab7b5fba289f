"""Where an origin is: its provider, region and bucket, and since when. Pure.

Usage is counted by origin. Settings may give an origin's name to another provider or region, so that what was counted
before has to keep the ones of its time.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from typing import NamedTuple


class OriginSite(NamedTuple):
    """Names as in the settings; "" for what isn't set."""

    provider: str = ""
    region: str = ""
    bucket: str = ""


NOWHERE = OriginSite()
"""Of which nothing is known."""


class SiteNote(NamedTuple):
    """An origin is there from `at` (epoch seconds) on."""

    origin: str
    at: int
    site: OriginSite


class SiteHistory:
    """Where origins were at any time, by notes in any order. Before the first one of an origin, where that says."""

    def __init__(self, notes: Iterable[SiteNote]) -> None:
        self._times: dict[str, list[int]] = {}
        self._sites: dict[str, list[OriginSite]] = {}
        for note in sorted(notes, key=lambda note: note.at):
            self._times.setdefault(note.origin, []).append(note.at)
            self._sites.setdefault(note.origin, []).append(note.site)

    def of(self, origin: str, at: float) -> OriginSite | None:
        """None: nothing was ever noted of it."""
        times = self._times.get(origin)
        return None if times is None else self._sites[origin][max(0, bisect_right(times, at) - 1)]
