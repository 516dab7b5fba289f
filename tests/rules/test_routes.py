"""From a target to route, object path and key."""

from __future__ import annotations

from unittest.mock import patch
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shield.errors import ConfigError, OwnPathError, RequestError
from shield.rules.key import KeyRules, key_length
from shield.rules.routes import Resource, Route, Routes, Targets, cache_key

# Pieces in which the trouble is, so that they meet often.
PIECES = st.lists(
    st.sampled_from(
        [b"/", b"a", b"b", b"..", b".", b"%2F", b"%2f", b"%2e", b"%5c", b"\\", b";", b"%3B", b"%61", b"x"]
    ),
    max_size=12,
).map(lambda pieces: b"/" + b"".join(pieces))
ALL = Route("all", origins=("fra", "iad"))
PLAIN = KeyRules(duplicate_slashes="keep", encoded_slash="keep", spelling="uri")
IMAGES = Route("images", b"/images", strip=b"/images", add=b"/prod/img", space=b"img", query=frozenset({b"w"}))


SIMPLE = st.lists(
    st.sampled_from([b"/", b"/a", b"/b", b"/images", b"/img.", b"-x", b"~", b"/.", b"/long" * 8]), max_size=6
)
SPREAD = Routes(
    [
        ALL,
        IMAGES,
        Route("web", b"/a", key=PLAIN, strip=b"/a", space=b"web", query=None),
        Route("short", b"/b", key=KeyRules(max_key_bytes=20), space=b"short"),
        Route("strict", b"/img", key=KeyRules(duplicate_slashes="reject"), add=b"/in", space=b"strict"),
    ]
)


@example(b"/b" + b"/long" * 8, b"")  # too long on its route alone
@given(SIMPLE.map(b"".join), st.sampled_from([b"", b"?", b"?w=1", b"?#"]))
def test_a_simple_path_is_what_all_the_rules_make_of_it(path: bytes, query: bytes) -> None:
    def read() -> Resource | tuple[int, str]:
        try:
            return SPREAD.resolve(path + query)
        except RequestError as error:
            return error.status, error.reason

    at_sight = read()
    with patch("shield.rules.routes.is_simple", return_value=None):
        assert read() == at_sight


def refusal(routes: Routes, target: bytes) -> tuple[int, str]:
    with pytest.raises(RequestError) as refused:
        routes.resolve(target)
    return refused.value.status, refused.value.reason


def test_a_target_names_an_object_by_its_canonical_path() -> None:
    resource = Routes([ALL]).resolve(b"/a//b/../%63.webp?utm=1")

    assert resource.path == b"/a/c.webp"
    assert resource.query == b""
    assert resource.route is ALL
    assert resource.key == cache_key(b"", b"/a/c.webp", b"")


def test_prefixes_are_stripped_and_added_and_the_query_is_filtered() -> None:
    resource = Routes([ALL, IMAGES]).resolve(b"/images/x/y.png?utm=2&w=%31")

    assert resource.route is IMAGES
    assert resource.path == b"/prod/img/x/y.png"
    assert resource.query == b"w=1"
    assert resource.key.text == b"img:/prod/img/x/y.png?w=1"


def test_only_the_first_question_mark_begins_the_query() -> None:
    assert Routes([IMAGES]).resolve(b"/images/a?w=b?c").query == b"w=b%3Fc"


@pytest.mark.parametrize(
    ("target", "name"),
    [
        (b"/images/x", "images"),
        (b"/imagesx", "all"),
        (b"/images.webp", "all"),
        (b"/images/raw/x", "raw"),
        (b"/images/rawx", "images"),
        (b"/%69mages/x", "images"),
        (b"/a/../images/x", "images"),
        (b"/images/../x", "all"),
        (b"//images//raw//x", "raw"),
        (b"/images%2Fraw%2Fx", "raw"),
    ],
)
def test_the_longest_prefix_on_segment_borders_of_the_canonical_path_wins(target: bytes, name: str) -> None:
    routes = Routes([ALL, IMAGES, Route("raw", b"/images/raw")])

    assert routes.resolve(target).route.name == name


@pytest.mark.parametrize("target", [b"/", b"/?list-type=2", b"/..", b"/images", b"/images/", b"/images/?w=1", b"//"])
def test_a_bare_bucket_or_prefix_names_no_object(target: bytes) -> None:
    assert refusal(Routes([ALL, IMAGES]), target) == (404, "no-object-key")


def test_a_path_below_no_prefix_has_no_route() -> None:
    assert refusal(Routes([IMAGES]), b"/other/x") == (404, "no-route")


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        (b"http://host/a", "absolute-form"),
        (b"*", "asterisk-form"),
        (b"", "not-a-path"),
        (b"?a=b", "not-a-path"),
        (b"host:443", "not-a-path"),
    ],
)
def test_other_forms_of_targets_are_refused(target: bytes, reason: str) -> None:
    assert refusal(Routes([ALL]), target) == (400, reason)


def test_a_stricter_route_is_not_slipped_past_by_spelling() -> None:
    strict = Route("strict", b"/private", key=KeyRules(encoded_slash="reject", duplicate_slashes="reject"))
    routes = Routes([ALL, strict])

    assert refusal(routes, b"/private%2Fx") == (400, "encoded-slash")
    assert refusal(routes, b"//private/x") == (400, "duplicate-slash")
    assert routes.resolve(b"/private/x").route is strict


def test_a_path_that_leaves_its_route_by_the_routes_own_rules_is_refused() -> None:
    routes = Routes([ALL, Route("keep", b"/raw", key=KeyRules(duplicate_slashes="keep"))])

    assert routes.resolve(b"/raw//a").path == b"/raw//a"
    assert refusal(routes, b"//raw/a") == (400, "ambiguous-path")


def test_a_prefix_of_a_web_servers_route_is_in_the_routes_own_spelling() -> None:
    routes = Routes([ALL, Route("sized", b"/w:300", strip=b"/w:300", add=b"/@2x//in", key=PLAIN)])

    assert routes.resolve(b"/w:300/a:b").path == b"/@2x//in/a:b"
    assert refusal(routes, b"/w%3A300/a") == (400, "ambiguous-path")
    assert routes.resolve(b"/w%2F300").route is ALL


def test_a_path_that_a_kept_slash_brings_below_another_route_is_refused() -> None:
    secret = Route("secret", b"/a/secret", key=PLAIN)
    routes = Routes([Route("web", key=PLAIN), secret])

    assert routes.resolve(b"/x%2Fy/z").path == b"/x%2Fy/z"
    assert refusal(routes, b"/a%2Fsecret/x") == (400, "ambiguous-path")
    assert refusal(routes, b"/a/secret%2Fx") == (400, "ambiguous-path")
    assert refusal(routes, b"/x%2Fy/../a/secret/z") == (400, "ambiguous-path")


def test_what_is_left_of_a_stripped_path_has_no_place_for_a_host() -> None:
    routes = Routes([Route("web", b"/web", strip=b"/web", key=PLAIN)])

    assert routes.resolve(b"/web//host/path//x").path == b"/host/path//x"
    assert routes.resolve(b"/web//host/path//x").key == cache_key(b"", b"/host/path//x", b"")


def test_the_added_prefix_counts_for_the_length_of_the_key() -> None:
    routes = Routes([Route("r", add=b"/%C3%BC", key=KeyRules(max_key_bytes=10))])

    assert key_length(routes.resolve(b"/" + b"a" * 7).path) == 10
    assert refusal(routes, b"/" + b"a" * 8) == (414, "key-too-long")


@pytest.mark.parametrize(
    ("route", "problem"),
    [
        (Route("r", b"images"), "canonical path"),
        (Route("r", b""), "expected a path"),
        (Route("r", b"/a//b"), "canonical path"),
        (Route("r", b"/%61"), "canonical path"),
        (Route("r", b"/a", strip=b"/a/"), "no slash at the end"),
        (Route("r", b"/a", strip=b"/b"), "lie below"),
        (Route("r", b"/ab", strip=b"/a"), "lie below"),
        (Route("r", add=b"prod"), "canonical path"),
        (Route("r", space=b"a:b"), "no colon"),
        (Route("r", query=frozenset({b"versionId"})), "versionId"),
    ],
)
def test_unusable_routes_are_named(route: Route, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as refused:
        Routes([route])

    assert all(line.startswith("route r: ") for line in refused.value.problems)


def test_two_routes_of_one_prefix_are_refused() -> None:
    with pytest.raises(ConfigError, match="both have the prefix"):
        Routes([Route("a", b"/x"), Route("b", b"/x")])


@given(st.binary(max_size=40).map(lambda tail: b"/" + tail))
def test_whatever_is_asked_stays_below_the_added_prefix(target: bytes) -> None:
    routes = Routes([Route("all", add=b"/prod"), IMAGES])

    try:
        resource = routes.resolve(target)
    except RequestError as refused:
        assert refused.status in (400, 404, 414)
        return

    assert resource.path.startswith(resource.route.add + b"/")
    assert b".." not in resource.path.split(b"/")


@given(PIECES)
def test_no_spelling_leads_below_a_longer_prefix_than_its_routes(target: bytes) -> None:
    table = [Route("web", key=PLAIN), Route("a", b"/a", key=PLAIN), Route("b", b"/a/b", key=PLAIN)]

    try:
        resource = Routes(table).resolve(target)
    except RequestError as refused:
        assert refused.status in (400, 404, 414)
        return

    for path in (resource.path, unquote_to_bytes(resource.path)):
        below = max((route for route in table if route.matches(path)), key=lambda route: len(route.prefix))
        assert below is resource.route


@pytest.mark.parametrize("target", [b"/own", b"/own?strict", b"/own?"])
def test_the_node_s_own_path_names_no_object(target: bytes) -> None:
    targets = Targets(Routes([ALL], own=b"/own"))

    for _ in range(2):
        with pytest.raises(OwnPathError) as caught:
            targets.resolve(target)
        assert caught.value.query == target.partition(b"?")[2]
    assert targets.resolve(b"/own/x").path == b"/own/x"
    assert Routes([ALL]).resolve(b"/own").path == b"/own"


@given(SIMPLE.map(b"".join), st.sampled_from([b"", b"?w=1", b"?w=2&x=1"]))
def test_a_key_tells_the_targets_that_lead_to_it(path: bytes, query: bytes) -> None:
    try:
        resource = SPREAD.resolve(path + query)
    except (RequestError, OwnPathError):
        return
    found = SPREAD.targets(resource.key.text)

    assert found and all(SPREAD.resolve(target).key == resource.key for target in found)


@pytest.mark.parametrize("text", [b"", b"img:", b"nowhere:/a", b"img:/elsewhere/a", b"no key"])
def test_a_key_that_no_route_has_names_no_target(text: bytes) -> None:
    assert SPREAD.targets(text) == []
