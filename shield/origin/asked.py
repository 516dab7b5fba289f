"""A request to an origin, ready to be sent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from shield.egress.meter import UNMETERED, Meter
from shield.origin.response import Inform


@dataclass(slots=True)
class Asked:
    """A request to an origin: `head` is a whole GET or HEAD request without a body.

    `deadline` (loop time) bounds waiting for a connection, opening it and the response's head; the body is bounded by
    the timeouts alone. `inform` is called with interim responses before the head, of each attempt, and `sent` at each
    attempt, just before its request is written. `fresh`: a kept connection won't do. `meter` counts what it costs.
    """

    head: bytes
    method: bytes
    deadline: float
    inform: Inform | None
    sent: Callable[[], None] | None
    fresh: bool
    meter: Meter

    # Written out, as it is then compiled: a dataclass's own is not.
    def __init__(
        self,
        head: bytes,
        method: bytes,
        deadline: float,
        inform: Inform | None = None,
        sent: Callable[[], None] | None = None,
        fresh: bool = False,
        meter: Meter = UNMETERED,
    ) -> None:
        self.head = head
        self.method = method
        self.deadline = deadline
        self.inform = inform
        self.sent = sent
        self.fresh = fresh
        self.meter = meter
