"""What the variants of one key use of the RAM tier."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shield.rules.key import key_of_text
from shield.rules.vary import MARK
from shield.store.entry import OVERHEAD, Entry
from shield.store.fifo import VARIANTS_SHARE
from shield.store.memory import MemoryTier
from shield.store.shares import VariantShares
from tests.store.samples import entry as made

CAPACITY = 800_000
LIMIT = CAPACITY // VARIANTS_SHARE


def variant(base: bytes, number: int, size: int = 9_000) -> Entry:
    plain = made("x", b"x" * size)
    return Entry(key_of_text(b"%b%bsalt/%032d" % (base, MARK, number)), plain.head, plain.freshness, plain.blocks)


def tier() -> MemoryTier:
    return MemoryTier(capacity=CAPACITY, max_entry=50_000)


def test_the_variants_of_one_key_use_a_share_and_leave_the_rest_to_others() -> None:
    memory = tier()
    others = [made(f"other/{number}", b"x" * 9_000) for number in range(40)]
    for each in others:
        memory.commit(each)

    for number in range(1000):
        assert memory.commit(variant(b":/a", number))

    assert all(memory.holds(each) for each in others)
    there = [memory.lookup(variant(b":/a", number).key.text) for number in range(1000)]
    assert 0 < sum(each.size for each in there if each is not None) <= LIMIT
    assert there[-1] is not None


def test_of_one_keys_variants_those_in_use_stay() -> None:
    memory, used = tier(), variant(b":/a", 0)
    memory.commit(used)
    for number in range(1, 100):
        memory.lookup(used.key.text)
        memory.commit(variant(b":/a", number))

    assert memory.holds(used)


def test_a_variant_of_the_largest_size_fits_by_itself() -> None:
    memory = MemoryTier(capacity=CAPACITY, max_entry=CAPACITY)
    large = variant(b":/a", 1, 700_000)

    memory.commit(variant(b":/a", 0))
    assert memory.commit(large)
    assert memory.holds(large)


def test_a_variant_that_grows_makes_others_go_and_not_itself() -> None:
    shares = VariantShares(100)
    texts = [b"k" + MARK + b"%d" % number for number in range(3)]
    for text in texts:
        shares.add(text, 30)

    assert shares.victims(texts[0], 40, lambda text: 0) == []
    assert shares.victims(texts[0], 41, lambda text: 0) == [texts[1]]
    assert shares.victims(texts[0], 41, lambda text: int(text == texts[1])) == [texts[2]]
    assert shares.victims(b"k", 1000, lambda text: 0) == []


@given(st.lists(st.tuples(st.sampled_from([b"a", b"b"]), st.integers(0, 5), st.integers(1, 40_000), st.booleans())))
def test_what_is_counted_is_what_is_there(steps: list[tuple[bytes, int, int, bool]]) -> None:
    memory = MemoryTier(capacity=20 * (OVERHEAD + 2000), max_entry=8 * OVERHEAD)
    shares = memory._fifo.shares
    for base, number, size, commits in steps:
        each = variant(base, number, size)
        if commits:
            memory.commit(each)
        else:
            memory.remove(each.key.text)
        for one in (b"a", b"b"):
            there = [each for each in memory.entries() if each.key.text.startswith(one + MARK)]
            used = sum(each.size for each in there)
            assert shares.used(one) == used <= shares.limit
    memory.clear()
    assert shares.used(b"a") == shares.used(b"b") == 0
