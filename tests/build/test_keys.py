"""Credentials from a command, and new ones that are tried first, at a node and a real origin."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

import pytest

from shield.config.loading import Loaded, load
from shield.errors import ConfigError
from shield.origin.signer import Credentials
from shield.rules.key_trial import SHARE
from tests.doubles.faulty_origin import FaultyOrigin
from tests.node import FakeClock, Shield

REGION = "eu-central-1"


def keys(version: str, **more: Any) -> str:
    return json.dumps({"Version": 1, "AccessKeyId": f"AK{version}", "SecretAccessKey": f"secret{version}", **more})


def written(directory: Path, text: str) -> Path:
    """A program that prints a file, which is replaced at once."""
    (directory / ".keys").write_text(text)
    (directory / ".keys").rename(directory / "keys")
    return directory / "keys"


def loaded(directory: Path, origin: FaultyOrigin, **more: Any) -> Loaded:
    program = f"print(open({str(directory / 'keys')!r}).read())"
    settings = {
        "node": "test-1",
        "origins": {
            "fra": {
                "provider": "ceph",
                "endpoint": origin.url,
                "region": REGION,
                "bucket": "images",
                "credentials": {"command": [sys.executable, "-S", "-c", program], "refresh": "5s"},
                **more,
            }
        },
    }
    (directory / "shield.yaml").write_text(json.dumps(settings))
    return load(directory / "shield.yaml", environ={}, secret_directories=())


@pytest.fixture(autouse=True)
def served(origin: FaultyOrigin, tmp_path: Path) -> None:
    for number in range(9):
        origin.serves(f"/images/{number}", b"x", lifetime=60)
    origin.trusts("AK1", "secret1", region=REGION)
    written(tmp_path, keys("1"))


def node(made: Loaded, clock: FakeClock) -> Shield:
    return Shield(made.settings, clock=clock, loaded=made)


def state_of(shield: Shield) -> Any:
    return shield.state()["origins"]["fra"]["credentials"]


def test_a_node_signs_with_what_a_command_prints(tmp_path: Path, origin: FaultyOrigin, clock: FakeClock) -> None:
    written(tmp_path, keys("1", Expiration="2130-01-01T00:00:00Z"))
    with node(loaded(tmp_path, origin), clock) as shield:
        assert shield.get("/0").status == 200
        assert state_of(shield)["stage"] == "in use" and state_of(shield)["expires"] > 5e9


def test_without_credentials_a_node_starts_and_says_why(
    tmp_path: Path, origin: FaultyOrigin, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    written(tmp_path, "no keys today")
    with caplog.at_level(logging.WARNING), node(loaded(tmp_path, origin), clock) as shield:
        answer = shield.get("/0")

        assert (answer.status, origin.fetches("/images/0")) == (503, 0)
        assert state_of(shield)["stage"] == "none"
        assert "can't be renewed" in shield.call(shield.node.alarms.own_signs).troubles[0].text
    assert "origins.fra.credentials:" in caplog.text and "printed no JSON" in caplog.text
    assert "there are no credentials yet" in caplog.text


def test_refused_credentials_are_obtained_again_at_once(
    tmp_path: Path, origin: FaultyOrigin, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shield.build.keys._LOOK_SECONDS", 0.0)
    with node(loaded(tmp_path, origin), clock) as shield:
        written(tmp_path, keys("2"))
        origin.trusts("AK2", "secret2", region=REGION)
        answers = [shield.get(f"/{number}").status for number in (1, 2)]

    assert answers == [200, 200]
    assert (origin.fetches("/images/1"), origin.fetches("/images/2")) == (2, 1)


def offered(shield: Shield, version: str) -> None:
    """New credentials, whose probe has ended."""
    rotation = shield.node.origins.get("fra").keys
    assert rotation is not None
    shield.call(lambda: rotation.offer(Credentials(f"AK{version}", f"secret{version}")))
    shield.wait_for(lambda: rotation._probing is None)


def turn_of_new(clock: FakeClock, *, new: bool) -> None:
    """To a second in which the new ones sign, or don't."""
    clock.advance(1.0)
    while (clock.now % SHARE == 0) is not new:
        clock.advance(1.0)


def test_new_ones_are_proven_by_a_signed_request_and_then_shared(
    tmp_path: Path, origin: FaultyOrigin, clock: FakeClock
) -> None:
    origin.also_trusts("AK2", "secret2", region=REGION)
    with node(loaded(tmp_path, origin), clock) as shield:
        shield.get("/0")
        before = origin.fetches("/images/0")
        offered(shield, "2")
        assert origin.fetches("/images/0") == before + 1  # the object it gave lately
        assert state_of(shield)["stage"] == "shared"
        for number, new in enumerate((True, False, True), start=1):
            turn_of_new(clock, new=new)
            shield.get(f"/{number}")
        signed = [each.get("authorization") or "" for each in origin.requests[-3:]]

    assert ["AK2/" in each for each in signed] == [True, False, True]


def test_unknown_new_ones_sign_nothing(tmp_path: Path, origin: FaultyOrigin, clock: FakeClock) -> None:
    with node(loaded(tmp_path, origin), clock) as shield:
        shield.get("/0")
        offered(shield, "2")
        turn_of_new(clock, new=True)

        assert (state_of(shield)["stage"], state_of(shield)["probes_failed"]) == ("probing", 1)
        assert (shield.get("/1").status, origin.fetches("/images/1")) == (200, 1)


def test_new_ones_that_may_read_less_are_rolled_back_and_no_client_notices(
    tmp_path: Path, origin: FaultyOrigin, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    origin.also_trusts("AK2", "secret2", region=REGION, but=frozenset({"/images/1"}))
    with caplog.at_level(logging.ERROR), node(loaded(tmp_path, origin), clock) as shield:
        shield.get("/0")
        offered(shield, "2")
        turn_of_new(clock, new=True)

        assert (shield.get("/1").status, origin.fetches("/images/1")) == (200, 2)
        assert state_of(shield)["rolled_back"] == 1
        turn_of_new(clock, new=True)
        assert (shield.get("/2").status, origin.fetches("/images/2")) == (200, 1)
    assert "it denies them an object that the old ones may read" in caplog.text


def test_an_object_denied_to_both_is_no_reason_to_go_back(
    tmp_path: Path, origin: FaultyOrigin, clock: FakeClock
) -> None:
    denied = frozenset({"/images/1"})
    origin.trusts("AKNONE", "none", region=REGION)
    origin.also_trusts("AK1", "secret1", region=REGION, but=denied)
    origin.also_trusts("AK2", "secret2", region=REGION, but=denied)
    with node(loaded(tmp_path, origin), clock) as shield:
        shield.get("/0")
        offered(shield, "2")
        turn_of_new(clock, new=True)

        assert shield.get("/1").status == 503
        assert (state_of(shield)["stage"], state_of(shield)["rolled_back"]) == ("shared", 0)


# settings


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"access_key_id": "AK"}, "origins.fra.credentials: access_key_id is given too"),
        ({"provider": "http", "bucket": None, "region": None}, "requests to provider http aren't signed"),
        ({"credentials": {"command": ["/nowhere/keys"]}}, "expected a program that can be run"),
        ({"credentials": {"command": ["/bin/true"], "chain": "aws"}}, "expected one of command and chain"),
        ({"credentials": {}}, "expected one of command and chain"),
        ({"credentials": {"command": ["/bin/true"], "profile": "a"}}, "expected chain: aws beside profile"),
        ({"credentials": {"chain": "gcp"}}, "credentials.chain"),
    ],
)
def test_settings_that_cant_be_used_say_so(
    tmp_path: Path, origin: FaultyOrigin, more: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, origin, **more)

    assert said in "\n".join(caught.value.problems)
