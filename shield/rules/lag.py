"""How long replication takes, by objects that the primary is known to have and that are sought at copies. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from shield.messages import ResponseHead
from shield.rules import dates
from shield.rules.changes import UNSTATED_LAG_SECONDS
from shield.rules.ranking import OriginFacts

MOST_SOUGHT = 16
"""Objects that are looked for at one origin at a time: a sample, so that measuring costs next to nothing."""

BOUNDS = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0)
"""Upper bounds of the histogram of replication times, in seconds."""

_FIRST_SECONDS = 2.0
_LONGEST_SECONDS = 60.0
_GIVEN_UP_SECONDS = 86400.0


@dataclass(slots=True)
class Sought:
    """An object that the primary has had since then (epoch seconds), in the version with this ETag and date, and that
    is looked for at a copy; next when it is `due`. `looks` are those in vain.
    """

    path: bytes
    query: bytes
    since: float
    etag: bytes | None
    modified: float | None
    due: float
    looks: int = 0

    def missed(self, now: float) -> bool:
        """Note that the copy didn't have it; False if it is no longer worth looking for."""
        self.due = now + min(_LONGEST_SECONDS, _FIRST_SECONDS * 2.0 ** min(self.looks, 10))
        self.looks += 1
        return now - self.since < _GIVEN_UP_SECONDS

    def postponed(self, now: float, seconds: float) -> bool:
        """Note that the copy couldn't tell; False if the object is no longer worth looking for."""
        self.due = now + seconds
        return now - self.since < _GIVEN_UP_SECONDS

    def has_come(self, head: ResponseHead) -> bool:
        """Whether a copy's response shows this version, or a later one."""
        if self.etag is None and self.modified is None:
            return True
        modified = _modified(head)
        is_later = self.modified is not None and modified is not None and modified >= self.modified
        return is_later or (self.etag is not None and _strong(head.get(b"etag")) == self.etag)

    def is_of(self, head: ResponseHead) -> bool:
        """Whether the primary's response shows that it still has this version."""
        return (_strong(head.get(b"etag")), _modified(head)) == (self.etag, self.modified)


def sought(
    path: bytes, query: bytes, head: ResponseHead, since: float | None, now: float, *, is_missing: bool
) -> Sought:
    """A version that the primary has sent just now; `since`: when it was announced. Else it is as old as it says, or
    as our knowledge of it. `is_missing`: the copy has said so.
    """
    modified = _modified(head)
    known = since if since is not None else modified
    if known is None or not now - _GIVEN_UP_SECONDS < known <= now:
        known = now  # an old object that was never replicated counts from now on
    return Sought(path, query, known, _strong(head.get(b"etag")), modified, now + _FIRST_SECONDS, int(is_missing))


def lags(facts: OriginFacts, behind: float) -> bool:
    """Whether an object has been on its way to this copy for longer than may be."""
    return behind > (UNSTATED_LAG_SECONDS if facts.max_lag is None else facts.max_lag)


def _strong(etag: bytes | None) -> bytes | None:
    return None if etag is None else etag.removeprefix(b"W/")


def _modified(head: ResponseHead) -> float | None:
    value = head.get(b"last-modified")
    return None if value is None else dates.parse(value)
