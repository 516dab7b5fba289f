"""What all workers have seen lately of misses, as one value: for alarms on spikes, and for operators."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable

from shield.config.settings import Settings
from shield.observe.suspects import SuspectLists
from shield.observe.top import MOST_ROWS, TopLists, merged_rows
from shield.peers.front import SUSPECTS, TOP
from shield.peers.owners import Owners
from shield.rules.spikes import SpikeSights, SpikeTerms
from shield.rules.suspects import Tallies, find_suspects, together

_MICROSECONDS = 1e6
_BY = "missed_bytes"


def spike_terms(settings: Settings) -> SpikeTerms:
    """From when on it is a spike."""
    spikes = settings.alarms.spikes
    return SpikeTerms(spikes.deviations, spikes.money, float(spikes.bytes))


def sights_of(
    suspects: SuspectLists,
    tops: TopLists,
    owners: Owners,
    *,
    purged: Callable[[], int],
    clock: Callable[[], float],
) -> Callable[[], Awaitable[SpikeSights]]:
    """Gathers them from all workers at each call. `purged` gives the sequence of the last mark of a purge: its time
    in microseconds, 0 for none.
    """

    async def top(of: str) -> dict[str, float]:
        tops_of_all = await tops.of_all(of, _BY, lambda query: owners.reports(TOP + b"?" + query))
        rows = merged_rows(tops_of_all, of, _BY, MOST_ROWS)
        return {str(row[of.removesuffix("s")]): float(row[_BY]) for row in rows}

    async def sights() -> SpikeSights:
        found = [suspects.tallies()]
        for data in await owners.reports(SUSPECTS):
            try:
                found.append(Tallies.read(json.loads(data)))
            except ValueError:
                continue  # of a worker of another version
        tallies, last = together(found), purged()
        return SpikeSights(
            tallies=tallies,
            suspects=find_suspects(tallies),
            clients=await top("clients"),
            keys=await top("keys"),
            purged=clock() - last / _MICROSECONDS if last else None,
        )

    return sights
