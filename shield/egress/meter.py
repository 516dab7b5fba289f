"""Counts bytes and requests at origins where they arrive: plain numbers, written by one event loop."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from shield.egress.tags import TagMeter
from shield.rules.egress import FetchReason


class EgressAccount(NamedTuple):
    """What is counted together: the requests to one origin, for one route and one reason."""

    origin: str
    route: str
    reason: str


class Meter:
    """The figures of one account. Bytes are those of heads and bodies, as received; `unread` are bytes of responses
    that were given up, which had arrived at this machine and were never read. `statuses` counts the responses.
    """

    __slots__ = ("received", "requests", "statuses", "unread")

    def __init__(self) -> None:
        self.requests = 0
        self.received = 0
        self.unread = 0
        self.statuses: dict[int, int] = {}

    def answered(self, status: int) -> None:
        """A response has begun."""
        statuses = self.statuses
        statuses[status] = statuses.get(status, 0) + 1


UNMETERED = Meter()
"""For requests that cost nothing, as those between workers."""


class MeterReading(NamedTuple):
    """The figures of an account since the worker began. Requests without a response have status 0."""

    account: EgressAccount
    requests: int
    received: int
    statuses: dict[int, int]


class OriginTotals(NamedTuple):
    """Requests and bytes by reason, and responses by status."""

    requests: dict[str, int]
    received: dict[str, int]
    statuses: dict[int, int]


class Meters:
    """All meters of a worker. They outlast the origins: after a reload one of the same name goes on counting."""

    __slots__ = ("_of", "tags")

    def __init__(self) -> None:
        self._of: dict[tuple[str, str, FetchReason], Meter] = {}
        self.tags: TagMeter | None = None  # None: none is counted

    def of(self, origin: str, route: str, reason: FetchReason) -> Meter:
        """The meter for a request to an origin; `route` is "" for those of no route."""
        key = (origin, route, reason)
        meter = self._of.get(key)
        if meter is None:
            meter = self._of[key] = Meter()
        return meter

    def totals(self, origin: str) -> OriginTotals:
        """The figures of one origin, for all its routes."""
        requests: dict[str, int] = {}
        received: dict[str, int] = {}
        statuses: dict[int, int] = {}
        for (name, _, reason), meter in self._of.items():
            if name != origin:
                continue
            requests[reason.value] = requests.get(reason.value, 0) + meter.requests
            received[reason.value] = received.get(reason.value, 0) + meter.received + meter.unread
            for status, count in meter.statuses.items():
                statuses[status] = statuses.get(status, 0) + count
        return OriginTotals(requests, received, statuses)

    def readings(self) -> Iterator[MeterReading]:
        """The figures of all accounts."""
        for (origin, route, reason), meter in self._of.items():
            statuses = dict(meter.statuses)
            silent = meter.requests - sum(statuses.values())
            if silent > 0:
                statuses[0] = silent
            account = EgressAccount(origin, route, reason.value)
            yield MeterReading(account, meter.requests, meter.received + meter.unread, statuses)
