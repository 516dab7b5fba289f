"""Orders to warm, and lines of access logs."""

from __future__ import annotations

import json

from shield.rules import warming
from shield.rules.warming import MOST_AT_ONCE, MOST_URLS
from shield.rules.written import WrittenError
from tests.fuzz.target import Target

LOGGED = {"time": 1.0, "client": "unix", "method": "GET", "target": "/a?w=1", "status": 200, "bytes": 3}
COMBINED = '192.0.2.1 - - [29/Nov/2026:13:00:00 +0000] "GET /a HTTP/1.1" 200 12 "-" "curl/8"'


def check_order(data: bytes) -> None:
    try:
        said = json.loads(data)
    except (ValueError, RecursionError):
        return
    try:
        order = warming.parse_order(said)
    except WrittenError as error:
        assert len(str(error)) < 1500
        return
    assert 0 < len(order.urls) <= MOST_URLS and all(order.urls)
    assert 1 <= order.at_once <= MOST_AT_ONCE and order.max_bytes >= 0
    assert all(name and b"\n" not in name + value and b":" not in name for name, value in order.fields)


def check_line(data: bytes) -> None:
    line = data.decode("utf-8", "surrogateescape")
    target = warming.logged_target(line)
    assert target is None or (target and " " not in target)
    found, without = warming.popular([line, line])
    assert (found, without) == (([] if target is None else [target]), 2 * (target is None and bool(line.strip())))


def _written(value: object) -> bytes:
    return json.dumps(value).encode()


TARGETS = {
    "warm-order": Target(
        check_order,
        (
            _written({"urls": ["/a", "https://cdn.example/b"], "only_missing": True, "concurrency": 3}),
            _written({"urls": ["/a"], "max_bytes": 10, "fields": {"Accept": "image/webp"}}),
        ),
        (b'"urls"', b'"only_missing"', b'"concurrency"', b'"max_bytes"', b'"fields"', b"null", b"true"),
    ),
    "logged-target": Target(
        check_line,
        (_written(LOGGED), COMBINED.encode(), _written({"request": {"method": "GET", "uri": "/a"}, "status": 200})),
        (b'"method"', b'"target"', b'"status"', b'"GET ', b' HTTP/1.1" 200', b"304", b'"HEAD"'),
    ),
}
