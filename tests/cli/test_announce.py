"""`shield announce`: what it asks of the node, and what it says."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from shield.cli import _app
from tests.cli.store_ground import Ground, answering, lines


def run(ground: Ground, *arguments: str) -> Result:
    command = ["announce", *arguments, "--config", str(ground.file)]
    return CliRunner().invoke(_app, command, catch_exceptions=False)


DONE = (200, {"announced": 2, "removed": 0, "prefetched": 1, "ignored": 0})


@pytest.mark.parametrize(
    ("options", "wish"),
    [
        ([], {"changed": ["/a", "/b?w=1"], "prefetch": False}),
        (["--new", "--prefetch"], {"new": ["/a", "/b?w=1"], "prefetch": True}),
        (["--deleted"], {"deleted": ["/a", "/b?w=1"], "prefetch": False}),
    ],
)
def test_it_tells_the_node(tmp_path: Path, options: list[str], wish: object) -> None:
    with answering(tmp_path, {"node": "n1"}, DONE) as (ground, asked):
        result = run(ground, "/a", "https://cdn.example/b?w=1", *options)

    assert (result.exit_code, lines(result)) == (0, ["announced 2, removed 0, fetching 1"])
    assert asked == [("/announce", "application/json", wish)]


def test_it_tells_what_went_wrong(tmp_path: Path) -> None:
    with answering(tmp_path, {"node": "n1"}, (400, {"error": "not so"})) as (ground, _):
        assert "refused: not so" in run(ground, "/a").stderr
        assert run(ground, "/a", "--new", "--deleted").exit_code == 2
        assert "would be rejected" in run(ground, "http://[x/").stderr
    (tmp_path / "alone").mkdir()
    alone = run(Ground(tmp_path / "alone"), "/a")
    assert (alone.exit_code, alone.stderr) == (2, "admin.listen is off: the running node can't be asked\n")
