"""The index: later records win, transactions are whole, garbage is refused."""

from __future__ import annotations

import errno
import random
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import lmdb
import pytest

from shield.store.directory.change import EVERYTHING, key_of
from shield.store.directory.files import Files
from shield.store.directory.index import (
    Found,
    Index,
    IndexChange,
    IndexDamagedError,
    IndexFullError,
    IndexHaltedError,
    Row,
    State,
)
from shield.store.directory.record import RecordKind

DIGEST = bytes(range(16))


def found(sequence: int, *, segment: int = 1, head: bytes = b"", kind: RecordKind = RecordKind.WHOLE) -> Found:
    return Found(kind, 200, segment, sequence, 300, 700, sequence, 5, 700, 8, 1.5, 2.5, 3.5, 4.5, 5.5, head)


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
        assert change.remove(DIGEST, found(5, kind=RecordKind.REMOVED), sequence=5) == 2
        assert not change.put(DIGEST, 3, found(4))
        assert change.put(DIGEST, 3, found(6))

    assert index.lookup(DIGEST) is None
    assert index.slices(DIGEST) == [(3, found(6))]
    assert index.counters().entries == 1


def test_the_later_of_two_removals_holds_in_whichever_order_they_are_found(index: Index) -> None:
    with index.write() as change:
        change.remove(DIGEST, found(9, kind=RecordKind.REMOVED), sequence=9)
        change.remove(DIGEST, found(5, kind=RecordKind.REMOVED), sequence=5)

        assert not change.put(DIGEST, None, found(7))


def test_a_record_that_is_found_again_does_not_undo_its_later_head(index: Index) -> None:
    with index.write() as change:
        change.put(DIGEST, None, found(5))
        change.replace(DIGEST, None, found(5), found(5, head=b"later"))

        assert not change.put(DIGEST, None, found(5))

    assert index.lookup(DIGEST) == found(5, head=b"later")


def test_a_record_with_a_later_head_is_not_moved_under_the_earlier_one(index: Index) -> None:
    with index.write() as change:
        change.put(DIGEST, None, found(5))
        change.replace(DIGEST, None, found(5), found(5, head=b"later"))

        assert not change.move(DIGEST, None, found(5), found(6))
        assert change.move(DIGEST, None, found(5, head=b"later"), found(6, head=b"later"))


def test_slices_are_forgotten_with_the_version_they_are_of(index: Index) -> None:
    with index.write() as change:
        change.put(DIGEST, None, version(1, sequence=1))
        change.put(DIGEST, 0, piece(1, sequence=2))
        change.put(DIGEST, 1, piece(2, sequence=3))
        change.put(DIGEST, 2, piece(3, sequence=9))
        assert [number for number, _ in slices(change)] == [0, 1, 2]

        change.put(DIGEST, None, version(2, sequence=5))

        assert [number for number, _ in slices(change)] == [1, 2]  # the one of the third version is younger
        assert not change.put(DIGEST, 0, piece(1, sequence=4))
        assert change.put(DIGEST, 0, piece(2, sequence=4))
        assert change.counters.slices == 3
        change.put(DIGEST, None, found(10))
        assert slices(change) == []
        assert (change.counters.slices, change.counters.entries) == (0, 1)


def version(identity: int, *, sequence: int) -> Found:
    return found(sequence, kind=RecordKind.HEAD)._replace(identity=identity)


def piece(identity: int, *, sequence: int) -> Found:
    return found(sequence, kind=RecordKind.SLICE)._replace(identity=identity)


def slices(change: IndexChange) -> list[tuple[int, Found]]:
    """What a transaction sees of them so far."""
    numbers = range(5)
    known = [(number, change._get(key_of(DIGEST, number))) for number in numbers]
    return [(number, found) for number, found in known if found is not None]


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
    assert index.ends() == (1, 2)
    counters = index.counters()
    assert (counters.segment_bytes, counters.segments, counters.unscanned) == (120, 2, 0)


def test_the_newest_segment_to_scan_is_found_below_any_number(index: Index) -> None:
    row = Row(State.UNSCANNED, 0, 50)
    with index.write() as change:
        for number in (2, 5, 9):
            change.set_row(number, row)
        change.set_row(7, Row(State.SEALED, 0, 50))

    below = {10: (9, row), 9: (5, row), 8: (5, row), 5: (2, row), 2: None, 1: None}
    assert {number: index.newest_unscanned(number) for number in below} == below
    assert index.counters().unscanned == 3


def test_removals_are_remembered_in_their_order(index: Index) -> None:
    digests = [bytes([number]) * 16 for number in range(1, 5)]
    with index.write() as change:
        for digest in (*digests, digests[0]):
            change.note_removal(digest)

    assert index.removed(2, 5) == {digests[2]: 3, digests[3]: 4, digests[0]: 5}
    assert index.removed(5, 5) == {}
    with index.write() as change:
        change.note_removal(EVERYTHING)
    assert index.removed(4, 6) is None


@pytest.mark.parametrize("available", [10 << 30, 0])
def test_all_of_it_is_read_ahead_if_memory_allows(tmp_path: Path, available: int) -> None:
    files = Counting(available)
    index = Index(tmp_path, limit=64 << 20, files=files)
    chance = random.Random(1)
    with index.write() as change:
        for number in range(40_000):
            change.put(chance.randbytes(16), None, found(number))
    assert index.size() > 5 << 20

    assert index.warm(lambda: False) is (available > 0)
    assert files.read_bytes == (index.size() if available else 0)
    assert not index.warm(lambda: files.read_bytes > index.size())  # stopped on the way
    assert files.read_bytes < (2 * index.size() if available else 1)
    index.close()


class Counting(Files):
    """So much memory, and all that was read."""

    def __init__(self, available: int) -> None:
        super().__init__()
        self.available = available
        self.read_bytes = 0

    def available_memory(self) -> int:
        return self.available

    def read(self, fd: int, parts: Sequence[bytearray | memoryview], offset: int) -> int:
        count = super().read(fd, parts, offset)
        self.read_bytes += count
        return count


def test_a_write_cut_short_by_a_full_file_system_is_told_from_a_broken_disk(tmp_path: Path) -> None:
    class Full(Files):
        free = 0

        def free_bytes(self, path: Path) -> int:
            return self.free

    files = Full()
    index = Index(tmp_path, limit=8 << 20, files=files)
    short = lmdb.Error("mdb_txn_commit: Input/output error")
    short.__dict__["code"] = errno.EIO
    for files.free, number in ((0, errno.ENOSPC), (1 << 30, errno.EIO)):
        with pytest.raises(OSError, match="index") as caught, index.write():
            raise short
        assert caught.value.errno == number
    index.close()


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


def test_the_index_is_closed_under_nobody_who_reads_it(tmp_path: Path) -> None:
    index = opened(tmp_path)
    with index.write() as change:
        change.put(DIGEST, None, found(1))
    steps: list[str] = []
    reading, may_end = threading.Event(), threading.Event()

    def read() -> None:
        with index._reading() as txn:
            reading.set()
            assert may_end.wait(20)
            assert txn.get(key_of(DIGEST, None), db=index._entries)
            steps.append("read")

    def close() -> None:
        index.close()
        steps.append("closed")

    reader, closer = threading.Thread(target=read), threading.Thread(target=close)
    reader.start()
    assert reading.wait(20)
    closer.start()
    while not index._closed:
        time.sleep(0.001)
    with pytest.raises(IndexHaltedError):  # nobody else comes in
        index.peek(DIGEST)
    may_end.set()
    reader.join(20)
    closer.join(20)

    assert steps == ["read", "closed"]
