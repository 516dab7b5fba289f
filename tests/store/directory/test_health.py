"""A disk that refuses, fills up or vanishes: the rest is served, and it is tried again."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from shield.errors import StoreError
from shield.messages import Part
from shield.store.directory.directory import DirectoryHealth
from shield.store.directory.files import Files
from shield.store.directory.premises import DirectoryLimits
from shield.store.directory.reclaim import NoRoomError
from tests.store.faulty_files import FaultyFiles
from tests.store.ground import body, content, draft, fetched, key, opened


@pytest.mark.parametrize("number", [errno.EIO, errno.EROFS, errno.ENOENT])
def test_a_disk_that_refuses_writes_is_read_on_and_tried_again(tmp_path: Path, number: int) -> None:
    files = FaultyFiles(error=number, only=frozenset({"write"}), lasting=True)
    directory = opened(tmp_path, files=files)
    directory.commit([draft("a", 100)])
    files.at = len(files.calls) + 1

    with pytest.raises(StoreError):
        directory.commit([draft("b", 100)])

    assert directory.health is DirectoryHealth.FAILING
    assert content(directory, "a") == body("a", 100)
    assert content(directory, "b") is None
    assert directory.probe() is DirectoryHealth.FAILING
    files.at, files.hit = 0, False
    assert directory.probe() is DirectoryHealth.WELL
    directory.commit([draft("b", 100)])
    assert content(directory, "b") == body("b", 100)
    directory.close()


def test_removal_while_nothing_can_be_written_still_hides(tmp_path: Path) -> None:
    files = FaultyFiles(error=errno.EROFS, only=frozenset({"write"}), lasting=True)
    directory = opened(tmp_path, files=files)
    directory.commit([draft("a", 100)])
    files.at = len(files.calls) + 1

    with pytest.raises(StoreError):
        directory.remove([key("a")])

    assert content(directory, "a") is None
    directory.close()


def test_read_errors_drop_the_entry_and_in_the_end_the_directory(tmp_path: Path) -> None:
    files = FaultyFiles(error=errno.EIO, only=frozenset({"read"}), lasting=True)
    directory = opened(tmp_path, files=files)
    directory.commit([draft(f"r{number}", 100) for number in range(10)])
    files.at = len(files.calls) + 1

    assert content(directory, "r0") is None
    directory.tend()
    assert directory.lookup(key("r0").digest) is None
    for number in range(1, 10):
        content(directory, f"r{number}")

    assert directory.health is DirectoryHealth.OUT
    assert directory.lookup(key("r9").digest) is None
    files.at, files.hit = 0, False
    assert directory.probe() is DirectoryHealth.WELL
    directory.close()


def test_too_many_open_files_is_no_fault_of_the_disk(tmp_path: Path) -> None:
    files = FaultyFiles(error=errno.EMFILE, only=frozenset({"open"}), lasting=True)
    directory = opened(tmp_path, files=files)
    directory.commit([draft("a", 100)])
    directory.segments.close()
    files.at = len(files.calls) + 1

    assert content(directory, "a") is None

    assert directory.health is DirectoryHealth.WELL
    files.at, files.hit = 0, False
    directory.tend()
    assert content(directory, "a") == body("a", 100)
    directory.close()


def test_a_directory_removed_while_in_use_is_noticed_and_opens_anew(tmp_path: Path) -> None:
    path = tmp_path / "d"
    directory = opened(path)
    directory.commit([draft("a", 20_000)])
    stored = fetched(directory, "a")
    assert stored is not None
    shutil.rmtree(path)

    assert directory.tend() is DirectoryHealth.OUT

    assert content(directory, "a") is None
    assert directory.read(stored, 5, 20_000) == body("a", 20_000)[5:]
    assert directory.probe() is DirectoryHealth.OUT
    directory.close()
    again = opened(path)
    again.commit([draft("a", 100)])
    assert content(again, "a") == body("a", 100)
    assert again.tend() is DirectoryHealth.WELL
    assert directory.read(stored, 5, 20_000) == body("a", 20_000)[5:]
    again.close()


def test_a_removed_directory_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "d"
    directory = opened(path)
    directory.commit([draft("a", 100)])
    shutil.rmtree(path)

    with pytest.raises(StoreError, match="No such file"):
        directory.commit([draft("b", 100)])

    assert directory.health is DirectoryHealth.FAILING
    assert directory.probe() is DirectoryHealth.OUT
    assert not path.exists()
    directory.close()


def test_a_disk_that_gives_nothing_is_out_and_serves_again_when_it_opens_anew(tmp_path: Path) -> None:
    files = FaultyFiles(error=errno.EIO, only=frozenset({"read"}), lasting=True)
    directory = opened(tmp_path, files=files)
    directory.commit([draft(f"r{number}", 100) for number in range(20)])
    kept = fetched(directory, "r19")
    assert kept is not None
    files.at = len(files.calls) + 1
    for number in range(8):
        assert directory.health is DirectoryHealth.WELL
        assert content(directory, f"r{number}") is None
    assert directory.health is DirectoryHealth.OUT
    with pytest.raises(StoreError):
        directory.commit([draft("new", 100)])
    directory.close()
    with pytest.raises(StoreError):
        opened(tmp_path, files=files)
    files.at, files.hit = 0, False

    again = opened(tmp_path, files=files)

    assert content(again, "r19") == body("r19", 100)
    assert directory.read(kept, 0, 100) == body("r19", 100)
    again.commit([draft("new", 100)])
    assert content(again, "new") == body("new", 100)
    again.close()


def test_reads_that_succeed_between_errors_keep_the_directory_in(tmp_path: Path) -> None:
    files = FaultyFiles(error=errno.EIO, only=frozenset({"read"}))
    directory = opened(tmp_path, files=files)
    directory.commit([draft(f"r{number}", 100) for number in range(40)])
    for number in range(0, 40, 2):
        files.at, files.hit = len(files.calls) + 1, False
        assert content(directory, f"r{number}") is None
        assert content(directory, f"r{number + 1}") == body(f"r{number + 1}", 100)

    assert directory.health is DirectoryHealth.WELL
    directory.close()


def test_a_directory_that_cannot_be_looked_at_is_not_taken_for_removed(tmp_path: Path) -> None:
    class Blind(FaultyFiles):
        blind = False

        def inode(self, path: Path) -> tuple[int, int]:
            if self.blind:
                raise OSError(errno.EIO, "blind")
            return super().inode(path)

    files = Blind()
    directory = opened(tmp_path, files=files)
    files.blind = True

    assert directory.tend() is DirectoryHealth.WELL
    directory.close()


def test_a_write_that_fails_late_does_not_bring_back_what_is_out(tmp_path: Path) -> None:
    class Late(FaultyFiles):
        late = False

        def step(self, name: str) -> None:
            if self.late and name == "appended":
                for number in range(8):
                    self.at, self.hit = len(self.calls) + 1, False
                    assert content(directory, f"r{number}") is None
                raise OSError(errno.EIO, "late")

    files = Late(error=errno.EIO, only=frozenset({"read"}))
    directory = opened(tmp_path, files=files)
    directory.commit([draft(f"r{number}", 100) for number in range(8)])
    files.late = True

    with pytest.raises(StoreError):
        directory.commit([draft("new", 100)])

    assert directory.health is DirectoryHealth.OUT
    directory.close()


def test_a_directory_that_is_open_here_already_is_none_the_worse(tmp_path: Path) -> None:
    directory = opened(tmp_path)

    with pytest.raises(StoreError, match="already open"):
        opened(tmp_path, worker=1)

    assert directory.tend() is DirectoryHealth.WELL
    directory.close()


def test_a_closed_directory_has_nothing(tmp_path: Path) -> None:
    directory = opened(tmp_path)
    directory.commit([draft("a", 100)])
    directory.close()

    assert directory.lookup(key("a").digest) is None
    assert not (tmp_path / "condemned").exists()
    directory.close()


def test_a_full_file_system_gives_up_the_oldest_and_goes_on(tmp_path: Path) -> None:
    files = FaultyFiles(error=errno.ENOSPC, only=frozenset({"write"}))
    directory = opened(tmp_path, files=files)
    for number in range(20):
        directory.commit([draft(f"r{number}", 20_000)])
    files.at = len(files.calls) + 1

    directory.commit([draft("new", 20_000)])

    assert content(directory, "new") == body("new", 20_000)
    assert content(directory, "r0") is None
    assert directory.health is DirectoryHealth.WELL
    directory.close()


class Full(FaultyFiles):
    """Once it is full nothing can be written, nor may the index grow, until something is given back."""

    full = False

    def write(self, fd: int, parts: Sequence[Part], offset: int) -> None:
        if any(parts):
            self._need_room()
        super().write(fd, parts, offset)

    def allocate(self, fd: int, length: int) -> None:
        self._need_room()
        super().allocate(fd, length)

    def step(self, name: str) -> None:
        if name == "index before":
            self._need_room()

    def truncate(self, fd: int, length: int) -> None:
        self.full = self.full and os.fstat(fd).st_size < length + 4096
        super().truncate(fd, length)

    def _need_room(self) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, "no space")


def test_a_disk_so_full_that_the_index_cannot_grow_gives_up_the_oldest_and_goes_on(tmp_path: Path) -> None:
    files = Full()
    directory = opened(tmp_path, files=files)
    for number in range(20):
        directory.commit([draft(f"r{number}", 20_000)])
    for name in ("new", "newer"):
        files.full = True

        directory.commit([draft(name, 20_000)])

        assert content(directory, name) == body(name, 20_000)
        assert directory.health is DirectoryHealth.WELL
    assert content(directory, "r0") is None
    assert content(directory, "r19") == body("r19", 20_000)
    directory.close()


def test_a_directory_on_a_full_disk_opens_and_makes_itself_room(tmp_path: Path) -> None:
    files = Full()
    directory = opened(tmp_path, files=files)
    directory.commit([draft(f"r{number}", 20_000) for number in range(20)])
    directory.close()
    files.full = True

    again = opened(tmp_path, files=files)

    again.commit([draft("new", 20_000)])
    assert content(again, "r19") == body("r19", 20_000)
    again.close()


def test_a_probe_of_a_full_disk_gives_up_more_until_there_is_room(tmp_path: Path) -> None:
    class Contended(FaultyFiles):
        """Others take what is given back, a few times."""

        times = 0

        def write(self, fd: int, parts: Sequence[Part], offset: int) -> None:
            if self.times:
                raise OSError(errno.ENOSPC, "no space")
            super().write(fd, parts, offset)

        def unlink(self, path: Path) -> None:
            self.times -= self.times > 0 and path.suffix == ".segment" and path.stat().st_size > 0
            super().unlink(path)

    files = Contended()
    directory = opened(tmp_path, files=files)
    for number in range(60):
        directory.commit([draft(f"r{number}", 20_000)])
    files.times = 4
    with pytest.raises(StoreError):
        directory.commit([draft("new", 20_000)])
    assert directory.health is DirectoryHealth.FAILING

    assert directory.probe() is DirectoryHealth.FAILING
    assert directory.probe() is DirectoryHealth.WELL

    assert content(directory, "r59") == body("r59", 20_000)
    directory.close()


def test_a_disk_that_is_full_at_last_is_left_when_there_is_room_again(tmp_path: Path) -> None:
    files = FaultyFiles(error=errno.ENOSPC, only=frozenset({"write"}), lasting=True)
    directory = opened(tmp_path, files=files)
    directory.commit([draft(f"r{number}", 20_000) for number in range(50)])
    files.at = len(files.calls) + 1
    with pytest.raises(StoreError):
        directory.commit([draft("new", 20_000)])
    assert directory.health is DirectoryHealth.FAILING
    assert directory.probe() is DirectoryHealth.FAILING
    files.at, files.hit = 0, False

    assert directory.probe() is DirectoryHealth.WELL

    directory.commit([draft("new", 20_000)])
    assert content(directory, "new") == body("new", 20_000)
    directory.close()


def test_the_free_floor_is_left_to_others(tmp_path: Path) -> None:
    class Tight(Files):
        free = 1 << 30

        def free_bytes(self, path: Path) -> int:
            return self.free

    files = Tight()
    limits = DirectoryLimits(capacity=4 << 20, segment_bytes=128 << 10, free_floor=1 << 20)
    directory = opened(tmp_path, limits, files=files)
    directory.commit([draft("a", 100)])
    files.free = 1000

    with pytest.raises(NoRoomError, match="must stay free"):
        directory.commit([draft("b", 100)])

    assert content(directory, "a") == body("a", 100)
    assert directory.health is DirectoryHealth.WELL
    directory.close()


def test_an_index_full_of_entries_gives_up_the_oldest(tmp_path: Path) -> None:
    limits = DirectoryLimits(capacity=32 << 20, segment_bytes=64 << 10, index_bytes=400 * 2000)
    directory = opened(tmp_path, limits)

    for number in range(0, 6000, 50):
        directory.commit([draft(f"r{n}", 10) for n in range(number, number + 50)])

    assert 1000 < directory.statistics().entries <= 2000
    assert content(directory, "r5999") == body("r5999", 10)
    directory.close()


def test_an_index_full_of_later_heads_gives_up_the_oldest(tmp_path: Path) -> None:
    limits = DirectoryLimits(capacity=256 << 20, segment_bytes=256 << 10, index_bytes=8 << 20)
    directory = opened(tmp_path, limits)
    block = b"HTTP/1.1 200 OK\r\nx: " + b"h" * 3000 + b"\r\n"

    for number in range(0, 6000, 50):
        founds = directory.commit([draft(f"r{n}", 10) for n in range(number, number + 50)])
        for n, found in zip(range(number, number + 50), founds, strict=True):
            assert found is not None
            directory.freshen(key(f"r{n}"), found, block, found.freshness)

    assert 1000 < directory.statistics().entries < 5000
    assert content(directory, "r5999") == body("r5999", 10)
    assert directory.health is DirectoryHealth.WELL
    assert directory.reclaim_step()
    directory.close()
