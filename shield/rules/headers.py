"""Which of an origin's fields go on to clients, and heads as ready-made bytes."""

from __future__ import annotations

import re
from functools import lru_cache
from http import HTTPStatus

from shield.messages import Field, Fields

# Fields for the next hop only (RFC 9110 §7.6.1); "proxy-" is a prefix below.
_HOP_BY_HOP = frozenset(
    {b"connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade", b"http2-settings"}
)

# Fields that a Connection option doesn't remove: they are meant for all recipients, and to name them there is an
# error that would take a response's limits away (RFC 9110 §7.6.1).
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
        # what speaks for the origin's host and connection, which isn't the one the client talks to
        b"alt-svc",  # RFC 7838 §3
        b"nel",
        b"report-to",
        b"server",
        b"strict-transport-security",  # RFC 6797 §8.1: the policy of a host
    }
)
"""Fields of the origin's that are dropped for what they say. Via and Cache-Status are lists to which we append."""

INTERNAL = (
    b"proxy-",  # RFC 9110 §11.7: authentication towards the next hop
    b"x-amz-",
    b"x-amzn-",
    b"x-b2-",
    b"x-bz-",
    b"x-ceph-",
    b"x-goog-",
    b"x-guploader",
    b"x-minio-",
    b"x-openstack-",
    b"x-rgw-",
    b"x-trans-id",
    b"x-wasabi-",
    b"x-xss-protection",  # MinIO's console policy, on every object
)
"""Beginnings of field names that are a storage's own business: owners, versions, encryption keys, request ids."""

_is_name = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+").fullmatch
_BREAKS = re.compile(rb"[\r\n\0]")
_NOT_TOKEN = re.compile(r"[^!#$%&'*+.^_`|~0-9A-Za-z-]+")

_STATUS_LINES = {s.value: b"HTTP/1.1 %d %b\r\n" % (s.value, s.phrase.encode()) for s in HTTPStatus}
_REMEMBERED = 1024  # names; origins use the same few again and again


class _Names(dict[bytes, bool]):
    """Whether a name is a token in lower case (RFC 9110 §5.1), remembered."""

    def __missing__(self, name: bytes) -> bool:
        found = _is_name(name) is not None
        if len(self) < _REMEMBERED:
            self[name] = found
        return found


class _Fates(dict[bytes, bool]):
    """Whether a field of a name goes on to clients, remembered."""

    def __init__(self, drop: frozenset[bytes], prefixes: tuple[bytes, ...]) -> None:
        self._dropped = _HOP_BY_HOP | drop
        self._prefixes = prefixes

    def __missing__(self, name: bytes) -> bool:
        found = name not in self._dropped and not name.startswith(self._prefixes) and _NAMES[name]
        if len(self) < _REMEMBERED:
            self[name] = found
        return found


_NAMES = _Names()
_fates = lru_cache(maxsize=64)(_Fates)  # one for each set of rules


def end_to_end(
    fields: Fields, *, drop: frozenset[bytes] = OURS, prefixes: tuple[bytes, ...] = INTERNAL
) -> tuple[Field, ...]:
    """The fields that go on to clients, in order: without hop-by-hop fields and those that Connection names
    (RFC 9110 §7.6.1), names in `drop`, names beginning with one of `prefixes`, and fields that aren't well-formed.
    """
    values = b" ".join([value for _, value in fields])
    if b"\r" in values or b"\n" in values or b"\0" in values:
        fields = [line for line in fields if not _BREAKS.search(line[1])]
    fates = _fates(drop, prefixes)
    nominated = _nominated(fields)
    if nominated:
        return tuple([line for line in fields if fates[line[0]] and line[0] not in nominated])
    return tuple([line for line in fields if fates[line[0]]])


def block(status: int, fields: Fields) -> bytes:
    """Status line and field lines of an HTTP/1.1 response (RFC 9112 §2.1), each ended by CRLF; no blank line.

    Raises ValueError rather than let a field end a line or the head (RFC 9110 §5.5).
    """
    lines = [b"%b: %b\r\n" % line for line in fields if _NAMES[line[0]]]
    made = (_STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status) + b"".join(lines)
    ends = len(fields) + 1
    # As many line ends as lines: then none is inside a value.
    if len(lines) + 1 != ends or made.count(b"\n") != ends or made.count(b"\r") != ends or b"\0" in made:
        raise ValueError(f"fields that can't be sent: {[name for name, _ in fields]}")
    return made


def split_block(head: bytes) -> tuple[int, list[Field]]:
    """Status and fields of a block, for senders that frame heads in another way. Only for what `block` made."""
    status_line, *lines = head.split(b"\r\n")
    fields: list[Field] = []
    for line in lines[:-1]:
        name, _, value = line.partition(b": ")
        fields.append((name, value))
    return int(status_line[9:12]), fields


def via(version: bytes, pseudonym: str) -> bytes:
    """Our member of Via: the version the origin spoke, and who we are (RFC 9110 §7.6.3).

    Characters that a pseudonym can't have become "-".
    """
    return b"%b %b" % (version, _NOT_TOKEN.sub("-", pseudonym).encode() or b"-")


def _nominated(fields: Fields) -> frozenset[bytes]:
    """The fields that Connection says are for this hop."""
    values = [value for name, value in fields if name == b"connection"]
    if not values or values == [b"keep-alive"]:
        return frozenset()
    return frozenset(name.strip(b" \t").lower() for name in b",".join(values).split(b",")) - _NOT_NOMINABLE
