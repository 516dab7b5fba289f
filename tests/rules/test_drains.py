"""Which drains have an effect, and what operators are told of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.rules.drains import notes, objection

BOTH: Mapping[str, Sequence[str]] = {"default": ("fra", "iad")}
MIXED: Mapping[str, Sequence[str]] = {**BOTH, "old": ("fra",)}


@pytest.mark.parametrize(
    ("name", "drained", "routes", "expected"),
    [
        ("fra", (), BOTH, None),
        ("fra", (), MIXED, None),
        ("fra", (), {"default": ("fra",)}, "fra is the only origin of its routes: nothing else could serve them"),
        (
            "fra",
            ("iad",),
            BOTH,
            "iad is drained already: restore one of them first, so that another origin can serve",
        ),
        ("fra", ("iad",), {**BOTH, "more": ("iad", "sin", "fra")}, None),
        ("fra", ("iad",), {"default": ("iad",)}, None),  # it has no route
    ],
)
def test_a_drain_that_changes_nothing_is_refused(
    name: str, drained: Sequence[str], routes: Mapping[str, Sequence[str]], expected: str | None
) -> None:
    assert objection(name, drained, routes) == expected


def test_routes_that_are_served_by_it_all_the_same_are_named() -> None:
    assert notes("fra", (), BOTH) == []
    assert notes("fra", (), MIXED) == [
        "route old has no other origin that isn't drained: fra is asked all the same",
    ]
    assert notes("iad", ("fra",), MIXED) == [
        "route default has no other origin that isn't drained: iad is asked all the same",
    ]


names = st.sampled_from("abcd")


@given(names, st.sets(names), st.dictionaries(st.text(max_size=2), st.lists(names, min_size=1, unique=True)))
def test_what_isn_t_refused_leaves_an_origin_to_a_route(
    name: str, drained: set[str], routes: dict[str, list[str]]
) -> None:
    served = [route for route, origins in routes.items() if name in origins]
    others = drained - {name}

    if objection(name, others, routes) is None:
        assert len(notes(name, others, routes)) < len(served) or not served
    else:
        assert len(notes(name, others, routes)) == len(served)
