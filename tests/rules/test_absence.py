"""The certainty of an absence, by the origins that state it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.rules.absence import Absence, absence_of
from shield.rules.ranking import OriginFacts

FRA, IAD = OriginFacts("fra", is_primary=True), OriginFacts("iad", copy_of="fra")
HOT = OriginFacts("hot", copy_of="fra", holds_all=False)
A, B, PART = OriginFacts("a"), OriginFacts("b"), OriginFacts("c", holds_all=False)


@pytest.mark.parametrize(
    ("facts", "said", "unwell", "absence"),
    [
        ((FRA, IAD), "fra iad", "", Absence.PRIMARY),
        ((FRA, IAD), "fra iad", "iad", Absence.PRIMARY),
        ((FRA, IAD), "fra iad", "fra", Absence.UNWELL),
        ((IAD,), "iad", "", Absence.REPLICAS),
        ((FRA, IAD, HOT), "iad hot", "", Absence.REPLICAS),
        ((HOT,), "hot", "", Absence.PART),
        ((FRA, HOT), "hot", "", Absence.PART),
        ((A, B), "a b", "", Absence.EVERYWHERE),
        ((A, B), "a b", "a b", Absence.EVERYWHERE),
        ((A, PART), "a c", "", Absence.EVERYWHERE),
        ((PART,), "c", "", Absence.PART),
        ((), "a", "", Absence.EVERYWHERE),
        ((FRA, IAD), "", "", Absence.EVERYWHERE),
    ],
)
def test_only_the_word_of_a_primary_that_is_well_counts_where_there_is_one(
    facts: Sequence[OriginFacts], said: str, unwell: str, absence: Absence
) -> None:
    assert absence_of(facts, said.split(), unwell.split()) is absence


@given(
    facts=st.lists(
        st.builds(
            OriginFacts,
            st.sampled_from("abcd"),
            is_primary=st.booleans(),
            copy_of=st.sampled_from([None, "a"]),
            holds_all=st.booleans(),
        ),
        min_size=1,
        unique_by=lambda each: each.name,
    ),
    said=st.sets(st.sampled_from("abcd"), min_size=1),
    unwell=st.sets(st.sampled_from("abcd")),
)
def test_a_certain_absence_is_never_a_copys_word(facts: list[OriginFacts], said: set[str], unwell: set[str]) -> None:
    found = absence_of(facts, said, unwell)

    if found.is_certain:
        by = [each for each in facts if each.name in said and each.holds_all]
        assert by
        if any(each.copy_of for each in facts):
            assert any(each.is_primary and each.name not in unwell for each in by)
