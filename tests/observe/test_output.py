from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from shield.observe.output import LogOutput


@pytest.fixture
def output() -> LogOutput:
    return LogOutput(io.StringIO())


def test_a_file_that_was_renamed_is_made_anew(output: LogOutput, tmp_path: Path) -> None:
    path = output.path = tmp_path / "access.log"
    output.write("a\n")
    path.rename(tmp_path / "access.log.1")
    output.write("b\n")
    path.unlink()
    output.write("c\n")
    output.close()

    assert (tmp_path / "access.log.1").read_text() == "a\n"
    assert path.read_text() == "c\n"
    assert path.stat().st_mode & 0o777 == 0o640


def test_what_is_there_stays_and_several_append(output: LogOutput, tmp_path: Path) -> None:
    path = output.path = tmp_path / "access.log"
    other = LogOutput(io.StringIO())
    other.path = path
    path.write_text("before\n")

    output.write("a\n")
    other.write("b\n")
    path.write_text("")  # truncated, as by logrotate's copytruncate
    output.write("c\n")
    for each in (output, other):
        each.close()

    assert path.read_text() == "c\n"


def test_another_place_is_used_from_the_next_write_on(tmp_path: Path) -> None:
    stream = io.StringIO()
    output = LogOutput(stream)

    output.write("a\n")
    output.path = tmp_path / "one"
    output.write("b\n")
    output.path = tmp_path / "two"
    output.write("c\n")
    output.path = None
    output.write("d\n")

    assert (stream.getvalue(), (tmp_path / "one").read_text(), (tmp_path / "two").read_text()) == (
        "a\nd\n",
        "b\n",
        "c\n",
    )


def test_a_directory_that_is_gone_is_an_error_until_it_is_back(output: LogOutput, tmp_path: Path) -> None:
    path = output.path = tmp_path / "logs" / "access.log"
    with pytest.raises(FileNotFoundError):
        output.write("a\n")
    path.parent.mkdir()
    output.write("b\n")
    output.close()

    assert path.read_text() == "b\n"


def test_a_line_that_was_cut_off_by_a_full_disk_does_not_run_into_the_next(
    output: LogOutput, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, write = tmp_path / "access.log", os.write
    output.path = path
    room = [3]

    def full(file: int, data: bytes) -> int:
        if room[0] == 0:
            raise OSError(28, "No space left on device")
        taken = write(file, data[: room[0]])
        room[0] -= taken
        return taken

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space"):
            output.write("abcdef\n")
    output.write("next\n")
    output.close()

    assert path.read_text() == "abc\nnext\n"
