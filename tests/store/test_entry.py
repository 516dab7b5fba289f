"""Bodies in blocks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shield.store.entry import BLOCK, body_length, body_parts
from tests.store.samples import entry


@given(length=st.integers(0, 3 * BLOCK + 7), ends=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_any_span_of_a_body_is_its_bytes(length: int, ends: tuple[float, float]) -> None:
    body = (b"0123456789abcdef" * (length // 16 + 1))[:length]
    stored = entry("a", body)
    start, stop = sorted(int(share * length) for share in ends)

    assert stored.length == body_length(stored.blocks) == length
    assert b"".join(body_parts(stored.blocks, start, stop)) == body[start:stop]


def test_whole_blocks_are_handed_out_without_a_copy() -> None:
    stored = entry("a", b"x" * (BLOCK + 5))

    assert next(iter(body_parts(stored.blocks, 0, stored.length))) is stored.blocks[0]


def test_an_entry_that_must_be_validated_is_never_a_plain_hit() -> None:
    assert entry("a").plain_hit_until == 3600.0
    validated = entry("a", fields=((b"cache-control", b"no-cache"),))
    validated.head.no_cache = True
    assert validated.freshened(validated.head, validated.freshness).plain_hit_until < 0
