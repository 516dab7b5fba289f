"""Workers of which one goes by new rules already, as during a reload: neither takes what the other's rules made."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from shield.build.regime import regime_of
from tests.doubles.faulty_origin import FaultyOrigin
from tests.node import FakeClock, settings_of
from tests.peers.pair import Two, two

BEFORE: dict[str, Any] = {"response_fields": {"internals": "pass"}}
AFTER: dict[str, Any] = {"response_fields": {"internals": "strip"}}


def owned_before_and_after(workers: Two) -> str:
    """A path of which the owner has the keys by both rules, now that only the asker goes by the new ones."""
    asker, owner = workers.asker.node, workers.owner.node
    paths = (f"/object-{number}" for number in itertools.count())
    return next(
        path
        for path in paths
        if owner.owners.owns(owner.proxy.resolve(path.encode()).key)
        and not asker.owners.owns(asker.proxy.resolve(path.encode()).key)
    )


@pytest.mark.parametrize("stored", [True, False])
def test_what_the_owners_rules_made_is_not_taken_for_the_askers(
    origin: FaultyOrigin, clock: FakeClock, stored: bool
) -> None:
    with two(origin, clock, **BEFORE) as workers:
        regime = regime_of(settings_of({"fra": origin}, **AFTER), workers=2)
        workers.asker.call(lambda: workers.asker.node.in_force.swap(regime))
        path = workers.asker.call(lambda: owned_before_and_after(workers))
        origin.serves(path, b"a", lifetime=60, fields={"x-amz-meta-owner": "me"})
        before = workers.owner.get(path) if stored else None
        after = [workers.asker.get(path) for _ in range(2)]

    assert before is None or before.get("x-amz-meta-owner") == "me"
    assert [(one.body, one.get("x-amz-meta-owner")) for one in after] == [(b"a", None)] * 2
    assert after[1].hit


def test_no_origin_sees_which_key_workers_mean(origin: FaultyOrigin, clock: FakeClock) -> None:
    with two(origin, clock, routes={"default": {"forward_request_headers": "all"}}) as workers:
        origin.serves(workers.path, b"a", lifetime=60)
        answer = workers.asker.get(workers.path, [("x-mine", "1")])

    assert answer.body == b"a"
    assert workers.owner is not workers.asker
    assert [seen.get("x-mine") for seen in origin.requests] == ["1"]
    assert not any(len(value) == 32 for seen in origin.requests for _, value in seen.fields)  # a digest
