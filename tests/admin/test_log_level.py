"""`/log-level` of the admin API."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from tests.admin.calls import call
from tests.node import START, Shield

OURS = logging.getLogger("shield")


@pytest.fixture(autouse=True)
def usual() -> Iterator[None]:
    before = OURS.level
    yield
    OURS.setLevel(before)


def test_a_level_is_shown_changed_and_ended(shield: Shield) -> None:
    app = shield.node.admin

    assert call(app, "GET", "/log-level").json() == {"level": "info", "until": None, "usual": "info"}
    told = {"level": "debug", "until": START + 60, "usual": "info"}
    assert call(app, "POST", "/log-level", json={"level": "debug", "for": 60}).json() == told
    assert OURS.level == logging.DEBUG
    assert call(app, "POST", "/log-level", json={"level": "error"}).json()["until"] == START + 600
    assert call(app, "POST", "/log-level", json={"level": None}).json()["level"] == "info"
    assert OURS.level == logging.INFO


@pytest.mark.parametrize(
    "wish",
    [[], {}, {"level": "loud"}, {"level": 1}, {"level": []}, {"level": "info", "for": 0}, {"level": "info", "x": 1},
     {"level": "info", "for": True}, {"level": None, "for": 1e9}],
)  # fmt: skip
def test_what_is_no_level_is_refused(shield: Shield, wish: Any) -> None:
    assert call(shield.node.admin, "POST", "/log-level", json=wish).status_code == 400
    assert OURS.level != logging.DEBUG
