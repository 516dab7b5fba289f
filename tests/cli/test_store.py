"""`shield store`: what `stat` and `ls` show, and what all its commands have in common."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from loadtest.processes import free_port
from shield.cli.rounded import shown_duration, shown_size
from tests.cli.store_ground import LIMITS, PLAIN, Ground, Node, answering, at, lines
from tests.doubles.faulty_origin import FaultyOrigin
from tests.store.ground import abandon, draft, key, opened

pytestmark = pytest.mark.slow


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground(tmp_path)


# stat


def test_stat_shows_every_directory(ground: Ground) -> None:
    ground.fill_all()

    result = ground.run("stat")

    said = lines(result)
    assert result.exit_code == 0
    assert said[0].split()[:5] == ["TIER", "DIRECTORY", "HEALTH", "ENTRIES", "SLICES"]
    assert said[1].split()[:5] == ["fast", f"{ground.path}/one", "well", "2", "2"]
    assert said[3].split()[:5] == ["slow", f"{ground.path}/three", "well", "2", "5"]
    assert "no node answers" in said[4]


def test_stat_for_machines_has_the_figures(ground: Ground) -> None:
    ground.fill_all()

    result = ground.run("stat", "--json", "--tier", "slow")

    (tier,) = json.loads(result.stdout)["tiers"]
    (directory,) = tier["directories"]
    assert tier["name"] == "slow"
    assert (directory["entries"], directory["slices"]) == (2, 5)
    assert directory["capacity_bytes"] == 16 << 20
    assert directory["unscanned"] == 0
    assert 0 < directory["used_bytes"] < 16 << 20
    assert directory["index_bytes_per_record"] == pytest.approx(directory["index_bytes"] / 7, abs=0.1)


def test_stat_on_missing_and_unused_directories_says_so_and_makes_nothing(ground: Ground) -> None:
    ground.fill("one", [draft("a", 10)])
    (ground.path / "two").mkdir()

    result = ground.run("stat")

    assert result.exit_code == 2
    assert lines(result)[1].split()[:4] == ["fast", f"{ground.path}/one", "well", "1"]
    assert f"{ground.path}/two is no cache directory yet" in result.stdout
    assert f"{ground.path}/three isn't there" in result.stdout
    assert not (ground.path / "three").exists()
    assert list((ground.path / "two").iterdir()) == []


STATE = {
    "node": "n1",
    "uptime_seconds": 7300,
    "sent_bytes": 1000,
    "disk": {
        "promoted": 5,
        "tiers": [
            {
                "name": "fast",
                "hits": 1234,
                "volumes": [
                    {
                        "path": "PATH/one",
                        "health": "failing",
                        "directory": {"entry_bytes": 1, "written_bytes": 500, "damaged": 2, "errors": 7},
                    }
                ],
            }
        ],
    },
}


def test_stat_shows_what_the_running_node_knows(tmp_path: Path) -> None:
    state = json.loads(json.dumps(STATE).replace("PATH", str(tmp_path / "g")))
    with answering(tmp_path, state) as (ground, _):
        ground.fill_all()

        said = lines(ground.run("stat"))
        known = json.loads(ground.run("stat", "--json").stdout)

    assert said[1].split()[2] == "failing"
    assert said[1].split()[-3:] == ["500B", "2", "7"]
    assert "node n1, up 2h" in said
    assert any(line.split() == ["tiers.fast.hits", "1,234"] for line in said)
    assert known["disk"] == {"promoted": 5, "tiers.fast.hits": 1234, "written_per_byte_served": 0.5}
    assert known["tiers"][0]["directories"][1]["health"] == "well"


def test_stat_does_without_a_node_that_is_another(tmp_path: Path) -> None:
    with answering(tmp_path, {"node": "n2"}) as (ground, _):
        ground.fill_all()

        result = ground.run("stat")

    assert result.exit_code == 0
    assert "node n2 answers on 127.0.0.1:" in result.stdout
    assert "these settings are of node n1" in result.stdout


def test_stat_watches_until_it_is_interrupted(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    ground.fill_all()
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("shield.cli.store.stat.time", SimpleNamespace(sleep=wait))

    result = ground.run("stat", "--watch")

    assert result.exit_code == 0
    assert len(waits) == 3
    assert "HEALTH" in result.stdout


# ls


def test_ls_lists_each_entry_once(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    at(monkeypatch, 1000.0 + 3600 - 720)
    ground.fill_all()

    result = ground.run("ls")

    assert result.exit_code == 0
    assert [line.split() for line in lines(result)] == [
        ["19.5KiB", "200", "fresh", "12m", "-", f"fast:{ground.path}/one", ":/a"],
        ["4.9KiB", "200", "fresh", "12m", "5/5", f"fast:{ground.path}/one", ":/big"],
        ["2.9KiB", "200", "fresh", "12m", "-", f"fast:{ground.path}/two", ":/images/b"],
        ["100B", "200", "fresh", "12m", "-", f"slow:{ground.path}/three", ":/c"],
    ]


def test_ls_tells_how_long_entries_are_stale(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    at(monkeypatch, 1000.0 + 3600 + 3 * 3600)
    ground.fill_all()

    assert "stale 3h" in lines(ground.run("ls", "/a"))[0]


def test_ls_for_machines_is_an_object_a_line(ground: Ground) -> None:
    ground.fill_all()

    found = [json.loads(line) for line in lines(ground.run("ls", "/big", "--json"))]

    assert len(found) == 1
    assert found[0]["key"] == ":/big"
    assert (found[0]["bytes"], found[0]["slices"], found[0]["all_slices"]) == (5000, 5, 5)
    assert (found[0]["status"], found[0]["origin"], found[0]["etag"]) == (200, "fra", '"big"')
    assert (found[0]["tier"], found[0]["directory"]) == ("fast", f"{ground.path}/one")
    assert found[0]["ttl_seconds"] < 0


def test_ls_keeps_to_prefix_limit_tier_and_directory(ground: Ground) -> None:
    ground.fill_all()

    assert [line.split()[-1] for line in lines(ground.run("ls", "/images/"))] == [":/images/b"]
    assert [line.split()[-1] for line in lines(ground.run("ls", "--limit", "2"))] == [":/a", ":/big"]
    assert [line.split()[-1] for line in lines(ground.run("ls", "--tier", "slow"))] == [":/c", ":/big"]
    assert len(lines(ground.run("ls", "--directory", ground.path / "two"))) == 1


def test_ls_never_shows_what_was_removed_or_replaced(ground: Ground) -> None:
    ground.fill_all()
    with ground.open("one") as directory:
        directory.remove([key("big")])
        directory.commit([draft("a", 50)])
    with ground.open("three") as directory:
        directory.remove([key("c"), key("big")])

    said = [(line.split()[0], line.split()[-1]) for line in lines(ground.run("ls"))]

    assert said == [("50B", ":/a"), ("2.9KiB", ":/images/b")]


def test_ls_says_when_an_index_isnt_whole(ground: Ground) -> None:
    ground.fill_all()
    directory = opened(ground.path / "one", LIMITS, boot="before")
    abandon(directory)

    result = ground.run("ls", "--tier", "fast")

    assert f"{ground.path}/one: its index is being rebuilt; 1 segments aren't in it yet" in result.stderr
    assert len(lines(result)) == 1


# all of them


COMMANDS = [["stat"], ["ls"], ["verify"], ["rm", "/a"], ["export", "FILE"]]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_another_users_directory_is_one_line_with_what_to_do(
    ground: Ground, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    ground.fill_all()
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)

    result = ground.run(*[str(ground.path / "f") if word == "FILE" else word for word in command])

    assert result.exit_code == 2
    assert f"{ground.path}/one belongs to user " in result.output
    assert "sudo -u" in result.output


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_settings_without_tiers_are_said_so(ground: Ground, command: list[str]) -> None:
    ground.file.write_text(PLAIN.format(admin="'off'", origin="http://127.0.0.1:1"))

    result = ground.run(*[str(ground.path / "f") if word == "FILE" else word for word in command])

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "these settings have no tiers on disk (cache.tiers)\n"


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_settings_that_cant_be_used_are_said_so(ground: Ground, command: list[str]) -> None:
    ground.file.write_text("origins: {}")

    result = ground.run(*[str(ground.path / "f") if word == "FILE" else word for word in command])

    assert (result.exit_code, result.stdout) == (2, "")
    assert "these settings can't be used" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["stat", "--tier", "hdd"], "no tier is named hdd; expected one of fast, slow"),
        (["ls", "--directory", "/x"], "/x is no directory of these settings; expected one of "),
        (["ls", "images"], "expected a prefix of paths"),
        (["verify", "--rate", "fast"], "--rate: expected a size"),
        (["export", "f", "--limit-bytes", "x"], "--limit-bytes: expected a size"),
        (["export", "f", "--hot", "--tier", "slow"], "--hot exports the first tier"),
    ],
)
def test_arguments_that_dont_fit_are_one_line(ground: Ground, arguments: list[str], said: str) -> None:
    ground.fill_all()

    result = ground.run(*arguments)

    assert result.exit_code == 2
    assert result.stderr.startswith(said)
    assert len(result.stderr.splitlines()) == 1


def test_all_of_them_work_beside_a_running_node(tmp_path: Path) -> None:
    with FaultyOrigin() as origin:
        origin.serves("/images/a", b"hello" * 1000, lifetime=60)
        origin.serves("/b", b"there", lifetime=60)
        ground = Ground(tmp_path / "g", admin="127.0.0.1:0", origin=origin.url)
        with Node(ground.file) as node:
            for path in ("/images/a", "/b"):
                assert node.get(path) == 200
            node.wait_for_entries(ground, 2)

            assert ground.run("verify").exit_code == 0
            assert sorted(line.split()[-1] for line in lines(ground.run("ls"))) == [":/b", ":/images/a"]
            assert ground.run("export", tmp_path / "hot").exit_code == 0
            removed = ground.run("rm", "/b")
            assert removed.exit_code == 0
            assert "entries in its workers' RAM" in removed.stderr
            assert [line.split()[-1] for line in lines(ground.run("ls"))] == [":/images/a"]
            assert node.get("/images/a") == 200
            node.signal()
            assert node.ended() == 0
        assert ground.run("import", tmp_path / "hot").exit_code == 0
        assert len(lines(ground.run("ls"))) == 2


def test_the_running_node_removes_from_ram_and_disk_and_tells_of_both(tmp_path: Path) -> None:
    port = free_port()
    with FaultyOrigin() as origin:
        origin.serves("/a", b"hello", lifetime=60)
        ground = Ground(tmp_path / "g", admin=f"127.0.0.1:{port}", origin=origin.url)
        with Node(ground.file) as node:
            for _ in range(2):
                assert node.get("/a") == 200
            node.wait_for_entries(ground, 1)

            stat = json.loads(ground.run("stat", "--json").stdout)
            removed = ground.run("rm", "/a")
            again = ground.run("rm", "/a")

            assert stat["node"]["node"] == "n1"
            assert sum(line["written_bytes"] or 0 for line in stat["tiers"][0]["directories"]) > 0
            assert (lines(removed), removed.stderr) == (["removed 1 entry from the node"], "")
            assert again.exit_code == 1
            assert ground.run("ls").stdout == ""
            assert node.get("/a") == 200
    assert origin.fetches("/a") == 2


# words


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, "0B"), (999, "999B"), (1000, "1.0KiB"), (20_000, "19.5KiB"), (200 << 20, "200MiB"), (5 << 50, "5120TiB")],
)
def test_sizes_are_short(count: int, said: str) -> None:
    assert shown_size(count) == said


@pytest.mark.parametrize(("seconds", "said"), [(0.5, "0s"), (59, "59s"), (60, "1m"), (7199, "1h"), (200_000, "2d")])
def test_durations_are_short(seconds: float, said: str) -> None:
    assert shown_duration(seconds) == said
