"""Decodes error documents that a storage has compressed, up to a limit."""

from __future__ import annotations

import zlib

_MOST_CODINGS = 3
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
_RAW = -zlib.MAX_WBITS


def decoded(body: bytes, codings: bytes | None, *, limit: int) -> bytes:
    """A body without its content codings (RFC 9110 §8.4), its first `limit` bytes at most.

    A body with unknown or too many codings is returned unchanged, a broken one as empty: it is only inspected.
    """
    names = [name.strip().lower() for name in (codings or b"").split(b",")]
    names = [name for name in names if name and name != b"identity"]
    if len(names) > _MOST_CODINGS or any(name not in _DECODERS for name in names):
        return body
    try:
        for name in reversed(names):
            body = _DECODERS[name](body, limit)
    except zlib.error:
        return b""
    return body


def _gunzipped(body: bytes, limit: int) -> bytes:
    return zlib.decompressobj(_GZIP_OR_ZLIB).decompress(body, limit)


def _inflated(body: bytes, limit: int) -> bytes:
    """As zlib, as the RFC requires, or raw, as some send it (RFC 9110 §8.4.1.2)."""
    try:
        return zlib.decompressobj().decompress(body, limit)
    except zlib.error:
        return zlib.decompressobj(_RAW).decompress(body, limit)


_DECODERS = {b"gzip": _gunzipped, b"x-gzip": _gunzipped, b"deflate": _inflated}
