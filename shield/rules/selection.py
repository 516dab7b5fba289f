"""A stored head, and which part of a stored response a request gets: all, a range, only the head, 304, 412 or 416."""

from __future__ import annotations

from dataclasses import dataclass

from shield.messages import Field, Request, ResponseHead
from shield.rules import conditional, dates, ranges
from shield.rules.cache_control import parse as parse_cache_control
from shield.rules.headers import block, end_to_end, split_block
from shield.rules.ranges import Span

# What a 304 repeats of the 200 that it stands for (RFC 9110 §15.4.5); the client has the rest.
_IN_NOT_MODIFIED = frozenset(
    {b"cache-control", b"content-location", b"date", b"etag", b"expires", b"last-modified", b"vary", b"via"}
)


class StoredHead:
    """What is kept of an origin's head.

    `block` is status line and field lines, ready to be sent, without Age, Cache-Status and the blank line;
    `fields` are the same fields, from which 206 and 304 are built: None has them read from the block when needed.
    """

    __slots__ = ("_fields", "block", "etag", "last_modified", "must_revalidate", "no_cache", "status")

    def __init__(
        self,
        status: int,
        block: bytes,
        fields: tuple[Field, ...] | None,
        etag: bytes | None,
        last_modified: float | None,
        no_cache: bool,
        must_revalidate: bool,
    ) -> None:
        self.status = status
        self.block = block
        self._fields = fields
        self.etag = etag
        self.last_modified = last_modified
        self.no_cache = no_cache
        self.must_revalidate = must_revalidate

    @property
    def fields(self) -> tuple[Field, ...]:
        if self._fields is None:
            self._fields = tuple(split_block(self.block)[1])
        return self._fields

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StoredHead) and self.block == other.block  # all else follows from it

    def __hash__(self) -> int:
        return hash(self.block)

    def __repr__(self) -> str:
        return f"StoredHead({self.status}, {self.block!r})"


@dataclass(slots=True)
class Selection:
    """What to send: a ready-made `block` as in `StoredHead`, and the bytes in `span` (None: no body at all).

    A span whose `stop` is None lasts until the body ends, wherever that is.
    """

    status: int
    block: bytes
    start: int = 0
    stop: int | None = 0
    whole: bool = False

    @property
    def empty(self) -> bool:
        return self.stop is not None and self.start >= self.stop


def stored_head(head: ResponseHead, *, via: bytes | None, date: bytes, length: int | None) -> StoredHead:
    """What is kept of `head`: end-to-end fields, our Via if it isn't in it, a Date if it has none (RFC 9110 §6.6.1).

    `length` is the length of the body that goes with it, None while it isn't known.
    """
    fields = [f for f in end_to_end(head.fields) if f[0] != b"content-length"]
    if head.get(b"date") is None:
        fields.append((b"date", date))
    if length is not None:
        fields.append((b"content-length", b"%d" % length))
    if via is not None:
        fields.append((b"via", via))
    return of_fields(head.status, tuple(fields))


def of_fields(status: int, fields: tuple[Field, ...]) -> StoredHead:
    """A stored head of these very fields."""
    named = dict(reversed(fields))
    cache_control = parse_cache_control([value for name, value in fields if name == b"cache-control"])
    modified = named.get(b"last-modified")
    return StoredHead(
        status=status,
        block=block(status, fields),
        fields=fields,
        etag=named.get(b"etag"),
        last_modified=None if modified is None else dates.parse(modified),
        no_cache=cache_control.no_cache,
        must_revalidate=cache_control.must_revalidate or cache_control.proxy_revalidate,
    )


def with_length(head: StoredHead, length: int) -> StoredHead:
    """The same head once the body's length is known."""
    kept = tuple(f for f in head.fields if f[0] != b"content-length")
    return of_fields(head.status, (*kept, (b"content-length", b"%d" % length)))


def freshened_head(stored: StoredHead, update: ResponseHead, *, date: bytes) -> StoredHead:
    """The stored head updated from a 304: its fields replace the stored ones of the same name, but none that
    describes the stored bytes (RFC 9111 §3.2, §4.3.4). `date` is when it came, if it doesn't say itself."""
    news = [f for f in end_to_end(update.fields) if f[0] not in _OF_THE_BYTES]
    if update.get(b"date") is None:
        news.append((b"date", date))
    names = {name for name, _ in news}
    return of_fields(stored.status, (*(f for f in stored.fields if f[0] not in names), *news))


_OF_THE_BYTES = frozenset(
    {b"content-encoding", b"content-length", b"content-range", b"content-type", b"etag", b"via"}
)


def select(request: Request, head: StoredHead, length: int | None) -> Selection:
    """What `request` gets of a response with this head and a body of `length` bytes (None: not known yet).

    Preconditions come before ranges (RFC 9110 §13.2.2); both concern successful answers only (§13.2.1).
    """
    send_body = request.method != b"HEAD"
    stop = length if send_body else 0
    if not request.notable or head.status != 200:
        return Selection(head.status, head.block, 0, stop, whole=True)

    verdict = conditional.evaluate(request.notable, head.etag, head.last_modified, request.method)
    if verdict == 304:
        return Selection(304, block(304, [f for f in head.fields if f[0] in _IN_NOT_MODIFIED]))
    if verdict == 412:
        return Selection(412, block(412, [*_kept_of_error(head), (b"content-length", b"0")]))

    wanted = request.notable.get(b"range")
    if wanted is None or length is None or not send_body or not _range_holds(request, head):
        return Selection(head.status, head.block, 0, stop, whole=True)
    choice = ranges.select(wanted, length)
    if choice is None:
        return Selection(head.status, head.block, 0, stop, whole=True)
    if not isinstance(choice, Span):
        unsatisfied = (b"content-range", b"bytes */%d" % length)  # §15.5.17
        return Selection(416, block(416, [*_kept_of_error(head), unsatisfied, (b"content-length", b"0")]))
    kept = [f for f in head.fields if f[0] != b"content-length"]
    kept.append((b"content-range", ranges.content_range(choice, length)))
    kept.append((b"content-length", b"%d" % (choice.stop - choice.start)))
    return Selection(206, block(206, kept), choice.start, choice.stop)


def _kept_of_error(head: StoredHead) -> list[Field]:
    return [f for f in head.fields if f[0] in (b"date", b"via")]


def _range_holds(request: Request, head: StoredHead) -> bool:
    """Whether If-Range, if there is one, lets the range through (RFC 9110 §13.1.5)."""
    condition = request.notable.get(b"if-range")
    if condition is None:
        return True
    stated = next((value for name, value in head.fields if name == b"date"), b"")
    return conditional.if_range_matches(condition, head.etag, head.last_modified, date=dates.parse(stated))
