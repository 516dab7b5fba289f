"""Shares in proportion to weights, and few keys that move."""

from __future__ import annotations

from collections import Counter

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from shield.rules.rendezvous import Rendezvous

DIGESTS = [xxhash.xxh3_128_digest(b"%d" % number) for number in range(20_000)]
NAMES = st.lists(st.binary(min_size=1, max_size=20), min_size=1, max_size=6, unique=True)


def test_each_has_a_share_in_proportion_to_its_weight() -> None:
    ring = Rendezvous([b"small", b"large"], [1.0, 3.0])

    shares = Counter(ring.owner(digest) for digest in DIGESTS)

    assert shares[1] / len(DIGESTS) == pytest.approx(0.75, abs=0.03)


@given(names=NAMES)
def test_what_a_member_leaves_goes_to_the_next_in_order_and_nothing_else_moves(names: list[bytes]) -> None:
    full = Rendezvous(names)
    if len(names) == 1:
        return
    less = Rendezvous(names[:-1])

    for digest in DIGESTS[:100]:
        first, second, *_ = full.order(digest)
        assert less.owner(digest) == (second if first == len(names) - 1 else first)


@given(names=NAMES)
def test_all_members_are_in_the_order_of_each_key(names: list[bytes]) -> None:
    ring = Rendezvous(names)

    assert sorted(ring.order(DIGESTS[0])) == list(range(len(names)))


@pytest.mark.parametrize(("names", "weights"), [([], []), ([b"a"], [0.0]), ([b"a", b"b"], [1.0])])
def test_what_can_have_no_shares_is_refused(names: list[bytes], weights: list[float]) -> None:
    with pytest.raises(ValueError, match="weight above 0"):
        Rendezvous(names, weights)
