"""shield explain --live: the order in which a running node tries its origins, and why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.cli.explain import explain
from shield.cli.live import order_now, ranked_now, standing, stored
from shield.rules.health import RECOVERY_SECONDS
from shield.rules.latency import LEAST_SAMPLES
from tests.client import Client, request
from tests.doubles.faulty_origin import FaultyOrigin
from tests.process import Process, settings_file, until

PATHS = [b"/images/%d.webp" % number for number in range(200)]

values = st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.lists(st.integers(), max_size=2)
anything = st.recursive(
    values,
    lambda inner: st.dictionaries(
        st.sampled_from(
            [
                *("origins", "one", "health", "state", "since_seconds", "out_seconds", "reason", "flags"),
                *("p95_seconds", "ranked", "two", "position", "why", "cost_seconds", "expected_bytes"),
            ]
        ),
        inner,
        max_size=5,
    ),
)


def state_of(**healths: Any) -> dict[str, Any]:
    return {"origins": {name: {"health": health} for name, health in healths.items()}}


def health(state: str, *, since: float = 10.0, out: float = 0.0, **more: Any) -> dict[str, Any]:
    return {"state": state, "since_seconds": since, "out_seconds": out, "reason": "", "flags": [], **more}


ENTRY = {"tier": "memory", "worker": 1, "status": 200, "bytes": 5, "age": 10.0, "ttl": 50.0, "origin": "fra"}


@pytest.mark.parametrize(
    ("entry", "line"),
    [
        (ENTRY, "memory of worker 1: 200, 5B from fra, fresh for 50s, age 10s"),
        (
            {**ENTRY, "tier": "nvme", "worker": None, "ttl": -70.0, "origin": None, "tags": ["a", "b"]},
            "nvme: 200, 5B, stale for 1m, age 10s, tags a b",
        ),
    ],
)
def test_an_entry_is_told_in_words(entry: dict[str, Any], line: str) -> None:
    assert stored(entry) == line


@given(anything)
def test_an_entry_of_another_version_is_no_error(entry: Any) -> None:
    if isinstance(entry, dict):
        stored(entry)


def test_those_that_are_out_come_behind_and_the_longest_out_last() -> None:
    state = state_of(one=health("open", out=90.0), two=health("open", out=5.0), three=health("up"))

    assert order_now(["one", "two", "three"], b"/a", state) == ("three", "one", "two")
    assert order_now(["one", "two", "three"], b"/a", state_of(one=health("suspect"))) == ("two", "three", "one")
    assert order_now(["one", "two"], b"/a", {}) == ("one", "two")


def test_a_returned_origin_has_its_place_for_a_growing_share_of_keys() -> None:
    shares = []
    for since in (0.0, RECOVERY_SECONDS / 2, RECOVERY_SECONDS):
        state = state_of(one=health("recovering", since=since), two=health("up"))
        shares.append(sum(order_now(["one", "two"], path, state)[0] == "one" for path in PATHS) / len(PATHS))

    assert 0.0 < shares[0] < 0.25 < shares[1] < 0.85 and shares[2] == 1.0


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (health("up", p95_seconds=0.045), "up, 95 of 100 first bytes within 45 ms"),
        (health("open", since=72.0, reason="5 failures in a row"), "open for 1m, 5 failures in a row"),
        (health("up", flags=["throttled"]), "up, throttled"),
        (health("up, suspect"), "up"),
        (None, "the node doesn't know it: its settings are others"),
    ],
)
def test_the_standing_of_an_origin_in_words(value: Any, said: str) -> None:
    assert standing("one", state_of(one=value)) == said


def ranked_state(**whys: str) -> dict[str, Any]:
    costs = {"cost_seconds": 0.0512, "first_byte_seconds": 0.05, "transfer_seconds": 0.0, "money_seconds": 0.0012}
    places = {
        name: {"position": at, "why": why, **(costs if why == "by cost" else {}), "penalty_seconds": None}
        for at, (name, why) in enumerate(whys.items(), 1)
    }
    return {"ranked": {"default": {"expected_bytes": 12_345, "origins": places}}}


def test_the_reason_for_each_place_of_an_order_by_cost() -> None:
    state = ranked_state(two="by cost", three="not measured yet", one="out of service")

    assert ranked_now("default", ["one", "two", "three"], state) == {
        "two": "two: by cost (cost 51.2 ms, first byte 50.0 ms, price 1.2 ms for 12.1KiB)",
        "three": "three: not measured yet",
        "one": "one: out of service",
    }
    assert ranked_now("other", ["one", "two", "three"], state) == {}
    assert ranked_now("default", ["one", "four"], state) == {}, "its settings are others"


@given(anything)
def test_a_state_of_another_version_is_no_crash(state: Any) -> None:
    given_state = state if isinstance(state, dict) else {}

    assert sorted(order_now(["one", "two"], b"/a", given_state)) == ["one", "two"]
    assert standing("one", given_state)
    assert ranked_now("one", ["one", "two"], given_state).keys() <= {"one", "two"}


def test_without_a_node_that_answers_it_says_where_it_looked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "shield.yaml"
    given_settings = {"origins": {"one": {"provider": "http", "endpoint": "http://127.0.0.1:1"}}}
    for listen, said in (
        ("127.0.0.1:1", "no node answers on 127.0.0.1:1 (admin.listen)"),
        ("off", "admin.listen is off"),
    ):
        file.write_text(json.dumps({**given_settings, "admin": {"listen": listen}}))
        assert explain("/a", file, live=True) == 2
        assert said in capsys.readouterr().err


@pytest.mark.slow
def test_a_running_node_tells_which_origin_is_tried_first_now(
    tmp_path: Path, origin: FaultyOrigin, replica: FaultyOrigin, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {name: {"provider": "http", "endpoint": each.url} for name, each in (("one", origin), ("two", replica))}
    for number in range(10):
        replica.serves(f"/{number}", b"x", lifetime=60)
    origin.refuses()

    with Process(settings_file(tmp_path, origin, origins=names)) as process:
        file = settings_file(tmp_path, origin, origins=names, admin={"listen": f"127.0.0.1:{process.admin_port}"})
        with Client(process.port) as client:
            for number in range(10):
                client.send(request(f"/{number}"))
                assert client.read().status == 200

        def is_behind() -> bool:
            assert explain("/a", file, live=True) == 0
            return "origins    two, one\n" in capsys.readouterr().out

        until(is_behind)
        assert explain("/a", file) == 0
        assert "origins    one, two\n           one: as listed\n" in capsys.readouterr().out


@pytest.mark.slow
def test_a_running_node_gives_the_reason_for_each_place_of_an_order_by_cost(
    tmp_path: Path, origin: FaultyOrigin, replica: FaultyOrigin, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {name: {"provider": "http", "endpoint": each.url} for name, each in (("one", origin), ("two", replica))}
    routes = {"default": {"match": "/", "choose": "nearest"}}
    for number in range(LEAST_SAMPLES):
        origin.serves(f"/{number}", b"x", lifetime=60)

    with Process(settings_file(tmp_path, origin, origins=names, routes=routes)) as process:
        admin = {"listen": f"127.0.0.1:{process.admin_port}"}
        file = settings_file(tmp_path, origin, origins=names, routes=routes, admin=admin)
        with Client(process.port) as client:
            for number in range(LEAST_SAMPLES):
                client.send(request(f"/{number}"))
                assert client.read().status == 200

        def is_measured() -> bool:
            assert explain("/a", file, live=True) == 0
            return "one: by cost (cost " in capsys.readouterr().out

        until(is_measured)
        assert explain("/a", file, live=True) == 0
        said = capsys.readouterr().out
        assert "origins    one, two\n           one: by cost (cost " in said and "ms for 1B); up" in said
        assert "two: not measured yet; up\n" in said
