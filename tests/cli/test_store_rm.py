"""`shield store rm`: what goes, by whose hand, and what stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.store_ground import LIMITS, Ground, answering, lines
from tests.store.ground import abandon, content, draft, key, opened


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground(tmp_path)


def test_rm_takes_an_entry_with_all_slices_out_of_all_directories(ground: Ground) -> None:
    ground.fill_all()

    result = ground.run("rm", "https://cdn.example/big", ":/a", "/none")

    assert result.exit_code == 0
    assert lines(result) == ["removed 2 entries from the directories"]
    for name in ("one", "three"):
        with ground.open(name) as directory:
            assert directory.index.slices(key("big").digest) == []
            assert content(directory, "big") is None
    assert ground.has("two", "images/b")
    assert ground.has("three", "c")


def test_what_rm_removed_doesnt_come_back_with_a_lost_index(ground: Ground) -> None:
    ground.fill_all()
    assert ground.run("rm", "--prefix", "/big").exit_code == 0

    abandon(opened(ground.path / "three", LIMITS, boot="before"))

    assert ground.run("verify", "--tier", "slow").exit_code == 0
    assert [line.split()[-1] for line in lines(ground.run("ls", "--tier", "slow"))] == [":/c"]


def test_rm_takes_all_below_a_prefix(ground: Ground) -> None:
    ground.fill_all()
    ground.fill("one", [draft("images/x", 10), draft("imagesy", 10)])

    result = ground.run("rm", "--prefix", "/images/")

    assert lines(result) == ["removed 2 entries from the directories"]
    assert ground.has("one", "imagesy")
    assert not ground.has("one", "images/x")


def test_rm_takes_no_star_for_what_it_isnt(ground: Ground) -> None:
    ground.fill_all()

    result = ground.run("rm", "--prefix", "/*")

    assert result.exit_code == 2
    assert "expected a prefix without *" in result.stderr


def test_rm_removes_what_a_lost_index_doesnt_know_yet(ground: Ground) -> None:
    ground.fill_all()
    abandon(opened(ground.path / "three", LIMITS, boot="before"))

    ground.run("rm", "/c")
    ground.run("rm", "--prefix", "/b")

    ground.run("verify", "--tier", "slow")
    assert lines(ground.run("ls", "--tier", "slow")) == []


def test_rm_that_matches_nothing_ends_with_1(ground: Ground) -> None:
    ground.fill_all()

    for arguments in (["/none"], ["--prefix", "/none/"], [":/none"]):
        result = ground.run("rm", *arguments)
        assert (result.exit_code, lines(result)) == (1, ["nothing matched"])


def test_rm_pushes_nothing_out_of_a_full_directory(ground: Ground) -> None:
    for name in ("one", "two", "three"):
        with ground.open(name) as directory:
            for number in range(300 if name == "one" else 1):
                directory.commit([draft(f"r{number}", 100_000)])
            before = directory.statistics().entries if name == "one" else 0

        if name == "one":
            entries = before
    assert entries < 300

    assert ground.run("rm", "/r299").exit_code == 0

    with ground.open("one") as directory:
        assert directory.statistics().entries == entries - 1


@pytest.mark.parametrize("arguments", [[], ["/a", "--prefix", "/b"], ["--prefix", "images"], ["/%zz"]])
def test_rm_refuses_what_it_cant_mean(ground: Ground, arguments: list[str]) -> None:
    ground.fill_all()

    result = ground.run("rm", *arguments)

    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert ground.has("one", "a")


def test_rm_leaves_it_to_the_node_if_one_answers(tmp_path: Path) -> None:
    with answering(tmp_path, {"node": "n1"}) as (ground, asked):
        ground.fill_all()

        one = ground.run("rm", "/a", "https://cdn.example/b?w=1")
        many = ground.run("rm", "--prefix", "/im\u00e4ges/")

    assert [one.exit_code, many.exit_code] == [0, 0]
    assert lines(one) == ["removed 3 entries from the node"]
    kind = "application/json"
    assert asked == [
        ("/store/remove", kind, {"paths": ["/a", "/b?w=1"]}),
        ("/store/remove", kind, {"prefix": "/im%C3%A4ges/"}),
    ]
    assert ground.has("one", "a")


def test_rm_of_nothing_in_the_node_ends_with_1(tmp_path: Path) -> None:
    with answering(tmp_path, {"node": "n1"}, (200, {"removed": 0})) as (ground, _):
        assert ground.run("rm", "/a").exit_code == 1


@pytest.mark.parametrize("status", [404, 405, 501])
def test_rm_does_itself_what_the_node_cant_and_says_what_stays(tmp_path: Path, status: int) -> None:
    with answering(tmp_path, {"node": "n1"}, (status, {})) as (ground, _):
        ground.fill_all()

        result = ground.run("rm", "/a")

    assert result.exit_code == 0
    assert "entries in its workers' RAM stay there" in result.stderr
    assert not ground.has("one", "a")


def test_rm_tells_why_the_node_refused(tmp_path: Path) -> None:
    with answering(tmp_path, {"node": "n1"}, (400, {"error": "no such thing"})) as (ground, _):
        ground.fill_all()

        result = ground.run("rm", "/a")

    assert result.exit_code == 2
    assert result.stderr.endswith("refused: no such thing\n")
    assert ground.has("one", "a")


def test_rm_touches_nothing_when_another_node_answers(tmp_path: Path) -> None:
    with answering(tmp_path, {"node": "n2"}) as (ground, asked):
        ground.fill_all()

        result = ground.run("rm", "/a")

    assert result.exit_code == 2
    assert asked == []
    assert ground.has("one", "a")
