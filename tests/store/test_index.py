"""The index: later records win, transactions are whole, garbage is refused."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import lmdb
import pytest

from shield.store.files import Files
from shield.store.index import Found, Index, IndexDamagedError, IndexFullError, Row, State
from shield.store.record import Kind

DIGEST = bytes(range(16))


def found(sequence: int, *, segment: int = 1, head: bytes = b"", kind: Kind = Kind.WHOLE) -> Found:
    return Found(kind, 200, segment, sequence, 300, 700, sequence, 5, 700, 1.5, 2.5, 3.5, 4.5, 5.5, head)


def opened(path: Path, limit: int = 8 << 20) -> Index:
    return Index(path, limit=limit, files=Files())


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    index = opened(tmp_path)
    yield index
    index.close()


def test_what_is_put_is_found_with_all_it_holds(index: Index) -> None:
    with index.write() as change:
        change.put(DIGEST, None, found(1, head=b"later"))
        change.put(DIGEST, 0, found(2))
        change.put(DIGEST, 7, found(3))

    assert index.lookup(DIGEST) == found(1, head=b"later")
    assert index.lookup(DIGEST, 7) == found(3)
    assert index.lookup(DIGEST, 1) is None
    assert index.slices(DIGEST) == [(0, found(2)), (7, found(3))]
    assert index.lookup(DIGEST[::-1]) is None


def test_an_older_record_never_replaces_a_later_one(index: Index) -> None:
    with index.write() as change:
        assert change.put(DIGEST, None, found(5))
        assert not change.put(DIGEST, None, found(4))
        assert change.put(DIGEST, None, found(6))

    assert index.lookup(DIGEST) == found(6)
    assert index.counters().entries == 1
    assert index.counters().entry_bytes == 1000


def test_only_the_very_record_is_deleted_or_replaced(index: Index) -> None:
    with index.write() as change:
        change.put(DIGEST, None, found(5))
        assert not change.delete(DIGEST, None, found(4))
        assert not change.replace(DIGEST, None, found(4), found(9))
        assert change.replace(DIGEST, None, found(5), found(6))
        assert change.delete(DIGEST, None, found(6))

    assert index.lookup(DIGEST) is None
    assert index.counters().entries == 0


def test_removal_takes_entry_and_slices_and_holds_against_older_ones(index: Index) -> None:
    with index.write() as change:
        change.put(DIGEST, None, found(1))
        change.put(DIGEST, 3, found(2))
        change.counters.rebuilding = 1
        assert change.remove(DIGEST, found(5, kind=Kind.REMOVED), sequence=5) == 2
        assert not change.put(DIGEST, 3, found(4))
        assert change.put(DIGEST, 3, found(6))

    assert index.lookup(DIGEST) is None
    assert index.slices(DIGEST) == [(3, found(6))]
    assert index.counters().entries == 1


def test_a_transaction_that_raises_leaves_no_trace(index: Index) -> None:
    with pytest.raises(RuntimeError), index.write() as change:
        change.put(DIGEST, None, found(1))
        change.set_row(4, Row(State.ACTIVE, 0, 100))
        raise RuntimeError

    assert index.lookup(DIGEST) is None
    assert index.rows() == []
    assert index.counters().segment_bytes == 0


def test_segments_are_counted(index: Index) -> None:
    with index.write() as change:
        change.set_row(2, Row(State.ACTIVE, 1, 100))
        change.set_row(1, Row(State.SEALED, 0, 50))
        change.set_row(2, Row(State.SEALED, 1, 70))

    assert index.rows() == [(1, Row(State.SEALED, 0, 50)), (2, Row(State.SEALED, 1, 70))]
    assert index.counters().segment_bytes == 120


def test_a_full_index_says_so_and_keeps_what_it_has(tmp_path: Path) -> None:
    index = opened(tmp_path, limit=1 << 20)
    chance = random.Random(1)

    with pytest.raises(IndexFullError):
        for number in range(100_000):
            with index.write() as change:
                for _ in range(50):
                    change.put(chance.randbytes(16), None, found(number))

    assert 1000 < index.counters().entries == sum(1 for _ in index.entries())
    index.close()


def test_all_entries_are_walked_in_pages(index: Index) -> None:
    chance = random.Random(1)
    digests = sorted(chance.randbytes(16) for _ in range(1000))
    with index.write() as change:
        for digest in digests:
            change.put(digest, None, found(1))

    assert [digest for digest, slice_number, _ in index.entries() if slice_number == -1] == digests


def fill(path: Path) -> Path:
    index = opened(path)
    chance = random.Random(1)
    with index.write() as change:
        for _ in range(500):
            change.put(chance.randbytes(16), None, found(1))
    index.close()
    return path / "data.mdb"


@pytest.mark.parametrize("how", ["noise", "short", "half", "text"])
def test_garbage_is_refused(tmp_path: Path, how: str) -> None:
    data = fill(tmp_path)
    good = data.read_bytes()
    noise = random.Random(2).randbytes(len(good))
    data.write_bytes({"noise": noise, "short": good[:100], "half": good[: len(good) // 2], "text": b"hello"}[how])

    with pytest.raises(IndexDamagedError):
        opened(tmp_path)


def test_another_version_is_refused(tmp_path: Path) -> None:
    fill(tmp_path)
    with lmdb.open(str(tmp_path), max_dbs=4) as env:
        meta = env.open_db(b"meta")
        with env.begin(write=True) as txn:
            txn.put(b"schema", b"99", db=meta)

    with pytest.raises(IndexDamagedError, match="version"):
        opened(tmp_path)
