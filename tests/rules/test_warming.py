"""Orders to warm as they are written, targets in access logs, and the pace."""

from __future__ import annotations

import math

import pytest

from shield.rules.warming import AT_ONCE, MOST_URLS, WarmOrder, WarmSpeed, logged_target, parse_order, popular
from shield.rules.written import WrittenError


def test_an_order_has_defaults() -> None:
    assert parse_order({"urls": ["/a"]}) == WarmOrder(("/a",), False, AT_ONCE, math.inf, ())


def test_an_order_as_it_is_written() -> None:
    said = {
        "urls": ["/a", "https://cdn.example/b"],
        "only_missing": True,
        "concurrency": 3,
        "max_bytes": 0,
        "fields": {"Accept": " image/webp "},
    }

    assert parse_order(said) == WarmOrder(("/a", "https://cdn.example/b"), True, 3, 0, ((b"accept", b"image/webp"),))


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (None, "expected"),
        ([], "expected"),
        ({}, "urls"),
        ({"urls": []}, "urls"),
        ({"urls": "/a"}, "urls"),
        ({"urls": [""]}, "urls"),
        ({"urls": ["/a"] * (MOST_URLS + 1)}, "1001; expected 1000 at most"),
        ({"urls": ["/a"], "only_missing": 1}, "only_missing"),
        ({"urls": ["/a"], "concurrency": 0}, "concurrency"),
        ({"urls": ["/a"], "concurrency": 65}, "concurrency"),
        ({"urls": ["/a"], "concurrency": True}, "concurrency"),
        ({"urls": ["/a"], "max_bytes": -1}, "max_bytes"),
        ({"urls": ["/a"], "fields": []}, "fields"),
        ({"urls": ["/a"], "fields": {"a b": "c"}}, "fields"),
        ({"urls": ["/a"], "fields": {"a": "c\r\nd: e"}}, "fields"),
        ({"urls": ["/a"], "fields": {"Range": "bytes=0-1"}}, "no place"),
        ({"urls": ["/a"], "other": 1}, "expected"),
    ],
)
def test_what_is_no_order(said: object, why: str) -> None:
    with pytest.raises(WrittenError, match=why):
        parse_order(said)


@pytest.mark.parametrize(
    ("line", "target"),
    [
        ('{"time":1.0,"client":"unix","method":"GET","target":"/a?w=1","status":200,"bytes":3}', "/a?w=1"),
        ('{"method":"HEAD","target":"/a","status":304}', "/a"),
        ('{"request_method": "GET", "request_uri": "/a", "status": "206"}', "/a"),
        ('{"request": {"method": "GET", "uri": "/a"}, "status": 200}', "/a"),
        ('192.0.2.1 - - [29/Nov/2026:13:00:00 +0000] "GET /a HTTP/1.1" 200 12 "-" "curl/8 \\"x\\""', "/a"),
        ('cdn.example 192.0.2.1 - - [29/Nov/2026:13:00:00 +0000] "HEAD /a HTTP/2.0" 304 0', "/a"),
        ('192.0.2.1 - - [29/Nov/2026:13:00:00 +0000] "GET /a HTTP/1.1" 200', "/a"),
        ('{"method":"POST","target":"/a","status":200}', None),
        ('{"method":"GET","target":"/a","status":404}', None),
        ('{"method":"GET","target":"/a","status":true}', None),
        ('{"method":"GET","target":"/aaa [12 more]","status":200}', None),
        ('{"method":"GET","status":200}', None),
        ('{"method":"GET","target":7,"status":200}', None),
        ('{"target":"/a","status":', None),
        ("[" * 5000, None),
        ('{"a":' * 5000, None),
        ('192.0.2.1 - - [x] "GET /a HTTP/1.1" 404 12', None),
        ('192.0.2.1 - - [x] "PURGE /a HTTP/1.1" 200 12', None),
        ("/a", None),
    ],
)
def test_the_target_of_a_line(line: str, target: str | None) -> None:
    assert logged_target(line) == target


def test_the_most_requested_come_first_and_ties_in_order() -> None:
    def line(target: str) -> str:
        return f'{{"method":"GET","target":"{target}","status":200}}\n'

    lines = [*map(line, ["/b", "/c", "/a", "/c", "/d", "/d", "/c"]), "started\n", "\n"]

    assert popular(lines) == (["/c", "/d", "/a", "/b"], 1)
    assert popular(lines, 2) == (["/c", "/d"], 1)


def test_the_pace_is_that_of_the_slower_bound() -> None:
    assert WarmSpeed().pause(100, 10**9, 0.0) == 0.0
    assert WarmSpeed(objects=10.0).pause(20, 0, 0.5) == 1.5
    assert WarmSpeed(bytes=100.0).pause(20, 1000, 4.0) == 6.0
    assert WarmSpeed(10.0, 100.0).pause(20, 1000, 20.0) == 0.0
    assert [WarmSpeed(rate).batch(64) for rate in (None, 0.1, 10.5, 1000.0)] == [64, 1, 11, 64]
