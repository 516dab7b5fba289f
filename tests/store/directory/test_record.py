"""A record is what was written, bit by bit, or it is no record."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shield.rules.freshness import Freshness
from shield.rules.key import CacheKey
from shield.store.directory.record import (
    BLOCK,
    DamagedError,
    Record,
    RecordKind,
    checksums,
    decode,
    encode,
    header_length,
)
from tests.depth import tries
from tests.store.ground import body, record

_times = st.floats(allow_nan=False, width=64)
records = st.builds(
    Record,
    kind=st.sampled_from(RecordKind),
    key=st.builds(CacheKey, st.binary(max_size=300), st.binary(min_size=16, max_size=16)),
    freshness=st.builds(Freshness, _times, _times, _times, _times, _times),
    head=st.binary(max_size=600),
    status=st.integers(100, 599),
    etag=st.none() | st.binary(max_size=40),
    last_modified=st.none() | st.floats(0, 4e9),
    no_cache=st.booleans(),
    must_revalidate=st.booleans(),
    origin=st.none() | st.text(max_size=20),
    tags=st.binary(max_size=50),
    stored_at=_times,
    total=st.integers(0, 2**63),
    slice=st.integers(0, 2**32 - 1),
    slice_bytes=st.integers(0, 2**32 - 1),
    sequence=st.integers(0, 2**64 - 1),
)


@given(records, st.binary(max_size=400), st.integers(0, 2**64 - 1))
def test_what_is_encoded_is_decoded(made: Record, content: bytes, seed: int) -> None:
    data = encode(made, len(content), checksums([content]), seed=seed)

    header = decode(data + content, seed=seed)

    assert header.record == made
    assert (header.header_length, header.body_length) == (len(data), len(content))
    assert len(data) == header_length(made, len(content))
    header.check(content)


@given(st.data())
@settings(max_examples=tries(150))
def test_any_flipped_bit_of_the_header_is_found_out(data: st.DataObject) -> None:
    content = body("a", 100)
    good = encode(record("a", 100), 100, checksums([content]), seed=7)
    bit = data.draw(st.integers(0, len(good) * 8 - 1))
    bad = bytearray(good)
    bad[bit // 8] ^= 1 << bit % 8

    with pytest.raises(DamagedError):
        decode(bad + content, seed=7)


@pytest.mark.parametrize("size", [1, 1000, BLOCK, BLOCK + 1])
def test_any_flipped_bit_of_the_body_is_found_out(size: int) -> None:
    content = body("a", size)
    header = decode(encode(record("a", size), size, checksums([content]), seed=7), seed=7)

    for at in {0, size // 2, size - 1}:
        bad = bytearray(content)
        bad[at] ^= 1
        with pytest.raises(DamagedError):
            header.check(bad)


def test_a_header_cut_short_anywhere_is_none() -> None:
    good = encode(record("a", 9), 9, checksums([b"123456789"]), seed=7)

    for length in range(len(good)):
        with pytest.raises(DamagedError):
            decode(good[:length], seed=7)


def test_a_record_of_another_place_is_none() -> None:
    good = encode(record("a", 0), 0, b"", seed=7)

    with pytest.raises(DamagedError):
        decode(good, seed=8)


@given(st.lists(st.integers(0, 2 * BLOCK), max_size=6))
@settings(max_examples=40, deadline=None)
def test_checksums_do_not_depend_on_the_parts(sizes: list[int]) -> None:
    parts = [body(str(index), size) for index, size in enumerate(sizes)]

    assert checksums(parts) == checksums([b"".join(parts)])


def test_a_part_of_the_body_is_checked_by_itself() -> None:
    content = body("a", 3 * BLOCK + 5)
    header = decode(encode(record("a", len(content)), len(content), checksums([content]), seed=1), seed=1)

    header.check(content[BLOCK : 2 * BLOCK], BLOCK)
    header.check(content[3 * BLOCK :], 3 * BLOCK)
    with pytest.raises(DamagedError):
        header.check(content[BLOCK : 2 * BLOCK], 2 * BLOCK)


def test_what_is_too_long_is_refused() -> None:
    made = record("a", 0)
    made.etag = b"x" * 70000

    with pytest.raises(ValueError, match="no record"):
        encode(made, 0, b"", seed=0)
