"""Keys and prefixes as people write them. What a client sends for a URL is in `tests/cli/test_explain.py`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.errors import RequestError
from shield.rules.key import KeyRules, canonical_path
from shield.rules.routes import Route, Routes, cache_key
from shield.rules.written import WrittenError, keys_of, name_of, prefixes_of

ROUTES = Routes([Route("images", prefix=b"/images", origins=("fra",), strip=b"/images", add=b"/v2")])


def keys(text: str) -> list[bytes]:
    return [key.text for key in keys_of(name_of(text), ROUTES)]


def test_a_key_is_what_a_client_asks_for_or_as_it_is_listed() -> None:
    assert keys("https://cdn.example/images//a") == keys("/images/a") == [b":/v2/a"]
    assert keys("/images/a?w=1") == [b":/v2/a"]
    assert keys_of(name_of(":/v2/a?w=1"), ROUTES) == [cache_key(b"", b"/v2/a", b"w=1")]
    assert keys_of(name_of("fra~01ab:/v2/a"), ROUTES) == [cache_key(b"fra~01ab", b"/v2/a", b"")]


@pytest.mark.parametrize(
    ("text", "reason"),
    [("/other", "no-route"), ("images/a", "not-a-path"), ("s1:/\u00e4", "not-ascii"), ("", "not-a-path")],
)
def test_what_names_nothing_is_refused(text: str, reason: str) -> None:
    with pytest.raises(RequestError, match=reason):
        keys(text)


@pytest.mark.parametrize(
    ("text", "prefixes"),
    [
        ("/", {b"/"}),
        ("/images/", {b"/images/"}),
        ("https://cdn.example/images/#x", {b"/images/"}),
        ("/im\u00e4ges/", {b"/im%C3%A4ges/"}),
        ("/a%62c d", {b"/abc%20d"}),
        ("/a,b", {b"/a%2Cb", b"/a,b"}),
        ("/a%2cb", {b"/a%2Cb", b"/a,b"}),
        ("/a%2Ab", {b"/a%2Ab", b"/a*b"}),
        ("/a%2cb,c", {b"/a%2Cb%2Cc", b"/a%2Cb,c", b"/a,b,c"}),
        ("/images/..", {b"/images/.."}),
        ("s1:/x", {b"s1:/x"}),
        (":/x?w=1", {b":/x?w=1"}),
    ],
)
def test_a_prefix_is_spelled_in_each_way_that_keys_are(text: str, prefixes: set[bytes]) -> None:
    assert set(prefixes_of(text)) == prefixes


@pytest.mark.parametrize("text", ["", "images", "/*", "/a*b/", "s1:", "https://cdn.example", "http://[x/", "/\ud800"])
def test_what_is_no_prefix_is_refused_with_what_was_expected(text: str) -> None:
    with pytest.raises(WrittenError, match="expected a prefix"):
        prefixes_of(text)


@given(st.text(st.characters(codec="utf-8", exclude_characters="*\0#?"), max_size=20), st.sampled_from(["s3", "uri"]))
def test_every_key_is_below_the_directories_of_its_path_as_they_are_written(path: str, spelling: str) -> None:
    """In whatever way it is spelled."""
    rules = KeyRules(spelling=spelling)  # type: ignore[arg-type]
    try:
        target = name_of(f"/{path}/b")
        key = canonical_path(target, rules)
    except RequestError:
        return
    if "//" in f"/{path}/" or "/." in f"/{path}":
        return  # a prefix is taken as it is written: its segments aren't resolved

    assert key.startswith(prefixes_of(f"/{path}/"))
