"""A page of a bucket's listing (ListObjectsV2): its query, and the parsing of its document. No sockets.

Source: "ListObjectsV2", Amazon S3 API Reference. Keys are in the binary order of their UTF-8 bytes.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote_from_bytes, unquote_to_bytes
from xml.etree import ElementTree

from shield.errors import ShieldError

PAGE = 1000
"""Keys in a page: the most that S3 sends."""

_SPELLS_MD5 = re.compile(r"[0-9a-f]{32}").fullmatch
_SPELLS_S3 = re.compile(r"[0-9a-f]{32}(?:-[0-9]{1,5})?").fullmatch


class ListingError(ShieldError):
    """A listing that can't be used: not a valid document, or not in the order that merging needs."""


@dataclass(frozen=True, slots=True)
class ListedObject:
    """An object in a listing; `etag` is without its quotes, `modified` in epoch seconds."""

    key: bytes
    size: int
    etag: str
    modified: float

    @property
    def may_be_md5(self) -> bool:
        """Whether the ETag looks like the MD5 of an object in one part. Those of encrypted objects look the same."""
        return _SPELLS_MD5(self.etag) is not None

    def proves(self, other: ListedObject) -> bool:
        """Whether the listings alone prove equal bytes: by equal ETags that are derived from them."""
        if self.size != other.size:
            return False
        return not self.size or (self.etag == other.etag and _SPELLS_S3(self.etag) is not None)


@dataclass(frozen=True, slots=True)
class ListingPage:
    """Objects in order. Unless `is_last`, the listing continues with `token`, or without one after the last key."""

    objects: tuple[ListedObject, ...]
    is_last: bool
    token: bytes | None = None


def page_query(prefix: bytes, *, after: bytes | None = None, token: bytes | None = None, keys: int = PAGE) -> bytes:
    """The canonical query of a page: the first one, the one after a key, or that of the previous page's token."""
    asked = {b"encoding-type": b"url", b"list-type": b"2", b"max-keys": b"%d" % keys}
    if prefix:
        asked[b"prefix"] = prefix
    if token is not None:
        asked[b"continuation-token"] = token
    elif after is not None:
        asked[b"start-after"] = after
    return b"&".join([name + b"=" + quote_from_bytes(asked[name], safe="").encode() for name in sorted(asked)])


def parse_page(body: bytes, prefix: bytes, *, after: bytes | None = None) -> ListingPage:
    """The page in a document. Raises ListingError, also for keys without `prefix` or not after `after`."""
    root = _root(body)
    fields = {_name(element): element.text or "" for element in root}
    is_encoded = fields.get("EncodingType", "").strip().lower() == "url"
    objects: list[ListedObject] = []
    for element in root:
        if _name(element) != "Contents":
            continue
        listed = _listed(element, is_encoded=is_encoded)
        if not listed.key.startswith(prefix):
            raise ListingError(f"the key {_shown(listed.key)} doesn't begin with the prefix that was asked for")
        if after is not None and listed.key <= after:
            said = f"{_shown(listed.key)} comes after {_shown(after)}: keys aren't in the order of their UTF-8 bytes"
            raise ListingError(f"{said}, as in a directory bucket; such listings can't be compared")
        after = listed.key
        objects.append(listed)
    is_last = fields.get("IsTruncated", "false").strip().lower() != "true"
    token = fields.get("NextContinuationToken") or None
    if not is_last and not objects and token is None:
        raise ListingError("an empty page says that the listing goes on, and not how")
    return ListingPage(tuple(objects), is_last, None if is_last or token is None else token.encode())


def _root(body: bytes) -> ElementTree.Element:
    if b"<!DOCTYPE" in body or b"<!ENTITY" in body:  # no listing has them, and entities can grow without end
        raise ListingError("its document declares a type; expected ListBucketResult")
    try:
        root = ElementTree.fromstring(body)
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # the last for an unknown encoding
        raise ListingError(f"its document isn't XML: {error}") from None
    if _name(root) != "ListBucketResult":
        raise ListingError(f"its document is {_name(root)[:50]}; expected ListBucketResult")
    return root


def _listed(element: ElementTree.Element, *, is_encoded: bool) -> ListedObject:
    fields = {_name(child): child.text or "" for child in element}
    key = fields.get("Key", "")
    if not key:
        raise ListingError("an object without a key")
    # Spaces come as + (S3, MinIO) or as %20 (Ceph); a plus comes as %2B from all.
    raw = unquote_to_bytes(key.replace("+", "%20")) if is_encoded else key.encode("utf-8", "surrogatepass")
    size = fields.get("Size", "").strip()
    if not (size.isascii() and size.isdigit() and len(size) < 20):
        raise ListingError(f"{_shown(raw)} has no size")
    return ListedObject(
        raw, int(size), fields.get("ETag", "").strip().strip('"'), _epoch(fields.get("LastModified", ""))
    )


def _epoch(text: str) -> float:
    """Epoch seconds of a timestamp; negative infinity for an invalid one: it counts as old."""
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        return -math.inf
    return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()


def _name(element: ElementTree.Element) -> str:
    """An element's name without its namespace, in which providers differ."""
    return element.tag.rpartition("}")[2]


def _shown(key: bytes) -> str:
    return quote_from_bytes(key[:200], safe="/")
