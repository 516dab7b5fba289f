"""`shield purge`: the orders that it gives, and what it prints of the answers; `shield purges`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from shield.cli import _app
from shield.rules.purge_orders import MOST_PATHS
from tests.cli.store_ground import Ground, answering, lines

RECEIPT = {
    "id": "job-1",
    "at": 1_750_000_000.0,
    "who": "deployer",
    "soft": False,
    "takedown": False,
    "paths": 2,
    "tags": 0,
    "prefixes": 0,
    "globs": 0,
    "all": False,
    "examples": ['"/a"', '"/b"'],
    "removed": 1,
    "completed": True,
    "durable": True,
}
FORECAST = {
    "dry_run": True,
    "entries": 12_000,
    "bytes": 3 << 30,
    "disk": {"entries": 11_999, "bytes": 3 << 30, "estimated": True, "scanned": 0.125},
    "memory_alone": {"entries": 1, "bytes": 512, "workers": 1, "of_workers": 2},
    "origins": {
        "fra": {
            "requests": 12_000,
            "bytes": 3 << 30,
            "money": 0.29,
            "currency": "USD",
            "limit": 20,
            "seconds": 120.0,
        },
        "unknown": {"requests": 1, "bytes": 9, "money": 0.001, "currency": "EUR", "limit": None, "seconds": None},
    },
    "advice": ["origin fra gets 20 fetches at a time"],
}


def run(ground: Ground, *arguments: str, command: str = "purge", stdin: str = "") -> Result:
    return CliRunner().invoke(_app, [command, *arguments, "--config", str(ground.file)], input=stdin)


@pytest.mark.parametrize(
    ("arguments", "order"),
    [
        (["/a", "https://cdn.example/b"], {"paths": ["/a", "https://cdn.example/b"]}),
        (["--tag", "x", "--tag", "y", "--soft"], {"tags": ["x", "y"], "soft": True}),
        (["/a", "--prefix", "/i/", "--glob", "/a*"], {"paths": ["/a"], "prefixes": ["/i/"], "globs": ["/a*"]}),
        (["--all", "--soft"], {"all": True, "soft": True}),
        (["/a", "--takedown"], {"paths": ["/a"], "takedown": True}),
    ],
)
def test_it_gives_an_order(tmp_path: Path, arguments: list[str], order: dict[str, Any]) -> None:
    with answering(tmp_path, {"node": "n1"}, (200, RECEIPT)) as (ground, asked):
        result = run(ground, *arguments, "--id", "job-1")

    assert (result.exit_code, lines(result)) == (0, ["purged: 2 paths, 1 was stored; id job-1"])
    assert asked == [("/purge", "application/json", {"id": "job-1", **order})]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"soft": True, "removed": None}, "made stale: 2 paths; id job-1"),
        ({"takedown": True, "removed": 0, "paths": 1}, "taken down: 1 path, 0 were stored; id job-1"),
        ({"paths": 0, "prefixes": 1, "tags": 2, "removed": None}, "purged: 2 tags, 1 prefix; id job-1"),
        ({"all": True, "paths": 0, "removed": None}, "purged: everything; id job-1"),
        ({"durable": False}, "id job-1; a restart may bring it back: there is no state_directory"),
    ],
)
def test_it_prints_a_line_for_the_receipt(tmp_path: Path, changes: dict[str, Any], line: str) -> None:
    with answering(tmp_path, {"node": "n1"}, (200, {**RECEIPT, **changes})) as (ground, _):
        assert line in run(ground, "/a").stdout
        assert json.loads(run(ground, "/a", "--json").stdout)["id"] == "job-1"


def test_urls_come_from_standard_input_in_several_orders_if_there_are_very_many(tmp_path: Path) -> None:
    given = "# of yesterday\n\n" + "".join([f"/{number}\n" for number in range(MOST_PATHS + 1)])

    with answering(tmp_path, {"node": "n1"}, (200, RECEIPT)) as (ground, asked):
        result = run(ground, "-", "--tag", "x", "--id", "job-1", stdin=given)

    assert result.exit_code == 0
    orders = [wish for _, _, wish in asked]
    assert [(wish["id"], len(wish["paths"]), wish.get("tags")) for wish in orders] == [
        ("job-1", MOST_PATHS, ["x"]),
        ("job-1.2", 1, None),
    ]
    assert lines(result)[1].startswith("order 2 of 2: purged")


def test_a_dry_run_shows_what_it_would_cost(tmp_path: Path) -> None:
    with answering(tmp_path, {"node": "n1"}, (200, FORECAST)) as (ground, asked):
        result = run(ground, "--all", "--dry-run")

    assert lines(result) == [
        "would purge about 12,000 entries, 3.0GiB",
        "  on disk: about 11,999 entries, 3.0GiB, estimated from 12.5% of the records",
        "  only in RAM: 1 entry, 512B, as far as one of 2 workers knows",
        "  to fetch it again: 12,000 requests to fra, 3.0GiB, 0.29 USD, 2m at its limit",
        "  to fetch it again: 1 request to unknown, 9B, less than 0.01 EUR",
        "note: origin fra gets 20 fetches at a time",
    ]
    assert asked[0][2]["dry_run"] is True


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "nothing to purge: give URLs or paths, or --tag"),
        (["-"], "there is no URL on standard input"),
        (["a.webp"], 'paths[0]: got "a.webp"; expected / or https:// at its beginning'),
        (["/a", "--all"], "all: it includes the paths"),
        (["--tag", "x", "--takedown"], "takedown: expected paths alone"),
        (["/a", "--id", "a b"], 'got "a b"'),
    ],
)
def test_an_order_that_is_none_is_refused_before_it_is_given(
    tmp_path: Path, arguments: list[str], problem: str
) -> None:
    with answering(tmp_path, {"node": "n1"}) as (ground, asked):
        result = run(ground, *arguments)

    assert (result.exit_code, problem in result.stderr) == (1, True)
    assert asked == []


def test_it_says_that_the_node_refuses_or_isnt_there(tmp_path: Path) -> None:
    problem = {"detail": "globs: no", "problems": ["globs: no"]}
    with answering(tmp_path, {"node": "n1"}, (409, problem)) as (ground, _):
        refused = run(ground, "/a")
    alone = run(ground, "/a")

    assert (refused.exit_code, refused.stderr) == (1, "globs: no\n")
    assert alone.exit_code == 2
    assert "no node answers on" in alone.stderr and "shield store rm" in alone.stderr


def test_the_log_of_purges_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logged = [RECEIPT, {**RECEIPT, "id": "job-0", "soft": True, "completed": False, "paths": 0, "tags": 1}]
    with answering(tmp_path, {"purges": logged}) as (ground, _):
        result = run(ground, command="purges")
        as_json = run(ground, "--json", command="purges")
    with answering(tmp_path, {"purges": []}) as (ground, _):
        nothing = run(ground, command="purges")

    assert lines(result) == [
        '2025-06-15T15:06:40Z  deployer  hard  2 paths: "/a", "/b"  job-1',
        '2025-06-15T15:06:40Z  deployer  soft  1 tag: "/a", "/b"  job-0 (under way)',
    ]
    assert json.loads(as_json.stdout) == logged
    assert (nothing.exit_code, nothing.stdout) == (0, "no purges so far\n")
    assert run(ground, command="purges").exit_code == 2
