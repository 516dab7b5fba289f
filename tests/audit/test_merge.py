"""Several sorted listings become rows, whatever pieces they come in."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from shield.audit.listing import ListedObject
from shield.audit.merge import KeyRow, ListingMerge

keys = st.binary(min_size=1, max_size=3)
listings = st.lists(st.lists(keys, unique=True).map(sorted), min_size=1, max_size=4)


def listed(key: bytes) -> ListedObject:
    return ListedObject(key, 1, "", 0.0)


def merged(given_keys: Sequence[Sequence[bytes]], page: int) -> tuple[list[KeyRow], int]:
    """All rows of listings that come in pages, and the most objects that were held."""
    merge = ListingMerge(len(given_keys))
    left = [list(each) for each in given_keys]
    rows: list[KeyRow] = []
    most = held = 0
    while not merge.is_over:
        for at in merge.wanted():
            piece, left[at] = left[at][:page], left[at][page:]
            merge.feed(at, map(listed, piece), is_last=not left[at])
            held += len(piece)
        most = max(most, held)
        for row in merge.rows():
            rows.append(row)
            held -= sum(copy is not None for copy in row.copies)
    assert held == 0
    return rows, most


@given(listings, st.integers(1, 5))
def test_each_key_is_one_row_in_order_with_a_copy_where_it_is_listed(
    given_keys: list[list[bytes]], page: int
) -> None:
    rows, _ = merged(given_keys, page)

    every = sorted({key for each in given_keys for key in each})
    assert [row.key for row in rows] == every
    for row in rows:
        assert [copy is not None for copy in row.copies] == [row.key in each for each in given_keys]
        assert all(copy is None or copy.key == row.key for copy in row.copies)


@given(listings, st.integers(1, 5))
def test_no_more_than_a_page_of_each_listing_is_held(given_keys: list[list[bytes]], page: int) -> None:
    _, most = merged(given_keys, page)

    assert most <= page * len(given_keys)


def test_no_row_comes_before_every_listing_could_speak() -> None:
    merge = ListingMerge(2)
    merge.feed(0, [listed(b"a"), listed(b"c")], is_last=True)

    assert list(merge.rows()) == [] and merge.wanted() == [1]
    merge.feed(1, [listed(b"b")], is_last=False)
    assert [row.key for row in merge.rows()] == [b"a", b"b"] and merge.wanted() == [1]
    merge.feed(1, [], is_last=True)
    assert [row.key for row in merge.rows()] == [b"c"] and merge.is_over
