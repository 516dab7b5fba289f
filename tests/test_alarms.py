"""Alarms of a whole node: what its parts say becomes a message, once, whichever worker conducts."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from shield.cli import _app
from shield.figures import Configuration
from shield.rules.health import Flag, HealthRecord, HealthState
from tests.admin.test_origins import order
from tests.client import PATIENCE
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.receiver import Receiver
from tests.node import FakeClock, Shield, settings_of
from tests.process import Process, settings_file, until

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as made:
        yield made


@pytest.fixture
def node(clock: FakeClock, origin: FaultyOrigin, replica: FaultyOrigin, receiver: Receiver) -> Iterator[Shield]:
    hooks = {"pager": {"url": receiver.url, "secret": SECRET}}
    settings = settings_of({"fra": origin, "iad": replica}, alarms={"webhooks": hooks, "error_requests": 10})
    with Shield(settings, clock=clock) as shield:
        shield.run(shield.node.origins.conductor.close())  # or it judges otherwise
        yield shield


def passes(node: Shield, seconds: float = 60.0) -> None:
    """A look now, and one after this time."""
    node.run(node.node.alarms.look())
    node.clock.advance(seconds)
    node.run(node.node.alarms.look())


def publishes(node: Shield, name: str, state: HealthState, flags: Flag = Flag.NONE) -> None:
    record = HealthRecord(state, since=1.0, until=1e12, bad_since=1.0, flags=flags)
    node.call(lambda: node.node.origins.get(name).seen.publish(record))


def alarms(node: Shield) -> list[tuple[str, str]]:
    """Those that last, as the admin API lists them."""
    status, said = order(node, "/alarms", method="GET")
    assert status == 200
    return [(each["kind"], each["subject"]) for each in said["active"]]


def metric(node: Shield, name: str) -> dict[str, float]:
    families = node.call(node.node.figures.families)
    return {s.labels["kind"]: s.value for f in families for s in f.samples if f.name == name and s.value}


def test_an_origin_that_is_out_is_told_once_and_so_is_its_return(node: Shield, receiver: Receiver) -> None:
    publishes(node, "fra", HealthState.OPEN)
    passes(node)
    node.call(node.node.alarms.tick)
    (began,) = receiver.wait_for(1)
    assert (began.said["data"]["kind"], began.said["data"]["subject"]) == ("origin-down", "fra")
    assert alarms(node) == [("origin-down", "fra")]
    assert metric(node, "alarms") == {"origin-down": 1}

    publishes(node, "fra", HealthState.UP)
    passes(node)

    assert alarms(node) == []
    assert [each["kind"] for each in order(node, "/alarms", method="GET")[1]["recent"]] == ["origin-down"]


@pytest.mark.parametrize(
    ("flag", "kind"),
    [(Flag.CORRUPT, "origin-corrupt"), (Flag.AUTH, "origin-auth"), (Flag.LAGGING, "origin-lagging")],
)
def test_flags_of_origins_are_alarms(node: Shield, flag: Flag, kind: str) -> None:
    publishes(node, "iad", HealthState.UP, flag)

    passes(node)

    assert alarms(node) == [(kind, "iad")]


def test_all_origins_together_are_one_alarm(node: Shield) -> None:
    for name in ("fra", "iad"):
        publishes(node, name, HealthState.OPEN)

    passes(node)

    assert alarms(node) == [("no-origin", "")]


def test_a_refused_reload_is_an_alarm_until_one_succeeds(node: Shield) -> None:
    node.node.vitals.configuration = Configuration(is_latest=False)
    passes(node)
    assert alarms(node) == [("reload", "")]

    node.node.vitals.configuration = Configuration(2)
    passes(node)
    assert alarms(node) == []


def test_a_certificate_is_told_of_before_it_ends(node: Shield, clock: FakeClock) -> None:
    node.node.vitals.certificate_expires = clock.now + 8 * 86400.0
    passes(node)
    assert alarms(node) == []

    passes(node, 2 * 86400.0)
    passes(node)
    assert alarms(node) == [("certificate", "")]


def test_errors_are_counted_from_responses(node: Shield, origin: FaultyOrigin, replica: FaultyOrigin) -> None:
    origin.serves("/a", b"x", lifetime=60)
    for each in (origin, replica):
        each.fails("/broken", "InternalError")
    node.get("/a")
    for _ in range(3):
        node.get("/a")
        node.get("/broken")

    signs = node.call(node.node.alarms.own_signs)

    assert (signs.responses, signs.failed) == (7, 3)


@pytest.mark.slow
def test_the_death_of_the_conductor_is_told_once_by_the_next(
    tmp_path: Path, origin: FaultyOrigin, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pager.secret").write_text(f"{SECRET}\n")
    hook = {"url": receiver.url, "secret_file": "pager.secret", "events": ["worker-died", "reload"]}
    file = settings_file(tmp_path, origin, workers=2, alarms={"webhooks": {"pager": hook}})
    with Process(file) as node:
        conductor = int(_first_pid(node))
        os.kill(conductor, signal.SIGKILL)

        (told,) = receiver.wait_for(1)
        assert told.said["data"]["kind"] == "worker-died"
        assert "webhook-signature" in told.fields

        file.write_text(json.dumps({**json.loads(file.read_text()), "cash": 1}))
        node.signal(signal.SIGHUP)
        told = receiver.wait_for(2)[1]
        assert told.said["data"]["kind"] == "reload"

        monkeypatch.setenv("SHIELD_ADMIN__LISTEN", f"127.0.0.1:{node.admin_port}")
        done = CliRunner().invoke(_app, ["alarms", "ls", "--config", str(file)])
        assert done.exit_code == 1, done.output
        assert "warning: worker-died, since " in done.output and "webhook pager: 2 sent, 0 failed" in done.output
        assert len(receiver.got) == 2


def _first_pid(node: Process) -> str:
    """That of worker 0: the supervisor's first child."""
    children: list[str] = []

    def found() -> bool:
        children[:] = Path(f"/proc/{node.process.pid}/task/{node.process.pid}/children").read_text().split()
        return len(children) == 2

    until(found, patience=PATIENCE)
    return children[0]


def _hooks(receiver: Receiver, **more: Any) -> dict[str, Any]:
    return {"webhooks": {"pager": {"url": receiver.url, "secret": SECRET}, **more}}


def test_a_webhook_can_be_tried_without_a_node(tmp_path: Path, origin: FaultyOrigin, receiver: Receiver) -> None:
    chat = {"url": receiver.url, "format": "slack", "events": "disk"}
    file = settings_file(tmp_path, origin, alarms=_hooks(receiver, chat=chat))

    done = CliRunner().invoke(_app, ["alarms", "test", "--config", str(file)])

    assert (done.exit_code, done.stdout) == (0, "pager: ok\nchat: ok\n")
    first, second = sorted(receiver.got, key=lambda each: len(each.fields), reverse=True)
    assert first.said["type"] == "alarm.test" and "shield alarms test" in second.said["text"]


def test_a_webhook_that_doesnt_take_a_test_is_named(tmp_path: Path, origin: FaultyOrigin, receiver: Receiver) -> None:
    receiver.answers.append((403, {}))
    file = settings_file(tmp_path, origin, alarms=_hooks(receiver))

    done = CliRunner().invoke(_app, ["alarms", "test", "--config", str(file)])
    missing = CliRunner().invoke(_app, ["alarms", "test", "--config", str(file), "--webhook", "chat"])

    assert (done.exit_code, done.stdout) == (1, "pager: it answers 403\n")
    assert missing.exit_code == 2 and "none is named chat" in missing.stderr
