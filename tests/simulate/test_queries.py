"""Query parameters that change nothing are told from those that do by the sizes of objects."""

from __future__ import annotations

from shield.rules.routes import Route, Routes
from shield.simulate.queries import PROOFS, QueryEffects, query_effects
from tests.simulate.test_node import gathered, line


def effects(*lines: str, query: frozenset[bytes] | None = None) -> dict[str, QueryEffects]:
    routes = Routes([Route("all", origins=("a",), query=query)])
    return query_effects(routes, gathered(lines).samples)


def test_a_parameter_under_whose_values_sizes_stay_the_same_is_idle() -> None:
    lines = [
        line(f"/o/{n}?w={w}&t={t}", 1.0, size=1000 + n + w)
        for n in range(PROOFS // 2)
        for w in (200, 400)
        for t in (1, 2)
    ]

    assert effects(*lines) == {"all": QueryEffects(("t",), ("w",))}
    assert effects(*lines, query=frozenset([b"t", b"w"])) == {"all": QueryEffects(("t",), ("w",))}
    assert effects(*lines, query=frozenset()) == {}


def test_a_few_objects_prove_nothing_and_one_that_differs_disproves_it() -> None:
    few = [line(f"/o/{n}?t={t}", 1.0, size=1000 + n) for n in range(PROOFS - 1) for t in (1, 2)]
    assert effects(*few)["all"].idle == ()

    many = [*few, line("/o/x?t=1", 1.0), line("/o/x", 1.0)]
    assert effects(*many)["all"].idle == ("t",)
    assert effects(*many, line("/o/y?t=1", 1.0, size=5), line("/o/y?t=3", 1.0, size=6))["all"].idle == ()
