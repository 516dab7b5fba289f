"""The response to a request from a stored head: the whole entry, ranges of it, only its head, 304, 412 or 416."""

from __future__ import annotations

from dataclasses import dataclass

from shield.messages import Field, Request
from shield.rules import conditional, dates, digests, exact, hidden, multipart, ranges
from shield.rules.heads import OF_A_BODY, StoredHead, block, of_fields
from shield.rules.multipart import Piece
from shield.rules.ranges import Span, Unsatisfiable

# Fields of the 200 that a 206 doesn't repeat: those on all its bytes, and those not for clients.
_NOT_OF_A_PART = frozenset({b"content-digest", b"content-length", b"content-md5", hidden.LINE})


@dataclass(slots=True)
class Selection:
    """The response to send: a ready-made `block` as in `StoredHead`, and a body of `pieces` in order, `length` bytes.

    No pieces: no body. `length` is None when the one piece lasts until the body ends, wherever that is.
    """

    status: int
    block: bytes
    pieces: tuple[Piece, ...] = ()
    length: int | None = 0
    whole: bool = False  # the whole stored response, or its head alone

    @property
    def empty(self) -> bool:
        return not self.pieces

    @property
    def is_cheap(self) -> bool:
        """Whether its body may be read from a fetch that starts at byte 0 and is cancelled after it."""
        wanted = sum((stop or 0) - start for _, start, stop in self.pieces)
        return exact.is_worth(max((stop or 0 for _, _, stop in self.pieces), default=0), wanted)

    def lies_in(self, part: Span) -> bool:
        """Whether its whole body is within a part of the stored body."""
        return all(part.start <= start and stop is not None and stop <= part.stop for _, start, stop in self.pieces)


def select(request: Request, head: StoredHead, length: int | None, *, boundary_key: bytes | None = None) -> Selection:
    """The response to `request` from this head and a body of `length` bytes (None: not known yet).

    Preconditions come before ranges (RFC 9110 §13.2.2); both apply to successful responses only (§13.2.1). Without a
    `boundary_key` (see `multipart.boundary`) several ranges get the whole body. A worker of this node, whose request
    is marked with the hidden line's name, gets that line, too.
    """
    if not request.notable:
        return whole(request, head, length)
    chosen = _selected(request, head, length, boundary_key)
    if hidden.LINE in request.notable:
        chosen.block += hidden.line_of(head.block)
    return chosen


def _selected(request: Request, head: StoredHead, length: int | None, boundary_key: bytes | None) -> Selection:
    if head.status != 200:
        return whole(request, head, length)
    if b"want-repr-digest" in request.notable:
        head = _with_digests(head, request.notable[b"want-repr-digest"])

    date = _date(head) if b"if-modified-since" in request.notable else None
    verdict = conditional.evaluate(request.notable, head.etag, head.last_modified, request.method, date=date)
    if verdict == 304:
        if hidden.LINE in request.notable:  # a worker keeps its body, and takes nothing else
            return Selection(304, block(304, [f for f in head.fields if f[0] not in OF_A_BODY]))
        return Selection(304, head.not_modified)
    if verdict == 412:
        return Selection(412, block(412, [*_kept_of_error(head), (b"content-length", b"0")]))

    wanted = request.notable.get(b"range")
    # §14.2: Range is defined for GET only.
    if wanted is None or length is None or request.method != b"GET" or not _range_holds(request, head):
        return whole(request, head, length)
    spans = ranges.select(wanted, length)
    if isinstance(spans, Unsatisfiable):
        unsatisfied = (b"content-range", b"bytes */%d" % length)  # §15.5.17
        return Selection(416, block(416, [*_kept_of_error(head), unsatisfied, (b"content-length", b"0")]))
    if spans is not None and len(spans) == 1:
        return _part(head, spans[0], length)
    chosen = None if spans is None or boundary_key is None else _parts(head, spans, length, boundary_key)
    return chosen or whole(request, head, length)


def _with_digests(head: StoredHead, want: bytes) -> StoredHead:
    """The head with the digests that a request wants, if there are any that not all clients get."""
    if not digests.are_hidden_in(head.fields):
        return head
    line = digests.wanted(head.fields, want)
    fields = [f for f in head.fields if f[0] not in (digests.PUBLIC, hidden.LINE)]
    return of_fields(head.status, (*fields, *([] if line is None else [line])))


def whole(request: Request, head: StoredHead, length: int | None) -> Selection:
    """All of the response: for a request without special fields."""
    if length == 0 or request.method == b"HEAD":
        return Selection(head.status, head.shown, whole=True)
    return Selection(head.status, head.shown, (Piece(b"", 0, length),), length, whole=True)


def _part(head: StoredHead, span: Span, length: int) -> Selection:
    """One range (RFC 9110 §15.3.7.1)."""
    size = span.stop - span.start
    kept = [f for f in head.fields if f[0] not in _NOT_OF_A_PART]
    kept.append((b"content-range", ranges.content_range(span, length)))
    kept.append((b"content-length", b"%d" % size))
    return Selection(206, block(206, kept), (Piece(b"", span.start, span.stop),), size)


def _parts(head: StoredHead, spans: tuple[Span, ...], length: int, key: bytes) -> Selection | None:
    """Several ranges (§15.3.7.2), None if the whole takes fewer bytes."""
    kept, kind = [], None
    for line in head.fields:
        if line[0] == b"content-type":
            kind = line[1]
        elif line[0] not in _NOT_OF_A_PART:
            kept.append(line)
    boundary = multipart.boundary(key, head.block)
    pieces, size = multipart.pieces(spans, length=length, content_type=kind, boundary=boundary)
    if size >= length:
        return None
    kept.append((b"content-type", b"multipart/byteranges; boundary=" + boundary))
    kept.append((b"content-length", b"%d" % size))
    return Selection(206, block(206, kept), pieces, size)


def _kept_of_error(head: StoredHead) -> list[Field]:
    return [f for f in head.fields if f[0] in (b"date", b"via")]


def _range_holds(request: Request, head: StoredHead) -> bool:
    """Whether If-Range, if present, admits the range (RFC 9110 §13.1.5)."""
    condition = request.notable.get(b"if-range")
    if condition is None:
        return True
    return conditional.if_range_matches(condition, head.etag, head.last_modified, date=_date(head))


def _date(head: StoredHead) -> float | None:
    """The time at which the origin generated it."""
    return dates.parse(next((value for name, value in head.fields if name == b"date"), b""))
