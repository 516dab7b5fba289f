"""multipart/byteranges: several ranges of one body in one response (RFC 9110 §14.6, RFC 2046 §5.1)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

from shield.rules.ranges import Span, content_range


class Piece(NamedTuple):
    """A part of the body to send: `before` verbatim, then the stored body from `start` to `stop` (None: its end)."""

    before: bytes
    start: int
    stop: int | None


def boundary(key: bytes, head: bytes) -> bytes:
    """The boundary between the parts of responses with this head, in hex.

    It is derived with a secret `key`, so an object's author can't have put it into the object; 128 bits don't occur
    there by chance.
    """
    return hashlib.blake2b(head, key=key, digest_size=16).hexdigest().encode()


def pieces(
    spans: Iterable[Span], *, length: int, content_type: bytes | None, boundary: bytes
) -> tuple[tuple[Piece, ...], int]:
    """The body of a response with these spans of a stored body of `length` bytes, and its own length in bytes.

    Its last piece has only the closing boundary.
    """
    kind = b"" if content_type is None else b"Content-Type: %b\r\n" % content_type
    form = b"\r\n--%b\r\n%bContent-Range: %b\r\n\r\n"
    found = [Piece(form % (boundary, kind, content_range(span, length)), span.start, span.stop) for span in spans]
    end = found[-1].stop or 0
    found.append(Piece(b"\r\n--%b--\r\n" % boundary, end, end))
    return tuple(found), sum(len(piece.before) + (piece.stop or 0) - piece.start for piece in found)
