"""A whole record read in one piece: the same as the long way says, and no bit of it may differ."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.rules.key import CacheKey
from shield.rules.routes import cache_key
from shield.store.directory.record import (
    BLOCK,
    DamagedError,
    ForeignError,
    RecordKind,
    Whole,
    checksums,
    decode,
    encode,
    read_whole,
)
from tests.store.ground import body, key, record

SIZES = st.sampled_from([0, 1, 100, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK])
SEED = 12345


def written(name: str, size: int, kind: RecordKind = RecordKind.WHOLE) -> bytearray:
    made = record(name, size, kind)
    made.sequence, made.tags = 7, b"a\nb"
    content = body(name, size)
    return bytearray(encode(made, size, checksums([content]), seed=SEED) + content)


def read(data: bytearray, of: CacheKey, size: int, *, sequence: int = 7, seed: int = SEED) -> Whole:
    """A record with a body of this size, as its place in the index says how long both are."""
    at = len(data) - size
    return read_whole(data[:at], data[at:], of, sequence=sequence, seed=seed)


@given(size=SIZES)
def test_it_says_what_the_long_way_says(size: int) -> None:
    data = written("a", size)

    whole = read(data, key("a"), size)

    header = decode(data, seed=SEED)
    assert (bytes(whole.head), bytes(whole.body)) == (header.head, body("a", size))
    assert whole.no_cache == header.record.no_cache
    assert whole.tags == header.tags == header.record.tags == b"a\nb"
    assert whole.header.record == header.record


@given(size=SIZES, where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_one_bit_that_differs_is_found_out(size: int, where: float, bit: int) -> None:
    data = written("a", size)
    data[int(where * len(data))] ^= 1 << bit

    with pytest.raises((DamagedError, ForeignError)):
        read(data, key("a"), size)


@given(size=SIZES, left=st.floats(0, 1, exclude_max=True))
def test_a_piece_of_it_is_nothing(size: int, left: float) -> None:
    data = written("a", size)

    with pytest.raises(DamagedError):
        read(data[: int(left * len(data))], key("a"), min(size, int(left * len(data))))
    with pytest.raises(DamagedError):  # of a header as long as it should be
        at = len(data) - size
        read_whole(
            data[:at], data[at : int(left * len(data))] if size else bytearray(1), key("a"), sequence=7, seed=SEED
        )


def test_another_place_another_time_and_another_key_are_told_apart() -> None:
    data = written("a", 100)

    with pytest.raises(DamagedError):
        read(data, key("a"), 100, seed=SEED + 64)
    with pytest.raises(DamagedError):
        read(data, key("a"), 100, sequence=8)
    for other in (b"/b", b"/", b"/ab", b"/aa"):
        with pytest.raises(ForeignError):
            read(data, cache_key(b"", other, b""), 100)
    with pytest.raises(ForeignError):
        read(written("a", 100, RecordKind.SLICE), key("a"), 100)
