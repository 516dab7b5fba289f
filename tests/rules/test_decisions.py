"""The basis of decisions: it is kept as it was, and the same order follows from it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.rules.decisions import (
    LONGEST_SECONDS,
    DecisionBasis,
    DrillBasis,
    OriginBasis,
    digest_of,
    evidence_of,
    first_shares,
    order_then,
    reasons,
    spot_of,
)
from shield.rules.drill import is_drilled
from shield.rules.health import RECOVERY_SECONDS, Cause, Evidence, Flag, HealthRecord, HealthState
from shield.rules.positions import order
from shield.rules.ranking import OriginFacts, Strategy
from shield.rules.routes import Route

NOW = 1_750_000_000.0
PATHS = [b"/images/%d.webp" % number for number in range(300)]
times = st.floats(0.0, 1e9).map(lambda seconds: round(seconds, 2))
records = st.builds(
    HealthRecord,
    st.sampled_from(HealthState),
    times,
    times,
    times,
    st.integers(0, 100),
    st.sampled_from([Flag.NONE, Flag.AUTH, Flag.DRAINED | Flag.THROTTLED]),
    st.sampled_from(Cause),
    st.integers(0, 1000),
    times,
)
counts = st.integers(0, 10_000)
bases = st.builds(
    DecisionBasis,
    times,
    st.text(max_size=5),
    st.dictionaries(st.text(max_size=3), st.builds(OriginBasis, records, counts, counts, counts, counts), max_size=4),
    st.booleans(),
    st.none() | st.builds(DrillBasis, counts, st.text(max_size=3), st.text(max_size=3), st.floats(0.0, 1.0), counts),
    st.dictionaries(st.text(max_size=3), st.lists(st.text(max_size=3), max_size=3).map(tuple), max_size=2),
)


def basis(drill: DrillBasis | None = None, **origins: HealthRecord) -> DecisionBasis:
    return DecisionBasis(NOW, "x", {name: OriginBasis(record) for name, record in origins.items()}, drill=drill)


@given(bases)
def test_a_basis_survives_being_written_and_read(some: DecisionBasis) -> None:
    assert DecisionBasis.read(json.loads(json.dumps(some.plain()))) == some


@given(st.dictionaries(st.sampled_from(["a", "b", "c"]), records), st.binary(max_size=8), st.floats(0.0, 1e6))
def test_the_order_of_then_is_that_of_the_node(some: dict[str, HealthRecord], path: bytes, now: float) -> None:
    offset = 1000.0  # the clock of the records is another one
    moved = {name: OriginBasis.of(record, Evidence(), offset) for name, record in some.items()}
    at = now + offset

    then = order_then(["a", "b", "c"], path, DecisionBasis(at, "", moved), at)

    if all(record.bad_since and record.since for record in some.values()):  # 0.0 is no time
        assert then == order(["a", "b", "c"], some, spot_of(path), now)


def test_the_reasons_are_in_words() -> None:
    stalled = HealthRecord(
        HealthState.OPEN, since=NOW - 4.2, bad_since=NOW - 5.0, reason=Cause.STALL, count=4, seconds=0.4
    )
    some = basis(fra=stalled, iad=HealthRecord(flags=Flag.THROTTLED))

    assert order_then(["fra", "iad"], b"/a", some, NOW) == ("iad", "fra")
    assert reasons("fra", b"/a", some, NOW) == ["out for 4.2 s, 4 unanswered for 0.4 s"]
    assert reasons("iad", b"/a", some, NOW) == ["throttled"]
    assert reasons("b2", b"/a", some, NOW) == ["the node didn't have it then"]
    assert reasons("fra", b"/a", basis(fra=HealthRecord()), NOW) == []
    known = replace(some, origins={"fra": OriginBasis(stalled, 12, 5, 0, 4), "iad": OriginBasis(stalled, 1, 0, 3, 0)})
    assert evidence_of("fra", known) == "12 answered, 5 failed; 4 waiting"
    assert evidence_of("iad", known) == "1 answered, 0 failed, 3 throttled; 0 waiting"
    assert evidence_of("b2", known) == "unknown"


def test_a_returned_origin_and_a_drill_say_whether_they_concern_the_key() -> None:
    recovering = basis(fra=HealthRecord(HealthState.RECOVERING, since=NOW - RECOVERY_SECONDS / 2))
    drill = basis(DrillBasis(3, "fra", "slow", 0.5, 7), fra=HealthRecord())

    back = [path for path in PATHS if order_then(["fra", "iad"], path, recovering, NOW)[0] == "fra"]
    assert 0.3 < len(back) / len(PATHS) < 0.8
    for path in PATHS:
        (said,) = reasons("fra", path, recovering, NOW)
        concerned = "this key among them" if path in back else "this key not yet"
        assert said == f"recovering for 15 s: back for 55 % of keys, {concerned}"
        (said,) = reasons("fra", path, drill, NOW)
        concerned = "this key among them" if is_drilled(path, 7, 0.5) else "this key not"
        assert said == f"drill 3, slow for 50 % of keys, {concerned}"
        assert reasons("iad", path, drill, NOW) == ["the node didn't have it then"]


def test_settings_that_choose_differently_have_other_digests() -> None:
    route = Route("images", prefix=b"/images", origins=("fra", "iad"))
    others = [
        replace(route, origins=("iad", "fra")),
        replace(route, prefix=b"/image"),
        replace(route, choose=Strategy.PRIMARY_FIRST),
    ]

    assert digest_of([route]) == digest_of([replace(route, max_variants=7)])
    assert len({digest_of([each]) for each in (route, *others)}) == 4


@pytest.mark.parametrize(
    "plain", [{}, {"at": 1}, {"at": 1, "settings": "", "origins": {"a": []}, "frozen": 0, "drill": None}]
)
def test_what_is_no_basis_is_refused(plain: dict[str, object]) -> None:
    with pytest.raises((ValueError, KeyError, TypeError, AttributeError)):
        DecisionBasis.read(plain)


# other settings

OUT = HealthRecord(HealthState.OPEN, since=NOW - 10.0, bad_since=NOW - 10.0)
ROUTE = Route("all", origins=("fra", "iad"))


def at(seconds: float, **origins: HealthRecord) -> DecisionBasis:
    return replace(basis(None, **origins), at=NOW + seconds)


def test_shares_are_of_keys_and_of_time() -> None:
    up = HealthRecord()
    notes = [at(-30.0, fra=up, iad=up), at(10.0, fra=OUT, iad=up), at(40.0, fra=up, iad=up)]

    shares, covered = first_shares(ROUTE, notes, NOW, NOW + 100.0)

    assert covered == 100.0
    assert shares == {"fra": pytest.approx(0.7), "iad": pytest.approx(0.3)}


def test_time_without_notes_isnt_covered() -> None:
    up = HealthRecord()

    shares, covered = first_shares(ROUTE, [at(0.0, fra=up, iad=up)], NOW, NOW + 1000.0)

    assert (shares, covered) == ({"fra": 1.0, "iad": 0.0}, LONGEST_SECONDS)
    assert first_shares(ROUTE, [], NOW, NOW + 10.0) == ({"fra": 0.0, "iad": 0.0}, 0.0)


def test_weights_and_health_count_together() -> None:
    facts = (OriginFacts("fra", weight=300.0), OriginFacts("iad", weight=100.0))
    weighted = replace(ROUTE, choose=Strategy.WEIGHTED, facts=facts)
    notes = [at(0.0, fra=HealthRecord(), iad=OUT), at(50.0, fra=HealthRecord(), iad=HealthRecord())]

    shares, _ = first_shares(weighted, notes, NOW, NOW + 100.0)

    assert abs(shares["fra"] - 0.5 * (1.0 + 0.75)) < 0.05
    assert abs(sum(shares.values()) - 1.0) < 1e-6


@given(st.lists(st.tuples(st.floats(0.0, 100.0), records), max_size=6), st.floats(1.0, 500.0))
def test_shares_are_whole_whatever_was_noted(some: list[tuple[float, HealthRecord]], length: float) -> None:
    notes = [
        at(seconds, fra=record, iad=HealthRecord()) for seconds, record in sorted(some, key=lambda pair: pair[0])
    ]

    shares, covered = first_shares(ROUTE, notes, NOW, NOW + length)

    assert 0.0 <= covered <= length + 1e-3
    assert not covered or abs(sum(shares.values()) - 1.0) < 1e-6


def test_an_order_by_cost_is_that_of_its_time() -> None:
    nearest, up = replace(ROUTE, choose=Strategy.NEAREST), HealthRecord()
    notes = [
        replace(at(0.0, fra=up, iad=up), ranked={"all": ("iad", "fra")}),
        replace(at(40.0, fra=up, iad=up), ranked={"all": ("fra", "iad"), "other": ("b2",)}),
        replace(at(70.0, fra=OUT, iad=up), ranked={"all": ("fra", "b2")}),  # other origins: as listed
    ]

    shares, _ = first_shares(nearest, notes, NOW, NOW + 100.0)

    assert notes[0].usual(nearest) == ("iad", "fra")
    assert notes[0].usual(ROUTE) is None is notes[2].usual(nearest)
    assert shares == {"fra": pytest.approx(0.3), "iad": pytest.approx(0.7)}
