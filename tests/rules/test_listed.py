"""Listings of all kinds name the same objects by the paths that cache keys have."""

from __future__ import annotations

import json

import pytest

from shield.rules.listed import ListedSize, SizeReader, path_of
from tests.node import settings_of

LISTED = [ListedSize(b"/a/b%20c.webp", 1500), ListedSize(b"/%C3%A4%2B.webp", 7)]
DOCUMENT = json.dumps(
    {"Contents": [{"Key": "a/b c.webp", "ETag": '"x"', "Size": 1500}, {"Key": "\u00e4+.webp", "Size": 7}]}, indent=4
)


@pytest.mark.parametrize(
    "text",
    [
        '{"key": "s1:/a/b%20c.webp", "bytes": 1500, "ttl_seconds": 5.0}\n'
        '{"key": "s1~p:/%C3%A4%2B.webp", "bytes": 7, "ttl_seconds": 5.0}',
        "2026-11-03 12:00:01       1500 a/b c.webp\n2026-11-03 12:00:01          7 \u00e4+.webp",
        '"images","a/b+c.webp","1500","2026-11-03T00:00:00.000Z"\n"images","%C3%A4%2B.webp","7","2026"',
        '"images","a/b%20c.webp","v1","true","false","1500"\n"images","%C3%A4%2B.webp","v1","true","false","7"',
        "Key,Size\na/b c.webp,1500\n\u00e4+.webp,7",
        "bucket;x,size,name\n1,1500,a/b c.webp\n1,7,\u00e4+.webp\n",
        DOCUMENT,
        '{"Key": "a/b c.webp", "Size": 1500}\n{"Key": "\u00e4+.webp", "Size": 7}',
    ],
    ids=[
        "store",
        "aws s3 ls",
        "inventory",
        "inventory with versions",
        "CSV",
        "CSV 2",
        "s3api",
        "JSON lines",
    ],
)
def test_listings_of_all_kinds_are_read(text: str) -> None:
    reader = SizeReader()

    assert [each for each in map(reader.read, text.splitlines()) if each is not None] == LISTED


def test_keys_that_are_no_text_have_their_bytes() -> None:
    quoted, plain = SizeReader(), SizeReader()

    assert quoted.read('"bucket","a%20b\udc80","15","2026"') == ListedSize(b"/a%20b%80", 15)
    assert plain.read("key,size\udc80") is None
    assert plain.read('{"Key": "a\\ud800", "Size": 15}') == ListedSize(b"/a%3F", 15)
    assert plain.read("key,\u00b2,a") is None


@pytest.mark.parametrize("text", ["", "nonsense", "{", "[1]", '{"Key": 5}', '{"Key": "a", "Size": "x"}', '"Size": 5'])
def test_what_names_no_object_is_none(text: str) -> None:
    assert SizeReader().read(text) is None


@pytest.mark.parametrize("key", ["a b", "\u00e4", "a!b", "a'(x)*", "a+b;c=d:e@f,g", "a~b-_.c", "a%b", 'a[b]|"c'])
def test_a_path_is_that_of_the_cache_key(key: str) -> None:
    origin = {"provider": "aws", "region": "x", "bucket": "images", "access_key_id": "AK", "secret_key": "x" * 20}
    routes = settings_of({}, origins={"a": origin}).route_table()
    path = path_of(key.encode())

    assert routes.resolve(path).key.text.partition(b":")[2] == path
