"""The stated checksum with which the bytes of a body are compared. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from shield.messages import ResponseHead
from shield.rules import digests
from shield.rules.ranges import head_of_whole, parse_content_range


@dataclass(frozen=True, slots=True)
class Checksum:
    """A stated checksum; `algorithm` as hashlib spells it."""

    algorithm: str
    value: bytes


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
    if md5_etags and "md5" not in found and (md5 := digests.md5_of_etag(head)) is not None:
        found["md5"] = md5
    return next((Checksum(_COMPUTED[name], found[name]) for name in _COMPUTED if name in found), None)
