"""Marks of purges, against a model that looks at each of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shield.rules.purging import (
    MOST_GLOBS,
    SHARES,
    Filled,
    MarkKind,
    PurgeMark,
    PurgeMarks,
    TooManyGlobsError,
    share_of,
)
from shield.rules.vary import MARK
from tests.compiled import INTERPRETED_ONLY
from tests.depth import tries

KEY, TAGS = b"s1:/images/cats/a.webp?w=1", b"cats\nred"


def about(kind: MarkKind, text: bytes, key: bytes = KEY, tags: bytes = TAGS) -> bool:
    return PurgeMark(1, kind, text).is_about(key, tags)


def test_tags_prefixes_and_patterns_name_entries() -> None:
    assert about(MarkKind.ALL, b"")
    assert about(MarkKind.TAG, b"red") and not about(MarkKind.TAG, b"re") and not about(MarkKind.TAG, b"/images/")
    assert about(MarkKind.PREFIX, b"/images/") and about(MarkKind.PREFIX, b"s1:/images/")
    assert not about(MarkKind.PREFIX, b"s2:/images/") and not about(MarkKind.PREFIX, b"/cats/")
    assert about(MarkKind.GLOB, b"/images/*.webp?w=1") and about(MarkKind.GLOB, b"s1:/*cats*")
    assert not about(MarkKind.GLOB, b"/images/*.webp") and not about(MarkKind.GLOB, b"/cats/*")
    assert about(MarkKind.GLOB, b"/*", key=b"s1:/") and not about(MarkKind.GLOB, b"/a*a", key=b"s1:/a")


def test_a_key_is_named_with_all_its_variants_and_no_other() -> None:
    assert about(MarkKind.KEY, KEY) and about(MarkKind.KEY, KEY, key=KEY + MARK + b"0123/4567")
    assert not about(MarkKind.KEY, KEY[:-1]) and not about(MarkKind.KEY, KEY, key=KEY + b"0")


def test_all_keys_are_in_one_of_the_shares_with_their_variants() -> None:
    found = {share_of(b"s1:/%d" % number) for number in range(1000)}

    assert found == {b"%d" % number for number in range(SHARES)}
    assert about(MarkKind.SHARE, share_of(KEY)) and about(
        MarkKind.SHARE, share_of(KEY), key=KEY + MARK + b"0123/4567"
    )
    assert not about(MarkKind.SHARE, b"%d" % ((int(share_of(KEY)) + 1) % SHARES))


def test_a_pattern_is_about_the_variants_of_a_key() -> None:
    assert about(MarkKind.GLOB, b"/a/*.webp", key=b"s1:/a/b.webp" + MARK + b"0123/4567")


def test_of_an_entry_whose_tags_are_unknown_any_tag_may_be_one() -> None:
    by_tag = PurgeMark(1, MarkKind.TAG, b"red")

    assert by_tag.is_about(KEY, None) and not by_tag.is_about(KEY, b"")
    assert not PurgeMark(2, MarkKind.PREFIX, b"/elsewhere/").is_about(KEY, None)


@INTERPRETED_ONLY
def test_prefixes_that_are_longer_than_a_key_are_not_looked_at() -> None:
    marks, looked = PurgeMarks(), 0
    for number in reversed(range(1, 1000)):
        marks.add(PurgeMark(number, MarkKind.PREFIX, b"/" * number))

    class Table(dict[bytes, object]):
        def get(self, *args: object) -> None:
            nonlocal looked
            looked += 1

    marks._tables.paths = tuple((length, Table(table)) for length, table in marks._tables.paths)  # type: ignore[misc]
    marks.verdict(b"s1:/images", b"", 0, Filled())

    assert looked == len(b"/images")


def test_a_hard_mark_counts_before_a_later_soft_one() -> None:
    marks = PurgeMarks()
    hard = PurgeMark(3, MarkKind.TAG, b"red")
    soft = PurgeMark(5, MarkKind.PREFIX, b"/images/", soft=True, at=7.0)
    for mark in (hard, soft):
        marks.add(mark)

    assert marks.verdict(KEY, TAGS, 2, Filled()) == hard
    assert marks.verdict(KEY, TAGS, 3, Filled()) == soft
    assert marks.verdict(KEY, TAGS, 5, Filled()) is None
    assert marks.verdict(KEY, b"", 2, Filled()) == soft


def test_forgotten_marks_no_longer_count_and_later_entries_still_know_their_place() -> None:
    marks = PurgeMarks()
    for sequence, kind in enumerate(MarkKind, start=1):
        marks.add(PurgeMark(sequence, kind, b"" if kind is MarkKind.ALL else b"/i*"))

    marks.forget(3)
    assert (marks.newest, marks.alive, len(marks)) == (7, 7, 4)
    marks.forget(7)

    assert (marks.newest, marks.alive, len(marks)) == (7, 0, 0)
    assert marks.verdict(KEY, TAGS, 0, Filled("/i*", 9.0)) is None


def test_more_patterns_than_lookups_can_bear_are_refused_until_some_are_forgotten() -> None:
    marks = PurgeMarks()
    for number in range(MOST_GLOBS):
        marks.check_globs([b"/%d*" % number])
        marks.add(PurgeMark(number + 1, MarkKind.GLOB, b"/%d*" % number))

    with pytest.raises(TooManyGlobsError, match="64 patterns can be in force"):
        marks.check_globs([b"/new*"])
    marks.check_globs([b"/7*"])  # again
    marks.forget(1)
    marks.check_globs([b"/new*"])


@pytest.mark.parametrize(
    ("filled", "since", "falls"),
    [
        (Filled("fra", 100.0), 6, True),
        (Filled("fra", 150.0), 6, True),
        (Filled("fra", 99.9), 6, False),  # before the last clean probe
        (Filled("fra", 150.0), 7, False),  # it came after the purge
        (Filled("iad", 150.0), 6, False),
        (Filled("fr", 150.0), 6, False),
        (Filled("", 150.0), 6, False),
        (Filled(None, 150.0), 6, True),  # that may have been fra
        (Filled(None, 99.9), 6, False),
        (Filled("fra", 0.0), 6, False),  # no bytes of an origin
        (Filled(None, 0.0), 6, False),
    ],
)
def test_a_mark_about_an_origin_is_about_what_was_filled_from_it_since_a_time(
    filled: Filled, since: int, falls: bool
) -> None:
    marks = PurgeMarks()
    mark = PurgeMark(7, MarkKind.ORIGIN, b"fra", at=120.0, after=100.0)
    marks.add(mark)

    assert marks.verdict(KEY, TAGS, since, filled) == (mark if falls else None)


def test_what_is_being_stored_may_fall_under_a_mark_about_its_origin() -> None:
    mark = PurgeMark(7, MarkKind.ORIGIN, b"fra", after=100.0)

    assert mark.is_about(KEY, TAGS, "fra") and mark.is_about(KEY, TAGS, None) and mark.is_about(KEY, TAGS)
    assert not mark.is_about(KEY, TAGS, "iad") and not mark.is_about(KEY, None, "")


def test_of_marks_about_one_origin_those_are_kept_that_say_more_than_others() -> None:
    marks, early = PurgeMarks(), PurgeMark(3, MarkKind.ORIGIN, b"fra", after=10.0)
    late = PurgeMark(5, MarkKind.ORIGIN, b"fra", after=20.0)
    for mark in (early, late, PurgeMark(4, MarkKind.ORIGIN, b"fra", after=20.0)):
        marks.add(mark)
    assert set(marks) == {early, late}
    assert marks.verdict(KEY, b"", 3, Filled("fra", 15.0)) is None
    assert marks.verdict(KEY, b"", 2, Filled("fra", 15.0)) == early

    whole = PurgeMark(6, MarkKind.ORIGIN, b"fra", after=5.0)
    marks.add(whole)
    assert list(marks) == [whole]


PIECES = st.lists(st.sampled_from([b"/", b"a", b"b", b"*", b":", b"s1:"]), min_size=1, max_size=6).map(b"".join)
KINDS = st.sampled_from(list(MarkKind))
ALL_MARKS = st.lists(
    st.builds(
        PurgeMark, st.integers(1, 9), KINDS, PIECES, st.booleans(), st.floats(0.0, 9.0), st.integers(0, 4).map(float)
    ),
    max_size=8,
)
FILLED = st.builds(Filled, st.none() | PIECES.map(bytes.decode), st.integers(0, 5).map(float))
ALL_TAGS = st.lists(st.sampled_from([b"a", b"b", b"/"]), max_size=2).map(b"\n".join)


@settings(max_examples=tries(300))
@given(ALL_MARKS, PIECES, ALL_TAGS, FILLED, st.integers(0, 9), st.integers(0, 9))
def test_verdicts_are_those_of_looking_at_every_mark(
    given_marks: list[PurgeMark], key: bytes, tags: bytes, filled: Filled, since: int, forgotten: int
) -> None:
    key = b"s1:/" + key
    given_marks = [replace(mark, text=key) if mark.kind is MarkKind.KEY else mark for mark in given_marks]
    own = share_of(key)  # of half of those about shares
    given_marks = [
        replace(mark, text=own) if mark.kind is MarkKind.SHARE and mark.sequence % 2 else mark for mark in given_marks
    ]
    marks = PurgeMarks()
    for mark in given_marks:
        marks.add(mark)
    marks.forget(forgotten)

    found = marks.verdict(key, tags, since, filled)

    later = [mark for mark in given_marks if mark.sequence > max(since, forgotten)]
    hit = [mark for mark in later if mark.is_about(key, tags, filled.origin) and _in_time(mark, filled)]
    wanted = [mark for mark in hit if not mark.soft] or hit
    assert (found is None) == (not wanted)
    if found is not None:
        assert found.soft == wanted[0].soft
        assert not found.soft or found.sequence == max(mark.sequence for mark in wanted)
    assert marks.newest == max([mark.sequence for mark in given_marks], default=0)
    assert marks.alive == max([mark.sequence for mark in given_marks if mark.sequence > forgotten], default=0)


def _in_time(mark: PurgeMark, filled: Filled) -> bool:
    return mark.kind is not MarkKind.ORIGIN or (filled.stored_at > 0.0 and filled.stored_at >= mark.after)
