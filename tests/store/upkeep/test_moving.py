"""Export and import: byte-exact or left out, whatever became of the file in between."""

from __future__ import annotations

import io
import struct
import tracemalloc
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from shield.rules.freshness import Freshness
from shield.rules.heads import of_fields
from shield.rules.key import CacheKey
from shield.rules.rendezvous import Rendezvous
from shield.store.directory.directory import CacheDirectory
from shield.store.directory.files import Files
from shield.store.directory.log import Draft
from shield.store.directory.premises import DirectoryLimits
from shield.store.directory.record import FORMAT, RecordKind, checksums, encode
from shield.store.upkeep.intake import Intake, Placed
from shield.store.upkeep.moving import Export, Import, NoExportError, movable
from shield.store.upkeep.visit import push_nothing_out
from tests.depth import tries
from tests.store.ground import body, content, draft, fetched, in_slices, key, opened, rebuilt, record

NOW = 2000.0
MOST = 1 << 30


def exported(*directories: CacheDirectory, limit: int | None = None, now: float = NOW) -> bytes:
    stream = io.BytesIO()
    export = Export(stream, limit_bytes=limit)
    for one in movable(directories, now):
        if not export.add(one, Files()):
            break
    export.finish()
    assert export.written_bytes == len(stream.getvalue())
    return stream.getvalue()


def read(data: bytes) -> tuple[list[Draft], Import]:
    source = Import(io.BytesIO(data))
    return list(source.drafts(MOST)), source


def names(drafts: Sequence[Draft]) -> list[str]:
    return [draft.record.key.text.decode()[2:] for draft in drafts]


def imported(
    data: bytes, directory: CacheDirectory, *, lower: Sequence[CacheDirectory] = (), most: int = MOST
) -> Placed:
    intake = Intake([directory], Rendezvous([b"only"]), lower)
    for one in Import(io.BytesIO(data)).drafts(most):
        intake.take(one)
    return intake.placed


@pytest.fixture
def source(tmp_path: Path) -> Iterator[CacheDirectory]:
    directory = opened(tmp_path / "source")
    yield directory
    directory.close()


@pytest.fixture
def target(tmp_path: Path) -> Iterator[CacheDirectory]:
    directory = opened(tmp_path / "target", judge=push_nothing_out)
    yield directory
    directory.close()


def test_what_comes_out_goes_in_to_the_byte(source: CacheDirectory, target: CacheDirectory) -> None:
    source.commit([draft("a", 20_000), draft("empty", 0), draft("block", 65536), *in_slices("big", 4, without=[2])])

    placed = imported(exported(source), target)

    assert (placed.taken, placed.known, placed.no_room, placed.refused) == (7, 0, 0, 0)
    for name in ("a", "empty", "block", "big"):
        here, there = fetched(target, name), fetched(source, name)
        assert here is not None
        assert there is not None
        assert replace(here.header.record, sequence=0) == replace(there.header.record, sequence=0)
        assert here.stored_head().fields == there.stored_head().fields
        assert content(target, name) == content(source, name)
    for number in (0, 1, 3):
        found = target.lookup(key("big").digest, number)
        assert found is not None
        stored = target.fetch(found, key("big"), number)
        assert bytes(target.read(stored, 0, 1000)) == body(f"big{number}", 1000)
    assert target.lookup(key("big").digest, 2) is None
    assert target.statistics().entries == 7


def test_a_later_head_is_taken_along(source: CacheDirectory, target: CacheDirectory) -> None:
    source.commit([draft("a", 100)])
    found = source.lookup(key("a").digest)
    assert found is not None
    head = of_fields(200, ((b"etag", b'"a"'), (b"x-new", b"1")))
    source.freshen(key("a"), found, head.block, Freshness(1500.0, 9000.0, 1.0, 2.0))

    imported(exported(source), target)

    stored = fetched(target, "a")
    assert stored is not None
    assert stored.stored_head() == head
    assert stored.found.freshness == Freshness(1500.0, 9000.0, 1.0, 2.0)
    assert content(target, "a") == body("a", 100)


def test_the_newest_written_come_first_and_the_limit_holds(source: CacheDirectory) -> None:
    for number in range(40):
        source.commit([draft(f"r{number}", 9000)])

    data = exported(source, limit=100_000)

    drafts, file = read(data)
    assert names(drafts) == [f"r{number}" for number in range(39, 39 - len(drafts), -1)]
    assert len(drafts) == 10
    assert len(data) <= 100_000
    assert file.complete


def test_what_was_removed_replaced_damaged_or_is_too_old_stays(source: CacheDirectory) -> None:
    source.commit([draft("gone", 100), draft("a", 100), draft("damaged", 100), draft("b", 100)])
    old = record("old", 10)
    old.freshness = Freshness(0.0, 10.0, 5.0, 5.0)
    source.commit([Draft(old, [b"0123456789"])])
    source.remove([key("gone")])
    source.commit([draft("a", 200)])
    found = source.lookup(key("damaged").digest)
    assert found is not None
    with source.segments.path(found.segment).open("r+b") as file:
        file.seek(found.offset + found.length - 1)
        file.write(b"!")

    drafts, _ = read(exported(source))

    assert [(name, sum(map(len, d.body))) for name, d in zip(names(drafts), drafts, strict=True)] == [
        ("a", 200),
        ("b", 100),
    ]


def test_of_two_tiers_the_first_ones_copy_is_taken(tmp_path: Path, source: CacheDirectory) -> None:
    slow = opened(tmp_path / "slow")
    slow.commit([draft("a", 10), draft("b", 10)])
    source.commit([draft("a", 20)])

    drafts, _ = read(exported(source, slow))

    assert sorted((name, sum(map(len, d.body))) for name, d in zip(names(drafts), drafts, strict=True)) == [
        ("a", 20),
        ("b", 10),
    ]
    slow.close()


def test_a_head_comes_before_its_slices_wherever_these_lie(tmp_path: Path, source: CacheDirectory) -> None:
    slow = opened(tmp_path / "slow")
    head, *slices = in_slices("big", 4)
    source.commit([head])
    source.commit(slices[:2])
    slow.commit([head, *slices[2:]])

    drafts, _ = read(exported(source, slow))

    assert drafts[0].record.kind is RecordKind.HEAD
    assert sorted(one.record.slice for one in drafts[1:]) == [0, 1, 2, 3]
    assert {one.record.kind for one in drafts[1:]} == {RecordKind.SLICE}
    slow.close()


def test_slices_are_worth_what_their_entry_is_and_nothing_without_one(source: CacheDirectory) -> None:
    source.commit(in_slices("big", 2))
    source.commit(in_slices("lost", 2)[1:])
    source.commit(in_slices("old", 2))
    for name, born in (("big", 9e6), ("old", 1000.0)):
        found = source.lookup(key(name).digest)
        assert found is not None
        source.freshen(key(name), found, record(name, 2000).head, Freshness(born, 10.0, 0.0, 0.0))

    drafts, _ = read(exported(source, now=9e6))

    assert sorted(names(drafts)) == ["big", "big", "big"]


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    directory = opened(tmp_path_factory.mktemp("sample"))
    directory.commit([draft("a", 700), draft("b", 70_000), *in_slices("big", 3), draft("c", 0)])
    data = exported(directory)
    directory.close()
    return data


WHOLE: dict[tuple[str, int | None], bytes] = {
    ("a", None): body("a", 700),
    ("b", None): body("b", 70_000),
    ("c", None): b"",
    ("big", None): b"",
    **{("big", number): body(f"big{number}", 1000) for number in range(3)},
}


def check(drafts: Sequence[Draft]) -> None:
    """Every draft is what was exported, to the byte."""
    for name, one in zip(names(drafts), drafts, strict=True):
        number = one.record.slice if one.record.kind is RecordKind.SLICE else None
        assert b"".join(bytes(part) for part in one.body) == WHOLE[name, number]
        made = record(name, one.record.total)
        assert one.record.head in (made.head, b"")


@settings(max_examples=tries(100))
@given(cut=st.floats(0, 1, exclude_max=True))
def test_of_a_file_cut_short_all_that_is_whole_is_taken(sample: bytes, cut: float) -> None:
    length = int(cut * len(sample))
    if length < 32:
        with pytest.raises(NoExportError):
            read(sample[:length])
        return

    drafts, file = read(sample[:length])

    assert not file.complete
    assert file.damaged == 0
    check(drafts)
    everything = names(read(sample)[0])
    assert names(drafts) == everything[: len(drafts)]
    lengths = [len(b"".join(map(bytes, one.body))) for one in read(sample)[0]]
    assert sum(lengths[: len(drafts) + 1]) > length - 4096 or len(drafts) == len(everything)


def test_a_file_cut_before_its_end_is_known_to_be(sample: bytes) -> None:
    for cut in (1, 32, 63, 64):
        drafts, file = read(sample[:-cut])
        assert (len(drafts), file.complete) == (7, False)
    assert read(sample)[1].complete


@settings(max_examples=tries(100))
@given(at=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_costs_one_record_at_most(sample: bytes, at: float, bit: int) -> None:
    data = bytearray(sample)
    place = 64 + int(at * (len(data) - 64))
    data[place] ^= 1 << bit

    drafts, file = read(bytes(data))

    check(drafts)
    assert len(drafts) >= 6
    assert file.damaged + (not file.complete) >= 7 - len(drafts)
    assert file.damaged <= 1


@settings(max_examples=100)
@given(st.binary(max_size=3000), st.integers(0, 80_000))
def test_whatever_is_written_over_it_nothing_wrong_is_taken(sample: bytes, noise: bytes, at: int) -> None:
    data = bytearray(sample)
    data[64 + at : 64 + at + len(noise)] = noise

    drafts, _ = read(bytes(data))

    check(drafts)


def test_records_that_changed_places_are_damaged(sample: bytes) -> None:
    drafts, _ = read(sample)
    assert len(drafts) == 7

    swapped, file = read(sample[:64] + sample[128:] + sample[64:128])

    assert swapped == []
    assert not file.complete


def test_a_record_whose_digest_isnt_its_texts_is_damaged() -> None:
    header = struct.pack("<8sHHIQ", b"ShExport", 1, FORMAT, 0, 7)
    made = record("a", 1)
    made.key = CacheKey(made.key.text, key("b").digest)
    data = (header + xxhash.xxh3_64_digest(header)).ljust(64, b"\0")

    drafts, file = read(data + encode(made, 1, checksums([b"x"]), seed=7 + 64) + b"x")

    assert (drafts, file.complete) == ([], False)


def test_another_version_is_refused() -> None:
    header = struct.pack("<8sHHIQ", b"ShExport", 2, 7, 0, 1)

    with pytest.raises(NoExportError, match=r"of version 2\.7, this shield reads 1\.2"):
        read((header + xxhash.xxh3_64_digest(header)).ljust(64, b"\0"))


@pytest.mark.parametrize("data", [b"", b"x" * 1000, b"ShExport" + b"\0" * 56])
def test_what_is_no_export_is_refused(data: bytes) -> None:
    with pytest.raises(NoExportError):
        read(data)


# long bodies, which are never held whole

LONG = (3 << 20) + 5000
ROOM = DirectoryLimits(capacity=128 << 20, segment_bytes=16 << 20)


@pytest.fixture(scope="module")
def long_sample(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    directory = opened(tmp_path_factory.mktemp("long"), ROOM)
    directory.commit([draft("z", 10), draft("long", LONG), draft("a", 700)])
    data = exported(directory)
    directory.close()
    return data


@pytest.fixture
def roomy(tmp_path: Path) -> Iterator[CacheDirectory]:
    directory = opened(tmp_path / "roomy", ROOM, judge=push_nothing_out)
    yield directory
    directory.close()


def test_a_long_body_comes_to_the_byte(long_sample: bytes, roomy: CacheDirectory) -> None:
    placed = imported(long_sample, roomy)

    assert placed.taken == 3
    assert content(roomy, "long") == body("long", LONG)
    assert content(roomy, "a") == body("a", 700)
    stored = fetched(roomy, "long")
    assert stored is not None
    assert replace(stored.header.record, sequence=0) == record("long", LONG)


def test_a_long_body_is_there_after_the_index_is_lost(long_sample: bytes, tmp_path: Path) -> None:
    directory = opened(tmp_path / "lost", ROOM, judge=push_nothing_out)
    imported(long_sample, directory)
    directory.close()
    for file in (tmp_path / "lost").rglob("*.mdb"):
        file.unlink()

    again = rebuilt(opened(tmp_path / "lost", ROOM))

    assert content(again, "long") == body("long", LONG)
    again.close()


@pytest.mark.parametrize("at", [0, 1 << 20, LONG - 1])
def test_of_a_long_body_that_is_damaged_anywhere_nothing_is_visible(
    long_sample: bytes, roomy: CacheDirectory, at: int
) -> None:
    data = bytearray(long_sample)
    data[data.index(body("long", LONG)[:64]) + at] ^= 1
    source = Import(io.BytesIO(bytes(data)))
    intake = Intake([roomy], Rendezvous([b"only"]), [])

    for one in source.drafts(MOST):
        intake.take(one)

    assert (intake.placed.taken, source.damaged, source.complete) == (2, 1, True)
    assert roomy.lookup(key("long").digest) is None
    assert content(roomy, "a") == body("a", 700)
    assert content(roomy, "z") == body("z", 10)


def test_of_a_long_body_that_is_cut_short_nothing_is_visible(long_sample: bytes, roomy: CacheDirectory) -> None:
    cut = long_sample[: long_sample.index(body("long", LONG)[:64]) + LONG // 2]
    source = Import(io.BytesIO(cut))
    intake = Intake([roomy], Rendezvous([b"only"]), [])

    for one in source.drafts(MOST):
        intake.take(one)

    assert (source.damaged, source.complete) == (0, False)
    assert roomy.lookup(key("long").digest) is None
    assert roomy.commit([draft("after", 100)])
    assert content(roomy, "after") == body("after", 100)


def test_a_long_body_that_nobody_takes_is_passed_over(long_sample: bytes) -> None:
    drafts, source = read(long_sample)

    assert [one.length for one in drafts] == [700, LONG, 10]
    assert (source.complete, source.damaged) == (True, 0)


def test_neither_way_holds_a_long_body(roomy: CacheDirectory, tmp_path: Path) -> None:
    other = opened(tmp_path / "other", ROOM, judge=push_nothing_out)
    roomy.commit([draft("long", 12 << 20)])
    file = tmp_path / "hot"
    tracemalloc.start()
    try:
        with file.open("wb") as out:
            export = Export(out)
            for one in movable([roomy], NOW):
                export.add(one, Files())
            export.finish()
        with file.open("rb") as stream:
            intake = Intake([other], Rendezvous([b"only"]), [])
            for each in Import(stream).drafts(MOST):
                intake.take(each)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert content(other, "long") == body("long", 12 << 20)
    assert most < 8 << 20
    other.close()


# into a directory


def test_imported_twice_nothing_changes(sample: bytes, target: CacheDirectory) -> None:
    assert imported(sample, target).taken == 7

    again = imported(sample, target)

    assert (again.taken, again.known) == (0, 7)


def test_what_is_older_than_what_is_there_is_left_out(sample: bytes, target: CacheDirectory) -> None:
    newer = record("a", 3)
    newer.freshness = Freshness(1001.0, 3600.0, 30.0, 86400.0)
    older = record("b", 3)
    older.freshness = Freshness(999.0, 3600.0, 30.0, 86400.0)
    big = record("big", 5)
    big.freshness = newer.freshness
    target.commit([Draft(newer, [b"new"]), Draft(older, [b"old"]), Draft(big, [b"small"])])

    placed = imported(sample, target)

    assert (placed.taken, placed.known) == (2, 5)
    assert content(target, "a") == b"new"
    assert content(target, "b") == body("b", 70_000)
    assert target.index.slices(key("big").digest) == []


def test_nothing_is_pushed_out(source: CacheDirectory, tmp_path: Path) -> None:
    source.commit([draft(f"x{number}", 9000) for number in range(30)])
    limits = DirectoryLimits(capacity=1 << 20, segment_bytes=64 << 10)
    full = opened(tmp_path / "full", limits)
    for number in range(200):
        full.commit([draft(f"r{number}", 9000)])
    before = {digest for digest, _, _ in full.index.entries()}
    full.close()
    target = opened(tmp_path / "full", limits, judge=push_nothing_out)

    placed = imported(exported(source), target)

    assert placed.no_room > 0
    assert placed.taken + placed.no_room == 30
    after = {digest for digest, _, _ in target.index.entries()}
    assert before <= after
    assert len(after - before) == placed.taken
    target.close()


def test_what_is_too_large_for_the_target_is_counted(sample: bytes, tmp_path: Path) -> None:
    target = opened(tmp_path / "t", DirectoryLimits(capacity=1 << 20, segment_bytes=64 << 10), judge=push_nothing_out)

    placed = imported(sample, target)

    assert (placed.taken, placed.refused) == (6, 1)
    assert content(target, "b") is None
    target.close()


def test_a_record_beyond_what_is_read_at_once_is_passed_over(sample: bytes) -> None:
    source = Import(io.BytesIO(sample))

    drafts = list(source.drafts(10_000))

    assert (len(drafts), source.too_large, source.complete) == (6, 1, True)


def test_keys_go_where_a_node_looks_for_them(sample: bytes, tmp_path: Path) -> None:
    names = [f"r{number}" for number in range(50)]
    source = opened(tmp_path / "s")
    source.commit([draft(name, 10) for name in names])
    ring = Rendezvous([b"/one", b"/two"], [1.0, 3.0])
    targets = [opened(tmp_path / name) for name in ("one", "two")]
    intake = Intake(targets, ring, [])
    for one in Import(io.BytesIO(exported(source))).drafts(MOST):
        intake.take(one)

    for name in names:
        owner = ring.owner(key(name).digest)
        assert content(targets[owner], name) == body(name, 10)
        assert content(targets[1 - owner], name) is None
    for directory in (source, *targets):
        directory.close()


def test_another_version_further_down_goes(sample: bytes, target: CacheDirectory, tmp_path: Path) -> None:
    lower = opened(tmp_path / "lower")
    older = record("a", 3)
    older.freshness = Freshness(999.0, 3600.0, 30.0, 86400.0)
    lower.commit([Draft(older, [b"old"]), draft("b", 70_000)])

    placed = imported(sample, target, lower=[lower])

    assert (placed.taken, placed.known) == (6, 1)
    assert lower.lookup(key("a").digest) is None
    assert content(lower, "b") == body("b", 70_000)
    assert content(target, "a") == body("a", 700)
    lower.close()
