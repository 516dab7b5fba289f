"""Notices in the removal log."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shield.rules.purging import MarkKind, PurgeMark
from shield.store.notices import mark_of, marking, outdated_of, outdating

MARKS = st.builds(
    PurgeMark,
    st.integers(0, 2**64 - 1),
    st.sampled_from(list(MarkKind)),
    st.binary(max_size=20),
    st.booleans(),
    st.floats(0.0, 9e9),
)


@given(MARKS)
def test_marks_are_read_as_they_were_told(mark: PurgeMark) -> None:
    notice = marking(mark)

    assert mark_of(notice) == mark and outdated_of(notice) is None
    assert mark_of(notice[:10]) is None


@given(st.binary(), st.floats(0.0, 9e9))
def test_so_are_entries_that_became_stale(text: bytes, at: float) -> None:
    notice = outdating(text, at)

    assert outdated_of(notice) == (text, at) and mark_of(notice) is None


def test_the_text_of_a_key_is_neither() -> None:
    assert outdated_of(b"s1:/a") is None and mark_of(b"s1:/a") is None
