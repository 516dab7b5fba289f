"""The stated checksum with which the bytes of a body are compared. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from shield.messages import ResponseHead
from shield.rules import digests
from shield.rules.ranges import head_of_whole, parse_content_range

SMALL = 32 << 10
"""Bytes of a body whose MD5 costs less than a tenth of its fetch."""

EVERY = 8
"""Of larger bodies, one in so many has its MD5 compared."""

ALARM_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Checksum:
    """A stated checksum; `algorithm` as hashlib spells it."""

    algorithm: str
    value: bytes
    is_etag: bool = False  # found in an ETag, rather than stated as a checksum


_COMPUTED = {"sha-256": "sha256", "md5": "md5", "sha-512": "sha512", "sha-1": "sha1"}
"""Algorithms that the standard library has, the preferred ones first."""


def checksum_of_body(head: ResponseHead, *, md5_etags: bool) -> Checksum | None:
    """The checksum of the body of a 200, or of a 206 that brings all of the object; None if none can be computed.

    `md5_etags`: the origin's provider documents that the ETag of an object uploaded in one part is its MD5.
    """
    if head.status == 206:
        part = parse_content_range(head.get(b"content-range") or b"")
        if part is None or part[0] != 0 or part[1] + 1 != part[2]:
            return None
        head = head_of_whole(head)
    elif head.status != 200:
        return None
    found = digests.whole(head)
    stated = next((Checksum(_COMPUTED[name], found[name]) for name in _COMPUTED if name in found), None)
    if stated is None and md5_etags and (md5 := digests.md5_of_etag(head)) is not None:
        return Checksum("md5", md5, is_etag=True)
    return stated


class Vigilance:
    """Which bodies of an origin are compared with their checksums.

    A stated checksum always is, and so is the MD5 in an ETag of a small body. MD5 takes 1.3 ms for a megabyte, more
    than all else that is done with it, and nearly all objects have one: of larger bodies one in `EVERY` is compared,
    and all of them for `ALARM_SECONDS` after a wrong one.
    """

    __slots__ = ("_alarmed_until", "_turn")

    def __init__(self) -> None:
        self._turn = 0
        self._alarmed_until = -math.inf

    def covers(self, checksum: Checksum, length: int | None, now: float) -> bool:
        """Whether this body is compared; `length` is that of the body in bytes, if known."""
        if not checksum.is_etag or (length is not None and length <= SMALL) or now < self._alarmed_until:
            return True
        self._turn = (self._turn + 1) % EVERY
        return self._turn == 0

    def alarm(self, now: float) -> None:
        """A body was wrong."""
        self._alarmed_until = now + ALARM_SECONDS
