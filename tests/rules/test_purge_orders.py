"""Orders to purge: what they mean in each form, and what is refused."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.messages import Request
from shield.rules.key import KeyRules, canonical_path
from shield.rules.purge_orders import (
    LONGEST_ID,
    MOST_BYTES,
    MOST_PATHS,
    MOST_TAGS,
    OrderError,
    PurgeOrder,
    globs_of,
    order_of,
    read_order,
)
from shield.rules.written import WrittenError


def order(**said: Any) -> PurgeOrder:
    return read_order(json.dumps(said).encode(), lambda: "made")


def purge(target: bytes = b"/a.webp", **fields: str) -> PurgeOrder:
    lines = [(name.replace("_", "-").encode(), value.encode()) for name, value in fields.items()]
    return order_of(Request.of(b"PURGE", target, lines), lambda: "made")


def test_an_order_in_json_may_name_everything_that_can_be_purged() -> None:
    found = order(
        id="deploy-7",
        paths=["https://cdn.example/images/a.webp?w=1#x", "/b \u00e4", "s1:/c*"],
        tags=["t\u00e4g", "two words"],
        prefixes=["/images/"],
        globs=["/a*.webp"],
        soft=True,
    )

    assert found == PurgeOrder(
        "deploy-7",
        paths=(b"/images/a.webp?w=1", b"/b%20%C3%A4", b"s1:/c*"),
        tags=("t\u00e4g".encode(), b"two words"),
        prefixes=("/images/",),
        globs=("/a*.webp",),
        soft=True,
    )
    assert str(found) == "soft purge of 3 paths, 2 tags, 1 prefix, 1 glob"
    assert (found.prefix_texts, found.glob_texts) == ((b"/images/",), (b"/a*.webp",))


def test_a_single_text_stands_for_a_list_and_one_that_is_repeated_counts_once() -> None:
    found = order(paths="/a", tags=["x", "x"], dry_run=True)

    assert (found.id, found.counts, found.is_trial) == ("made", {"paths": 1, "tags": 1}, True)
    assert str(order(all=True)) == "purge of everything"
    assert str(order(paths=["/a", "/b"], takedown=True)) == "takedown of 2 paths"


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ({}, "it names nothing; expected some of paths, tags, prefixes, globs, or all: true"),
        ({"all": False, "soft": True}, "it names nothing"),
        ({"urls": ["/a"]}, '"urls": there is no such part; expected some of paths, tags, prefixes, globs, all'),
        ({"paths": 1}, "paths: expected a list of texts"),
        ({"paths": ["/a", 1]}, r"paths\[1\]: expected a text"),
        ({"paths": ["a.webp"]}, r'paths\[0\]: got "a.webp"; expected / or https:// at its beginning'),
        ({"paths": ["//cdn.example/a"]}, r'got "//cdn.example/a"; expected https: before it, or a single slash'),
        ({"paths": ["ftp://cdn.example/a"]}, "expected a URL as https://cdn.example/a.webp"),
        ({"paths": ["https:///a"]}, "expected a URL as https"),
        ({"paths": ["https://cdn:x/a"]}, "expected a URL"),
        ({"paths": ["http://[x/"]}, "expected a URL"),
        ({"paths": ["/images/*"]}, r"a \* stands for itself in a path; expected it in globs, or a prefix, or %2A"),
        ({"paths": ["https://cdn.example/*"]}, r"a \* stands for itself in a path"),
        ({"paths": [""]}, "expected a path, a URL or a key"),
        ({"paths": ["/a\n/b"]}, r'got "/a\\n/b"'),
        ({"paths": ["/\ud800"]}, "expected a path"),
        ({"paths": ["s1:/\u00e4"]}, "it would be rejected in a request: not-ascii"),
        ({"tags": [""]}, r"tags\[0\]: expected a tag"),
        ({"tags": ["x" * 1025]}, "no entry has a longer tag"),
        ({"prefixes": ["images"]}, r"prefixes\[0\]: expected a prefix of paths, as /images/"),
        ({"prefixes": ["/a*"]}, "expected a prefix without *"),
        ({"globs": ["/a"]}, r"globs\[0\]: expected a \* for any characters"),
        ({"globs": ["*a" * 9]}, r"expected 8 times \* at most"),
        ({"globs": ["/x" * 3000 + "*"]}, "at most 4,096 printable characters"),
        ({"all": "yes"}, "all: expected true or false"),
        ({"all": True, "tags": ["x"]}, "all: it includes the tags; expected one of the two"),
        ({"paths": ["/a"], "soft": True, "takedown": True}, "takedown: an object that was taken down is never"),
        ({"paths": ["/a"], "tags": ["x"], "takedown": True}, "takedown: expected paths alone, without tags"),
        ({"all": True, "takedown": True}, "takedown: expected paths alone, without all"),
        ({"paths": ["/a"], "id": 7}, "id: expected a text"),
        ({"paths": ["/a"], "id": ""}, "id: expected 1 to 128 letters"),
        ({"paths": ["/a"], "id": "-x"}, 'id: .*got "-x"'),
        ({"paths": ["/a"], "id": "x" * (LONGEST_ID + 1)}, "id: expected 1 to 128"),
        ({"tags": [str(n) for n in range(MOST_TAGS + 1)]}, "tags: expected 1,000 at most, got 1,001; send several"),
        ({"globs": ["*"] * 65}, "globs: expected 64 at most"),
        ({"paths": ["/a"] * (MOST_PATHS + 1)}, "paths: expected 10,000 at most"),
    ],
)  # fmt: skip
def test_what_is_no_order_is_refused_with_the_place_and_the_remedy(said: dict[str, Any], problem: str) -> None:
    with pytest.raises(OrderError, match=problem) as caught:
        order(**said)

    assert str(caught.value).isprintable()


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b"\xff", b"[" * 100_000, b"null"])
def test_what_is_no_json_object_is_refused(text: bytes) -> None:
    with pytest.raises(OrderError, match="expected"):
        read_order(text, lambda: "made")


def test_an_order_that_is_too_large_is_refused_unread() -> None:
    with pytest.raises(OrderError, match="4,194,304 bytes at most; send several orders"):
        read_order(b" " * (MOST_BYTES + 1), lambda: "made")


def test_equal_orders_have_equal_digests_and_others_dont() -> None:
    made = [
        order(paths=["/a", "/b"]),
        order(paths=["/a"], tags=["/b"]),
        order(paths=["/a", "/b"], soft=True),
        order(paths=["/a", "/b"], takedown=True),
        order(tags=["/a", "/b"]),
        order(prefixes=["/a", "/b"]),
        order(all=True),
        order(all=True, soft=True),
    ]

    assert len({each.digest for each in made}) == len(made)
    assert order(id="x", paths=["/b", "/a", "/b"]).digest == made[0].digest


def test_a_purge_request_is_for_its_target() -> None:
    assert purge(b"/a%20b?w=1") == PurgeOrder("made", paths=(b"/a%20b?w=1",))
    assert purge(fastly_soft_purge="1", idempotency_key='"job-1"') == PurgeOrder(
        "job-1", paths=(b"/a.webp",), soft=True
    )
    assert not purge(fastly_soft_purge="0").soft


@pytest.mark.parametrize(
    ("fields", "tags", "soft"),
    [
        ({"surrogate_key": "a b  a"}, (b"a", b"b"), False),
        ({"surrogate_key": "a,b", "fastly_soft_purge": "1"}, (b"a,b",), True),
        ({"cache_tag": "two words, b,"}, (b"two words", b"b"), False),
        ({"xkey_purge": "a", "xkey": "b"}, (b"b", b"a"), False),
        ({"xkey_softpurge": "a b"}, (b"a", b"b"), True),
    ],
)
def test_a_purge_request_with_tags_is_for_them_alone(
    fields: dict[str, str], tags: tuple[bytes, ...], soft: bool
) -> None:
    assert purge(b"/", **fields) == PurgeOrder("made", tags=tags, soft=soft)


@pytest.mark.parametrize(
    ("target", "fields", "problem"),
    [
        (b"/a", {"surrogate_key": " "}, "surrogate-key: there is no tag in it"),
        (b"/a", {"fastly_soft_purge": "yes"}, "Fastly-Soft-Purge: expected 1, or 0"),
        (b"/a*", {}, r"a \* stands for itself"),
        (b"/a", {"idempotency_key": "a b"}, "id: expected"),
        (b"/a", {"surrogate_key": " ".join(map(str, range(1001)))}, "1,000 tags at most"),
        (b"/a", {"cache_tag": "x" * 1025}, "1,024 bytes at most"),
    ],
)
def test_a_purge_request_that_is_unclear_is_refused(target: bytes, fields: dict[str, str], problem: str) -> None:
    with pytest.raises(OrderError, match=problem):
        purge(target, **fields)


@pytest.mark.parametrize(
    ("text", "patterns"),
    [
        ("/images/*", {b"/images/*"}),
        ("*.webp", {b"/*.webp"}),
        ("/a/**/b", {b"/a/*/b"}),
        ("https://cdn.example/a b/*", {b"/a%20b/*"}),
        ("/a,%62*", {b"/a%2Cb*", b"/a,b*"}),
        ("s1:/a*?w=1", {b"s1:/a*?w=1"}),
        ("/a?w=*", {b"/a?w=*"}),
    ],
)
def test_a_glob_is_spelled_in_each_way_that_keys_are(text: str, patterns: set[bytes]) -> None:
    assert set(globs_of(text)) == patterns


@pytest.mark.parametrize("text", ["", "images/*", "s*:/a", "/a", "/a#*", "http://[x/*", "/\ud800*"])
def test_what_is_no_glob_is_refused(text: str) -> None:
    with pytest.raises(WrittenError, match="expected"):
        globs_of(text)


_part = st.text(st.characters(exclude_characters="*?#/\\.%", exclude_categories=("Cs", "Cc")), min_size=1, max_size=8)


@given(parts=st.lists(_part, min_size=2, max_size=4), between=_part, spelling=st.sampled_from(["s3", "uri"]))
def test_a_glob_matches_the_keys_of_all_paths_that_it_matches(parts: list[str], between: str, spelling: Any) -> None:
    """In whatever way a route spells its keys."""
    path = ("/" + between.join(parts)).encode()
    sent = b"".join(bytes((c,)) if 0x20 < c < 0x7F else b"%%%02X" % c for c in path)

    key = canonical_path(sent, KeyRules(spelling=spelling, max_key_bytes=4096))

    patterns = [b".*".join(map(re.escape, text.split(b"*"))) for text in globs_of("/" + "*".join(parts))]
    assert any(re.fullmatch(pattern, key, re.DOTALL) for pattern in patterns)
