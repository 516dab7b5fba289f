"""Response heads as bytes that are ready to send, and their stored form."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Final

from shield.messages import Field, Fields
from shield.rules import hidden
from shield.rules.dates import LONGEST, epoch_of
from shield.rules.freshness import Freshness

# The fields that a 304 repeats of its 200 (RFC 9110 §15.4.5); the client has the others.
_IN_NOT_MODIFIED: Final = frozenset(
    {b"cache-control", b"content-location", b"date", b"etag", b"expires", b"last-modified", b"vary", b"via"}
    | {b"cache-groups", b"cache-tag", b"edge-cache-tag", b"surrogate-control", b"surrogate-key", b"xkey"}
)
_GUIDING: Final = b"-cache-control"  # end of the names of targeted fields, which guide updates as well

# Fields never in a 304, which has no body (§15.4.5); hidden fields are added separately.
OF_A_BODY: Final = frozenset({b"content-length", hidden.LINE})

_is_name = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+").fullmatch
_REMEMBERED = 1024  # cached names; origins use the same few
_STATUS_LINES: Final = {s.value: b"HTTP/1.1 %d %b\r\n" % (s.value, s.phrase.encode()) for s in HTTPStatus}


_Lines = tuple[Field, ...]


class StoredHead:
    """The stored part of an origin's head.

    `block` is status line and field lines, without Age, Cache-Status and the blank line; `shown` is the block without
    its hidden line, which clients get; `fields` are the same fields, from which 206 and 304 are built. If they are
    None at first, they are parsed from the block when needed. `no_cache` and `must_revalidate` are set by its maker
    (`as_judged`).
    """

    __slots__ = (
        "_fields",
        "_not_modified",
        "block",
        "etag",
        "last_modified",
        "must_revalidate",
        "no_cache",
        "shown",
        "status",
    )

    def __init__(
        self, status: int, block: bytes, fields: _Lines | None, etag: bytes | None, last_modified: float | None
    ) -> None:
        self.status = status
        self.block = block
        self.shown = hidden.shown(block) if block.endswith(hidden.END) else block
        self._fields = fields
        self._not_modified: bytes | None = None
        self.etag = etag
        self.last_modified = last_modified
        self.no_cache = self.must_revalidate = False

    @property
    def fields(self) -> tuple[Field, ...]:
        if self._fields is None:
            self._fields = tuple(split_block(self.block)[1])
        return self._fields

    @property
    def not_modified(self) -> bytes:
        """The block of a 304, made once: revalidations are a common kind of hit."""
        if self._not_modified is None:
            repeated = [f for f in self.fields if f[0] in _IN_NOT_MODIFIED or f[0].endswith(_GUIDING)]
            self._not_modified = block(304, [f for f in repeated if f[0] not in OF_A_BODY])
        return self._not_modified

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StoredHead) and self.block == other.block  # apart from the marks of freshness

    def __hash__(self) -> int:
        return hash(self.block)

    def __repr__(self) -> str:
        return f"StoredHead({self.status}, {self.block!r})"


def of_fields(status: int, fields: tuple[Field, ...]) -> StoredHead:
    """A stored head with exactly these fields, without marks of freshness (`as_judged`)."""
    named = dict(reversed(fields))
    if hidden.LINE in named:
        fields = hidden.joined(fields)
    modified = named.get(b"last-modified", b"")
    changed = epoch_of(modified) if len(modified) <= LONGEST else None
    return StoredHead(status, block(status, fields), fields, named.get(b"etag"), changed)


def of_valid(status: int, fields: tuple[Field, ...], etag: bytes | None, modified: bytes) -> StoredHead:
    """As `of_fields`, for names that are known to be valid, none of them that of a hidden line, and the values of
    ETag and Last-Modified among them.
    """
    made = b"%b%b\r\n" % (_STATUS_LINES[status], b"\r\n".join(map(b": ".join, fields)))
    _check_ends(made, fields)
    return StoredHead(status, made, fields, etag, epoch_of(modified) if len(modified) <= LONGEST else None)


def as_judged(head: StoredHead, freshness: Freshness) -> StoredHead:
    """The same head, marked with no-cache and must-revalidate as far as its freshness implies them."""
    head.must_revalidate = freshness.error_grace <= 0.0 and freshness.grace <= 0.0
    head.no_cache = head.must_revalidate and freshness.lifetime <= 0.0
    return head


def with_length(head: StoredHead, length: int) -> StoredHead:
    """The same head once the body's length is known."""
    kept = tuple(f for f in head.fields if f[0] != b"content-length")
    return of_fields(head.status, (*kept, (b"content-length", b"%d" % length)))


def block(status: int, fields: Fields) -> bytes:
    """Status line and field lines of an HTTP/1.1 response (RFC 9112 §2.1), each with its CRLF; no blank line.

    Raises ValueError for a field that would break a line or end the head (RFC 9110 §5.5).
    """
    lines = [b"%b: %b\r\n" % line for line in fields if VALID_NAMES[line[0]]]
    made = (_STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status) + b"".join(lines)
    if len(lines) != len(fields):
        raise _unsendable(fields)
    _check_ends(made, fields)
    return made


def _check_ends(made: bytes, fields: Fields) -> None:
    """Raise ValueError unless there are as many line ends as lines, so that no value contains one."""
    ends = len(fields) + 1
    if made.count(b"\n") != ends or made.count(b"\r") != ends or b"\0" in made:
        raise _unsendable(fields)


def _unsendable(fields: Fields) -> ValueError:
    return ValueError(f"fields that can't be sent: {[name for name, _ in fields]}")


def split_block(head: bytes) -> tuple[int, list[Field]]:
    """Status and fields of a head made by `block`, for senders that frame heads differently."""
    status_line, *lines = head.split(b"\r\n")
    fields: list[Field] = []
    for line in lines[:-1]:
        name, _, value = line.partition(b": ")
        fields.append((name, value))
    return int(status_line[9:12]), fields


class _ValidNames(dict[bytes, bool]):
    """Whether a name is a token in lower case (RFC 9110 §5.1); caches the results."""

    def __missing__(self, name: bytes) -> bool:
        found = _is_name(name) is not None
        if len(self) < _REMEMBERED:
            self[name] = found
        return found


VALID_NAMES: Final = _ValidNames()
