"""The meaning of faults for the health of their origin."""

from __future__ import annotations

from shield.errors import Fault
from shield.records import Came

KINDS = {
    Fault.CONNECT: Came.DIALLED,
    Fault.RESOLVE: Came.DIALLED,
    Fault.TLS: Came.DIALLED,
    Fault.CONNECT_TIMEOUT: Came.DIALLED,
    Fault.FIRST_BYTE_TIMEOUT: Came.FAILED,
    Fault.RESET: Came.FAILED,
    Fault.MALFORMED: Came.FAILED,
    Fault.TOO_LARGE: Came.FAILED,
    Fault.SERVER: Came.FAILED,
    Fault.THROTTLED: Came.THROTTLED,
    Fault.AUTH: Came.AUTH,
    # The origin works, whatever it says about the object.
    Fault.FORBIDDEN: Came.ABSENT,
    Fault.COLD: Came.ABSENT,
    Fault.VALIDATOR: Came.ABSENT,
    Fault.DIFFERS: Came.ABSENT,
    Fault.REFUSED: Came.ABSENT,
}
"""What a fault says of its origin. Others say nothing by themselves: that time ran out, that no connection of ours
was free, that nobody waits any more."""


BREAKS = frozenset({Fault.SHORT_BODY, Fault.BETWEEN_BYTES_TIMEOUT, Fault.MALFORMED})
"""How an origin breaks off a body. The time limit of a whole body isn't among them: it may be large, or we slow."""


def is_failure(fault: Fault) -> bool:
    """Whether a fault is the origin's, rather than the object's or ours."""
    return KINDS.get(fault) is not Came.ABSENT and fault not in (Fault.OVER_LIMIT, Fault.OVER_BUDGET)
