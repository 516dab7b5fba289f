"""What was removed stays removed, whatever was on its way at the time."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from shield.errors import StoreError
from shield.store.directory.directory import CacheDirectory, DirectoryHealth
from shield.store.directory.premises import DirectoryLimits
from tests.store.faulty_files import FaultyFiles
from tests.store.ground import abandon, body, content, draft, key, large, opened, rebuilt, used_bytes
from tests.store.second import second

Remove = Callable[[CacheDirectory], object]

REMOVALS: list[Remove] = [lambda directory: directory.remove([key("a")]), lambda directory: directory.clear()]


@pytest.mark.parametrize("remove", REMOVALS)
def test_a_body_that_set_out_before_the_removal_does_not_come_in(tmp_path: Path, remove: Remove) -> None:
    directory = opened(tmp_path)
    since = directory.generation()
    remove(directory)

    late = directory.commit([replace(draft("a", 100), since=since)])

    assert late == [None]
    assert content(directory, "a") is None
    abandon(directory)
    again = rebuilt(opened(tmp_path, boot="b2"))
    assert content(again, "a") is None
    again.close()


def test_a_body_that_sets_out_after_the_removal_comes_in(tmp_path: Path) -> None:
    directory = opened(tmp_path)
    before = directory.generation()
    directory.remove([key("a")])
    after = directory.generation()
    directory.remove([key("b")])

    drafts = [replace(draft("a", 100), since=after), replace(draft("c", 100), since=before), draft("b", 100)]
    founds = directory.commit(drafts)

    assert [directory.lookup(key(name).digest) for name in ("a", "c", "b")] == founds
    assert None not in founds
    directory.close()


def test_what_set_out_longer_ago_than_removals_are_remembered_stays_out(tmp_path: Path) -> None:
    directory = opened(tmp_path)
    since = directory.generation()
    remembered = directory.index.limit // 512
    directory.remove([key(f"x{number}") for number in range(remembered)])
    assert directory.commit([replace(draft("a", 100), since=since)]) != [None]

    directory.remove([key("y")])

    assert directory.commit([replace(draft("b", 100), since=since)]) == [None]
    directory.close()


def test_what_set_out_before_the_index_was_lost_stays_out(tmp_path: Path) -> None:
    directory = opened(tmp_path)
    directory.remove([key(f"x{number}") for number in range(5)])
    since = directory.generation()
    directory.close()
    (tmp_path / "index" / "data.mdb").unlink()
    again = rebuilt(opened(tmp_path))
    again.remove([key("a")])

    assert again.commit([replace(draft("a", 100), since=since)]) == [None]

    assert again.generation() > since
    again.close()


def test_a_removal_between_append_and_index_wins(tmp_path: Path) -> None:
    class Between(FaultyFiles):
        removal: Callable[[], object] | None = None

        def step(self, name: str) -> None:
            removal, self.removal = self.removal, None
            if name == "appended" and removal is not None:
                removal()
            else:
                self.removal = removal

    files = Between()
    directory = opened(tmp_path, files=files)
    with second(tmp_path) as other:
        files.removal = lambda: other.does("directory.remove([key('a')])")

        founds = directory.commit([draft("a", 100), draft("b", 100)])

        assert files.removal is None
        assert founds[0] is None
        assert other.does("directory.lookup(key('a').digest)") == "None"
        assert content(directory, "a") is None
        assert content(directory, "b") == body("b", 100)
    directory.close()
    (tmp_path / "index" / "data.mdb").unlink()
    again = rebuilt(opened(tmp_path))
    assert content(again, "a") is None
    assert content(again, "b") == body("b", 100)
    again.close()


def test_everything_goes_at_once_and_durably_and_gives_its_space_back(tmp_path: Path) -> None:
    directory = opened(tmp_path)
    directory.commit(large("big", "v1", 3, 5000))
    for number in range(150):
        directory.commit([draft(f"r{number}", 20_000)])
    assert used_bytes(tmp_path) > 2 << 20

    directory.clear()

    statistics = directory.statistics()
    assert (statistics.entries, statistics.entry_bytes, statistics.slices, statistics.segments) == (0, 0, 0, 0)
    assert [content(directory, f"r{number}") for number in range(150)] == [None] * 150
    assert directory.segments.numbers() == []
    directory.commit([draft("r1", 50, b"new")])
    assert content(directory, "r1") == b"new"
    abandon(directory)
    again = rebuilt(opened(tmp_path, boot="b2"))
    assert content(again, "r1") == b"new"
    assert again.statistics().entries == 1
    again.close()


def test_everything_goes_though_another_process_is_writing(tmp_path: Path) -> None:
    directory = opened(tmp_path)
    with second(tmp_path) as other:
        assert other.does("None in directory.commit([draft('theirs', 100)])") == "False"

        directory.clear()

        assert other.does("directory.lookup(key('theirs').digest)") == "None"
        assert other.does("None in directory.commit([draft('later', 100)])") == "False"
        assert content(directory, "later") == body("later", 100)
    directory.close()


def test_everything_goes_while_the_index_is_made_again(tmp_path: Path) -> None:
    directory = opened(tmp_path)
    directory.commit([draft(f"r{number}", 5000) for number in range(60)])
    abandon(directory)
    again = opened(tmp_path, boot="b2")
    again.rebuild_step(4096)

    again.clear()

    rebuilt(again)
    assert again.statistics().entries == 0
    again.close()


def test_everything_is_hidden_though_nothing_can_be_written(tmp_path: Path) -> None:
    files = FaultyFiles(error=errno.EROFS, only=frozenset({"write"}), lasting=True)
    directory = opened(tmp_path, files=files)
    directory.commit([draft("a", 100)])
    files.at = len(files.calls) + 1

    with pytest.raises(StoreError):
        directory.clear()

    assert content(directory, "a") is None
    assert directory.health is DirectoryHealth.FAILING
    directory.close()


def test_a_removal_of_long_keys_fits_into_small_segments(tmp_path: Path) -> None:
    directory = opened(tmp_path, DirectoryLimits(capacity=1 << 20, segment_bytes=64 << 10))
    names = [f"{number:02d}" + "x" * 8000 for number in range(20)]
    for name in names:
        directory.commit([draft(name, 10)])
    there = [name for name in names if content(directory, name)]

    assert directory.remove([key(name) for name in names]) == len(there)

    abandon(directory)
    again = rebuilt(opened(tmp_path, DirectoryLimits(capacity=1 << 20, segment_bytes=64 << 10), boot="b2"))
    assert [content(again, name) for name in names] == [None] * len(names)
    again.close()
