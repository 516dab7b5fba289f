"""Entries for tests."""

from __future__ import annotations

from shield.rules.freshness import Freshness
from shield.rules.heads import of_fields
from shield.rules.routes import cache_key
from shield.store.entry import BLOCK, Entry


def entry(name: str, body: bytes = b"x", *, status: int = 200, fields: tuple[tuple[bytes, bytes], ...] = ()) -> Entry:
    """A fresh entry of this body, an hour's lifetime from time 0."""
    head = of_fields(status, (*fields, (b"content-length", b"%d" % len(body))))
    blocks = tuple(body[at : at + BLOCK] for at in range(0, len(body), BLOCK))
    key = cache_key(b"", b"/" + name.encode(), b"")
    return Entry(key, head, Freshness(0.0, 3600.0, 0.0, 0.0), blocks, origin="fra")
