"""One cache directory: what is committed is found, what goes is gone, and the capacity holds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from shield.errors import StoreError
from shield.rules.freshness import Freshness
from shield.rules.key import CacheKey
from shield.rules.selection import of_fields
from shield.store.claim import Claim, InUseError
from shield.store.directory import CacheDirectory, Health
from shield.store.files import Files
from shield.store.log import Draft, Limits
from shield.store.reading import SMALL as READ_WHOLE
from shield.store.reading import GoneError
from shield.store.reclaim import Candidate, Fate
from shield.store.record import BLOCK, Kind
from tests.store.ground import SMALL, abandon, body, content, draft, fetched, key, opened, rebuilt, record, used_bytes


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
    directory = opened(tmp_path, Limits(capacity=64 << 20, segment_bytes=4 << 20))
    size = 1_000_000
    head = record("big", 3 * size, Kind.HEAD)
    piece = replace(head, kind=Kind.SLICE, head=b"", slice=2, slice_bytes=size)
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
    assert [found.kind for _, _, found in again.index.entries()] == [Kind.WHOLE]
    again.close()


def test_what_is_removed_before_the_rebuild_reaches_it_stays_removed(tmp_path: Path) -> None:
    directory = opened(tmp_path)
    directory.commit([draft("a", 100), draft("b", 100)])
    abandon(directory)
    again = opened(tmp_path, boot="b2")
    assert content(again, "a") is None

    again.remove([key("a")])
    again.commit([draft("b", 50, b"newer")])

    rebuilt(again)
    assert content(again, "a") is None
    assert content(again, "b") == b"newer"
    again.close()


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


def test_what_the_judge_keeps_survives_any_number_of_rounds(tmp_path: Path) -> None:
    hot = {key(f"hot{number}").digest for number in range(5)}

    def judge(candidate: Candidate) -> Fate:
        return Fate.KEEP if candidate.record.key.digest in hot else Fate.DROP

    directory = opened(tmp_path, judge=judge)
    directory.commit([draft(f"hot{number}", 9000) for number in range(5)])
    for number in range(1500):
        directory.commit([draft(f"r{number}", 9000)])
        assert used_bytes(tmp_path) <= SMALL.capacity

    assert [content(directory, f"hot{n}") == body(f"hot{n}", 9000) for n in range(5)] == [True] * 5
    directory.close()


def test_a_judge_that_keeps_everything_stops_nothing(tmp_path: Path) -> None:
    directory = opened(tmp_path, judge=lambda candidate: Fate.KEEP)
    for number in range(1000):
        directory.commit([draft(f"r{number}", 9000)])
        assert used_bytes(tmp_path) <= SMALL.capacity

    assert content(directory, "r999") == body("r999", 9000)
    directory.close()


def test_a_judge_may_take_the_body_elsewhere(tmp_path: Path) -> None:
    moved: dict[bytes, bytes] = {}

    def judge(candidate: Candidate) -> Fate:
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
    directory = opened(tmp_path, Limits(capacity=32 << 20, segment_bytes=2 << 20))
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
    directory.segments.path(found.segment).unlink()
    directory.tend()

    assert content(directory, "a") is None

    directory.tend()
    assert directory.lookup(key("a").digest) is None
    assert directory.health is Health.WELL


def test_what_is_larger_than_a_segment_is_refused(directory: CacheDirectory) -> None:
    with pytest.raises(StoreError, match="larger than a segment"):
        directory.commit([draft("a", 200_000)])

    directory.commit([draft("b", 10)])
    assert directory.health is Health.WELL


def test_a_restart_finds_everything_at_once(tmp_path: Path) -> None:
    directory = opened(tmp_path)
    directory.commit([draft(f"r{number}", 1000) for number in range(300)])
    directory.close()

    for boot in ("b2", "b2", "b3"):
        again = opened(tmp_path, boot=boot)
        assert again.reason == ""
        assert all(content(again, f"r{number}") == body(f"r{number}", 1000) for number in range(300))
        again.close()


@pytest.mark.parametrize("loss", ["deleted", "noise", "state", "state garbage"])
def test_a_lost_index_is_made_again_while_serving(tmp_path: Path, loss: str) -> None:
    directory = opened(tmp_path)
    for at in range(0, 300, 10):
        directory.commit([draft(f"r{number}", 1000) for number in range(at, at + 10)])
    directory.close()
    if loss == "deleted":
        (tmp_path / "index" / "data.mdb").unlink()
    elif loss == "noise":
        (tmp_path / "index" / "data.mdb").write_bytes(body("noise", 100_000))
    elif loss == "state":
        (tmp_path / "state").unlink()
    else:
        (tmp_path / "state").write_bytes(b"\xff{")

    again = opened(tmp_path)

    assert again.statistics().unscanned > 0
    again.commit([draft("new", 10), draft("r5", 77, b"newer")])
    assert content(again, "new") == body("new", 10)
    rebuilt(again)
    assert content(again, "r5") == b"newer"
    assert all(content(again, f"r{n}") == body(f"r{n}", 1000) for n in range(300) if n != 5)
    assert again.statistics().entries == 301
    again.close()


def test_a_rebuild_goes_on_where_it_stopped(tmp_path: Path) -> None:
    directory = opened(tmp_path)
    directory.commit([draft(f"r{number}", 1000) for number in range(300)])
    abandon(directory)
    again = opened(tmp_path, boot="b2")
    assert again.rebuild_step(4096)
    known = again.statistics().entries
    assert 0 < known < 300
    abandon(again)

    third = opened(tmp_path, boot="b2")

    assert third.statistics().entries == known
    assert rebuilt(third).statistics().entries == 300
    third.close()


def test_records_older_than_what_was_given_up_are_not_taken_back(tmp_path: Path) -> None:
    """A later version that was evicted must not leave an earlier one to a lost index."""
    directory = opened(tmp_path)
    directory.commit([draft("a", 100, b"old")])
    number = directory.index.rows()[0][0]
    directory._log.seal()
    directory.commit([draft("a", 100, b"new")])
    directory._log.seal()
    # As when the segment of the older version was the younger one, of another worker.
    directory.segments.close()
    rows = dict(directory.index.rows())
    with directory.index.write() as change:
        change.set_row(number + 50, rows[number])
        change.set_row(number, None)

    assert directory.reclaim_step()

    assert content(directory, "a") is None
    assert directory._claim.floor() > 0
    directory.close()


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


def test_a_directory_of_another_format_is_emptied(tmp_path: Path) -> None:
    directory = opened(tmp_path)
    directory.commit([draft("a", 10)])
    directory.close()
    state = json.loads((tmp_path / "state").read_text())
    (tmp_path / "state").write_text(json.dumps(state | {"format": 99}))

    again = opened(tmp_path)

    assert "format 99" in again.reason
    assert content(again, "a") is None
    assert again.segments.numbers() == []
    assert not again.rebuild_step()
    again.commit([draft("a", 10)])
    assert content(again, "a") == body("a", 10)
    again.close()
