"""Notes on one attempt at an origin, for the records that all workers share."""

from __future__ import annotations

from collections.abc import Callable

from shield.errors import Fault
from shield.origin.gate import Gate
from shield.origin.want import Want
from shield.records import Came, Seen

_KINDS = {
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
    Fault.REFUSED: Came.ABSENT,
}
"""What a fault says of its origin. Others say nothing by themselves: that time ran out, that no connection of ours
was free, that nobody waits any more."""


def is_failure(fault: Fault) -> bool:
    """Whether a fault is the origin's, rather than the object's or ours."""
    return _KINDS.get(fault) is not Came.ABSENT and fault is not Fault.OVER_LIMIT


class Note:
    """The notes on an attempt, made when it begins; end it with exactly one of `gave`, `failed` and `given_up`.

    Until then it has a place at the gate.
    """

    __slots__ = ("_began", "_gate", "_now", "_seen", "_slot", "_want")

    def __init__(self, seen: Seen, gate: Gate, now: Callable[[], float], want: Want, *, opens: bool) -> None:
        """`opens`: it begins with a new connection. Otherwise it may wait for one, which isn't the origin's fault.

        `want.sent` is called whenever a request goes out, as long as it is there.
        """
        self._seen = seen
        self._gate = gate
        gate.used += 1
        self._now = now
        self._want = want
        self._began = began = now()
        self._slot = seen.begin(began) if opens else 0

    def sent(self) -> None:
        """A request is sent."""
        self._began = now = self._now()
        self._slot = self._seen.begin(now, slot=self._slot)
        tell = self._want.sent
        if tell is not None:
            tell()

    def gave(self, came: Came) -> float:
        """The origin responded as it should; returns the time."""
        now, gate = self._now(), self._gate
        self._seen.succeeded(came, now, now - self._began, slot=self._slot)
        gate.used -= 1
        if gate.waiting:
            gate.admit()
        return now

    def failed(self, fault: Fault, key: bytes, *, hurried: bool = False, retry_after: float | None = None) -> None:
        """The attempt failed. `hurried`: at its deadline, so that a timeout may be for want of time. `retry_after` is
        the Retry-After of the origin.
        """
        kind = _KINDS.get(fault)
        if kind is Came.ABSENT:
            self.gave(kind)
        elif kind is None or (hurried and fault is Fault.FIRST_BYTE_TIMEOUT):
            self.given_up(key, counts=fault in (Fault.TOTAL_TIMEOUT, Fault.FIRST_BYTE_TIMEOUT))
        else:
            self._seen.end(self._slot)
            self._seen.failed(kind, self._now(), key)
            if kind is Came.THROTTLED:
                self._gate.refused(self._want, retry_after)
            else:
                self._leave()

    def given_up(self, key: bytes, *, counts: bool = True) -> None:
        """The attempt was cancelled. That counts against the origin if it had enough time to respond."""
        seen, now = self._seen, self._now()
        if counts and self._slot and now - self._began >= seen.patience:
            seen.failed(Came.FAILED, now, key)
        seen.end(self._slot)
        self._leave()

    def _leave(self) -> None:
        self._gate.used -= 1
        if self._gate.waiting:
            self._gate.admit()
