"""UpgradeTerms of a takeover: what two versions must have in common, and what is of no matter."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.config.settings import Settings
from shield.lifecycle.terms import UpgradeTerms, differing, objections, terms_of, unpacked

TERMS = UpgradeTerms(
    "1.0", 1, 1, 7, {"node": "a", "workers": 2, "cache": {"tiers": [{"name": "x"}]}}, ("127.0.0.1:80",)
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


def test_the_same_terms_of_another_version_are_no_obstacle() -> None:
    assert objections(TERMS, replace(TERMS, version="2.0", listens=("127.0.0.1:81",))) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"speech": 2}, "another version of the speech of its processes (2) than 1.0 (1)"),
        ({"layout": 2}, "another version of the layout of shared memory (2) than 1.0 (1)"),
        ({"directories": 8}, "another version of the format of cache directories (8) than 1.0 (7)"),
        ({"fixed": {**TERMS.fixed, "workers": 3}}, "workers is 2 in the node that runs and 3 in the settings"),
        ({"fixed": {"cache": {"tiers": [{"name": "y"}]}}}, 'cache.tiers.0.name is "x" in the node that runs and "y"'),
        ({"fixed": {"cache": {"tiers": []}}}, 'cache.tiers is [{"name": "x"}] in the node that runs and []'),
    ],
)
def test_what_both_must_have_in_common_is_named(change: dict[str, Any], said: str) -> None:
    (found,) = objections(TERMS, replace(TERMS, version="2.0", **change))

    assert said in found
    assert "restart" in found


def test_a_setting_that_one_version_does_not_know_does_not_count() -> None:
    assert list(differing({"a": 1, "old": 2}, {"a": 1, "new": 3})) == []


@given(st.dictionaries(st.text(max_size=3), JSON, max_size=4))
def test_nothing_differs_from_itself(fixed: dict[str, Any]) -> None:
    assert list(differing(fixed, json.loads(json.dumps(fixed)))) == []


@given(st.dictionaries(st.text(max_size=3), JSON, max_size=4))
def test_terms_arrive_as_they_were_sent(fixed: dict[str, Any]) -> None:
    sent = replace(TERMS, fixed=fixed)

    assert unpacked(sent.packed()) == sent


@given(st.binary(max_size=40) | JSON.map(lambda value: json.dumps(value).encode()))
def test_what_are_no_terms_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="no terms"):
        unpacked(data)


def test_terms_hold_what_a_node_keeps_while_it_runs_and_no_secret() -> None:
    origin = {"provider": "aws", "region": "r", "bucket": "b", "access_key_id": "AK", "secret_key": "s3cr3t"}
    tiers = [{"name": "x", "directories": [{"path": "/a", "capacity": "1GiB"}]}]
    settings = Settings.model_validate(
        {"node": "n", "listen": "127.0.0.1:1", "admin": {"listen": "off"}, "origins": {"o": origin}, "workers": 3,
         "cache": {"tiers": tiers}}
    )  # fmt: skip

    found = terms_of(settings)

    assert (found.fixed["node"], found.fixed["workers"]) == ("n", 3)
    assert found.fixed["cache"]["tiers"][0]["directories"][0]["path"] == "/a"
    assert found.listens == ("127.0.0.1:1",)
    assert b"s3cr3t" not in found.packed()
