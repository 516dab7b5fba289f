"""shield store verify: reads and checks every record."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from shield.cli.check import read
from shield.cli.store.places import ConfiguredDirectory, opened, places_of, size_of
from shield.cli.store.progress import progress
from shield.store.upkeep.scrub import Damage, Scrub
from shield.store.upkeep.visit import Visit, rebuild

_CHECK_BYTES = 64 << 20  # read between two checks whether the visit may go on


class Pace:
    """Keeps reads to a rate, by waiting once they are ahead of it. No rate, no waiting."""

    def __init__(
        self,
        bytes_per_second: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._rate = bytes_per_second
        self._clock = clock
        self._sleep = sleep
        self._due = clock()  # the earliest time for all bytes read so far

    def spend(self, count: int) -> None:
        if not self._rate:
            return
        now = self._clock()
        # Unused time isn't made up for later.
        self._due = max(self._due, now - 0.1) + count / self._rate
        if self._due > now:
            self._sleep(self._due - now)


def verify(path: Path, tiers: Sequence[str], directories: Sequence[Path], *, rate: str, repair: bool) -> int:
    """Print damages; 0, 1 when something is or was damaged, 2 when a directory can't be opened."""
    loaded = read(path)
    if loaded is None:
        return 2
    settings = loaded.settings
    pace = Pace(size_of(rate, "--rate"))
    with opened(places_of(settings, tiers, directories), settings.node) as found:
        damaged = sum([_verify(place, visit, pace, repair=repair) for place, visit in found.visits])
        return found.say_problems() or (1 if damaged else 0)


def _verify(place: ConfiguredDirectory, visit: Visit, pace: Pace, *, repair: bool) -> int:
    """Check one directory; returns the number of damages."""
    directory = visit.directory
    if directory.reason:
        print(f"{place.path}: its index is being rebuilt: {directory.reason}")
    if repair:
        with progress(f"{place.path}: index", directory.statistics().unscanned) as step:
            rebuild(visit, lambda: step(0))
    scrub = Scrub(directory, repair=repair)
    damages = records = unchecked = 0
    with progress(str(place.path), scrub.total_bytes) as advance:
        for item in scrub.run():
            if isinstance(item, int):
                advance(item)
                pace.spend(item)
                unchecked += item
                if unchecked >= _CHECK_BYTES:
                    unchecked = 0
                    visit.check()
                continue
            damages += 1
            records += item.entries
            print(_line(place, item, repair=repair), flush=True)
    unscanned = directory.statistics().unscanned
    print(_summary(place, scrub, damages, records, repair=repair))
    if unscanned:
        print(f"{place.path}: its index is being rebuilt; {unscanned} segments weren't checked: run this once more")
    return damages


def _line(place: ConfiguredDirectory, damage: Damage, *, repair: bool) -> str:
    where = f"segment {damage.segment}" + (f" at {damage.offset}" if damage.key else "")
    what = f"{damage.key} " if damage.key else ""
    if damage.slice_number is not None:
        what += f"slice {damage.slice_number} "
    count = f", {damage.entries:,} records" if damage.entries > 1 else ""
    return f"damaged  {what}({place.path}, {where}): {damage.what}{count}{'; repaired' if repair else ''}"


def _summary(place: ConfiguredDirectory, scrub: Scrub, damages: int, records: int, *, repair: bool) -> str:
    checked = f"{place.path}: {_counted(scrub.records, 'record')} checked"
    if not damages:
        return f"{checked}, all well"
    fate = "taken out of the index" if repair else "not repaired"
    return f"{checked}; damaged in {_counted(damages, 'place')}, {_counted(records, 'record')} {fate}"


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
