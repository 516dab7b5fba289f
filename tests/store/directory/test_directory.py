"""One cache directory: what is committed is found, what goes is gone, and the capacity holds."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from shield.errors import StoreError
from shield.rules.freshness import Freshness
from shield.rules.heads import of_fields
from shield.rules.key import CacheKey
from shield.store.directory.claim import Claim, InUseError
from shield.store.directory.directory import CacheDirectory, DirectoryHealth
from shield.store.directory.files import Files
from shield.store.directory.log import Draft
from shield.store.directory.premises import DirectoryLimits
from shield.store.directory.reading import SMALL as READ_WHOLE
from shield.store.directory.reading import GoneError
from shield.store.directory.reclaim import Fate, ReclaimCandidate
from shield.store.directory.record import BLOCK, RecordKind
from tests.store.faulty_files import FaultyFiles
from tests.store.ground import (
    SMALL,
    abandon,
    body,
    content,
    draft,
    fetched,
    key,
    large,
    opened,
    rebuilt,
    record,
    used_bytes,
)


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[CacheDirectory]:
    directory = opened(tmp_path / "d")
    yield directory
    directory.close()


def test_what_is_committed_is_found_whole(directory: CacheDirectory) -> None:
    directory.commit([draft("a", 20_000), draft("empty", 0)])

    stored = fetched(directory, "a")

    assert stored is not None
    made = record("a", 20_000)
    assert replace(stored.header.record, sequence=0) == made
    assert stored.stored_head() == made.stored_head()
    assert content(directory, "a") == body("a", 20_000)
    assert content(directory, "empty") == b""
    assert directory.lookup(key("b").digest) is None


def test_a_warm_entry_is_read_without_waiting(directory: CacheDirectory) -> None:
    directory.commit([draft("a", 20_000)])
    found = directory.lookup(key("a").digest)
    assert found is not None
    assert found.freshness == record("a", 0).freshness

    stored = directory.fetch_nowait(found, key("a"))

    assert stored is not None
    assert stored.body == bytearray(body("a", 20_000))
    assert directory.read_nowait(stored, 5, 1000) == stored.body[5:1000]


def test_an_entry_in_a_segment_that_is_not_open_is_left_to_a_thread(directory: CacheDirectory) -> None:
    directory.commit([draft("a", 20_000)])
    directory.segments.close()
    found = directory.lookup(key("a").digest)
    assert found is not None

    assert directory.fetch_nowait(found, key("a")) is None
    assert directory.fetch(found, key("a")).body == bytearray(body("a", 20_000))


def test_another_text_under_the_same_digest_is_a_miss(directory: CacheDirectory) -> None:
    directory.commit([draft("a", 100)])
    found = directory.lookup(key("a").digest)
    assert found is not None

    with pytest.raises(GoneError, match="another key"):
        directory.fetch_nowait(found, CacheKey(b":/b", key("a").digest))

    directory.tend()
    assert content(directory, "a") == body("a", 100)


def test_slices_of_a_large_object_are_read_in_pieces(tmp_path: Path) -> None:
    directory = opened(tmp_path, DirectoryLimits(capacity=64 << 20, segment_bytes=4 << 20))
    size = 1_000_000
    head = record("big", 3 * size, RecordKind.HEAD)
    piece = replace(head, kind=RecordKind.SLICE, head=b"", slice=2, slice_bytes=size)
    directory.commit([Draft(head), Draft(piece, [body("big2", size)])])

    entry = directory.lookup(head.key.digest)
    found = directory.lookup(head.key.digest, 2)

    assert entry is not None
    assert found is not None
    assert entry.identity == found.identity
    assert entry.total == 3 * size
    assert directory.lookup(head.key.digest, 1) is None
    stored = directory.fetch(found, head.key, 2)
    assert size > READ_WHOLE
    assert stored.body is None
    for start, stop in [(0, size), (1, 2), (BLOCK - 1, BLOCK + 1), (size - 1, size), (BLOCK, 3 * BLOCK), (7, 7)]:
        wanted = bytearray(body("big2", size)[start:stop])
        assert directory.read(stored, start, stop) == wanted
        assert directory.read_nowait(stored, start, stop) == wanted
    directory.close()


def test_another_slice_than_was_asked_for_is_a_miss(directory: CacheDirectory) -> None:
    directory.commit(large("big", "v1", 2, 5000))
    slices = dict(directory.index.slices(key("big").digest))
    with directory.index.write() as change:
        change.replace(key("big").digest, 0, slices[0], slices[1])
    found = directory.lookup(key("big").digest, 0)
    assert found is not None

    with pytest.raises(GoneError, match="not the slice"):
        directory.fetch(found, key("big"), 0)

    with pytest.raises(GoneError, match="not the slice"):
        directory.fetch(found, key("big"))
    assert directory.fetch(found, key("big"), 1).body == bytearray(body("big/v1/1", 5000))


def test_a_later_commit_replaces_an_earlier_one(directory: CacheDirectory) -> None:
    directory.commit([draft("a", 100, b"old"), draft("a", 100, b"new")])

    assert content(directory, "a") == b"new"
    assert directory.statistics().entries == 1


def test_a_later_head_stands_over_the_same_body_and_survives_reclaim(tmp_path: Path) -> None:
    directory = opened(tmp_path, judge=lambda candidate: Fate.KEEP)
    directory.commit([draft("a", 100)])
    found = directory.lookup(key("a").digest)
    assert found is not None
    head = of_fields(200, ((b"etag", b'"a"'), (b"x-new", b"1"), (b"cache-control", b"no-cache")))

    assert directory.freshen(key("a"), found, head.block, Freshness(2000.0, 1.0, 0.0, 0.0)) is not None

    for _ in range(2):
        stored = fetched(directory, "a")
        assert stored is not None
        assert stored.stored_head() == head
        assert stored.found.freshness == Freshness(2000.0, 1.0, 0.0, 0.0)
        assert content(directory, "a") == body("a", 100)
        directory._log.seal()
        assert directory.reclaim_step()
    assert directory.freshen(key("a"), found, head.block, found.freshness) is None
    directory.close()


def test_what_is_removed_is_gone_and_does_not_come_back_with_a_lost_index(tmp_path: Path) -> None:
    directory = opened(tmp_path)
    directory.commit([draft("a", 100), draft("b", 100)])
    directory.commit([draft("a", 100)])

    assert directory.remove([key("a"), key("none")]) == 1

    assert content(directory, "a") is None
    abandon(directory)
    again = rebuilt(opened(tmp_path, boot="b2"))
    assert content(again, "a") is None
    assert content(again, "b") == body("b", 100)
    assert [found.kind for _, _, found in again.index.entries()] == [RecordKind.WHOLE]
    again.close()


@pytest.mark.slow
@pytest.mark.parametrize("size", [200, 3000, 20_000, 100_000])
def test_overfilled_the_capacity_holds(tmp_path: Path, size: int) -> None:
    directory = opened(tmp_path)
    count = min(5 * SMALL.capacity // size, 20_000)
    for at in range(0, count, 20):
        directory.commit([draft(f"r{number}", size) for number in range(at, at + 20)])
        assert at % 100 or used_bytes(tmp_path) <= SMALL.capacity

    total = at + 20
    kept = [number for number in range(total) if content(directory, f"r{number}") == body(f"r{number}", size)]
    assert len(kept) == directory.statistics().entries
    assert kept == list(range(kept[0], total))
    assert directory.statistics().entry_bytes > SMALL.capacity * (0.6 if size >= 3000 else 0.15)
    directory.close()


@pytest.mark.slow
def test_what_the_judge_keeps_survives_any_number_of_rounds(tmp_path: Path) -> None:
    hot = {key(f"hot{number}").digest for number in range(5)}

    def judge(candidate: ReclaimCandidate) -> Fate:
        return Fate.KEEP if candidate.record.key.digest in hot else Fate.DROP

    directory = opened(tmp_path, judge=judge)
    directory.commit([draft(f"hot{number}", 9000) for number in range(5)])
    for number in range(1500):
        directory.commit([draft(f"r{number}", 9000)])
        assert used_bytes(tmp_path) <= SMALL.capacity

    assert [content(directory, f"hot{n}") == body(f"hot{n}", 9000) for n in range(5)] == [True] * 5
    directory.close()


@pytest.mark.slow
def test_a_judge_that_keeps_everything_stops_nothing(tmp_path: Path) -> None:
    directory = opened(tmp_path, judge=lambda candidate: Fate.KEEP)
    for number in range(1000):
        directory.commit([draft(f"r{number}", 9000)])
        assert used_bytes(tmp_path) <= SMALL.capacity

    assert content(directory, "r999") == body("r999", 9000)
    directory.close()


def test_a_judge_may_take_the_body_elsewhere(tmp_path: Path) -> None:
    moved: dict[bytes, bytes] = {}

    def judge(candidate: ReclaimCandidate) -> Fate:
        taken = candidate.body()
        assert taken is not None
        moved[candidate.record.key.text] = bytes(taken)
        return Fate.DROP

    directory = opened(tmp_path, judge=judge)
    directory.commit([draft("a", 5000), draft("b", 5000)])
    directory._log.seal()

    assert directory.reclaim_step()

    assert moved == {b":/a": body("a", 5000), b":/b": body("b", 5000)}
    assert not directory.reclaim_step()
    directory.close()


def test_a_reader_in_the_middle_of_a_reclaimed_record_gets_the_rest(tmp_path: Path) -> None:
    directory = opened(tmp_path, DirectoryLimits(capacity=32 << 20, segment_bytes=2 << 20))
    directory.commit([draft("a", 1_000_000)])
    stored = fetched(directory, "a")
    assert stored is not None
    first = directory.read(stored, 0, 1000)
    directory._log.seal()

    assert directory.reclaim_step()

    assert directory.segments.numbers() == []
    assert bytes(first + directory.read(stored, 1000, 1_000_000)) == body("a", 1_000_000)
    assert content(directory, "a") is None
    directory.close()


def test_a_segment_another_process_took_away_is_a_miss(directory: CacheDirectory) -> None:
    directory.commit([draft("a", 100)])
    found = directory.lookup(key("a").digest)
    assert found is not None
    directory._log.seal()
    with directory.index.write() as change:
        change.set_row(found.segment, None)
    directory.segments.path(found.segment).unlink()
    assert content(directory, "a") == body("a", 100)  # it is still open
    directory.tend()

    assert content(directory, "a") is None

    directory.tend()
    assert directory.lookup(key("a").digest) is None
    assert directory.health is DirectoryHealth.WELL


def test_statistics_tell_of_age_and_of_what_is_held(directory: CacheDirectory) -> None:
    assert (directory.statistics().oldest, directory.statistics().newest) == (None, None)
    for name in ("a", "b"):
        directory.commit([draft(name, 20_000), *large(f"big-{name}", "v1", 2, 5000)])
        directory._log.seal()
    first, last = directory.segments.numbers()
    os.utime(directory.segments.path(first), (100.0, 100.0))
    os.utime(directory.segments.path(last), (200.0, 200.0))
    stored = fetched(directory, "a")
    assert stored is not None

    statistics = directory.statistics()

    assert (statistics.entries, statistics.slices, statistics.segments) == (8, 4, 2)
    assert (statistics.oldest, statistics.newest) == (100.0, 200.0)
    assert (statistics.unlinked, statistics.held_bytes) == (0, 0)
    directory.reclaim_step()
    assert directory.statistics().unlinked == 1
    assert directory.statistics().held_bytes >= 30_000
    assert directory.statistics().oldest == 200.0
    del stored
    assert directory.statistics().held_bytes == 0


@pytest.mark.parametrize(
    ("capacity", "segment_bytes"),
    [(1 << 30, 128 << 20), (1 << 40, 256 << 20), (3 << 40, 768 << 20), (1 << 44, 1 << 30)],
)
def test_segments_grow_with_the_capacity(tmp_path: Path, capacity: int, segment_bytes: int) -> None:
    directory = opened(tmp_path, DirectoryLimits(capacity=capacity))

    assert directory._log.segment_bytes == segment_bytes
    directory.close()


def test_a_quarter_of_the_descriptors_is_for_segments(tmp_path: Path) -> None:
    class Few(Files):
        def max_open(self) -> int:
            return 12

    directory = opened(tmp_path, files=Few())
    for name in "abcdef":
        directory.commit([draft(name, 100)])
        directory._log.seal()
    assert sum(directory.segments.opened(number) is not None for number in directory.segments.numbers()) == 3
    assert all(content(directory, name) == body(name, 100) for name in "abcdef")
    directory.close()


def test_the_index_is_brought_into_memory_unless_told_to_stop(directory: CacheDirectory) -> None:
    directory.commit([draft("a", 100)])

    assert directory.warm()
    assert not directory.warm(lambda: True)
    shutil.rmtree(directory.segments.path(0).parents[1])
    assert not directory.warm()


def test_what_is_larger_than_a_segment_is_refused(directory: CacheDirectory) -> None:
    with pytest.raises(StoreError, match="larger than a segment"):
        directory.commit([draft("a", 200_000)])

    directory.commit([draft("b", 10)])
    assert directory.health is DirectoryHealth.WELL


def test_a_second_node_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    directory = opened(tmp_path)

    with pytest.raises(InUseError, match="in use by node n1"):
        Claim(tmp_path, node="n2", boot_id="b1", files=Files())

    joined = Claim(tmp_path, node="n1", boot_id="b1", files=Files())
    assert not joined.first
    joined.release(clean=False)
    directory.commit([draft("a", 10)])
    directory.close()
    other = Claim(tmp_path, node="n2", boot_id="b1", files=Files())
    assert other.first
    other.release(clean=True)


def test_who_looks_into_a_directory_that_is_closed_finds_nothing(tmp_path: Path) -> None:
    directory = opened(tmp_path)
    directory.commit([draft("a", 100)])
    assert directory.peek(key("a").digest) == directory.lookup(key("a").digest) is not None
    stop = threading.Event()
    failures: list[BaseException] = []

    def look() -> None:
        try:
            while not stop.is_set():
                directory.peek(key("a").digest)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    directory.close()
    stop.set()
    for thread in threads:
        thread.join()

    assert failures == []
    assert directory.peek(key("a").digest) is None


def test_an_entry_with_other_tags_is_the_same_body_under_the_new_head(tmp_path: Path) -> None:
    directory = opened(tmp_path)
    directory.commit([draft("a", 300), *large("big", "v1", 3, 1000)])
    later = Freshness(2000.0, 1.0, 0.0, 0.0)
    for made in (record("a", 300), large("big", "v1", 3, 1000)[0].record):
        again = replace(made, freshness=later, head=b"HTTP/1.1 200 OK\r\nx: later\r\n", tags=b"new")

        assert directory.retag(again) is not None

    directory.close()
    directory = opened(tmp_path)
    for name in ("a", "big"):
        stored = fetched(directory, name)
        assert stored is not None
        assert (stored.header.tags, stored.head, stored.found.freshness) == (b"new", again.head, later)
        assert stored.header.record.origin == "fra"
    assert content(directory, "a") == body("a", 300)
    assert [number for number, _ in directory.index.slices(key("big").digest)] == [0, 1, 2]
    directory.close()


def test_an_entry_whose_other_tags_cannot_be_written_is_forgotten(tmp_path: Path) -> None:
    files = FaultyFiles(error=errno.EIO, only=frozenset({"write"}))
    directory = opened(tmp_path, files=files)
    directory.commit([draft("a", 300)])
    files.at = len(files.calls) + 1

    with pytest.raises(StoreError):
        directory.retag(replace(record("a", 300), tags=b"new"))

    assert directory.lookup(key("a").digest) is None
    directory.close()


def test_other_tags_of_what_has_gone_are_nobodys(tmp_path: Path) -> None:
    directory = opened(tmp_path)
    directory.commit([draft("a", 300)])

    assert directory.retag(replace(record("a", 300), etag=b"another version")) is None
    assert directory.retag(record("b", 300)) is None
    assert content(directory, "a") == body("a", 300)
    directory.close()
