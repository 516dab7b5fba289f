"""Drills at a node with two origins, over the wire: faults look like the origin's own, and clients notice nothing."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from shield.drill.drills import Drills
from shield.rules.drill import PROOF_SECONDS, RECOVERY_SECONDS, DrillEnding, DrillMode, DrillOrder, DrillRun
from shield.rules.health import HealthRecord, HealthState
from shield.shared import Seat
from tests.client import Answer
from tests.doubles.faults import chunked, preceded_by
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.steps import Wait
from tests.node import FakeClock, Shield, settings_of

BODY = bytes(range(256)) * 40
PATHS = [f"/{number}.webp" for number in range(12)]


class Ground:
    """A node with two origins that have the same objects, whose drills look only when they are told to."""

    def __init__(self, shield: Shield, origin: FaultyOrigin, replica: FaultyOrigin) -> None:
        self.shield = shield
        self.origin = origin
        self.replica = replica
        shield.run(shield.node.drills.close())
        shield.run(shield.node.origins.conductor.close())

    @property
    def drills(self) -> Drills:
        return self.shield.node.drills

    def begin(self, mode: DrillMode, *, scope: float = 1.0, origin: str = "fra", **more: Any) -> DrillRun | list[str]:
        return self.shield.call(lambda: self.drills.begin(DrillOrder(origin, mode, scope=scope, **more)))

    def begun(self, mode: DrillMode, **more: Any) -> DrillRun:
        run = self.begin(mode, **more)
        assert isinstance(run, DrillRun), run
        return run

    def look(self, seconds: float = 0.0) -> dict[str, Any]:
        """What the node does when so much time has passed; its drill after that."""

        async def look() -> dict[str, Any]:
            now = asyncio.get_running_loop().time()
            self.shield.node.origins.conductor.look(now)
            self.drills.look(now + seconds)
            await asyncio.gather(*self.drills._tasks)
            return self.drills.shown()

        return self.shield.run(look())

    def get(self, *paths: str) -> list[Answer]:
        with ThreadPoolExecutor(len(paths)) as pool:
            return list(pool.map(self.shield.get, paths))

    def faults(self) -> dict[str, int]:
        state: Any = self.shield.state()["origins"]
        return dict(state["fra"]["faults"])


def asked(origin: FaultyOrigin) -> int:
    """Requests to it for any of these paths."""
    return sum(origin.fetches(path) for path in PATHS)


def _serve(*origins: FaultyOrigin) -> None:
    stated = {"x-amz-checksum-sha256": base64.b64encode(hashlib.sha256(BODY).digest()).decode()}
    for origin in origins:
        for path in PATHS:
            origin.serves(path, BODY, lifetime=60, fields=stated)


@pytest.fixture
def ground(pair: Shield, origin: FaultyOrigin, replica: FaultyOrigin) -> Ground:
    _serve(origin, replica)
    return Ground(pair, origin, replica)


@pytest.fixture
def signed(clock: FakeClock) -> Iterator[Ground]:
    """The same with S3 origins, which state checksums."""
    with FaultyOrigin(clock=clock, bucket="images") as fra, FaultyOrigin(clock=clock, bucket="images") as iad:
        _serve(fra, iad)
        origins = {
            name: {
                "provider": "minio",
                "endpoint": origin.url,
                "bucket": "images",
                "region": "eu-1",
                "access_key_id": "AK",
                "secret_key": "secret",
            }
            for name, origin in (("fra", fra), ("iad", iad))
        }
        with Shield(settings_of({}, origins=origins), clock=clock) as shield:
            yield Ground(shield, fra, iad)


@pytest.mark.parametrize(
    ("mode", "fault"),
    [
        (DrillMode.REFUSE, "connect"),
        (DrillMode.SERVER, "server"),
        (DrillMode.THROTTLE, "throttled"),
    ],
)
def test_an_injected_fault_is_the_origins_own_to_all_but_the_log(
    ground: Ground, caplog: pytest.LogCaptureFixture, mode: DrillMode, fault: str
) -> None:
    ground.begun(mode)

    answers = ground.get(*PATHS[:6])
    said = ground.look()

    assert [(answer.status, answer.body) for answer in answers] == [(200, BODY)] * 6
    assert asked(ground.origin) == 0 and asked(ground.replica) == 6
    assert ground.faults() == {fault: said["faults"]}
    assert said["faults"] >= (1 if mode is DrillMode.THROTTLE else 3)  # one that throttles gets fewer requests
    assert ground.shield.state()["origins"]["fra"]["drill"] == mode.value
    assert ground.shield.state()["drill"] == f"drill 1 at origin fra: {mode.value} for 60 s, 100 % of keys"
    lines = [record.getMessage() for record in caplog.records if f"origin fra: {fault}" in record.getMessage()]
    assert "(drill)" in lines[0]
    if mode is not DrillMode.THROTTLE:  # after that the node itself holds requests back
        assert all("(drill)" in line for line in lines)
    assert said["state"] == "running" and said["failed"] == 0 and said["requests"] == 6
    assert (said["extra_fetches"], said["extra_bytes"]) == (6, 6 * len(BODY))


def test_expired_keys_are_refused_credentials(signed: Ground) -> None:
    signed.begun(DrillMode.EXPIRED_KEY)

    answers = signed.get(*PATHS[:3])

    assert [answer.body for answer in answers] == [BODY] * 3
    assert signed.faults() == {"auth": 3} and asked(signed.origin) == 0
    keys = signed.shield.node.origins.get("fra").keys
    assert keys is not None and keys._refused_at is None  # the real ones aren't doubted


def test_an_origin_that_gives_no_answer_is_suspect_and_its_requests_go_on_elsewhere(ground: Ground) -> None:
    ground.begun(DrillMode.BLACKHOLE)

    answers = ground.get(*PATHS[:4])

    assert [answer.body for answer in answers] == [BODY] * 4
    assert asked(ground.origin) == 0
    assert ground.shield.state()["origins"]["fra"]["overtaken"] == 4


def test_requests_that_wait_for_nothing_are_sent_when_the_drill_is_over(
    ground: Ground, replica: FaultyOrigin
) -> None:
    gate = replica.gate()
    replica.spoils(PATHS[0], preceded_by(Wait(gate)))
    ground.begun(DrillMode.BLACKHOLE)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(ground.shield.get, PATHS[0])
        gate.reached()  # at the other origin, beside the one that gives no answer
        assert ground.shield.call(ground.drills.stop)
        answer = waiting.result()
    gate.open()

    assert (answer.status, answer.body) == (200, BODY)
    assert ground.origin.fetches(PATHS[0]) == 1


def test_slow_responses_are_the_origins_own_but_late(ground: Ground) -> None:
    ground.replica.fails("*", "InternalError")
    ground.begun(DrillMode.SLOW)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(ground.shield.get, PATHS[0])
        ground.shield.wait_for(lambda: ground.origin.fetches(PATHS[0]))
        ground.origin.wait_for(lambda: ground.origin.requests_active == 0)
        assert not waiting.done()
        ground.shield.call(ground.drills.stop)
        answer = waiting.result()

    assert (answer.status, answer.body) == (200, BODY)


# wrong bytes


def test_wrong_bytes_never_end_cleanly_and_are_never_stored(signed: Ground) -> None:
    signed.begun(DrillMode.CORRUPT)

    (answer,) = signed.get(PATHS[0])

    assert asked(signed.origin) >= 1
    assert not answer.clean or answer.body == BODY
    assert BODY.startswith(answer.body)
    assert signed.look()["faults"] >= 1
    signed.shield.call(signed.drills.stop)
    after = signed.shield.get(PATHS[0])
    assert (after.status, after.clean, after.body) == (200, True, BODY)
    assert not after.hit or answer.body == BODY


def test_a_response_whose_bytes_nothing_would_check_is_left_alone(signed: Ground) -> None:
    for origin in (signed.origin, signed.replica):
        origin.serves("/plain", BODY, lifetime=60)
    signed.begun(DrillMode.CORRUPT)

    (answer,) = signed.get("/plain")

    assert (answer.status, answer.clean, answer.body) == (200, True, BODY)
    said = signed.look()
    assert (said["spared"], said["faults"]) == (1, 0)


def test_a_wrong_body_without_a_length_never_ends_cleanly_either(signed: Ground) -> None:
    for origin in (signed.origin, signed.replica):
        origin.spoils(PATHS[0], chunked(1000))
    signed.replica.absent(PATHS[0])
    signed.begun(DrillMode.CORRUPT)

    (answer,) = signed.get(PATHS[0])

    assert signed.look()["faults"] >= 1
    assert not answer.clean and answer.status in (200, 503)


def test_a_part_of_an_object_is_never_wrong(signed: Ground) -> None:
    signed.begun(DrillMode.CORRUPT)

    parts = [signed.shield.get(path, [("range", "bytes=0-9")]) for path in PATHS]
    last = [signed.shield.get(path, [("range", f"bytes={len(BODY) - 2}-")]) for path in PATHS]

    assert {part.body for part in parts if part.clean and part.status == 206} == {BODY[:10]}
    assert {part.body for part in last if part.clean and part.status == 206} <= {BODY[-2:]}


def test_no_wrong_bytes_where_nothing_states_a_digest(ground: Ground) -> None:
    assert ground.begin(DrillMode.CORRUPT, is_forced=True) == [
        "route default: its origin fra states no digests, so nothing would notice wrong bytes: choose another mode"
    ]
    assert ground.shield.state()["drill"] is None


# beginning and end


def test_keys_out_of_its_scope_dont_notice_it(ground: Ground) -> None:
    ground.begun(DrillMode.REFUSE, scope=1e-6)

    answers = ground.get(*PATHS)

    assert [answer.body for answer in answers] == [BODY] * len(PATHS)
    assert asked(ground.origin) == len(PATHS) and asked(ground.replica) == 0
    said = ground.look(61.0)
    assert said["state"] == "over" and said["faults"] == 0 and said["proved"] is False


def test_it_ends_at_its_time_and_its_report_is_kept_by_the_log(
    ground: Ground, caplog: pytest.LogCaptureFixture
) -> None:
    ground.begun(DrillMode.SERVER, seconds=30.0)
    ground.get(PATHS[0])
    assert ground.look(15.0)["state"] == "running"

    said = ground.look(30.1)

    assert (said["state"], said["ending"], said["proved"]) == ("over", DrillEnding.TIME.value, True)
    assert ground.shield.state()["drill"] is None and ground.shield.state()["origins"]["fra"]["drill"] is None
    assert "failover is proven" in caplog.text
    assert ground.shield.get(PATHS[1]).body == BODY
    assert ground.origin.fetches(PATHS[1]) == 1
    assert ground.begun(DrillMode.SERVER).number == 2


def test_it_ends_by_itself_as_soon_as_clients_notice_it(ground: Ground) -> None:
    for path in PATHS:
        ground.replica.absent(path)
    ground.begun(DrillMode.SERVER)

    answers = ground.get(*PATHS[:2])
    said = ground.look()

    assert [answer.status for answer in answers] == [503, 503]
    assert (said["ending"], said["failed"]) == (DrillEnding.FAILURES.value, 2)
    assert ground.shield.get(PATHS[2]).body == BODY
    assert said["state"] in ("over", "recovering")


def test_hits_are_among_the_requests_of_which_a_share_may_fail(ground: Ground) -> None:
    ground.begun(DrillMode.SERVER)
    with ground.shield.client() as client:
        for _ in range(20):
            client.ask(PATHS[0])
    before = ground.look()["requests"]

    assert before == 20

    ground.shield.get(PATHS[0])
    assert ground.look(61.0)["requests"] == 21


def test_it_ends_when_the_other_origin_is_not_healthy_any_more(ground: Ground) -> None:
    ground.begun(DrillMode.SERVER)
    seen = ground.shield.node.origins.get("iad").seen

    def fail() -> None:
        now = asyncio.get_running_loop().time()
        seen.publish(HealthRecord(HealthState.SUSPECT, since=now, until=now + 60.0, bad_since=now))

    ground.shield.call(fail)
    said = ground.look()

    assert said["ending"] == DrillEnding.ALONE.value


def test_the_only_healthy_origin_is_drilled_by_force_alone(shield: Shield, origin: FaultyOrigin) -> None:
    origin.serves("/a", BODY)
    ground = Ground(shield, origin, origin)

    assert ground.begin(DrillMode.REFUSE) == [
        "route default: fra is its only healthy origin (it has no other one); --force ignores that"
    ]
    ground.begun(DrillMode.REFUSE, is_forced=True)
    assert shield.get("/a").status == 503
    assert "a drill runs already" in str(ground.begin(DrillMode.REFUSE))
    assert shield.call(ground.drills.stop) and not shield.call(ground.drills.stop)
    assert shield.get("/a").body == BODY


def test_an_origin_that_stays_bad_is_reported_all_the_same(ground: Ground) -> None:
    ground.begun(DrillMode.REFUSE)
    ground.get(*PATHS[:4])
    ground.look()
    ground.shield.call(ground.drills.stop)
    assert ground.look(0.5)["state"] == "recovering"

    said = ground.look(RECOVERY_SECONDS + 1.0)

    assert (said["state"], said["recovered_seconds"]) == ("over", None)
    assert said["detected_seconds"] is not None


# its file, and nights


def node(tmp_path: Path, origin: FaultyOrigin, replica: FaultyOrigin, clock: FakeClock, **changes: Any) -> Shield:
    settings = settings_of({"fra": origin, "iad": replica}, **changes)
    return Shield(settings, clock=clock, place=Seat(state=tmp_path / "state" / "shield"))


def test_reports_outlive_the_node(
    tmp_path: Path, origin: FaultyOrigin, replica: FaultyOrigin, clock: FakeClock
) -> None:
    _serve(origin, replica)
    for number in (1, 2):
        with node(tmp_path, origin, replica, clock) as shield:
            ground = Ground(shield, origin, replica)
            ground.begun(DrillMode.SERVER)
            ground.get(PATHS[number])
            ground.look(61.0)
            kept = shield.run(ground.drills.reports())

        assert kept is not None and len(kept) == number
        assert {(each["origin"], each["mode"], each["proved"]) for each in kept} == {("fra", "5xx", True)}
    file = tmp_path / "state/shield/drills-test-1.jsonl"
    assert [json.loads(line)["number"] for line in file.read_text().splitlines()] == [1, 1]


def test_each_night_another_origin_has_its_turn(
    tmp_path: Path, origin: FaultyOrigin, replica: FaultyOrigin, clock: FakeClock
) -> None:
    _serve(origin, replica)
    clock.now += 86400.0 - clock.now % 86400.0
    with node(tmp_path, origin, replica, clock, drills={"at": "03:30", "scope": "100%", "mode": "refuse"}) as shield:
        ground = Ground(shield, origin, replica)
        drilled = []
        assert ground.look()["state"] == "none"
        for _ in range(3):
            clock.advance(3.5 * 3600.0)
            ground.look()
            said = ground.look()
            drilled.append(said["origin"])
            assert said["is_nightly"] and said["state"] == "running"
            assert ground.look(61.0)["state"] == "over"
            clock.advance(60.0)
            assert ground.look(62.0)["state"] == "over"  # once a night
            clock.advance(86400.0 - 3.5 * 3600.0 - 60.0)

    assert drilled == ["fra", "iad", "fra"]


def test_an_origin_whose_failover_isnt_proven_is_an_alarm(
    tmp_path: Path,
    origin: FaultyOrigin,
    replica: FaultyOrigin,
    clock: FakeClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    _serve(origin, replica)
    with node(tmp_path, origin, replica, clock, drills={"at": "03:30"}) as shield:
        ground = Ground(shield, origin, replica)
        ground.look()
        ground.look()
        clock.advance(PROOF_SECONDS - 90_000.0)
        ground.begun(DrillMode.SERVER)
        ground.get(PATHS[0])
        ground.look(61.0)
        assert "hasn't been proven" not in caplog.text
        clock.advance(100_000.0)
        caplog.clear()
        ground.look(62.0)
        alarms = [each.getMessage() for each in caplog.records if each.levelno == logging.ERROR]
        families = {family.name: family for family in shield.call(shield.node.figures.families)}

    assert alarms == [
        "origin iad: its failover hasn't been proven for 90 days, longer than 90: shield drill --origin iad"
    ]
    ages = {sample.labels["origin"]: sample.value for sample in families["drill_unproven"].samples}
    assert ages == {"fra": 0.0, "iad": 1.0}


def test_faults_are_counted_and_what_runs_is_shown(ground: Ground) -> None:
    ground.begun(DrillMode.SERVER)
    ground.get(*PATHS[:3])

    def values(name: str) -> list[tuple[dict[str, str], float]]:
        families = {family.name: family for family in ground.shield.call(ground.shield.node.figures.families)}
        return [(dict(sample.labels), sample.value) for sample in families[name].samples]

    labels = {"origin": "fra", "mode": "5xx"}
    assert values("drill_running") == [(labels, 1.0)]
    before = values("drill_faults")
    assert before == [(labels, 3)]
    ground.shield.call(ground.drills.stop)
    assert values("drill_running") == [] and values("drill_faults") == before
