"""Interim responses of origins: those that are forwarded to clients (RFC 9110 §15.2), and their fields."""

from __future__ import annotations

from shield.messages import ResponseHead
from shield.rules.headers import OURS, Sieve
from shield.rules.heads import block

MAX_BYTES = 16 * 1024
"""Bytes of interim responses that one fetch forwards at most: more aren't useful as hints."""

MAX_RESPONSES = 10
"""Interim responses that one fetch forwards at most."""

PASSED = frozenset({102, 103})
"""The forwarded statuses. 100 answers an expectation, which is never forwarded; other 1xx have no known meaning."""

# Dropped fields: the response may be shared, and none of these is a hint about it (RFC 8297 §2).
_SIEVE = Sieve(
    drop=OURS | {b"set-cookie", b"set-cookie2", b"content-length", b"cache-control", b"via", b"cache-status"}
)


class Interims:
    """The interim responses of one fetch, over all its attempts."""

    __slots__ = ("_bytes", "_count")

    def __init__(self) -> None:
        self._count = self._bytes = 0

    def taken(self, head: ResponseHead) -> bytes | None:
        """A complete interim response for HTTP/1.1 clients; None for one that isn't forwarded. Counts it."""
        if head.status not in PASSED or self._count >= MAX_RESPONSES:
            return None
        made = block(head.status, tuple(_SIEVE.passes(head.fields))) + b"\r\n"
        if self._bytes + len(made) > MAX_BYTES:
            return None
        self._count += 1
        self._bytes += len(made)
        return made
