"""Retries of a failed fetch in the middle of a large object: whether to retry, and after which wait. Pure.

Once a response has begun, its client can't get an error any more, only an incomplete body. So the fetch of its next
bytes is retried for as long as the failure may be transient and time is left.
"""

from __future__ import annotations

from collections.abc import Sequence

from shield.errors import Fault, OriginError
from shield.rules.attempts import THROTTLED_SECONDS, TRANSIENT_SECONDS, is_transient

STRIKES = 5
"""After this many failed fetches in a row there is no further retry."""

GROWTH = 4.0
"""Factor between consecutive waits: together they outlast the restart of a server or load balancer."""

_TRANSIENT = frozenset(
    {
        Fault.BUDGET,
        Fault.PACED,
        Fault.RESOLVE,
        Fault.OVER_LIMIT,
        Fault.SHORT_BODY,
        Fault.CONNECT_TIMEOUT,
        Fault.POOL_TIMEOUT,
        Fault.FIRST_BYTE_TIMEOUT,
        Fault.BETWEEN_BYTES_TIMEOUT,
        Fault.TOTAL_TIMEOUT,
    }
)
_FINAL = frozenset({Fault.VALIDATOR, Fault.FORBIDDEN})  # faults of the object itself, at whichever origin


MOST_IN_A_ROW = 4
"""So often is a body continued after it broke off, until it has brought `FORGIVEN_BYTES` more."""

FORGIVEN_BYTES = 1 << 20


class Breaks:
    """How often one body broke off, and whether it may be continued once more."""

    __slots__ = ("_since", "_times")

    def __init__(self) -> None:
        self._since = self._times = 0

    def may_continue(self, position: int) -> bool:
        """It has broken off at this byte."""
        if position - self._since >= FORGIVEN_BYTES:
            self._since, self._times = position, 0
        self._times += 1
        return self._times <= MOST_IN_A_ROW


def continues_at(fault: Fault, origins: Sequence[str], own: str) -> Sequence[str]:
    """The origins at which a body may continue that has broken off at its `own`, in the order of the attempts; empty
    if it may not: then its origin is sound, or sends something that isn't a body.

    After a cut the usual order holds; an origin that was silent is asked last, and one that was slow for too long or
    sent wrong bytes isn't asked again.
    """
    others = [name for name in origins if name != own]
    if fault in (Fault.SHORT_BODY, Fault.RESET):
        return origins
    if fault is Fault.BETWEEN_BYTES_TIMEOUT:
        return [*others, own]
    return others if fault in (Fault.TOTAL_TIMEOUT, Fault.DAMAGED) else ()


def may_pass(errors: Sequence[OriginError]) -> bool:
    """Whether a retry may succeed after these failures, one for each origin tried. Without any, there was no time to
    try one, and it may.
    """
    if any(error.fault in _FINAL for error in errors):
        return False
    return not errors or any(_is_transient(error) for error in errors)


def ignores_parts(errors: Sequence[OriginError]) -> bool:
    """Whether these failures show that ranges of the object aren't available: one origin sends all of it for any
    range (RFC 9110 §14.2), and a retry at the others won't help.
    """
    return any(error.fault is Fault.MALFORMED and error.status == 200 for error in errors) and not may_pass(errors)


def next_wait(errors: Sequence[OriginError], strikes: int, *, left: float, chance: float) -> float | None:
    """Seconds to wait before a retry after `strikes` failures in a row, the last one with `errors`; None: give up.

    `left` are the remaining seconds for the bytes to arrive; `chance`, from 0 to 1, adds jitter between fetches that
    failed together. Retry-After is honoured if it fits.
    """
    if strikes >= STRIKES:
        return None
    base = min((_base(error) for error in errors), default=TRANSIENT_SECONDS)
    asked = min((_asked(error) for error in errors if _is_transient(error)), default=0.0)
    wait: float = asked + base * GROWTH ** (strikes - 1) * (0.5 + chance / 2)
    return wait if wait < left else None


def _is_transient(error: OriginError) -> bool:
    return error.fault in _TRANSIENT or is_transient(error.fault, error.status)


def _asked(error: OriginError) -> float:
    # An origin's gate lets the retry wait for a place, before all requests whose bodies haven't begun.
    return 0.0 if error.fault is Fault.OVER_LIMIT else error.retry_after or 0.0


def _base(error: OriginError) -> float:
    return THROTTLED_SECONDS if error.fault is Fault.THROTTLED else TRANSIENT_SECONDS
