"""The selection of an origin's fields for clients, and their update by a later head."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from shield.messages import Field, Fields
from shield.rules.heads import VALID_NAMES

# Fields for the next hop only (RFC 9110 §7.6.1, §11.7).
_HOP_BY_HOP = frozenset(
    {b"connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade", b"http2-settings"}
)
_FOR_PROXIES = b"proxy-"  # prefix of more such names

# Fields that Connection can't make hop-by-hop: they are for all recipients, and dropping them because of a faulty
# Connection could lift a response's restrictions (RFC 9110 §7.6.1).
_NOT_NOMINABLE = frozenset(
    {
        b"cache-control",
        b"content-encoding",
        b"content-length",
        b"content-range",
        b"content-type",
        b"date",
        b"etag",
        b"expires",
        b"last-modified",
        b"set-cookie",
        b"vary",
    }
)

OURS = frozenset(
    {
        b"age",  # written per response (RFC 9111 §5.1)
        # about the origin's host and connection, which clients don't see
        b"alt-svc",  # RFC 7838 §3
        b"nel",
        b"report-to",
        b"server",
        b"strict-transport-security",  # RFC 6797 §8.1: the policy of a host
        b"warning",  # RFC 9111 §5.5: obsolete, and possibly outdated when the entry is served
    }
)
"""Fields that apply to the origin alone and are dropped. Via and Cache-Status stay: they are lists to append to."""

INTERNAL = (
    b"cf-ray",
    b"x-amz-",
    b"x-amzn-",
    b"x-b2-",
    b"x-bz-",
    b"x-ceph-",
    b"x-goog-",
    b"x-guploader",
    b"x-minio-",
    b"x-ms-",
    b"x-openstack-",
    b"x-request-id",
    b"x-rgw-",
    b"x-trans-id",
    b"x-wasabi-",
    b"x-xss-protection",  # a policy for MinIO's console, sent with every object
)
"""Prefixes of fields internal to a storage: owners, versions, encryption keys, request ids."""

_OF_THE_BYTES = frozenset(
    {
        b"content-digest",
        b"content-encoding",
        b"content-length",
        b"content-md5",
        b"content-range",
        b"via",  # of the stored response, including our own member
    }
)
"""Fields about a stored response's bytes or its path through proxies: no later head changes them (RFC 9111 §3.2)."""

_BREAKS = re.compile(rb"[\r\n\0]")
_NOT_TOKEN = re.compile(r"[^!#$%&'*+.^_`|~0-9A-Za-z-]+")

_REMEMBERED = 1024  # cached names; origins use the same few


class NameSet:
    """Field names; one that ends with a star stands for all with that prefix."""

    def __init__(self, names: Iterable[bytes]) -> None:
        listed = tuple(names)
        self._names = frozenset(name for name in listed if not name.endswith(b"*"))
        self._beginnings = tuple(name[:-1] for name in listed if name.endswith(b"*"))

    def __contains__(self, name: bytes) -> bool:
        return name in self._names or name.startswith(self._beginnings)


class _Fates(dict[bytes, bool]):
    """Whether a field is forwarded to clients, by its name; caches the results."""

    def __init__(self, drop: frozenset[bytes], prefixes: tuple[bytes, ...], keep: tuple[bytes, ...]) -> None:
        self._dropped = _HOP_BY_HOP | drop
        self._prefixes = prefixes
        self._keep = NameSet(keep)

    def __missing__(self, name: bytes) -> bool:
        internal = name.startswith(self._prefixes) and name not in self._keep
        for_here = name in self._dropped or name.startswith(_FOR_PROXIES)
        found = not internal and not for_here and VALID_NAMES[name]
        if len(self) < _REMEMBERED:
            self[name] = found
        return found


class Sieve:
    """Selects an origin's fields for clients: all except hop-by-hop fields and those that Connection names (RFC 9110
    §7.6.1), names in `drop`, names that begin with one of `prefixes` and aren't in `keep` (a `NameSet`'s names), and
    malformed fields.
    """

    def __init__(
        self,
        *,
        drop: frozenset[bytes] = OURS,
        prefixes: tuple[bytes, ...] = INTERNAL,
        keep: tuple[bytes, ...] = (),
    ) -> None:
        self._fates = _Fates(drop, prefixes, keep)

    def passes(self, fields: Fields) -> list[Field]:
        """The selected fields, in order."""
        named = dict(fields)
        each_once = len(named) == len(fields)
        values = b" ".join(named.values()) if each_once else b" ".join([value for _, value in fields])
        if b"\r" in values or b"\n" in values or b"\0" in values:
            fields = [line for line in fields if not _BREAKS.search(line[1])]
        fates = self._fates
        if b"connection" in named and not (each_once and named[b"connection"] == b"keep-alive"):
            nominated = _nominated(fields)
            return [line for line in fields if fates[line[0]] and line[0] not in nominated]
        return [line for line in fields if fates[line[0]]]


_PLAIN = Sieve()


def updated(
    stored: Fields, update: Fields, *, date: bytes, passing: Callable[[Fields], Fields] = _PLAIN.passes
) -> tuple[Field, ...]:
    """Stored fields updated by a later head for the same bytes: of a 304 or a response to HEAD (RFC 9111 §3.2).

    The fields that `passing` selects replace stored ones of the same name; all others stay. `date` is the time of
    arrival as an HTTP date, used if the head has no Date. A stored ETag is never replaced: it names the stored bytes.
    """
    known = dict(stored)
    kept = _OF_THE_BYTES | {b"etag"} if b"etag" in known else _OF_THE_BYTES
    news = [field for field in passing(update) if field[0] not in kept and not _describes_nothing(field, known)]
    names = {name for name, _ in news}
    if b"date" not in names:
        news.append((b"date", date))
        names.add(b"date")
    return (*[field for field in stored if field[0] not in names], *news)


def _describes_nothing(field: Field, known: dict[bytes, bytes]) -> bool:
    """Whether a Content-Type is about the 304's own empty body, as from some storages: that of a representation keeps
    its media type, and only its parameters may change.
    """
    if field[0] != b"content-type" or b"content-type" not in known:
        return False
    return _media_type(field[1]) != _media_type(known[b"content-type"])


def _media_type(value: bytes) -> bytes:
    return value.partition(b";")[0].strip(b" \t").lower()


def via(version: bytes, pseudonym: str) -> bytes:
    """Our member of Via: the origin's protocol version and our pseudonym (RFC 9110 §7.6.3).

    Each run of characters that aren't allowed in a token becomes "-".
    """
    return b"%b %b" % (version, _NOT_TOKEN.sub("-", pseudonym).encode() or b"-")


def _nominated(fields: Fields) -> frozenset[bytes]:
    """The fields that Connection lists as hop-by-hop."""
    values = [value for name, value in fields if name == b"connection"]
    return frozenset(name.strip(b" \t").lower() for name in b",".join(values).split(b",")) - _NOT_NOMINABLE
