"""shield store ls: lists entries by their keys."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from shield.cli.check import read
from shield.cli.rounded import shown_duration, shown_size
from shield.cli.store.places import ConfiguredDirectory, opened, places_of, shown_text
from shield.rules.written import prefixes_of
from shield.store.directory.record import RecordKind
from shield.store.upkeep.listing import Listed, entries


def ls(
    path: Path,
    prefix: str,
    tiers: Sequence[str],
    directories: Sequence[Path],
    *,
    limit: int | None,
    as_json: bool,
) -> int:
    """Print them as they are found; 0, or 2 when a directory can't be opened."""
    loaded = read(path)
    if loaded is None:
        return 2
    settings = loaded.settings
    under = prefixes_of(prefix)
    with opened(places_of(settings, tiers, directories), settings.node) as found:
        lines = (
            (place, listed)
            for place, visit in found.visits
            for listed in entries(visit.directory, found.directories, under)
        )
        now = time.time()
        for place, listed in islice(lines, limit):
            print(_as_json(place, listed, now) if as_json else _as_text(place, listed, now))
        for place, visit in found.visits:
            if unscanned := visit.directory.statistics().unscanned:
                print(
                    f"{place.path}: its index is being rebuilt; {unscanned} segments aren't in it yet, and their "
                    "entries aren't listed",
                    file=sys.stderr,
                )
        return found.say_problems()


def _as_text(place: ConfiguredDirectory, listed: Listed, now: float) -> str:
    slices = f"{listed.slices}/{listed.all_slices}" if listed.found.kind == RecordKind.HEAD else "-"
    return (
        f"{shown_size(listed.body_bytes):>8}  {listed.found.status}  {_freshness(listed, now):9}  "
        f"{slices:>9}  {place.tier}:{place.path}  {shown_text(listed.key.text)}"
    )


def _freshness(listed: Listed, now: float) -> str:
    ttl = listed.found.freshness.ttl(now)
    return f"fresh {shown_duration(ttl)}" if ttl > 0 else f"stale {shown_duration(-ttl)}"


def _as_json(place: ConfiguredDirectory, listed: Listed, now: float) -> str:
    record, found = listed.record, listed.found
    return json.dumps(
        {
            "key": shown_text(listed.key.text),
            "bytes": listed.body_bytes,
            "status": found.status,
            "ttl_seconds": round(found.freshness.ttl(now), 3),
            "stored_at": record.stored_at,
            "origin": record.origin,
            "etag": None if record.etag is None else record.etag.decode("latin-1"),
            "slices": listed.slices if found.kind == RecordKind.HEAD else None,
            "all_slices": listed.all_slices if found.kind == RecordKind.HEAD else None,
            "tier": place.tier,
            "directory": str(place.path),
        },
        ensure_ascii=False,
    )
