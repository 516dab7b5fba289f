"""multipart/byteranges: several spans of one body in one answer (RFC 9110 §14.6, RFC 2046 §5.1)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

from shield.rules.ranges import Span, content_range


class Piece(NamedTuple):
    """A part of an answer: `before` as it stands, then the body's bytes from `start` up to `stop` (None: its end)."""

    before: bytes
    start: int
    stop: int | None


def boundary(key: bytes, head: bytes) -> bytes:
    """What separates the parts of answers under this head.

    Nobody without `key` can tell it from the head, so that whoever wrote the object can't have put it there; and
    chance won't, at 128 bits.
    """
    return hashlib.blake2b(head, key=key, digest_size=16).hexdigest().encode()


def pieces(
    spans: Iterable[Span], *, length: int, content_type: bytes | None, boundary: bytes
) -> tuple[tuple[Piece, ...], int]:
    """The body of an answer with these spans of `length` bytes, and how long it is.

    Its last piece has only what comes after all parts.
    """
    kind = b"" if content_type is None else b"Content-Type: %b\r\n" % content_type
    form = b"\r\n--%b\r\n%bContent-Range: %b\r\n\r\n"
    found = [Piece(form % (boundary, kind, content_range(span, length)), span.start, span.stop) for span in spans]
    end = found[-1].stop or 0
    found.append(Piece(b"\r\n--%b--\r\n" % boundary, end, end))
    return tuple(found), sum(len(piece.before) + (piece.stop or 0) - piece.start for piece in found)
