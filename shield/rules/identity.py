"""Whether two origins have the same bytes of an object, and by which proof. Pure.

Origins are copies of one bucket, but each may name the same bytes by another ETag: a multipart upload, other parts or
encryption suffice for that. A body that breaks off at one origin may continue at another one only if that has the
same bytes; equal lengths alone prove nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from shield.messages import Part, ResponseHead
from shield.rules import digests
from shield.rules.conditional import is_strong, is_tag
from shield.rules.ranges import Span

OVERLAP = 256 << 10
"""Bytes before a place that are fetched again and compared where nothing else proves that the bytes are the same."""


class Proof(Enum):
    """The proof that two responses have the same bytes, the strongest first, and its use."""

    CHECKSUM = "checksum"  # both state the same digest of the whole object: continue, and store
    ETAG = "etag"  # both ETags are MD5s of the object, and equal: the same
    DIGEST = "digest"  # earlier fills of both versions had the same digest: the same
    OVERLAP = "overlap"  # the lengths are equal and nothing contradicts: compare the last bytes, and don't store
    NONE = "none"  # something contradicts, or is missing: other bytes, as far as we know

    @property
    def is_full(self) -> bool:
        """Whether the result may be stored."""
        return self not in (Proof.OVERLAP, Proof.NONE)


@dataclass(frozen=True, slots=True)
class Statement:
    """Knowledge about the bytes of one origin's version of an object.

    `stated` are digests of the whole object by algorithm, as the origin states them, `md5` the one in its ETag;
    `computed` is the SHA-256 of the bytes that it once sent under this ETag.
    """

    length: int | None
    etag: bytes | None
    stated: Mapping[str, bytes] = field(default_factory=dict)
    md5: bytes | None = None
    computed: bytes | None = None


def state(head: ResponseHead, *, md5_etags: bool) -> Statement:
    """The statement in the head of a 200 to GET or HEAD.

    `md5_etags`: the origin's provider documents that the ETag of an object uploaded in one part is its MD5.
    """
    md5 = digests.md5_of_etag(head) if md5_etags else None
    return Statement(head.length, head.get(b"etag"), digests.whole(head), md5)


COMPUTED = frozenset({"sha-256", "md5"})
"""Digests that are computed of bytes at hand when an origin states one."""


def with_digests(statement: Statement, body: Iterable[Part]) -> Statement:
    """The statement with digests of these bytes, which are all of them. Takes a while for many: for a thread."""
    whole, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    for part in body:
        whole.update(part)
        md5.update(part)
    return replace(statement, md5=md5.digest(), computed=whole.digest())


def prove(ours: Statement, theirs: Statement) -> Proof:
    """The proof that another origin, whose statement is `theirs`, has the bytes of ours.

    It must have a strong ETag, by which ranges are bound to that version. One contradiction outweighs all proofs.
    """
    if ours.length is None or ours.length != theirs.length:
        return Proof.NONE
    if theirs.etag is None or not is_strong(theirs.etag) or not is_tag(theirs.etag):
        return Proof.NONE
    mine, others = _known(ours), _known(theirs)
    common = mine.keys() & others.keys()
    if any(mine[name] != others[name] for name in common):
        return Proof.NONE
    if ours.stated.keys() & theirs.stated.keys():
        return Proof.CHECKSUM
    if "md5" in common:
        return Proof.ETAG
    return Proof.DIGEST if common else Proof.OVERLAP


def overlap_before(place: int, first: int = 0) -> Span | None:
    """The bytes to compare before `place`, the first one held being `first`; None if too few are held to prove
    anything. All bytes of a body are enough.
    """
    start = max(first, place - OVERLAP)
    is_enough = place - start == OVERLAP or (first == 0 and place > 0)
    return Span(start, place) if is_enough else None


def _known(statement: Statement) -> dict[str, bytes]:
    """All digests of a statement by algorithm. Stated ones count before those that follow from something else."""
    known = dict(statement.stated)
    if statement.md5 is not None:
        known.setdefault("md5", statement.md5)
    if statement.computed is not None:
        known.setdefault("sha-256", statement.computed)
    return known
