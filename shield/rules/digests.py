"""Digests of whole representations (RFC 9530): which are kept of what an origin says, and which a request gets.

Storages say it in words of their own; here they become Repr-Digest. A digest that nobody asked for is kept in the
stored head's hidden line (`hidden`).
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
"""Off: fields of origins go on as they are. Asked: to requests with Want-Repr-Digest. Always: to all others, too."""

PUBLIC = b"repr-digest"

OF_CONTENT = frozenset({b"content-digest", b"content-md5", b"x-amz-checksum-sha256", b"x-goog-hash"})
"""Fields that in a 206 are, or may be, of the part alone."""

_WORDS = (PUBLIC, *OF_CONTENT)
_SIZES: Mapping[str, int] = {"sha-512": 64, "sha-256": 32, "md5": 16}  # the strongest first
_LONGEST_WANT = 1024  # bytes of a wish that is read at all
_LEGACY = frozenset({"md5"})  # sent only where it is named (RFC 9530 §5)
_MD5_TAG = re.compile(rb'"([0-9a-f]{32})"').fullmatch
_GOOG_MD5 = re.compile(rb"(?:^|[ ,])md5=([A-Za-z0-9+/=]+)")


def lines(head: ResponseHead, sending: Sending, *, md5_etags: bool) -> list[Field]:
    """The fields to keep of what a whole 200's head says, in place of its Repr-Digest. Never raises.

    `md5_etags`: its ETag is the MD5 of the object, where it looks so and nothing says otherwise.
    """
    found = _stated(head) if head.has_any(_WORDS) else {}
    if "md5" not in found and md5_etags and (digest := _md5_of_etag(head)) is not None:
        found["md5"] = digest
    if not found:
        return []
    public = {name: value for name, value in found.items() if sending == "always" and name not in _LEGACY}
    others = {name: value for name, value in found.items() if name not in public}
    told = ((PUBLIC, public), (hidden.LINE, others))
    return [(name, hidden.dictionary(digests)) for name, digests in told if digests]


def wanted(fields: Fields, want: bytes) -> Field | None:
    """The Repr-Digest for a request whose Want-Repr-Digest is `want`: all that it takes, what it prefers first.

    None when it takes none of these, or says nothing that can be understood.
    """
    if len(want) > _LONGEST_WANT:
        return None
    held = _digests(b", ".join([value for name, value in fields if name in (PUBLIC, hidden.LINE)]))
    weights = {
        name: member.value
        for name, member in (parse_dictionary(want) or {}).items()
        if isinstance(member, Item) and type(member.value) is int and 1 <= member.value <= 10  # §4: 0 is "not that"
    }
    chosen = sorted([name for name in held if name in weights], key=lambda name: -weights[name])
    return (PUBLIC, hidden.dictionary({name: held[name] for name in chosen})) if chosen else None


def are_hidden_in(fields: Fields) -> bool:
    """Whether there are digests beyond those that all get to see."""
    return not _SIZES.keys().isdisjoint(hidden.hidden_in(fields))


def told_openly(fields: Fields) -> tuple[Field, ...]:
    """The fields that another worker sends, with the digests it keeps as if an origin had told them."""
    return tuple([(PUBLIC, value) if name == hidden.LINE else (name, value) for name, value in fields])


def _stated(head: ResponseHead) -> dict[str, bytes]:
    """What is said in so many words, the strongest first; of one algorithm the plainest word counts."""
    found: dict[str, bytes] = {}
    for name in (PUBLIC, b"content-digest"):
        if said := head.all(name):
            found = {**_digests(b", ".join(said)), **found}
    for algorithm, value in (
        ("sha-256", head.get(b"x-amz-checksum-sha256")),
        ("md5", _goog_md5(head)),
        ("md5", head.get(b"content-md5")),
    ):
        if value is not None and (digest := _decoded(value, algorithm)) is not None:
            found.setdefault(algorithm, digest)
    return {name: found[name] for name in _SIZES if name in found} if found else found


def _goog_md5(head: ResponseHead) -> bytes | None:
    """Google hashes what it stores, which isn't what it sends where it unpacks gzip on the way."""
    said = head.all(b"x-goog-hash")
    if not said:
        return None
    if head.get(b"x-goog-stored-content-encoding") == b"gzip" and head.get(b"content-encoding") != b"gzip":
        return None
    match = _GOOG_MD5.search(b",".join(said))
    return None if match is None else match[1]


def _md5_of_etag(head: ResponseHead) -> bytes | None:
    """Not of several parts, which show, nor under keys of KMS or the customer, nor in a directory bucket."""
    match = _MD5_TAG(head.get(b"etag") or b"")
    encryption = head.get(b"x-amz-server-side-encryption")
    if (
        match is None
        or encryption not in (None, b"AES256")
        or head.get(b"x-amz-server-side-encryption-customer-algorithm") is not None
        or head.get(b"x-amz-storage-class") == b"EXPRESS_ONEZONE"
    ):
        return None
    return bytes.fromhex(match[1].decode())


def _digests(value: bytes) -> dict[str, bytes]:
    """The digests in a dictionary that are of an algorithm known here, and as long as its are."""
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
    return digest if len(digest) == _SIZES[algorithm] else None
