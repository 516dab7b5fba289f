"""`/origins` of the admin API: the state of each, and orders about one of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.admin.calls import ask
from tests.doubles.faulty_origin import FaultyOrigin
from tests.node import START, Shield

JSON = {"content-type": "application/json"}

EXPECTED = 'expected {} or {"until": EPOCH_SECONDS} or {"dry_run": true}'


def order(shield: Shield, path: str, *, method: str = "POST", wish: object = None, **more: Any) -> tuple[int, Any]:
    content = None if wish is None else json.dumps(wish)
    answer = ask(shield, method, path, **{"headers": JSON, "content": content, **more})
    return answer.status_code, answer.json() if "json" in answer.headers["content-type"] else answer.text


def test_all_origins_are_listed_as_they_are_treated(pair: Shield) -> None:
    status, said = order(pair, "/origins", method="GET")

    assert status == 200
    assert [each["name"] for each in said["origins"]] == ["fra", "iad"]
    assert said["origins"][0].keys() >= {"state", "flags", "reason", "since_seconds", "drained_until", "p95_seconds"}


def test_one_is_drained_until_then_and_restored(pair: Shield) -> None:
    status, said = order(pair, "/origins/fra/drain", wish={"until": START + 5})
    without_end = order(pair, "/origins/fra/drain")
    restored = order(pair, "/origins/fra/restore")

    assert status == 200
    assert said["origin"]["flags"] == ["drained"] and said["origin"]["drained_until"] == START + 5
    assert len(said["notes"]) == 1 and said["notes"][0].startswith("it isn't known after a stop of the node")
    assert without_end[1]["origin"]["drained_until"] is None
    assert restored[0] == 200
    assert not pair.node.origins.get("fra").seen.drain.until


@pytest.mark.parametrize(
    ("path", "more", "status", "problem"),
    [
        ("/origins/fr/drain", {}, 404, "no origin fr; there are fra, iad"),
        ("/origins/fr/restore", {}, 404, "no origin fr; there are fra, iad"),
        ("/origins/fra/drain", {"headers": {}, "content": "{}"}, 415, "expected application/json"),
        ("/origins/fra/restore", {"headers": {"content-type": "text/plain"}}, 415, "expected application/json"),
        ("/origins/fra/drain", {"content": "{"}, 400, "expected JSON"),
        (
            "/origins/fra/drain",
            {"content": "[]"},
            400,
            EXPECTED,
        ),
        (
            "/origins/fra/drain",
            {"content": '{"for": 5}'},
            400,
            EXPECTED,
        ),
        (
            "/origins/fra/drain",
            {"content": '{"until": "5"}'},
            400,
            EXPECTED,
        ),
        (
            "/origins/fra/drain",
            {"content": '{"until": true}'},
            400,
            EXPECTED,
        ),
        (
            "/origins/fra/drain",
            {"content": '{"until": NaN}'},
            400,
            EXPECTED,
        ),
        (
            "/origins/fra/drain",
            {"content": " " * 70000},
            413,
            "expected 65536 bytes at most; ask in several requests",
        ),
        ("/origins/fra/drain", {"content": '{"until": 5}'}, 409, "until: this time is over"),
    ],
)
def test_what_can_t_be_done_is_refused(
    pair: Shield, path: str, more: dict[str, Any], status: int, problem: str
) -> None:
    found, said = order(pair, path, **more)
    assert (found, said["problems"]) == (status, [problem])
    assert not pair.node.origins.get("fra").seen.drain.until


def test_one_is_probed_with_what_it_gave_lately(pair: Shield, origin: FaultyOrigin) -> None:
    unknown = order(pair, "/origins/fra/probe")
    origin.serves("/a", b"hello", lifetime=60)
    pair.get("/a")

    status, said = order(pair, "/origins/fra/probe")

    assert unknown[0] == 409
    assert unknown[1]["problems"] == ["no object is known to probe fra with: name one in probes.canaries"]
    assert status == 200
    assert [(each["path"], each["asked"], each["result"]) for each in said["probes"]] == [
        ("/a", 4096, "learned"),
        ("/a", 262144, "learned"),
    ]
    assert said["origin"]["name"] == "fra"
    assert origin.fetches("/a") == 3
    assert order(pair, "/origins/fr/probe")[0] == 404


def test_orders_are_posted(pair: Shield) -> None:
    assert order(pair, "/origins/fra/drain", method="GET")[0] == 405
    assert order(pair, "/origins")[0] == 405
