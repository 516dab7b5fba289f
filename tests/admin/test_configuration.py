"""`/config` of the admin API, and what a reload would change."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shield.config.loading import load
from tests.admin.calls import ask
from tests.doubles.faulty_origin import FaultyOrigin
from tests.node import Shield, settings_of
from tests.process import settings_file


@pytest.fixture
def file(tmp_path: Path, origin: FaultyOrigin) -> Path:
    return settings_file(tmp_path, origin, log={"level": "warning"})


@pytest.fixture
def node(file: Path) -> Iterator[Shield]:
    loaded = load(file, environ={})
    with Shield(loaded.settings, loaded=loaded) as shield:
        yield shield


def change(file: Path, **more: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **more}))


def test_the_settings_in_force_are_shown_with_their_sources(node: Shield, file: Path) -> None:
    said = ask(node, "GET", "/config").json()

    found = {each["key"]: (each["value"], each["source"]) for each in said["settings"]}
    assert (said["generation"], said["file"], said["needs_restart"]) == (1, str(file), [])
    assert found["log.level"] == ("warning", f"{file}:1")
    assert found["workers"] == (1, "default")


def test_a_comparison_changes_nothing_and_tells_what_would_change(node: Shield, file: Path) -> None:
    none = ask(node, "POST", "/reload", json={"diff": True}).json()
    change(file, log={"level": "error"}, workers=2)

    said = ask(node, "POST", "/reload", json={"diff": True}).json()

    assert none == {"generation": 1, "changes": [], "notes": []}
    assert said["changes"] == [
        {"key": "workers", "before": 1, "after": 2, "source": f"{file}:1", "needs_restart": True},
        {"key": "log.level", "before": "warning", "after": "error", "source": f"{file}:1", "needs_restart": False},
    ]
    assert ask(node, "GET", "/config").json()["generation"] == 1


def test_a_comparison_tells_what_other_lifetimes_cost_or_why_that_isnt_known(node: Shield, file: Path) -> None:
    change(file, freshness={"default_lifetime": "1min"})

    said = ask(node, "POST", "/reload", json={"diff": True}).json()

    [note] = said["notes"]
    assert note.startswith("what other lifetimes cost can't be told: no ledger is kept")


def test_settings_that_would_be_refused_are_with_their_problems(node: Shield, file: Path) -> None:
    change(file, wrokers=2)

    answer = ask(node, "POST", "/reload", json={"diff": True})

    assert (answer.status_code, answer.json()["generation"]) == (409, 1)
    assert answer.json()["problems"] == [f'{file}:1: wrokers: unknown key; did you mean "workers"?']


@pytest.mark.parametrize("wish", [[], {"dif": True}, {"diff": "yes"}, {"diff": None}])
def test_what_is_no_wish_for_a_reload_is_refused(node: Shield, wish: Any) -> None:
    assert ask(node, "POST", "/reload", json=wish).status_code == 400


def test_a_node_without_an_edition_has_none_to_show(origin: FaultyOrigin) -> None:
    with Shield(settings_of({"fra": origin})) as shield:
        assert ask(shield, "GET", "/config").status_code == 404
        assert ask(shield, "POST", "/reload", json={"diff": True}).status_code == 409
