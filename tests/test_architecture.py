"""Imports between packages point down, `rules` is pure, and class names are unique. Read from the source."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from tests.architecture import (
    Source,
    circles,
    clocks,
    impurities,
    module_name,
    settings_seen,
    shared_class_names,
    source_of,
)

ROOT = Path(__file__).parents[1] / "shield"

# From the top down; rooms in one row don't import each other.
ROWS = [
    ["__main__"],
    ["cli"],
    ["start"],
    ["serving"],
    ["supervisor"],
    ["reloads", "upgrades"],
    ["posts", "resources"],
    ["agreement", "worker", "private", "sole"],
    ["lifecycle"],
    ["follower"],
    ["app"],
    ["build", "node"],
    ["checkup", "alarms"],
    ["figures"],
    ["cluster_figures", "spread_figures"],
    ["families", "client_figures", "process_figures", "store_figures", "purge_figures", "budget_figures"],
    ["gate_figures"],
    ["peers.node_front", "peers.parting"],
    ["peers.front"],
    ["edge", "admin"],
    ["warm"],
    ["proxy"],
    ["transfer", "purge_request", "distrust"],
    ["spread"],
    ["delivery", "announce", "purge_orders", "purge_forecast"],
    ["tracing", "simulate"],
    ["reply", "fill", "purge"],
    ["purge_upkeep"],
    ["purge_log"],
    ["audit", "peers", "drill", "decisions", "cdn"],
    ["store", "origin", "observe", "egress"],
    ["outcome", "config", "shared", "regime", "complaints", "heap", "chance", "histograms", "process"],
    ["leases", "ramping", "egress.meter", "trace", "bus", "sqlite"],
    ["records", "rankings", "changed", "drill.memory", "alarms.memory"],
    ["spending", "egress.tags", "timings", "canary_notes", "ramp_table", "rate_cells", "budget_cells"],
    ["rules"],
    ["errors", "messages", "replaced", "line", "signals", "kept", "compiled", "generated"],
]
HEIGHT = {room: -depth for depth, row in enumerate(ROWS) for room in row}


def _room(module: str) -> str | None:
    """The room that a module is in; one that `ROWS` places by itself is its own."""
    parts = module.split(".")
    if parts[0] != "shield" or len(parts) < 2:
        return None
    return next((room for room in (".".join(parts[1:3]), parts[1]) if room in HEIGHT), parts[1])


def _files() -> list[Path]:
    return sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def _sources() -> dict[str, Source]:
    return {source.name: source for source in map(source_of, _files())}


@pytest.mark.parametrize("path", _files(), ids=module_name)
def test_a_module_imports_only_from_rooms_below_its_own(path: Path) -> None:
    own = _room(module_name(path))
    assert own in HEIGHT, f"{own} is in no row: give it its place in ROWS and in the map"

    for module in source_of(path).imports():
        other = _room(module)
        if other is None or other == own or other == "__version__":
            continue
        assert HEIGHT[other] < HEIGHT[own], f"{module_name(path)} imports {module}: the arrow points up or sideways"


def test_no_module_imports_in_a_circle() -> None:
    assert circles(_sources(), for_types=False) == set()


def test_no_module_needs_the_types_of_one_that_needs_its_own() -> None:
    found = circles(_sources(), for_types=True)

    assert [sorted(circle) for circle in found] == [], "move what both need below them, or hand one a protocol"


@pytest.mark.parametrize("path", sorted((ROOT / "rules").glob("*.py")), ids=module_name)
def test_rules_are_pure(path: Path) -> None:
    assert impurities(source_of(path)) == set()


@pytest.mark.parametrize("path", _files(), ids=module_name)
def test_below_app_nobody_reads_the_clock_or_the_settings(path: Path) -> None:
    own = _room(module_name(path))
    if own is None or HEIGHT[own] >= HEIGHT["app"]:
        return

    source = source_of(path)

    if own not in ("config", "build"):
        assert settings_seen(source) == set(), "only app and build see the settings"
    assert clocks(source) == set(), "the clock is an argument"


@pytest.mark.parametrize("path", _files(), ids=module_name)
def test_no_file_grows_beyond_500_lines(path: Path) -> None:
    assert len(source_of(path).text.splitlines()) < 500


def test_a_class_name_has_one_meaning() -> None:
    assert shared_class_names(_sources().values()) == {}, "give one of them another name"


def test_no_test_is_left_out_of_the_order_in_which_they_run() -> None:
    root = ROOT.parent
    settings = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    listed = [root / path for path in settings["testpaths"]]

    left_out = [
        path for path in (root / "tests").rglob("test_*.py") if not any(p in (path, *path.parents) for p in listed)
    ]

    assert left_out == []


# The tests above are only as good as what they look with.


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("import shield.config", True),
        ("import shield.config.settings as s", True),
        ("import shield\nshield.config.settings.Settings", True),
        ("from shield import config", True),
        ("from shield.config import settings", True),
        ("from shield.config.settings import Settings", True),
        ("from ..config.settings import Settings", True),
        ("from .. import config", True),
        ("def late():\n    from shield.config.settings import Settings", True),
        ("if TYPE_CHECKING:\n    from shield.config.settings import Settings", True),
        ("from shield.rules.config import x", False),
        ("import configparser", False),
    ],
)
def test_settings_are_seen_by_whatever_way_they_are_imported(text: str, seen: bool) -> None:
    assert bool(settings_seen(Source("shield.edge.guard", text))) == seen


@pytest.mark.parametrize(
    "text",
    [
        "from time import time",
        "import time as t\nt.monotonic()",
        "from datetime import datetime\nnow = datetime.now",
        "from datetime import datetime as dt\ndt.utcnow()",
        "import datetime\ndatetime.datetime.now(datetime.UTC)",
        "import datetime as d\nd.date.today()",
        "from datetime import date\ndate.today()",
        "import random\nrandom.random()",
        "from random import choice",
        "import os\nos.environ['HOME']",
        "from os import environ",
        "import urllib.request",
        "from urllib import request",
        "from http import client",
        "from http.client import HTTPConnection",
        "import http",
        "import asyncio",
        "open('x')",
        "print('x')",
        "__import__('time').time()",
        "import logging",
    ],
)
def test_what_is_not_pure_is_seen(text: str) -> None:
    assert impurities(Source("shield.rules.made", text))


@pytest.mark.parametrize(
    "text",
    [
        "from datetime import UTC, datetime\ndatetime.fromtimestamp(now, UTC)",
        "from http import HTTPStatus",
        "from urllib.parse import urlsplit",
        "import re, hashlib\nfrom collections.abc import Sequence",
        "from shield.rules.dates import parse",
        "freshness.now",
        "for secrets in rules.secrets:\n    time = secrets.time",
        "if TYPE_CHECKING:\n    from asyncio import Task",
    ],
)
def test_what_is_pure_passes(text: str) -> None:
    assert impurities(Source("shield.rules.made", text)) == set()


def test_an_else_of_what_is_for_types_alone_runs() -> None:
    text = "if TYPE_CHECKING:\n    import a\nelse:\n    import b"

    assert Source("shield.x", text).imports() == {"b"}
    assert Source("shield.x", text).imports(for_types=True) == {"a", "b"}


def test_a_circle_is_seen_across_modules_and_types() -> None:
    made = [
        Source("s.a", "from s.b import x"),
        Source("s.b", "from s import c"),
        Source("s.c", "if TYPE_CHECKING:\n    from s.a import y"),
        Source("s.d", "import s.a"),
    ]
    sources = {source.name: source for source in made}

    assert circles(sources, for_types=False) == set()
    assert circles(sources, for_types=True) == {frozenset({"s.a", "s.b", "s.c"})}


def test_a_clock_is_seen_outside_rules_too() -> None:
    assert clocks(Source("shield.edge.made", "from datetime import datetime\ndatetime.now()")) == {
        "datetime.datetime.now"
    }
    assert clocks(Source("shield.edge.made", "loop.time()\nself.time()")) == set()


def test_a_class_name_is_seen_wherever_it_is_defined() -> None:
    made = [
        Source(
            "s.a", "class Place:\n    class Inner: ...\n_Reader = Callable[[], None]\nLIMIT = 1\nT = TypeVar('T')"
        ),
        Source("s.b", "def f():\n    class Place: ...\n"),
        Source("s.c", "class Reader: ...\nInner: TypeAlias = int\nLIMIT = 2\nT = TypeVar('T')"),
    ]

    assert shared_class_names(made) == {"Place": ["s.a", "s.b"], "Inner": ["s.a", "s.c"], "Reader": ["s.a", "s.c"]}
