"""What an origin was seen to do behind answers that have no body. Knows no sockets; the clock is an argument.

Some origins send a body behind the answer to HEAD, or behind a 304. Where it comes late, the next answer on that
connection would be this body, and nothing shows it when the body is itself an HTTP response. So an answer that states
the size of a body that it doesn't have (which RFC 9110 §8.6 allows) is held against the origin until one connection
has stayed silent behind such an answer, and for a while once a body has come.
"""

from __future__ import annotations

from enum import Enum

MEMORY_SECONDS = 3600.0
"""How long one body behind such an answer is remembered: an origin that was mended is tried again."""


class Keep(Enum):
    """What becomes of a connection after an answer without a body."""

    YES = "yes"  # it may carry another exchange
    WATCH = "watch"  # whether a body comes isn't known: it carries no other exchange, and shows by its silence
    NO = "no"  # bodies have come: close it


class Conduct:
    """Of one origin."""

    __slots__ = ("_distrusted_until", "_is_proven")

    def __init__(self) -> None:
        self._is_proven = False
        self._distrusted_until: float | None = None

    def judge(self, *, stated: bool, now: float) -> Keep:
        """`stated`: the answer named the size of a body that it doesn't have."""
        if self._distrusted_until is not None and now < self._distrusted_until:
            return Keep.NO
        return Keep.WATCH if stated and not self._is_proven else Keep.YES

    def saw_silence(self) -> None:
        """Nothing came behind an answer that stated a body."""
        self._is_proven = True

    def saw_body(self, now: float) -> None:
        """Something came behind an answer that has no body."""
        self._is_proven = False
        self._distrusted_until = now + MEMORY_SECONDS
