"""Routes that reach the same objects, and those that expose objects which another route protects."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.errors import ConfigError, RequestError
from shield.rules.access import Requirement, Rule, requirement_of
from shield.rules.key import KeyRules
from shield.rules.reach import Exposure, Range, exposures, implies, ranges_of
from shield.rules.routes import Route, Routes

HEADER, ADDRESSES, LINKS = (Rule.HEADER,), (Rule.ADDRESSES,), (Rule.SIGNED_URLS,)
EITHER = (Rule.ADDRESSES, Rule.HEADER)


@pytest.mark.parametrize(
    ("met", "required", "holds"),
    [
        ((), (), True),
        ((HEADER,), (), True),
        ((), (HEADER,), False),
        ((HEADER,), (HEADER,), True),
        ((HEADER,), (EITHER,), True),
        ((EITHER,), (HEADER,), False),
        ((EITHER,), (EITHER,), True),
        ((HEADER,), (ADDRESSES,), False),
        ((HEADER, ADDRESSES), (ADDRESSES,), True),
        ((HEADER,), (HEADER, ADDRESSES), False),
        ((ADDRESSES, EITHER), (ADDRESSES, EITHER), True),
        ((ADDRESSES,), (ADDRESSES, EITHER), True),
    ],
)
def test_a_requirement_implies_what_asks_for_no_more(met: Requirement, required: Requirement, holds: bool) -> None:
    assert implies(met, required) is holds


groups = st.lists(st.lists(st.sampled_from(list(Rule)), min_size=1, max_size=3, unique=True).map(tuple), max_size=3)


@given(groups, groups, st.sets(st.sampled_from(list(Rule))))
def test_who_meets_a_requirement_meets_what_it_implies(
    met: list[tuple[Rule, ...]], required: list[tuple[Rule, ...]], holding: set[Rule]
) -> None:
    lets_in = all(holding & {*group} for group in met)

    if implies(tuple(met), tuple(required)) and lets_in:
        assert all(holding & {*group} for group in required)


@pytest.mark.parametrize(
    ("one", "other", "common"),
    [
        (Range(b""), Range(b""), b""),
        (Range(b""), Range(b"/a"), b"/a"),
        (Range(b"/a"), Range(b"/ab"), None),
        (Range(b"/a"), Range(b"/a/b"), b"/a/b"),
        (Range(b"", (b"/a",)), Range(b"/a"), None),
        (Range(b"", (b"/a",)), Range(b"/a/b"), None),
        (Range(b"", (b"/a/b",)), Range(b"/a"), b"/a"),
        (Range(b"", (b"/a",)), Range(b"/ab"), b"/ab"),
        (Range(b"", (b"/a",)), Range(b"", (b"/b",)), b""),
        (Range(b"/a"), Range(b"/b"), None),
    ],
)
def test_ranges_have_in_common_what_no_hole_takes_away(one: Range, other: Range, common: bytes | None) -> None:
    assert one.common(other) == other.common(one) == common


def found(*routes: Route, **requirements: str) -> set[tuple[str, str, bytes]]:
    wanted = {
        each.name: requirement_of([requirements[each.name]] if each.name in requirements else []) for each in routes
    }
    objects = {each.name: frozenset(each.origins) for each in routes}
    return {(each.by, each.of, each.path) for each in exposures(routes, wanted, objects)}


ALL = Route("all", origins=("fra",))


@pytest.mark.parametrize(
    ("route", "expected"),
    [
        (Route("pub", b"/pub", origins=("fra",)), set()),  # longer prefixes take it from the other
        (Route("pub", b"/pub", strip=b"/pub", origins=("fra",)), {("pub", "all", b"/")}),
        (Route("pub", b"/pub", strip=b"/pub", origins=("iad",)), set()),
        (Route("pub", b"/pub", strip=b"/pub", origins=("iad", "fra")), {("pub", "all", b"/")}),
        (Route("pub", b"/pub", strip=b"/pub", add=b"/pub", origins=("fra",)), set()),
        (Route("pub", b"/pub", strip=b"/pub", add=b"/pub/x", origins=("fra",)), set()),
        (Route("pub", b"/pub", strip=b"/pub", add=b"/secret", origins=("fra",)), {("pub", "all", b"/secret")}),
        (Route("pub", b"/pub", add=b"/secret", origins=("fra",)), {("pub", "all", b"/secret/pub")}),
        (Route("pub", b"/pub/", strip=b"/pub", origins=("fra",)), {("pub", "all", b"/")}),
    ],
)
def test_a_laxer_route_to_the_same_objects_exposes_them(route: Route, expected: set[tuple[str, str, bytes]]) -> None:
    assert found(ALL, route, all="header") == expected
    assert found(ALL, route, all="header", pub="header") == set()
    assert found(ALL, route, pub="header") == {(of, by, path) for by, of, path in expected}


def test_routes_that_require_other_things_expose_each_others_objects() -> None:
    pub = Route("pub", b"/pub", strip=b"/pub", origins=("fra",))

    assert found(ALL, pub, all="header", pub="addresses") == {("pub", "all", b"/"), ("all", "pub", b"/")}


PATHS = [b"/", b"/a", b"/a/b", b"/b", b"/a/b/c"]


@st.composite
def tables(draw: st.DrawFn) -> list[Route]:
    prefixes = draw(st.lists(st.sampled_from(PATHS), min_size=2, max_size=4, unique=True))
    spellings: list[KeyRules] = [KeyRules(), KeyRules(spelling="uri", encoded_slash="keep", duplicate_slashes="keep")]
    return [
        Route(
            f"r{at}",
            prefix,
            strip=draw(st.sampled_from([b"", prefix.rstrip(b"/")])),
            add=draw(st.sampled_from([b"", b"", b"/a", b"/b", b"/a/b"])),
            origins=("fra",),
            key=draw(st.sampled_from(spellings)),
        )
        for at, prefix in enumerate(prefixes)
    ]


targets = st.lists(
    st.sampled_from([b"/", b"a", b"b", b"c", b"x", b"//", b"%2F", b"/a/b", b"/../"]), min_size=1, max_size=7
)


@given(tables(), st.lists(targets.map(lambda parts: b"/" + b"".join(parts)), min_size=2, max_size=12))
def test_whatever_two_routes_resolve_to_the_same_object_they_are_known_to_have_in_common(
    table: list[Route], asked: list[bytes]
) -> None:
    try:
        routes = Routes(table)
    except ConfigError:
        return
    ranges, reached = ranges_of(table), dict[bytes, set[str]]()
    for target in asked:
        try:
            resource = routes.resolve(target)
        except RequestError:
            continue
        reached.setdefault(resource.path, set()).add(resource.route.name)
    for path, names in reached.items():
        for one in names:
            for other in names:
                assert ranges[one].common(ranges[other]) is not None, (path, one, other)


def test_where_it_happens_is_told() -> None:
    assert Exposure("pub", "all", b"/") in list(
        exposures(
            [ALL, Route("pub", b"/pub", strip=b"/pub", origins=("fra",))],
            {"all": (HEADER,), "pub": ()},
            {"all": frozenset({"x"}), "pub": frozenset({"x"})},
        )
    )
