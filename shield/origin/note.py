"""The notes on one attempt at an origin, for all workers: its outcome and its duration."""

from __future__ import annotations

from collections.abc import Callable

from shield.egress.meter import Meter
from shield.errors import Fault, OriginError
from shield.messages import ResponseHead
from shield.origin.faults import KINDS
from shield.origin.gate import Gate
from shield.origin.response import Response
from shield.origin.signer import Credentials
from shield.origin.want import Absent, Fetched, Want
from shield.records import Came, Seen
from shield.timings import BODY_BYTES, FETCHED, PROBED


class Note:
    """The notes on an attempt, made when it begins; end it with exactly one of `gave`, `failed` and `given_up`.

    The body may be noted after that.

    Until then it has a place at the gate. `began` is when its last request was sent (loop time).
    """

    signed_with: Credentials | None  # the last request

    __slots__ = ("_gate", "_now", "_seen", "_slot", "_want", "began", "meter", "signed_with")

    def __init__(
        self, seen: Seen, gate: Gate, now: Callable[[], float], want: Want, meter: Meter, *, opens: bool
    ) -> None:
        """`opens`: it begins with a new connection. Otherwise it may wait for one, which isn't the origin's fault.
        `meter` counts its requests.

        `want.sent` is called whenever a request goes out, as long as it is there.
        """
        self._seen, self._gate, self._now, self._want, self.meter = seen, gate, now, want, meter
        gate.used += 1
        self.began = began = now()
        self._slot = seen.begin(began) if opens else 0

    def sent(self) -> None:
        """A request is sent."""
        self.began = now = self._now()
        self._slot = self._seen.begin(now, slot=self._slot)
        if self._want.sent is not None:
            self._want.sent()

    def gave(self, came: Came, given: Response | None = None) -> float:
        """The origin responded as it should; returns the time. That of a large body is noted when it has arrived."""
        now, seen, gate, want = self._now(), self._seen, self._gate, self._want
        size = 0 if given is None else given.head.length or 0
        if want.is_probe:
            seen.probed(came, now, now - self.began, size, slot=self._slot)
        else:
            seen.succeeded(came, now, now - self.began, size, slot=self._slot)
        if want.choice is not None:
            want.choice.saw(size)
        if given is not None and size >= BODY_BYTES:
            given.weigh = self.carried
        gate.used -= 1
        if gate.waiting:
            gate.admit()
        return now

    def body_of(self, head: ResponseHead) -> int:
        """Bytes of the body that comes behind this head, as far as it tells."""
        return 0 if self._want.method == b"HEAD" or head.status == 304 else head.length or 0

    def answered(self, result: Fetched | Absent) -> Fetched | Absent:
        """As `gave`, with the object or its absence, which is returned."""
        if isinstance(result, Fetched):
            self.gave(Came.OK, result.response)
        else:
            self.gave(Came.ABSENT)
        return result

    def carried(self, size: int, seconds: float) -> None:
        """The body of the response, `timings.BODY_BYTES` at least, has arrived within `seconds` after its head."""
        self._seen.timings.carried(self._now(), size, seconds, PROBED if self._want.is_probe else FETCHED)

    def ended(self, error: BaseException, key: bytes, deadline: float) -> None:
        """The attempt failed with an OriginError, or was cancelled."""
        if isinstance(error, OriginError):
            hurried = self._now() >= deadline
            self.failed(error.fault, key, hurried=hurried, retry_after=error.retry_after)
        else:
            self.given_up(key)

    def failed(self, fault: Fault, key: bytes, *, hurried: bool = False, retry_after: float | None = None) -> None:
        """The attempt failed. `hurried`: at its deadline, so that a timeout may be for want of time. `retry_after` is
        the Retry-After of the origin.
        """
        kind = KINDS.get(fault)
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
        if counts and self._slot and now - self.began >= seen.patience:
            seen.failed(Came.FAILED, now, key)
        seen.end(self._slot)
        self._leave()

    def withdraw(self) -> None:
        """There was no attempt after all."""
        self._seen.end(self._slot)
        self._leave()

    def _leave(self) -> None:
        self._gate.used -= 1
        if self._gate.waiting:
            self._gate.admit()
