"""A scrub finds whatever isn't whole, names it, and leaves an index without it."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shield.errors import StoreError
from shield.store.directory.directory import CacheDirectory
from shield.store.directory.files import Files
from shield.store.directory.index import Row, State
from shield.store.directory.log import Draft
from shield.store.directory.premises import DirectoryLimits
from shield.store.directory.record import RecordKind
from shield.store.upkeep.scrub import Damage, Scrub
from tests.depth import tries
from tests.store.ground import body, content, draft, key, opened, record

NAMES = [f"r{number}" for number in range(12)]


def filled(path: Path) -> CacheDirectory:
    """Twelve entries, two large ones among them, over several segments; and one that was removed."""
    directory = opened(path)
    directory.commit([draft("gone", 500)])
    directory.remove([key("gone")])
    for number, name in enumerate(NAMES):
        directory.commit([draft(name, 100_000 if number % 6 == 5 else 3000 + number)])
    return directory


def scrubbed(directory: CacheDirectory, *, repair: bool = True, files: Files | None = None) -> list[Damage]:
    return [found for found in Scrub(directory, repair=repair, files=files).run() if isinstance(found, Damage)]


def segment_of(directory: CacheDirectory, name: str) -> Path:
    found = directory.lookup(key(name).digest)
    assert found is not None
    return directory.segments.path(found.segment)


def flip(path: Path, at: int, bit: int = 0) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        old = file.read(1)[0]
        file.seek(at)
        file.write(bytes([old ^ 1 << bit]))


def damage(directory: CacheDirectory, name: str, at: int, bit: int = 0) -> None:
    """Flip a bit of a record."""
    found = directory.lookup(key(name).digest)
    assert found is not None
    flip(segment_of(directory, name), found.offset + at, bit)


def test_a_sound_directory_is_read_whole_and_nothing_is_found(tmp_path: Path) -> None:
    directory = filled(tmp_path)
    scrub = Scrub(directory)

    found = list(scrub.run())

    assert not [item for item in found if isinstance(item, Damage)]
    assert scrub.records == len(NAMES)
    assert sum(item for item in found if isinstance(item, int)) >= directory.statistics().entry_bytes
    directory.close()


@pytest.mark.parametrize("name", ["r3", "r5"])
def test_a_flipped_bit_in_a_body_is_found_and_the_entry_goes(tmp_path: Path, name: str) -> None:
    directory = filled(tmp_path)
    stored = directory.lookup(key(name).digest)
    assert stored is not None
    damage(directory, name, stored.length - 1)

    found = scrubbed(directory)

    assert [(item.key, item.segment, item.offset) for item in found] == [(f":/{name}", stored.segment, stored.offset)]
    assert "is damaged" in found[0].what
    assert directory.lookup(key(name).digest) is None
    assert all(content(directory, other) is not None for other in NAMES if other != name)
    assert directory.statistics().entries == len(NAMES) - 1
    assert scrubbed(directory) == []
    directory.close()


def test_a_flipped_bit_in_a_header_is_found_and_the_key_still_named(tmp_path: Path) -> None:
    directory = filled(tmp_path)
    damage(directory, "r3", 200)

    found = scrubbed(directory)

    assert [item.key for item in found] == [":/r3"]
    assert "header is damaged" in found[0].what
    assert directory.lookup(key("r3").digest) is None
    assert scrubbed(directory) == []
    directory.close()


def test_where_the_text_is_damaged_the_digest_is_named(tmp_path: Path) -> None:
    directory = filled(tmp_path)
    data = segment_of(directory, "r3").read_bytes()
    flip(segment_of(directory, "r3"), data.index(b":/r3") + 3)

    assert [item.key for item in scrubbed(directory)] == [f"digest {key('r3').digest.hex()}"]
    directory.close()


@settings(max_examples=tries(30))
@given(st.data())
def test_any_flipped_bit_of_a_record_costs_that_record_and_no_other(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    directory = opened(tmp_path_factory.mktemp("d"))
    directory.commit([draft("a", 300), draft("b", 300), draft("c", 300)])
    name = data.draw(st.sampled_from("abc"))
    found = directory.lookup(key(name).digest)
    assert found is not None

    damage(directory, name, data.draw(st.integers(0, found.length - 1)), data.draw(st.integers(0, 7)))

    assert [item.offset for item in scrubbed(directory)] == [found.offset]
    assert [other for other in "abc" if directory.lookup(key(other).digest) is None] == [name]
    assert scrubbed(directory) == []
    directory.close()


def test_a_missing_segment_file_is_found_and_its_entries_and_row_go(tmp_path: Path) -> None:
    directory = filled(tmp_path)
    victim = directory.lookup(key("r0").digest)
    assert victim is not None
    lost = [name for name in NAMES if segment_of(directory, name) == segment_of(directory, "r0")]
    segment_of(directory, "r0").unlink()

    found = scrubbed(directory)

    assert [(item.segment, item.key, item.entries) for item in found] == [(victim.segment, "", len(lost))]
    assert "missing" in found[0].what
    assert [name for name in NAMES if directory.lookup(key(name).digest) is None] == lost
    assert victim.segment not in dict(directory.index.rows())
    assert scrubbed(directory) == []
    directory.close()


def test_a_missing_segment_file_of_which_nothing_was_left_is_found(tmp_path: Path) -> None:
    directory = filled(tmp_path)
    path = segment_of(directory, "r0")
    directory.remove([key(name) for name in NAMES if segment_of(directory, name) == path])
    path.unlink()

    assert [item.entries for item in scrubbed(directory)] == [0]
    assert scrubbed(directory) == []
    directory.close()


def test_a_segment_with_a_damaged_header_loses_its_entries(tmp_path: Path) -> None:
    directory = filled(tmp_path)
    path = segment_of(directory, "r0")
    lost = [name for name in NAMES if segment_of(directory, name) == path]
    flip(path, 20)

    found = scrubbed(directory)

    assert [item.entries for item in found] == [len(lost)]
    assert "no valid header" in found[0].what
    assert scrubbed(directory) == []
    directory.close()


def test_a_segment_cut_short_loses_what_was_behind(tmp_path: Path) -> None:
    directory = filled(tmp_path)
    found = directory.lookup(key("r5").digest)
    assert found is not None
    with segment_of(directory, "r5").open("r+b") as file:
        file.truncate(found.offset + 50_000)

    damages = scrubbed(directory)

    assert ("cut short", ":/r5") in [(item.what, item.key) for item in damages]
    assert directory.lookup(key("r5").digest) is None
    assert scrubbed(directory) == []
    directory.close()


def test_an_entry_that_points_to_another_record_goes(tmp_path: Path) -> None:
    directory = filled(tmp_path)
    mine, other = directory.lookup(key("r1").digest), directory.lookup(key("r2").digest)
    assert mine is not None
    assert other is not None
    with directory.index.write() as change:
        change.replace(key("r1").digest, None, mine, other)

    assert [(item.what, item.offset) for item in scrubbed(directory)] == [
        ("not the record that the index means", other.offset)
    ]
    assert directory.lookup(key("r1").digest) is None
    assert content(directory, "r2") is not None
    directory.close()


def test_a_segment_file_that_the_index_doesnt_know_goes(tmp_path: Path) -> None:
    directory = filled(tmp_path)
    orphan = directory.segments.path(99)
    orphan.write_bytes(b"x" * 5000)

    found = scrubbed(directory)

    assert [(item.segment, item.entries) for item in found] == [(99, 0)]
    assert not orphan.exists()
    assert scrubbed(directory) == []
    directory.close()


def test_a_segment_that_is_being_made_is_let_be(tmp_path: Path) -> None:
    directory = filled(tmp_path)
    with directory.index.write() as change:
        change.set_row(99, Row(State.ACTIVE, 7, 1000))

    assert scrubbed(directory) == []
    assert 99 in dict(directory.index.rows())
    directory.close()


def test_without_repair_all_stays_as_it_is(tmp_path: Path) -> None:
    directory = filled(tmp_path)
    damage(directory, "r3", 200)
    segment_of(directory, "r11").unlink()
    directory.segments.path(99).write_bytes(b"x")
    before = list(directory.index.entries()), directory.index.rows()

    first = scrubbed(directory, repair=False)

    assert len(first) == 3
    assert (list(directory.index.entries()), directory.index.rows()) == before
    assert directory.segments.path(99).exists()
    assert scrubbed(directory, repair=False) == first
    directory.close()


def test_a_damaged_slice_goes_alone(tmp_path: Path) -> None:
    directory = opened(tmp_path, DirectoryLimits(capacity=64 << 20, segment_bytes=8 << 20))
    head = record("big", 3_000_000, RecordKind.HEAD)
    slices = [replace(head, kind=RecordKind.SLICE, head=b"", slice=n, slice_bytes=1_000_000) for n in range(3)]
    directory.commit([Draft(head), *[Draft(s, [body(f"big{s.slice}", 1_000_000)]) for s in slices]])
    found = directory.lookup(head.key.digest, 1)
    assert found is not None
    flip(directory.segments.path(found.segment), found.offset + found.header_length + 500_000)

    assert [(item.key, item.slice_number) for item in scrubbed(directory)] == [(":/big", 1)]
    assert [number for number, _ in directory.index.slices(head.key.digest)] == [0, 2]
    assert directory.lookup(head.key.digest) is not None
    assert scrubbed(directory) == []
    directory.close()


def test_damage_that_nothing_points_to_is_none(tmp_path: Path) -> None:
    directory = filled(tmp_path)
    old = directory.lookup(key("r3").digest)
    assert old is not None
    path = segment_of(directory, "r3")
    directory.commit([draft("r3", 100)])
    flip(path, old.offset + 200)

    assert scrubbed(directory) == []
    assert content(directory, "r3") == body("r3", 100)
    directory.close()


def test_what_moves_meanwhile_is_no_damage(tmp_path: Path) -> None:
    directory = filled(tmp_path)
    scrub = Scrub(directory)
    steps = scrub.run()
    assert isinstance(next(steps), int)

    directory.remove([key("r1")])
    directory.commit([draft("r2", 10)])
    directory._log.seal()
    while directory.reclaim_step():
        pass

    assert [item for item in steps if isinstance(item, Damage)] == []
    directory.close()


class Meanwhile(Files):
    """Reads zeros, and once something else happens meanwhile."""

    def __init__(self, happens: Callable[[], object], start: int) -> None:
        super().__init__()
        self.happens: Callable[[], object] | None = happens
        self.start = start

    def read(self, fd: int, parts: Sequence[bytearray | memoryview], offset: int) -> int:
        count = super().read(fd, parts, offset)
        if self.happens is not None and sum(len(part) for part in parts) > self.start:
            happens, self.happens = self.happens, None
            happens()
            for part in parts:
                part[:] = bytes(len(part))
        return count


def test_what_is_written_anew_while_it_is_read_is_no_damage(tmp_path: Path) -> None:
    directory = opened(tmp_path)
    directory.commit([draft("a", 3000)])

    found = scrubbed(directory, files=Meanwhile(lambda: directory.commit([draft("a", 200)]), 1000))

    assert found == []
    assert content(directory, "a") == body("a", 200)
    directory.close()


def test_many_entries_are_checked_in_turns(tmp_path: Path) -> None:
    directory = filled(tmp_path)
    damage(directory, "r3", 200)
    scrub = Scrub(directory, entries=3)

    found = [item for item in scrub.run() if isinstance(item, Damage)]

    assert [item.key for item in found] == [":/r3"]
    assert scrub.records == len(NAMES)
    directory.close()


class BadSectors(Files):
    """A disk of which some bytes can't be read."""

    def __init__(self, bad: range, number: int = errno.EIO) -> None:
        super().__init__()
        self.bad = bad
        self.number = number

    def read(self, fd: int, parts: Sequence[bytearray | memoryview], offset: int) -> int:
        stop = offset + sum(len(part) for part in parts)
        if offset < self.bad.stop and stop > self.bad.start:
            raise OSError(self.number, "bad sector")
        return super().read(fd, parts, offset)


def test_what_the_disk_cant_read_is_damaged_and_all_else_is_checked(tmp_path: Path) -> None:
    directory = opened(tmp_path)
    directory.commit([draft(f"r{number}", 3000) for number in range(10)])

    found = scrubbed(directory, files=BadSectors(range(8192, 8200)))

    lost = [name for name in NAMES[:10] if directory.lookup(key(name).digest) is None]
    assert len(found) == len(lost)
    assert 1 <= len(lost) <= 3
    directory.close()


def test_an_error_that_says_nothing_of_the_disk_ends_it(tmp_path: Path) -> None:
    directory = filled(tmp_path)

    with pytest.raises(StoreError, match="checking"):
        scrubbed(directory, files=BadSectors(range(1 << 30), errno.EMFILE))

    assert directory.statistics().entries == len(NAMES)
    directory.close()


def test_it_can_do_with_a_system_that_reads_through_the_page_cache_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("os.O_DIRECT", raising=False)
    directory = filled(tmp_path)
    damage(directory, "r5", 60_000)

    assert [item.key for item in scrubbed(directory)] == [":/r5"]
    directory.close()
