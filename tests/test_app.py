"""A node as its keeper sees it: state, metrics, and what closing it leaves."""

from __future__ import annotations

import asyncio
from dataclasses import astuple

import pytest

from shield.app import build
from shield.config.limits import LimitSettings
from shield.errors import ConfigError
from shield.observe.metrics import Metrics
from shield.rules.addresses import peer_of
from tests.doubles.faults import preceded_by
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.steps import Wait
from tests.node import FakeClock, Shield, settings_of
from tests.peers.pair import two


def test_state_tells_what_the_node_did(pair: Shield, origin: FaultyOrigin, replica: FaultyOrigin) -> None:
    origin.fails("/a", "InternalError", status=500)
    replica.serves("/a", b"12345", lifetime=60)
    for _ in range(3):
        pair.get("/a")

    state = pair.state()

    assert state["node"] == "test-1"
    assert state["requests"] == {"plain_hit": 2, "miss": 1}
    assert state["sent_bytes"] == 15
    assert state["memory"]["entries"] == 1
    assert state["fills"]["started"] == 1
    assert state["origins"]["fra"]["faults"] == {"server": 1}
    assert state["origins"]["iad"]["fetches"] == 1


def test_metrics_have_the_same_figures(pair: Shield, origin: FaultyOrigin, replica: FaultyOrigin) -> None:
    origin.fails("/a", "SlowDown")
    replica.serves("/a", b"12345", lifetime=60)
    for _ in range(3):
        pair.get("/a")

    text = pair.call(lambda: Metrics(lambda: pair.node.report().families).render()).decode()

    labels = 'method="GET",route="default",status="2xx"'
    assert f'shield_requests_total{{cache="hit",{labels}}} 2.0' in text
    assert f'shield_requests_total{{cache="miss",{labels}}} 1.0' in text
    assert 'shield_origin_faults_total{fault="throttled",origin="fra"} 1.0' in text
    assert 'shield_origin_fetches_total{origin="iad"} 1.0' in text
    assert 'shield_sent_bytes_total{cache="hit"} 10.0' in text
    assert 'shield_origin_responses_total{origin="iad",status="200"} 1.0' in text
    assert 'shield_origin_first_byte_seconds_count{origin="iad"} 1.0' in text


def test_every_limit_that_is_set_is_one(origin: FaultyOrigin, clock: FakeClock) -> None:
    names = [name for name in LimitSettings.model_fields if name != "amplification"]  # a section of its own
    said = {name: at + (2000 if name.endswith("_bytes") else 11) for at, name in enumerate(names)}
    said["max_rate"] += 1 << 16

    with Shield(settings_of({"fra": origin}, limits=said), clock=clock) as shield:
        limits = shield.node.front.limits

    assert limits.exempt is None
    assert sorted(value for value in astuple(limits) if value is not None) == sorted(said.values())


def test_one_address_has_a_quarter_of_all_connections_and_those_that_are_let_in_by_address_any_number(
    origin: FaultyOrigin, clock: FakeClock
) -> None:
    access = {"addresses": ["192.0.2.0/24"], "trusted_proxies": ["198.51.100.7"]}

    with Shield(settings_of({"fra": origin}, limits={"connections": 100}, access=access), clock=clock) as shield:
        limits = shield.node.front.limits

    assert limits.max_connections_per_address == 25
    assert limits.exempt is not None
    known = ["192.0.2.9", "::ffff:192.0.2.9", "198.51.100.7", "203.0.113.1", "", "unix"]
    assert [peer_of(peer) in limits.exempt for peer in known] == [True, True, True, False, False, False]


def test_workers_share_limits_out(origin: FaultyOrigin, clock: FakeClock) -> None:
    said = {"connections": 15, "connections_per_address": 3, "requests": 17}

    with two(origin, clock, limits=said) as workers:
        limits = workers.asker.node.front.limits

    assert (limits.max_connections, limits.max_connections_per_address, limits.max_requests) == (8, 2, 17)


def test_certificates_that_cannot_be_read_are_a_configuration_error(tmp_path: object) -> None:
    origins = {"fra": {"provider": "http", "endpoint": "https://127.0.0.1:1", "ca_file": f"{tmp_path}/none.pem"}}

    async def start() -> None:
        build(settings_of({}, origins=origins))

    with pytest.raises(ConfigError, match=r"none\.pem"):
        asyncio.run(start())


def test_closing_a_node_ends_what_is_under_way(origin: FaultyOrigin, clock: FakeClock) -> None:
    gate = origin.gate()
    origin.serves("/a", b"x")
    with Shield(settings_of({"fra": origin}), clock=clock) as shield:
        origin.spoils("/a", preceded_by(Wait(gate)))
        client = shield.client()
        client.send(b"GET /a HTTP/1.1\r\nhost: x\r\n\r\n")
        gate.reached()
        shield.run(shield.node.close())
        answer = client.read()
        client.close()

    gate.open()
    assert answer.status == 503
