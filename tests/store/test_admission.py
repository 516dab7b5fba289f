"""What is let in on its second coming."""

from __future__ import annotations

import xxhash
from hypothesis import given
from hypothesis import strategies as st

from shield.store.admission import Admission


def digest(number: int) -> bytes:
    return xxhash.xxh3_128_digest(b"%d" % number)


@given(numbers=st.lists(st.integers(0, 10_000), unique=True, max_size=50))
def test_what_was_seen_before_is_let_in(numbers: list[int]) -> None:
    admission = Admission(10_000)

    for number in numbers:
        admission.admit(digest(number))

    assert all(admission.admit(digest(number)) for number in numbers)


def test_hardly_anything_is_taken_for_seen_that_was_not() -> None:
    admission = Admission(200_000)

    mistaken = sum(admission.admit(digest(number)) for number in range(200_000))

    assert mistaken < 10_000


def test_what_was_seen_long_ago_is_forgotten() -> None:
    admission = Admission(1000)
    admission.admit(digest(-1))

    for number in range(900):
        admission.admit(digest(number))
    lately = admission.admit(digest(-1))
    for number in range(1000, 4000):
        admission.admit(digest(number))
    long_ago = admission.admit(digest(-1))

    assert (lately, long_ago) == (True, False)
