"""The distance of origins in seconds, from their times for each size class: the measurements that `ranking` compares.
Pure.

A canary that was probed a minute ago arrives faster than objects that nobody has requested for days. So probes of one
origin can't be compared with clients' fetches from another: the one in use would always look slower than those that
are only probed, and the order would flip for ever. Therefore the *excess*, by which an origin's fetches are slower
than its probes, is remembered, and added to its probes while it gets no fetches; it shrinks as they get faster, since
an origin that was slow for all has recovered then. An origin that never got any fetches is taken to have the least
excess of the others, but at most twice the time of its probes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from shield.rules.ranking import SIZE_CLASSES, TYPICAL_BYTES, Measured, size_class

EXCESS_SECONDS = 4 * 3600.0
"""Time in which a remembered excess decays, by a factor of e: an origin whose fetches were slow, while its probes
were fast, gets another chance after some hours."""

LEAST_BODIES = 5
"""Bodies whose times make a goodput: one may have come in a lull."""


class Timing(NamedTuple):
    """The times of an origin for one size class: 0.0 stands for unknown."""

    first_byte: float = 0.0  # the median of clients' fetches; of probes while it has none
    is_probed: bool = False  # it is that of probes
    excess: float = 0.0  # seconds by which fetches were slower than probes, when both were last known
    excess_at: float = 0.0  # that time; 0.0: never
    base: float = 0.0  # the median of probes then
    goodput: float = 0.0  # bytes of a body in a second

    def after(self, *, fetched: float | None, probed: float | None, goodput: float | None, now: float) -> Timing:
        """The next one, from medians and goodput of the last minutes; None for each that has too few samples. What
        isn't measured stays as it was."""
        value = self if goodput is None else self._replace(goodput=goodput)
        if fetched is None:
            return value if probed is None else value._replace(first_byte=probed, is_probed=True)
        value = value._replace(first_byte=fetched, is_probed=False)
        return value if probed is None else value._replace(excess=fetched - probed, excess_at=now, base=probed)


UNKNOWN = Timing()

Timings = Sequence[Timing]
"""One for each size class."""


class Sizes(NamedTuple):
    """The sizes of a route's responses: for each size class their share, and their mean size in bytes."""

    shares: tuple[float, ...]
    means: tuple[float, ...]

    @property
    def expected(self) -> float:
        """The mean size of all, in bytes."""
        return sum([share * mean for share, mean in zip(self.shares, self.means, strict=True)])


def sizes_of(counts: Sequence[int], sums: Sequence[int]) -> Sizes:
    """From numbers of responses and their bytes, by size class. Without any: all are of a typical size."""
    total = sum(counts)
    if not total:
        typical = size_class(TYPICAL_BYTES)
        shares = tuple([float(each == typical) for each in range(SIZE_CLASSES)])
        return Sizes(shares, tuple([TYPICAL_BYTES * share for share in shares]))
    return Sizes(
        tuple([count / total for count in counts]),
        tuple([sums[each] / count if count else 0.0 for each, count in enumerate(counts)]),
    )


def measured_of(
    timings: Mapping[str, Timings],
    sizes: Sizes,
    now: float,
    *,
    penalties: Mapping[str, float],
    out: Sequence[str] = (),
) -> dict[str, Measured]:
    """The measurements of some origins for a route whose responses have these sizes; comparable with each other.

    An origin that was never measured has None as its first byte.
    """
    names = list(timings)
    first = dict.fromkeys(names, 0.0)
    transfer = dict.fromkeys(names, 0.0)
    for each in range(SIZE_CLASSES):
        share = sizes.shares[each]
        if not share:
            continue
        nearest = {name: _nearest(timings[name], each) for name in names}
        known = {name: _with_excess(timings[name], each) for name in names}
        spare = min([value.excess for value in known.values() if value.excess_at], default=0.0)
        goodputs = {name: _goodput(timings[name], each) for name in names}
        best = max(goodputs.values(), default=0.0)
        for name in names:
            first[name] += share * _first_byte(nearest[name], known[name], spare, now)
            if best:  # an unknown one is neither an advantage nor a drawback
                transfer[name] += share * sizes.means[each] / (goodputs[name] or best)
    expected = sizes.expected
    return {
        name: Measured(
            first[name] if any(value.first_byte for value in timings[name]) else None,
            expected / transfer[name] if transfer[name] else None,
            penalties.get(name, 0.0),
            name in out,
        )
        for name in names
    }


def _nearest(timings: Timings, of_class: int) -> Timing:
    """The timing of a size class, or else of the nearest one that was measured."""
    return _closest(timings, of_class, [each for each in range(SIZE_CLASSES) if timings[each].first_byte])


def _with_excess(timings: Timings, of_class: int) -> Timing:
    """The timing of a size class, or else of the nearest one, whose excess is known."""
    return _closest(timings, of_class, [each for each in range(SIZE_CLASSES) if timings[each].excess_at])


def _closest(timings: Timings, of_class: int, among: Sequence[int]) -> Timing:
    return timings[min(among, key=lambda each: abs(each - of_class))] if among else UNKNOWN


def _first_byte(timing: Timing, known: Timing, spare: float, now: float) -> float:
    """The expected time to the first byte of a fetch. `known` is a timing of the same origin with its excess."""
    if not timing.is_probed:
        return timing.first_byte
    excess = min(spare, timing.first_byte)
    if known.excess_at:
        shrunk = min(1.0, timing.first_byte / known.base) if known.base else 1.0  # with all of its times
        excess = known.excess * shrunk * math.exp(-max(0.0, now - known.excess_at) / EXCESS_SECONDS)
    return max(timing.first_byte + excess, timing.first_byte / 2.0)


def _goodput(timings: Timings, of_class: int) -> float:
    """The goodput of a size class, or of a larger one. Not of a smaller one: TCP has hardly begun with it."""
    first = max(1, of_class)
    return next((timings[each].goodput for each in range(first, SIZE_CLASSES) if timings[each].goodput), 0.0)
