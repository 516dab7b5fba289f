"""The names of policies: equal if entries may be shared, and stable for ever."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.rules.fields import FieldRules
from shield.rules.freshness import FreshnessRules
from shield.rules.locations import Rewriting
from shield.rules.policy import policy_name
from shield.rules.vary import Forwarding

USUAL = (FreshnessRules(), Forwarding(), FieldRules(), Rewriting())


def name(*changed: Any) -> bytes:
    """The name of a policy of which these parts are other than usual."""
    parts = {type(part): part for part in (*USUAL, *changed)}
    return policy_name([(parts[type(usual)], usual) for usual in USUAL])


OTHERS: list[Any] = [
    Rewriting(on=False),
    *[
        FreshnessRules(**change)
        for change in list[dict[str, Any]](
            [
                {"default_lifetime": 60.0},
                {"default_lifetime": None},
                {"default_lifetime": None, "heuristic_fraction": 0.1},
                {"max_lifetime": 60.0},
                {"forced_lifetime": 60.0},
                {"ignore_cache_control": True},
                {"negative_lifetime": 60.0},
                {"negative": {404: 60.0}},
                {"negative": {410: 60.0}},
                {"negative": {404: 60.0, 410: 60.0}},
                {"grace": 60.0},
                {"error_grace": 60.0},
                {"keep": 60.0},
                {"honour_field_names": True},
                {"set_cookie": "store"},
                {"set_cookie": "strip"},
                {"invalid_age": "stale"},
                {"unkeyed": "store"},
                {"credentials": frozenset()},
                {"credentials": frozenset({b"a"})},
                {"credentials": frozenset({b"a", b"b"})},
                {"credentials": frozenset({b"a,b"})},
                {"targeted": ()},
                {"targeted": (b"a", b"b")},
                {"targeted": (b"b", b"a")},
                {"strip_targeted": False},
                {"tags": ()},
                {"strip_tags": True},
            ]
        )
    ],
    Forwarding(None),
    Forwarding(frozenset({b"accept"})),
    Forwarding(frozenset({b"cookie"})),
    Forwarding(frozenset({b"accept"}), types=(b"image/webp", b"image/jpeg")),
    Forwarding(frozenset({b"accept"}), types=(b"image/jpeg", b"image/webp")),
    Forwarding(frozenset({b"accept"}), codings=(b"image/webp", b"image/jpeg")),
    Forwarding(frozenset({b"accept-language"}), languages=(b"de",)),
    FieldRules(prefixes=()),
    FieldRules(keep=(b"x-a",)),
    FieldRules(remove=(b"x-a",)),
    FieldRules(set=((b"x-a", b"1"),)),
    FieldRules(set=((b"x-a", b"2"),)),
    FieldRules(add=((b"x-a", b"1"),)),
    FieldRules(digests="always"),
]


def test_what_is_all_as_usual_has_the_empty_name() -> None:
    assert name() == b""


def test_all_that_decides_what_is_stored_makes_another_name() -> None:
    names = [name(other) for other in OTHERS]

    assert b"" not in names
    assert len(set(names)) == len(names)


def test_no_setting_that_decides_it_was_forgotten_above() -> None:
    """A new one belongs there, or among those that are no policy."""
    decide_nothing = {
        "surrogate",
        "honour_request_directives",
        "withheld",  # which of the fields with tags clients get: the rules on response fields say that
        "storage",
        "md5_etags",
        "drop",
        "max_bytes",
        "max_fields",
        "mapping",  # an origin's place; whether it counts, `Rewriting` says
    }
    usual = {type(part): part for part in USUAL}
    seen = {
        (type(other), each.name)
        for other in OTHERS
        for each in fields(other)
        if getattr(other, each.name) != getattr(usual[type(other)], each.name)
    }
    every = {(type(part), each.name) for part in USUAL for each in fields(part) if each.init}

    assert {each for _, each in every - seen} == decide_nothing


@pytest.mark.parametrize(
    "other",
    [
        FreshnessRules(surrogate=b"fra-1"),
        FreshnessRules(honour_request_directives=frozenset({"no-cache"})),
        Forwarding(storage=True),
        Forwarding(max_bytes=1, max_fields=1),
        FieldRules(storage=True, md5_etags=True),
    ],
)
def test_what_counts_elsewhere_makes_none(other: Any) -> None:
    assert name(other) == b""


def test_the_order_of_what_has_none_means_nothing() -> None:
    one = FreshnessRules(negative={404: 1.0, 410: 2.0}, credentials=frozenset({b"a", b"b", b"c"}))
    other = FreshnessRules(negative={410: 2, 404: 1}, credentials=frozenset({b"c", b"b", b"a"}))

    assert name(one) == name(other)


@given(
    st.lists(st.binary(max_size=6), max_size=3),
    st.lists(st.binary(max_size=6), max_size=3),
)
def test_no_list_is_taken_for_another(one: list[bytes], other: list[bytes]) -> None:
    names = [name(FieldRules(keep=tuple(each))) for each in (one, other)]

    assert (names[0] == names[1]) == (one == other)


SCRIPT = """
from shield.rules.freshness import FreshnessRules
from shield.rules.locations import Rewriting
from shield.rules.policy import policy_name
rules = FreshnessRules(grace=60.0, credentials=frozenset({b"a", b"b", b"c", b"d"}), negative={404: 1.0, 410: 0.5})
print(policy_name([(rules, FreshnessRules())]).decode())
"""
NAME = "8c651e083c"


@pytest.mark.parametrize("seed", ["0", "1", "12345"])
def test_a_name_is_the_same_in_each_process_and_for_ever(seed: str) -> None:
    """This very one: a change of how rules are spelled would make every cache a cold one."""
    made = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={"PYTHONHASHSEED": seed, "PYTHONPATH": "."},
        capture_output=True,
        check=True,
    )

    assert made.stdout.decode().strip() == NAME


def test_a_part_that_says_the_same_twice_counts_once() -> None:
    changed = replace(FieldRules(), remove=(b"x-a",))

    assert policy_name([(changed, FieldRules())]) == policy_name([(changed, FieldRules())] * 2)
