"""`shield store takedown`: what it asks of the node, and what it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.store_ground import Ground, answering, lines


def test_the_node_takes_objects_down_and_lifts_them(tmp_path: Path) -> None:
    with answering(tmp_path, {"node": "n1"}, (200, {"removed": 1, "kept": True})) as (ground, asked):
        down = ground.run("takedown", "https://cdn.example/a", "/b")
    (tmp_path / "later").mkdir()
    with answering(tmp_path / "later", {"node": "n1"}, (200, {"lifted": 1})) as (ground, asked_later):
        lifted = ground.run("takedown", "--lift", "/a")

    assert (down.exit_code, lines(down), down.stderr) == (0, ["took down 2, removed 1 entry"], "")
    assert (lifted.exit_code, lines(lifted)) == (0, ["lifted 1 of 1"])
    assert asked == [("/store/takedown", "application/json", {"paths": ["/a", "/b"]})]
    assert asked_later == [("/store/takedown", "application/json", {"lift": ["/a"]})]


def test_it_warns_of_a_node_that_forgets(tmp_path: Path) -> None:
    with answering(tmp_path, {"node": "n1"}, (200, {"removed": 2, "kept": False})) as (ground, _):
        result = ground.run("takedown", "/a")

    assert result.exit_code == 0 and "after a stop of the node" in result.stderr


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((404, {}), "is of a version that can't do this"),
        ((500, {"error": "disk full"}), "refused: disk full"),
        ((200, {}), "without removed"),
    ],
)
def test_it_tells_what_went_wrong(tmp_path: Path, answer: tuple[int, object], said: str) -> None:
    with answering(tmp_path, {"node": "n1"}, answer) as (ground, _):
        result = ground.run("takedown", "/a")

    assert result.exit_code == 2 and said in result.stderr


def test_it_needs_a_node_and_a_path(tmp_path: Path) -> None:
    ground = Ground(tmp_path)

    assert "admin.listen is off: the running node can't be asked" in ground.run("takedown", "/a").stderr
    assert "a path would be rejected" in ground.run("takedown", "http://[x/").stderr
