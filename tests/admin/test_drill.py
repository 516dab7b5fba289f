"""Drills by the admin API."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shield.shared import Seat
from tests.admin.calls import ask
from tests.doubles.faulty_origin import FaultyOrigin
from tests.node import FakeClock, Shield, settings_of


def drilled(shield: Shield, method: str, path: str, **more: Any) -> tuple[int, Any]:
    answer = ask(shield, method, path, **more)
    return answer.status_code, answer.json()


def test_a_drill_is_begun_shown_and_stopped(pair: Shield) -> None:
    assert drilled(pair, "GET", "/drill") == (200, {"state": "none"})
    status, said = drilled(pair, "POST", "/drill", json={"origin": "iad", "mode": "slow", "seconds": 30})
    assert (status, said["state"], said["number"], said["mode"], said["seconds"]) == (200, "running", 1, "slow", 30.0)
    assert (said["ending"], said["proved"]) == (None, None)

    refused = drilled(pair, "POST", "/drill", json={"origin": "iad", "mode": "slow"})
    stopped = drilled(pair, "POST", "/drill/stop")

    assert (
        refused[0] == 409
        and "a drill runs already, drill 1 at origin iad: slow for 30 s" in refused[1]["problems"][0]
    )
    assert (stopped[0], stopped[1]["ending"], stopped[1]["proved"]) == (200, "it was stopped", False)
    status, said = drilled(pair, "POST", "/drill/stop")
    assert (status, said["problems"]) == (409, ["no drill runs"])


@pytest.mark.parametrize(
    ("more", "status", "said"),
    [
        ({"json": {"origin": "fra", "mode": "fast"}}, 400, "mode: expected one of blackhole, refuse, 5xx"),
        ({"json": [1]}, 400, "origin: expected the name of an origin"),
        (
            {"json": {"origin": "lhr", "mode": "slow"}},
            409,
            "origin lhr: the node has none of this name; it has fra, iad",
        ),
        ({"content": b"{", "headers": {"content-type": "application/json"}}, 400, "expected JSON"),
        ({"content": b"[" * 20_000, "headers": {"content-type": "application/json"}}, 400, "expected JSON"),
        ({"content": b"{}", "headers": {"content-type": "text/plain"}}, 415, "expected application/json"),
        ({"content": b" " * 70_000, "headers": {"content-type": "application/json"}}, 413, "expected 65536 bytes"),
    ],
)
def test_what_is_no_order_is_refused_with_a_reason(
    pair: Shield, more: dict[str, Any], status: int, said: str
) -> None:
    found, answer = drilled(pair, "POST", "/drill", **more)

    assert found == status and said in answer["problems"][0]
    assert drilled(pair, "GET", "/drill") == (200, {"state": "none"})


def test_a_history_needs_a_place(
    pair: Shield, tmp_path: Path, origin: FaultyOrigin, replica: FaultyOrigin, clock: FakeClock
) -> None:
    status, said = drilled(pair, "GET", "/drill/history")
    assert (status, said["problems"]) == (404, ["no reports are kept: state_directory names no place for them"])
    settings = settings_of({"fra": origin, "iad": replica})
    with Shield(settings, clock=clock, place=Seat(state=tmp_path)) as shield:
        assert drilled(shield, "GET", "/drill/history") == (200, {"drills": []})
        (tmp_path / "drills-test-1.jsonl").mkdir()
        status, said = drilled(shield, "GET", "/drill/history")
        (tmp_path / "drills-test-1.jsonl").rmdir()
    assert status == 500 and "can't be read: Is a directory" in said["problems"][0]
