"""Orders to purge: as JSON, and by requests with the method PURGE."""

from __future__ import annotations

import json
from dataclasses import replace

from shield.messages import Request
from shield.rules.purge_orders import (
    MOST_GLOBS,
    MOST_PATHS,
    MOST_PREFIXES,
    MOST_TAGS,
    OrderError,
    PurgeOrder,
    from_text,
    order_of,
    read_order,
    to_text,
)
from tests.fuzz.target import Target


def check_json(data: bytes) -> None:
    try:
        order = read_order(data, lambda: "made")
    except OrderError as error:
        assert str(error).isprintable() and len(str(error)) < 1500
        return
    _check(order)
    assert from_text(order.id, to_text(order)) == replace(order, is_trial=False)
    assert all(name.startswith(b"/") or b":/" in name for name in order.paths)
    assert not order.takedown or not (order.soft or order.tags or order.everything)


def check_method(data: bytes) -> None:
    target, _, rest = data.partition(b"\n")
    fields = [(name, value) for name, colon, value in (line.partition(b":") for line in rest.split(b"\n")) if colon]
    try:
        order = order_of(Request.of(b"PURGE", target, fields), lambda: "made")
    except OrderError as error:
        assert str(error).isprintable() and len(str(error)) < 1500
        return
    _check(order)
    assert bool(order.paths) is not bool(order.tags)


def check_kept(data: bytes) -> None:
    order = from_text("kept", data.decode("utf-8", "surrogateescape"))
    if order is not None:
        assert from_text("kept", to_text(order)) == order
        assert order.counts and len(order.digest) == 32


def _check(order: PurgeOrder) -> None:
    assert order.counts and order.id and str(order).isprintable() and len(order.digest) == 32
    assert len(order.paths) <= MOST_PATHS and len(order.tags) <= MOST_TAGS
    assert len(order.prefixes) <= MOST_PREFIXES and len(order.globs) <= MOST_GLOBS
    assert all(order.prefix_texts) and all(b"*" in text for text in order.glob_texts)
    assert all(text.isprintable() for text in order.examples)
    assert all(order.tags)


def _written(**said: object) -> bytes:
    return json.dumps(said).encode()


TARGETS = {
    "purge-order": Target(
        check_json,
        (
            _written(paths=["/a", "https://cdn.example/b?c", "s1:/d"], soft=True, id="job-1"),
            _written(tags=["a", "b c"], prefixes=["/images/", "s1:/x"], globs=["/a*b*.webp", "*.jpg"]),
            _written(paths=["/a"], takedown=True, dry_run=True),
            _written(all=True),
            b'{"paths": ' + b"[" * 100_000,
        ),
        (
            b'"paths":',
            b'"globs":',
            b'"prefixes":',
            b"\\u0000",
            b"\\ud800",
            b"%00",
            b"%2F..",
            b"//",
            b"://",
            b"*",
            b"?",
        ),
    ),
    "kept-purge": Target(
        check_kept,
        (to_text(PurgeOrder("x", (b"/a",), (b"t",), ("/p",), ("/g*",))).encode(), b'{"paths": ' + b"[" * 100_000),
        (b"null", b"1e999", b"\\ud800", b'"all":true'),
    ),
    "purge-method": Target(
        check_method,
        (
            b"/a?b\nsurrogate-key: a b\nfastly-soft-purge: 1",
            b'/\ncache-tag: a, b\nidempotency-key: "x"',
            b"/\nxkey-softpurge: a",
        ),
        (b"xkey:", b"xkey-purge:", b"surrogate-key:", b"\xff", b'"', b"*"),
    ),
}
