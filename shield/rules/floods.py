"""Limits on a client's frames on an HTTP/2 connection besides taking responses.

A connection costs little for each request that is answered and each byte that is taken. What costs without either
(RFC 9113 §10.5) is paid from an `Allowance`, which grows with what the client does take: a client that uses a
connection as it is meant never comes near its end, however long that lasts.
"""

from __future__ import annotations


class Allowance:
    """So many steps at once, `per_second` more with time, and what is earned; never more than `most`.

    Time is counted by the second in which a step is taken; nothing runs.
    """

    __slots__ = ("_at", "_left", "_most", "_per_second")

    def __init__(self, most: float, *, per_second: float, now: float) -> None:
        self._most = most
        self._per_second = per_second
        self._left = most
        self._at = now

    def earn(self, steps: float) -> None:
        self._left = min(self._most, self._left + steps)

    def spend(self, steps: float, now: float) -> bool:
        """Take so many steps; False once there aren't as many left."""
        if now > self._at:
            self.earn((now - self._at) * self._per_second)
        self._at = now
        self._left -= steps
        return self._left >= 0.0


def control(now: float) -> Allowance:
    """For frames that carry no request: PING, SETTINGS, WINDOW_UPDATE, PRIORITY, RST_STREAM, CONTINUATION, DATA.

    Clients that open windows for each frame of ours send one or two for 16 KiB, browsers and CDNs a few at the start
    and a PING now and then. Floods of them (CVE-2019-9511 to 9518, CVE-2024-27316) send thousands a second.
    """
    return Allowance(2000, per_second=20, now=now)


EARNED_BY_ANSWER = 10
"""Control frames for each whole answer."""

BYTES_PER_FRAME = 1024
"""Bytes that a client takes, for each control frame: windows of a byte (CVE-2019-9511) cost 10 bytes for one."""


def missteps(now: float) -> Allowance:
    """For requests that come to nothing: taken back by the client before their end (rapid reset, CVE-2023-44487),
    reset for what it did (CVE-2025-8671), malformed, refused or denied.

    A CDN takes requests back when its own clients leave. One whole answer makes good for one.
    """
    return Allowance(200, per_second=10, now=now)
