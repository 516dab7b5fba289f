"""Digests of whole representations (RFC 9530): those of the origin that are stored, and those sent to a request.

Object storages state them in their own fields, which become Repr-Digest here. A digest that is sent only to requests
with Want-Repr-Digest is stored in the hidden line of the head (`hidden`).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Literal

from shield.messages import Field, Fields, ResponseHead
from shield.rules import hidden
from shield.rules.structured import Item, parse_dictionary

Sending = Literal["off", "asked", "always"]
"""Off: origins' fields are forwarded unchanged. Asked: only to requests with Want-Repr-Digest. Always: to all."""

PUBLIC = b"repr-digest"

OF_CONTENT = frozenset({b"content-digest", b"content-md5", b"x-amz-checksum-sha256", b"x-goog-hash"})
"""Fields that may describe only the part in a 206."""

WORDS = (PUBLIC, *OF_CONTENT)
"""Fields that state digests."""

_ENCRYPTION, _KEY = b"x-amz-server-side-encryption", b"x-amz-server-side-encryption-customer-algorithm"
_CLASS = b"x-amz-storage-class"

BESIDE_ETAGS = frozenset({_ENCRYPTION, _KEY, _CLASS})
"""Fields that say whether an ETag is a digest."""

_SIZES: Mapping[str, int] = {"sha-512": 64, "sha-256": 32, "md5": 16}  # the strongest first
_LONGEST_WANT = 1024  # longer values of Want-Repr-Digest are ignored
_LEGACY = frozenset({"md5"})  # sent only on request (RFC 9530 §5)
_MD5_TAG = re.compile(rb'"([0-9a-f]{32})"').fullmatch
_GOOG_MD5 = re.compile(rb"(?:^|[ ,])md5=([A-Za-z0-9+/=]+)")
_GOOG_CRC = re.compile(rb"(?:^|[ ,])crc32c=([A-Za-z0-9+/=]+)")
_CHECKSUM_SIZES: Mapping[str, int] = {"sha-1": 20, "crc64nvme": 8, "crc32c": 4, "crc32": 4}  # of storages only
CHECKSUMS = frozenset(b"x-amz-checksum-" + name.encode() for name in ("crc32", "crc32c", "crc64nvme", "sha1"))
"""Fields of other checksums, which don't become digests for clients and are stated of the same bytes."""

_ALL_SIZES: Mapping[str, int] = {**_SIZES, **_CHECKSUM_SIZES}
_AMAZON: Mapping[str, bytes] = {name: b"x-amz-checksum-" + name.replace("-", "").encode() for name in _CHECKSUM_SIZES}


def lines(head: ResponseHead, sending: Sending, *, md5_etags: bool) -> list[Field]:
    """The fields that replace Repr-Digest in the stored head of a whole 200. Never raises.

    `md5_etags`: an ETag that looks like an MD5 is that of the object, unless other fields contradict it.
    """
    found = _stated(head) if head.has_any(WORDS) else {}
    if "md5" not in found and md5_etags and (digest := md5_of_etag(head)) is not None:
        found["md5"] = digest
    if not found:
        return []
    public = {name: value for name, value in found.items() if sending == "always" and name not in _LEGACY}
    others = {name: value for name, value in found.items() if name not in public}
    groups = ((PUBLIC, public), (hidden.LINE, others))
    return [(name, hidden.dictionary(digests)) for name, digests in groups if digests]


def whole(head: ResponseHead) -> dict[str, bytes]:
    """All digests and checksums of the whole object that a 200 states, by algorithm. Never raises.

    Those of the parts of an upload, and of the checksums of its parts ("COMPOSITE"), are omitted.
    """
    if head.get(b"x-amz-checksum-type") not in (None, b"FULL_OBJECT"):
        kept = tuple([line for line in head.fields if not line[0].startswith(b"x-amz-checksum-")])
        head = ResponseHead(head.status, kept, head.length)
    found = _stated(head) if head.has_any(WORDS) else {}
    values = [(algorithm, head.get(name)) for algorithm, name in _AMAZON.items()]
    for algorithm, value in (*values, ("crc32c", _goog_hash(head, _GOOG_CRC))):
        if value is not None and (digest := _decoded(value, algorithm)) is not None:
            found.setdefault(algorithm, digest)
    return found


def stored(fields: Fields) -> dict[str, bytes]:
    """The digests in a stored head, by algorithm."""
    return _digests(b", ".join([value for name, value in fields if name in (PUBLIC, hidden.LINE)]))


def wanted(fields: Fields, want: bytes) -> Field | None:
    """The Repr-Digest for a request whose Want-Repr-Digest is `want`: all accepted digests, in order of preference.

    None if it accepts none of them, or is malformed.
    """
    if len(want) > _LONGEST_WANT:
        return None
    held = stored(fields)
    weights = {
        name: member.value
        for name, member in (parse_dictionary(want) or {}).items()
        if isinstance(member, Item) and type(member.value) is int and 1 <= member.value <= 10  # §4: 0 is "not that"
    }
    chosen = sorted([name for name in held if name in weights], key=lambda name: -weights[name])
    return (PUBLIC, hidden.dictionary({name: held[name] for name in chosen})) if chosen else None


def are_hidden_in(fields: Fields) -> bool:
    """Whether a stored head has digests that are sent only on request."""
    return not _SIZES.keys().isdisjoint(hidden.hidden_in(fields))


def revealed(fields: Fields) -> tuple[Field, ...]:
    """Fields received from another worker, with its hidden digests as the Repr-Digest that an origin would send."""
    return tuple([(PUBLIC, value) if name == hidden.LINE else (name, value) for name, value in fields])


def _stated(head: ResponseHead) -> dict[str, bytes]:
    """Digests stated in fields, the strongest first; for each algorithm the most direct field counts."""
    found: dict[str, bytes] = {}
    for name in (PUBLIC, b"content-digest"):
        if said := head.all(name):
            found = {**_digests(b", ".join(said)), **found}
    for algorithm, value in (
        ("sha-256", head.get(b"x-amz-checksum-sha256")),
        ("md5", _goog_hash(head, _GOOG_MD5)),
        ("md5", head.get(b"content-md5")),
    ):
        if value is not None and (digest := _decoded(value, algorithm)) is not None:
            found.setdefault(algorithm, digest)
    return {name: found[name] for name in _SIZES if name in found} if found else found


def _goog_hash(head: ResponseHead, pattern: re.Pattern[bytes]) -> bytes | None:
    """A hash in x-goog-hash: of the stored bytes, which differ from those sent if Google decompresses them."""
    said = head.all(b"x-goog-hash")
    if not said:
        return None
    if head.get(b"x-goog-stored-content-encoding") == b"gzip" and head.get(b"content-encoding") != b"gzip":
        return None
    match = pattern.search(b",".join(said))
    return None if match is None else match[1]


def md5_of_etag(head: ResponseHead) -> bytes | None:
    """The MD5 in an ETag; None for multipart objects, and where ETags are no digests."""
    match = _MD5_TAG(head.get(b"etag") or b"")
    return None if match is None or has_opaque_etag(head) else bytes.fromhex(match[1].decode())


def has_opaque_etag(head: ResponseHead) -> bool:
    """Whether an ETag is no digest, as a storage says: with keys of KMS or the customer, and in directory buckets."""
    is_standard = head.get(_ENCRYPTION) in (None, b"AES256") and head.get(_KEY) is None
    return not is_standard or head.get(_CLASS) == b"EXPRESS_ONEZONE"


def _digests(value: bytes) -> dict[str, bytes]:
    """The digests in a dictionary whose algorithm is known and whose length is right."""
    members = (parse_dictionary(value) or {}).items()
    return {
        name: member.value
        for name, member in members
        if isinstance(member, Item) and type(member.value) is bytes and len(member.value) == _SIZES.get(name)
    }


def _decoded(value: bytes, algorithm: str) -> bytes | None:
    try:
        digest = base64.b64decode(value, validate=True)
    except ValueError:
        return None
    return digest if len(digest) == _ALL_SIZES[algorithm] else None
