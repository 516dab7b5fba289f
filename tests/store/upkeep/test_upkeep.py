"""Visits to a directory: beside a node, without one, and where there is nothing to there."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from shield.errors import StoreError
from shield.store.directory.claim import InUseError
from shield.store.directory.index import State
from shield.store.directory.premises import DirectoryLimits
from shield.store.directory.reclaim import NoRoomError
from shield.store.upkeep.visit import WORKER, AbsentError, push_nothing_out, rebuild, visited
from shield.store.volume import boot_id
from tests.store.ground import SMALL, abandon, body, content, draft, key, opened
from tests.store.neighbour import visitor, worker


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A directory that a node has left in order, with `a` in it."""
    directory = opened(tmp_path / "d", boot=boot_id())
    directory.commit([draft("a", 20_000)])
    directory.close()
    return tmp_path / "d"


def visit(path: Path) -> None:
    with visited(path, SMALL, node="n1"):
        pass


def test_what_a_node_left_is_there(path: Path) -> None:
    with visited(path, SMALL, node="n1") as there:
        assert there.alone
        assert content(there.directory, "a") == body("a", 20_000)


def test_what_a_visitor_wrote_the_node_finds(path: Path) -> None:
    with visited(path, SMALL, node="n1") as there:
        there.directory.commit([draft("b", 100)])
        there.directory.remove([key("a")])

    node = opened(path, boot=boot_id())
    assert node.reason == ""
    assert content(node, "a") is None
    assert content(node, "b") == body("b", 100)
    node.close()


def test_a_visitor_works_beside_a_running_node(path: Path) -> None:
    with worker(path) as node, visited(path, SMALL, node="n1") as there:
        assert not there.alone
        assert content(there.directory, "theirs") == body("theirs", 100)
        there.directory.remove([key("theirs")])
        assert node.ask("has theirs") == "False"
        assert node.ask("put later") == "done"
        assert content(there.directory, "later") == body("later", 100)


def test_another_nodes_directory_is_refused(path: Path) -> None:
    with worker(path, "n2"), pytest.raises(InUseError, match=r"in use by node n2: .*these settings are of node n1"):
        visit(path)


def test_visitors_leave_each_others_segments_alone(path: Path) -> None:
    with worker(path), visitor(path), visited(path, SMALL, node="n1") as there:
        states = {row.worker: row.state for _, row in there.directory.index.rows()}

        assert states[WORKER] == State.ACTIVE


def test_what_a_dead_visitor_left_open_is_sealed_by_the_next(path: Path) -> None:
    with worker(path):
        with visitor(path) as dead:
            dead.ask("die")
        with visited(path, SMALL, node="n1") as there:
            states = {row.worker: row.state for _, row in there.directory.index.rows()}

            assert states[WORKER] == State.SEALED
            assert content(there.directory, "visitor") == body("visitor", 100)


def test_a_missing_directory_isnt_made(tmp_path: Path) -> None:
    with pytest.raises(AbsentError, match="isn't there"):
        visit(tmp_path / "none")

    assert list(tmp_path.iterdir()) == []


def test_an_empty_directory_stays_empty_unless_one_may_begin(tmp_path: Path) -> None:
    with pytest.raises(AbsentError, match="no node has used it"):
        visit(tmp_path)
    assert list(tmp_path.iterdir()) == []

    with visited(tmp_path, SMALL, node="n1", may_begin=True) as there:
        assert there.directory.statistics().entries == 0


def test_another_users_directory_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sorted(path.iterdir())
    monkeypatch.setattr(os, "geteuid", lambda: 12345)

    with pytest.raises(StoreError, match=r"belongs to user \w+; run this as that user \(sudo -u "):
        visit(path)

    assert sorted(path.iterdir()) == before


def test_a_directory_of_another_format_isnt_emptied(path: Path) -> None:
    state = json.loads((path / "state").read_text())
    (path / "state").write_text(json.dumps({**state, "format": 99}))
    segments = sorted((path / "segments").iterdir())

    with pytest.raises(StoreError, match="is of format 99"):
        visit(path)

    assert sorted((path / "segments").iterdir()) == segments


def test_a_file_in_place_of_a_directory_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(AbsentError, match="is no directory"):
        visit(tmp_path / "file")


def test_a_lost_index_is_made_again(tmp_path: Path) -> None:
    directory = opened(tmp_path, boot="before")
    directory.commit([draft("a", 100)])
    abandon(directory)

    with visited(tmp_path, SMALL, node="n1") as there:
        assert there.directory.statistics().unscanned == 1
        steps: list[int] = []
        rebuild(there, lambda: steps.append(1))
        assert content(there.directory, "a") == body("a", 100)


def test_who_pushes_nothing_out_stops_when_it_is_full(tmp_path: Path) -> None:
    limits = DirectoryLimits(capacity=1 << 20, segment_bytes=64 << 10)
    written = []

    with visited(tmp_path, limits, node="n1", judge=push_nothing_out, may_begin=True) as there:
        with pytest.raises(NoRoomError):
            for number in range(1000):
                there.directory.commit([draft(f"r{number}", 9000)])
                written.append(f"r{number}")

        assert len(written) > 50
        assert [content(there.directory, name) == body(name, 9000) for name in written] == [True] * len(written)


@pytest.mark.slow
def test_visitors_that_are_killed_dont_speak_against_the_index(path: Path) -> None:
    with worker(path) as node:
        for _ in range(5):
            with visitor(path) as dead:
                dead.ask("die")
        with visited(path, SMALL, node="n1") as there:
            assert content(there.directory, "theirs") == body("theirs", 100)
        assert node.ask("has theirs") == "True"


def test_a_visit_ends_when_the_index_must_be_left(path: Path) -> None:
    with visited(path, SMALL, node="n1") as there:
        there.check()

        (path / "condemned").write_text("damaged")

        with pytest.raises(StoreError, match="try again once the node is well"):
            there.check()
