"""The sizes of a route's responses, which fade with newer ones."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shield.rules.choice import MOST_BYTES, MOST_RESPONSES, SIZE_WORDS, Choice
from shield.rules.distance import sizes_of
from shield.rules.ranking import SIZE_CLASSES


def test_responses_count_with_their_bytes_in_their_size_class() -> None:
    choice = Choice(["a", "b"])
    for size in (0, 1000, 1 << 20, 1 << 40):
        choice.saw(size)

    assert choice.order == ("a", "b")
    assert list(choice.sizes) == [2, 1000, 1, 1 << 20, 0, 0, 1, MOST_BYTES]


def test_older_responses_count_less_and_less() -> None:
    choice = Choice(["a"])
    for _ in range(10 * MOST_RESPONSES):
        choice.saw(1000)
    for _ in range(2 * MOST_RESPONSES):
        choice.saw(10 << 20)

    shares, means = sizes_of(list(choice.sizes[::2]), list(choice.sizes[1::2]))

    assert shares[2] > 0.75 and means[2] == 10 << 20
    assert means[0] == 1000.0


@given(st.lists(st.integers(0, 1 << 40), max_size=100))
def test_shares_add_up_and_means_are_within_their_class(sizes: list[int]) -> None:
    choice = Choice(["a"])
    for size in sizes:
        choice.saw(size)

    found = sizes_of(list(choice.sizes[::2]), list(choice.sizes[1::2]))

    assert len(choice.sizes) == SIZE_WORDS
    assert abs(sum(found.shares) - 1.0) < 1e-9 and len(found.shares) == SIZE_CLASSES
    assert all(mean <= MOST_BYTES for mean in found.means)
