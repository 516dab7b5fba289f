"""An origin's record of bodies after responses that have none. Knows no sockets; the clock is an argument.

Some origins send a body after the response to HEAD, or after a 304. If it comes late, the next response on that
connection would be this body, undetectably so when the body is itself an HTTP response. So a response that states
the size of a body that it doesn't have (which RFC 9110 §8.6 allows) is held against the origin until one connection
has stayed silent after such a response, and for a while once a body has come.
"""

from __future__ import annotations

from enum import Enum

MEMORY_SECONDS = 3600.0
"""How long one body after such a response is remembered: a repaired origin gets another chance."""


class Keep(Enum):
    """The fate of a connection after a response without a body."""

    YES = "yes"  # it may carry another exchange
    WATCH = "watch"  # not known yet: it carries no other exchange, and is observed for silence
    NO = "no"  # bodies have come: close it


class Conduct:
    """The record of one origin."""

    __slots__ = ("_distrusted_until", "_is_proven")

    def __init__(self) -> None:
        self._is_proven = False
        self._distrusted_until: float | None = None

    def judge(self, *, stated: bool, now: float) -> Keep:
        """`stated`: the response named the size of a body that it doesn't have."""
        if self._distrusted_until is not None and now < self._distrusted_until:
            return Keep.NO
        return Keep.WATCH if stated and not self._is_proven else Keep.YES

    def saw_silence(self) -> None:
        """No bytes followed a response that stated a body."""
        self._is_proven = True

    def saw_body(self, now: float) -> None:
        """Bytes followed a response that has no body."""
        self._is_proven = False
        self._distrusted_until = now + MEMORY_SECONDS
