"""A route's changes to the fields of origins' responses, applied once on arrival.

`changed` comes first: all later decisions, the lifetime included, treat its result as the origin's own head. `kept`
then omits hop-by-hop fields and those internal to a storage from the stored head.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import get_args

from shield.messages import Field, Fields, ResponseHead
from shield.rules import digests, hidden, locations
from shield.rules.digests import Sending
from shield.rules.headers import INTERNAL, OURS, NameSet, Sieve
from shield.rules.heads import StoredHead, of_fields
from shield.rules.locations import PathMapping
from shield.rules.ranges import with_parts

NOT_CHANGEABLE = frozenset(
    b"age cache-status connection content-length content-range date etag keep-alive last-modified proxy-authenticate"
    b" proxy-connection server shield-hidden shield-peer te trailer transfer-encoding upgrade via".split()
)
"""Fields about a body's length, its version or its path through proxies: a route can't remove, set or add them."""


_ENCODING, _RANGES = b"content-encoding", b"accept-ranges"
_DATE = (b"date",)

_WRITTEN_HERE = frozenset({b"age", b"content-length", b"server", hidden.LINE})
_OF_OTHER_HOSTS = OURS - _WRITTEN_HERE


@dataclass(frozen=True)
class FieldRules:
    """The changes to the responses of one origin.

    Names in `drop` or with a prefix in `prefixes` are removed, except for names in `keep` and those that are set or
    added. Names in `keep` and `remove` may end with a star, which stands for any ending. `storage`: the origin is an
    S3 API. `mapping`: references to the origin's own URLs become paths of the route.
    """

    drop: frozenset[bytes] = _OF_OTHER_HOSTS
    prefixes: tuple[bytes, ...] = INTERNAL
    keep: tuple[bytes, ...] = ()
    remove: tuple[bytes, ...] = ()
    set: tuple[Field, ...] = ()
    add: tuple[Field, ...] = ()
    digests: Sending = "off"
    md5_etags: bool = False
    storage: bool = False
    mapping: PathMapping | None = None

    def changed(self, head: ResponseHead) -> ResponseHead:
        """The head without the removed fields, with set fields in place of the origin's, and with the added ones.

        A 304 updates stored fields by name: it needs no set fields, which are stored already, and added ones only
        beside fields of the same name.
        """
        if self.storage:
            head = _of_object(head)
        if self.mapping is not None and head.has_any(locations.NAMES):
            head = ResponseHead(head.status, self.mapping.fields(head.fields), head.length)
        if not (self.remove or self.set or self.add):
            return head
        gone = self._gone
        fields = [line for line in head.fields if line[0] not in gone]
        if head.status == 304:
            named = {name for name, _ in fields}
            fields += [line for line in self.add if line[0] in named]
        else:
            fields += [*self.set, *self.add]
        return ResponseHead(head.status, tuple(fields), head.length)

    @cached_property
    def kept(self) -> Callable[[Fields], list[Field]]:
        """A function that selects the fields of a response for clients, in order."""
        keep = (*self.keep, *(name for name, _ in (*self.set, *self.add)))
        kept = NameSet(keep)
        replaced = frozenset() if self.digests == "off" else {digests.PUBLIC}
        drop = frozenset(name for name in self.drop if name not in kept) | _WRITTEN_HERE | replaced
        return Sieve(drop=drop, prefixes=self.prefixes, keep=keep).passes

    def digest_lines(self, head: ResponseHead) -> list[Field]:
        """The fields that state the digests of a whole response, instead of its own Repr-Digest."""
        if self.digests == "off" or head.status != 200:
            return []
        return digests.lines(head, self.digests, md5_etags=self.md5_etags)

    @cached_property
    def _gone(self) -> NameSet:
        return NameSet((*self.remove, *(name for name, _ in self.set)))


@dataclass(frozen=True, slots=True)
class RouteFields:
    """A route's rules by the origin's name."""

    by_origin: Mapping[str, FieldRules] = field(default_factory=dict)
    digests: Sending = "off"
    of_options: tuple[Field, ...] = ()  # sent in responses to OPTIONS, which never go to an origin
    tells_ranges: bool = True  # advertise ranges of stored entries, even if the origin doesn't

    def of(self, origin: str, *, by_peer: bool) -> FieldRules:
        """The rules for a response of this origin. `by_peer`: another worker of this node has applied them."""
        return _OF_PEERS[self.digests] if by_peer else self.by_origin.get(origin, _DEFAULT)


def _of_object(head: ResponseHead) -> ResponseHead:
    """A storage's head without the aws-chunked coding of its upload, which some storages keep in Content-Encoding
    after decoding it, and with Accept-Ranges, which some omit though the API promises ranges.
    """
    encoded = head.has_any((_ENCODING,))
    silent = head.status in (200, 206) and not head.get(_RANGES)
    if not (encoded or silent):
        return head
    fields = list(head.fields)
    if encoded:
        codings = [coding.strip(b" \t") for line in head.all(_ENCODING) for coding in line.split(b",")]
        real = [coding for coding in codings if coding and coding.lower() != b"aws-chunked"]
        if len(real) < len(codings):
            fields = [line for line in fields if line[0] != _ENCODING]
            if real:
                fields.append((_ENCODING, b", ".join(real)))
    stated = with_parts(fields) if silent else tuple(fields)
    return ResponseHead(head.status, stated, head.length)


_DEFAULT = FieldRules()
_OF_PEERS: Mapping[Sending, FieldRules] = {
    sending: FieldRules(frozenset(), (), digests=sending) for sending in get_args(Sending)
}


def stored_head(
    head: ResponseHead, *, via: bytes | None, date: bytes, length: int | None, rules: FieldRules = _DEFAULT
) -> StoredHead:
    """The stored form of `head`: the fields that the rules keep, `via` if given, Date if it has none (RFC 9110
    §6.6.1), and digests by the rules.

    `length` is that of its body in bytes, None while it isn't known.
    """
    fields = rules.kept(head.fields)
    if not head.has_any(_DATE):
        fields.append((b"date", date))
    if length is not None and head.status != 204:  # RFC 9110 §8.6
        fields.append((b"content-length", b"%d" % length))
    if via is not None:
        fields.append((b"via", via))
    fields += rules.digest_lines(head)
    return of_fields(head.status, tuple(fields))
