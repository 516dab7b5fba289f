"""`shield store export` and `import`: a hot set from one node to another."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from shield.cli.store.move import target
from shield.cli.store.places import UsageError
from shield.rules.freshness import Freshness
from tests.cli.store_ground import Ground, at, lines
from tests.store.ground import body, content, draft, key, record


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground(tmp_path)


@pytest.fixture
def other(tmp_path: Path) -> Ground:
    """Another node, with its directories made and empty."""
    made = Ground(tmp_path / "other")
    for name in ("one", "two", "three"):
        (made.path / name).mkdir()
    return made


def test_a_hot_set_moves_to_the_byte_and_lies_where_the_other_node_looks(
    ground: Ground, other: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    at(monkeypatch, 2000.0)
    ground.fill_all()

    went = ground.run("export", ground.path / "hot")
    came = other.run("import", ground.path / "hot")

    assert (went.exit_code, came.exit_code) == (0, 0)
    assert "exported 9 records" in went.stderr
    assert lines(came)[0].startswith("imported 9 records, ")
    sizes = {"a": 20_000, "images/b": 3000, "c": 100}
    for name, size in sizes.items():
        place = ("one", "two")[other.ring.owner(key(name).digest)]
        with other.open(place) as directory:
            assert content(directory, name) == body(name, size)
            found = directory.lookup(key(name).digest)
            assert found is not None
            stored = directory.fetch(found, key(name))
            assert replace(stored.header.record, sequence=0, since=0) == record(name, size)
    with other.open(("one", "two")[other.ring.owner(key("big").digest)]) as directory:
        assert [number for number, _ in directory.index.slices(key("big").digest)] == [0, 1, 2, 3, 4]
    assert not list(ground.path.glob("*.part"))


def test_export_and_import_go_through_a_pipe(ground: Ground, other: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    at(monkeypatch, 2000.0)
    ground.fill_all()

    went = ground.run("export", "-", "--hot")
    came = other.run("import", "-", input=went.stdout_bytes)

    assert (went.exit_code, came.exit_code) == (0, 0)
    assert lines(came)[0].startswith("imported 5 records, ")


def test_an_export_keeps_to_its_limit(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    at(monkeypatch, 2000.0)
    ground.fill_all()

    result = ground.run("export", ground.path / "hot", "--limit-bytes", "4KiB")

    assert result.exit_code == 0
    assert 2000 < (ground.path / "hot").stat().st_size <= 4096


def test_a_file_cut_short_is_taken_in_as_far_as_it_goes(
    ground: Ground, other: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    at(monkeypatch, 2000.0)
    ground.fill_all()
    ground.run("export", ground.path / "hot")
    data = (ground.path / "hot").read_bytes()
    (ground.path / "cut").write_bytes(data[:-5000])
    (ground.path / "damaged").write_bytes(data[:2000] + bytes([data[2000] ^ 1]) + data[2001:])

    cut, damaged = other.run("import", ground.path / "cut"), other.run("import", ground.path / "damaged")

    assert (cut.exit_code, damaged.exit_code) == (1, 1)
    assert lines(cut)[1] == "the file is cut short: its whole records were imported"
    assert "1 were damaged" in lines(damaged)[0]
    assert "cut short" not in damaged.stdout


def test_a_failed_export_leaves_no_file(ground: Ground) -> None:
    ground.fill("one", [draft("a", 10)])

    result = ground.run("export", ground.path / "hot")

    assert result.exit_code == 2
    assert not list(ground.path.glob("*hot*"))


def test_an_export_is_for_its_owner_and_group_alone(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    at(monkeypatch, 2000.0)
    ground.fill_all()
    (ground.path / "hot").touch(0o666)
    before = os.umask(0)
    try:
        assert ground.run("export", ground.path / "hot").exit_code == 0
    finally:
        os.umask(before)

    assert stat.S_IMODE((ground.path / "hot").stat().st_mode) == 0o640


@pytest.mark.parametrize("is_there", [True, False])
def test_an_export_doesnt_write_through_a_link(ground: Ground, is_there: bool) -> None:
    ground.fill_all()
    precious = ground.path / "precious"
    if is_there:
        precious.write_text("precious")
    (ground.path / "hot").symlink_to(precious)

    result = ground.run("export", ground.path / "hot")

    assert result.exit_code == 2
    assert "is a link or no file" in result.stderr
    assert (precious.read_text() if precious.exists() else None) == ("precious" if is_there else None)


def test_a_link_that_comes_meanwhile_is_replaced_and_not_followed(tmp_path: Path) -> None:
    precious, place = tmp_path / "precious", tmp_path / "hot"
    precious.write_text("precious")

    with target(str(place)) as stream:
        stream.write(b"export")
        place.symlink_to(precious)

    assert (precious.read_text(), place.read_bytes(), place.is_symlink()) == ("precious", b"export", False)


def test_links_under_the_drafts_name_are_followed_by_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    precious = tmp_path / "precious"
    precious.write_text("precious")
    monkeypatch.setattr("shield.cli.store.move.secrets.token_hex", lambda length: "guessed")
    (tmp_path / ".hot.guessed.part").symlink_to(precious)

    with pytest.raises(UsageError, match="can't be made: File exists"), target(str(tmp_path / "hot")):
        pass

    assert precious.read_text() == "precious"


def test_an_export_that_ends_amid_its_work_leaves_nothing_and_what_was_there_before(tmp_path: Path) -> None:
    (tmp_path / "hot").write_bytes(b"before")

    with pytest.raises(KeyboardInterrupt), target(str(tmp_path / "hot")) as stream:
        stream.write(b"half")
        raise KeyboardInterrupt

    assert [path.name for path in tmp_path.iterdir()] == ["hot"]
    assert (tmp_path / "hot").read_bytes() == b"before"


def test_what_no_origin_may_answer_is_left_out_and_told(
    ground: Ground, other: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    at(monkeypatch, 2000.0)
    split = draft("split", 5)
    split.record.head = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n"
    eternal = draft("eternal", 5)
    eternal.record.freshness = Freshness(9e11, 1e9, 1e9, 1e9, 1e9)
    ground.fill("one", [split, eternal, draft("fine", 5)])
    for name in ("two", "three"):
        ground.fill(name, [])
    ground.run("export", ground.path / "hot")

    result = other.run("import", ground.path / "hot")

    assert result.exit_code == 1
    assert lines(result)[0].startswith("imported 2 records, ")
    assert "1 are nothing that these settings let an origin answer" in lines(result)[0]
    assert result.stderr.splitlines() == [":/split: its head goes on behind its end"]
    with other.open(("one", "two")[other.ring.owner(key("eternal").digest)]) as directory:
        found = directory.lookup(key("eternal").digest)
        assert found is not None
        assert (found.born, found.lifetime, found.grace) == (2000.0, 3600.0, 30.0)


@pytest.mark.parametrize("data", [b"", b"not an export", b"x" * 5000])
def test_what_is_no_export_is_refused(other: Ground, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "file").write_bytes(data)

    result = other.run("import", tmp_path / "file")

    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert list((other.path / "one").iterdir()) == []


def test_import_doesnt_make_directories(ground: Ground, other: Ground, tmp_path: Path) -> None:
    ground.fill_all()
    ground.run("export", tmp_path / "hot")
    (other.path / "three").rmdir()

    result = other.run("import", tmp_path / "hot")

    assert result.exit_code == 2
    assert "isn't there" in result.stderr
    assert not (other.path / "three").exists()


def test_import_of_a_file_that_isnt_there_is_one_line(other: Ground) -> None:
    result = other.run("import", other.path / "none")

    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
