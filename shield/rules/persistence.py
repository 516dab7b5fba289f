"""Whether and when the next bytes of a large object are asked for again, after a fetch of them failed. Pure; the
wait is returned.

A client in the middle of an answer can't be told of an error any more, only cut off. So the fetch that it waits for
is taken up again for as long as its failure may pass and time is left.
"""

from __future__ import annotations

from collections.abc import Sequence

from shield.errors import Fault, OriginError
from shield.rules.schedule import THROTTLED_SECONDS, TRANSIENT_SECONDS, is_transient

STRIKES = 5
"""Fetches in a row that don't bring a slice, and end it."""

GROWTH = 4.0
"""By which each wait is longer than the last: together they outlast the restart of a server, or of a balancer."""

_PASSING = frozenset(
    {
        Fault.RESOLVE,
        Fault.SHORT_BODY,
        Fault.CONNECT_TIMEOUT,
        Fault.POOL_TIMEOUT,
        Fault.FIRST_BYTE_TIMEOUT,
        Fault.BETWEEN_BYTES_TIMEOUT,
        Fault.TOTAL_TIMEOUT,
    }
)
_FINAL = frozenset({Fault.VALIDATOR, Fault.FORBIDDEN})  # of the object itself, whoever else may stumble


def may_pass(errors: Sequence[OriginError]) -> bool:
    """Whether another fetch may bring what these failures of all origins kept from coming; none at all: no time was
    left for any.
    """
    if any(error.fault in _FINAL for error in errors):
        return False
    return not errors or any(_is_passing(error) for error in errors)


def ignores_parts(errors: Sequence[OriginError]) -> bool:
    """Whether these failures of all origins show that the object isn't to be had in parts: one gives all of it,
    whatever part is asked for (RFC 9110 §14.2), and no other may do better a moment later.
    """
    return any(error.fault is Fault.MALFORMED and error.status == 200 for error in errors) and not may_pass(errors)


def next_wait(errors: Sequence[OriginError], strikes: int, *, left: float, chance: float) -> float | None:
    """Seconds to wait after so many failures in a row, the last of them by `errors`; None when it is no use.

    `left` are the seconds in which the bytes may still come, `chance` is from 0 to 1 and spreads the waits of those
    who failed together. An origin that asks to be left alone is, if that fits.
    """
    if strikes >= STRIKES:
        return None
    base = min((_base(error) for error in errors), default=TRANSIENT_SECONDS)
    asked = min((error.retry_after or 0.0 for error in errors if _is_passing(error)), default=0.0)
    wait: float = asked + base * GROWTH ** (strikes - 1) * (0.5 + chance / 2)
    return wait if wait < left else None


def _is_passing(error: OriginError) -> bool:
    return error.fault in _PASSING or is_transient(error.fault, error.status)


def _base(error: OriginError) -> float:
    return THROTTLED_SECONDS if error.fault is Fault.THROTTLED else TRANSIENT_SECONDS
