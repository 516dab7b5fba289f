"""A whole record read in one piece: the same as the long way says, and no bit of it may differ."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.rules.routes import cache_key
from shield.store.directory.record import (
    BLOCK,
    DamagedError,
    ForeignError,
    RecordKind,
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


@given(size=SIZES)
def test_it_says_what_the_long_way_says(size: int) -> None:
    data = written("a", size)

    whole = read_whole(data, key("a"), sequence=7, seed=SEED)

    header = decode(data, seed=SEED)
    assert (whole.status, whole.head, bytes(whole.body)) == (200, header.head, body("a", size))
    assert whole.no_cache == header.record.no_cache
    assert whole.tags == header.tags == header.record.tags == b"a\nb"


@given(size=SIZES, where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_one_bit_that_differs_is_found_out(size: int, where: float, bit: int) -> None:
    data = written("a", size)
    data[int(where * len(data))] ^= 1 << bit

    with pytest.raises((DamagedError, ForeignError)):
        read_whole(data, key("a"), sequence=7, seed=SEED)


@given(size=SIZES, left=st.floats(0, 1, exclude_max=True))
def test_a_piece_of_it_is_nothing(size: int, left: float) -> None:
    data = written("a", size)

    with pytest.raises(DamagedError):
        read_whole(data[: int(left * len(data))], key("a"), sequence=7, seed=SEED)


def test_another_place_another_time_and_another_key_are_told_apart() -> None:
    data = written("a", 100)

    with pytest.raises(DamagedError):
        read_whole(data, key("a"), sequence=7, seed=SEED + 64)
    with pytest.raises(DamagedError):
        read_whole(data, key("a"), sequence=8, seed=SEED)
    with pytest.raises(ForeignError):
        read_whole(data, cache_key(b"", b"/b", b""), sequence=7, seed=SEED)
    with pytest.raises(ForeignError):
        read_whole(written("a", 100, RecordKind.SLICE), key("a"), sequence=7, seed=SEED)
