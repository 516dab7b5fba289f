"""Whether a node can serve."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shield.rules.checkup import NodeFacts, NodeVerdict, WayCheck, judge_node, status_of
from shield.rules.health import Flag, HealthRecord, HealthState

UP = HealthRecord()
OPEN = HealthRecord(HealthState.OPEN)
RECOVERING = HealthRecord(HealthState.RECOVERING)
CORRUPT = HealthRecord(flags=Flag.CORRUPT)
WELL = NodeFacts(True, (), {"fra": UP, "iad": UP}, "fra")
CAME, LOST = WayCheck(1.0), WayCheck(1.0, "status 503")


def of(**changes: object) -> NodeFacts:
    return replace(WELL, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("facts", "verdict", "status", "strict"),
    [
        (WELL, "ok", 200, 200),
        (of(way=CAME), "ok", 200, 200),
        (of(ready=False), "failing", 503, 503),
        (of(origins={"fra": OPEN, "iad": UP}), "degraded", 200, 503),
        (of(origins={"fra": UP, "iad": OPEN}), "degraded", 200, 200),
        (of(origins={"fra": CORRUPT, "iad": UP}), "degraded", 200, 503),
        (of(origins={"fra": RECOVERING, "iad": UP}), "degraded", 200, 503),
        (of(origins={"fra": HealthRecord(flags=Flag.THROTTLED), "iad": UP}), "ok", 200, 200),
        (of(origins={"fra": OPEN, "iad": OPEN}), "failing", 503, 503),
        (of(origins={"fra": OPEN, "iad": OPEN}, way=CAME), "degraded", 200, 503),  # from the cache
        (of(frozen=True), "failing", 503, 503),
        (of(frozen=True, way=CAME), "degraded", 200, 503),
        (of(way=LOST), "failing", 503, 503),
        (of(way=WayCheck(1.0, note="status 404")), "degraded", 200, 200),
        (of(frozen=True, way=WayCheck(1.0, note="status 404")), "failing", 503, 503),
        (of(origins={"fra": OPEN}, way=WayCheck(1.0, note="status 503")), "failing", 503, 503),
        (of(troubles=["a disk is out"]), "degraded", 200, 200),
        (of(best=None), "ok", 200, 503),
        (of(best="sin"), "ok", 200, 503),
    ],
)
def test_a_node_fails_only_if_it_can_t_serve(facts: NodeFacts, verdict: str, status: int, strict: int) -> None:
    found, reason = judge_node(facts)

    assert (found, bool(reason)) == (NodeVerdict(verdict), True)
    assert status_of(found, facts, strict=False) == status
    assert status_of(found, facts, strict=True) == strict


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (of(ready=False, way=LOST), "it isn't ready"),
        (of(way=LOST), "its canary doesn't come: status 503"),
        (of(origins={"fra": OPEN, "iad": RECOVERING}), "not as usual: fra, iad"),
        (of(way=WayCheck(1.0, note="status 404")), "its canary: status 404"),
        (of(troubles=["a disk is out"]), "a disk is out"),
    ],
)
def test_the_reason_is_told(facts: NodeFacts, reason: str) -> None:
    assert judge_node(facts)[1] == reason
