"""The order in which a fetch tries its origins, by their health. Pure.

None is excluded: if all are bad, the least bad one comes first. Those that are held back come behind all that can
serve: a drained one before those that are out of service, since it works; a corrupt one last, since its bytes may be
wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from shield.rules.health import HELD_BACK, LEAST_KEYS, RECOVERY_SECONDS, Flag, HealthRecord, HealthState
from shield.rules.ramp import is_in_cohort

_PLACES = {
    HealthState.UP: 0,
    HealthState.RECOVERING: 1,
    HealthState.SUSPECT: 2,
    HealthState.TRIAL: 4,
    HealthState.OPEN: 4,
}
_DRAINED = 3  # before those that are out
_CORRUPT = 5
_NEWCOMER = 6  # for keys that aren't its own yet: its copies aren't proven


def order(names: Sequence[str], records: Mapping[str, HealthRecord], spot: float, now: float) -> tuple[str, ...]:
    """The order in which origins are tried: the good ones in their order, then the others, the least bad first.

    `spot` is the position of the key among all keys, from 0 to 1: a returned origin gets the same keys back first.
    """

    def place(name: str) -> tuple[int, float]:
        record = records.get(name)
        return (0, 0.0) if record is None else _place(record, spot, now)

    return tuple(sorted(names, key=place))


def _place(record: HealthRecord, spot: float, now: float) -> tuple[int, float]:
    if record.share < 1.0:
        if not is_in_cohort(spot, record.share):
            return _NEWCOMER, record.bad_since
        if record.is_good and not record.flags & HELD_BACK:
            return -1, 0.0  # first, since fetches prove it
    if record.flags & Flag.CORRUPT:
        return _CORRUPT, record.bad_since
    if record.flags & Flag.DRAINED:
        return max(_DRAINED, _PLACES[record.state]), record.bad_since
    if spot < share_of_keys(record, now):
        return 0, 0.0
    return _PLACES[record.state], record.bad_since


def are_all_bad(records: Iterable[HealthRecord]) -> bool:
    """Whether none of these origins is expected to give anything. A drained one works, and would."""
    return not any(record.is_good and not record.flags & Flag.CORRUPT for record in records)


def share_of_keys(record: HealthRecord, now: float) -> float:
    """The share of keys, from 0 to 1, for which an origin is in its normal position."""
    if record.state is HealthState.UP:
        return 1.0
    if record.state is not HealthState.RECOVERING:
        return 0.0
    passed = min(1.0, max(0.0, (now - record.since) / RECOVERY_SECONDS))
    return LEAST_KEYS + (1.0 - LEAST_KEYS) * passed
