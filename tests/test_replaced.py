"""When files that belong together count as replaced."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from shield.replaced import SETTLE_SECONDS, Change, FileSet

NAMES = ("id", "key", "token")


def write(directory: Path, version: str, *names: str) -> None:
    """Each by another inode, as those do that write beside and rename."""
    for name in names:
        beside = directory / f".{name}"
        beside.write_text(f"{name}-{version}")
        beside.rename(directory / name)


@pytest.fixture
def files(tmp_path: Path) -> FileSet:
    """Three files that are in use."""
    write(tmp_path, "1", *NAMES)
    made = FileSet([tmp_path / name for name in NAMES])
    made.use(made.look())
    return made


def test_what_is_as_it_was_is_no_change(files: FileSet) -> None:
    assert files.judge(files.look(), 0.0) is Change.NONE


def test_a_set_is_whole_once_all_of_it_is_replaced(tmp_path: Path, files: FileSet) -> None:
    seen = []
    for name in NAMES:
        write(tmp_path, "2", name)
        seen.append(files.judge(files.look(), 0.0))

    assert seen == [Change.PART, Change.PART, Change.WHOLE]


def test_a_part_counts_once_nothing_more_changes(tmp_path: Path, files: FileSet) -> None:
    write(tmp_path, "2", "token")
    seen = [files.judge(files.look(), 0.0)]
    write(tmp_path, "3", "token")
    seen += [files.judge(files.look(), now) for now in (1.9, 3.8, 1.9 + SETTLE_SECONDS)]

    assert seen == [Change.PART, Change.PART, Change.PART, Change.WHOLE]


def test_a_file_that_is_gone_spoils_the_set_for_as_long_as_it_is(tmp_path: Path, files: FileSet) -> None:
    write(tmp_path, "2", "id", "key")
    (tmp_path / "token").unlink()
    marks = files.look()
    before = files.judge(marks, 100.0)
    write(tmp_path, "2", "token")

    assert (before, files.missing(marks)) == (Change.GONE, tmp_path / "token")
    assert files.judge(files.look(), 101.0) is Change.WHOLE


def test_what_is_used_is_what_was_looked_at_not_what_came_after(tmp_path: Path, files: FileSet) -> None:
    write(tmp_path, "2", *NAMES)
    marks = files.look()
    write(tmp_path, "3", *NAMES)

    files.use(marks)

    assert files.judge(files.look(), 0.0) is Change.WHOLE


def test_a_link_that_is_swapped_replaces_all_at_once(tmp_path: Path) -> None:
    for version in ("1", "2"):
        (tmp_path / version).mkdir()
        write(tmp_path / version, version, *NAMES)
    (tmp_path / "data").symlink_to("1")
    for name in NAMES:
        (tmp_path / name).symlink_to(f"data/{name}")
    files = FileSet([tmp_path / name for name in NAMES])
    files.use(files.look())

    (tmp_path / "next").symlink_to("2")
    os.replace(tmp_path / "next", tmp_path / "data")  # noqa: PTH105  # as Kubernetes does it

    assert files.judge(files.look(), 0.0) is Change.WHOLE


def test_files_of_which_nothing_is_known_are_to_be_read(tmp_path: Path) -> None:
    write(tmp_path, "1", *NAMES)
    files = FileSet([tmp_path / name for name in NAMES])

    assert files.judge(files.look(), 0.0) is Change.WHOLE
