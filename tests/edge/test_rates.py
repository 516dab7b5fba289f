"""Rate limits at all fronts, over the wire."""

from __future__ import annotations

import pytest

from shield.build.regime import regime_of
from shield.rules.rate_limit import CLOSED
from tests.doubles.faulty_origin import FaultyOrigin
from tests.edge.test_guard import HEADER, LINKS, Open, guarded, link, objects, secret
from tests.node import FakeClock, Shield, settings_of

__all__ = ["guarded", "objects"]  # fixtures

TIGHT = {"rate": "1/s", "burst": 3}


def test_a_burst_is_served_and_what_exceeds_it_is_refused(
    guarded: Open, clock: FakeClock, origin: FaultyOrigin
) -> None:
    with guarded(None, rate_limits={"per-client": TIGHT}) as (shield, ask):
        statuses = [ask("/a").status for _ in range(3)]
        refused = ask("/b")
        clock.advance(1)
        after = [ask("/a").status for _ in range(2)]

        assert statuses == [200, 200, 200]
        assert refused.status == 429 and refused.body == b"rate-limited\n"
        fields = dict(refused.fields)
        assert fields["retry-after"] == "1"
        assert fields["ratelimit-policy"] == '"per-client";q=3;w=3'
        assert fields["ratelimit"] == '"per-client";r=0;t=1'
        assert "rate-limited: per-client" in fields["cache-status"]
        assert after == [200, 429]
        assert shield.state()["rate_limits"] == {"refused": {"per-client": 2}, "counted": {}}
        assert origin.fetches("/b") == 0


def test_a_node_that_cant_tell_others_gives_its_part_or_nothing(guarded: Open) -> None:
    with guarded(None, rate_limits={"per-client": {"rate": "1/s", "burst": 6}}) as (shield, ask):
        part = shield.node.guard.limiter.part
        part[0] = 3
        divided = [ask("/a").status for _ in range(3)]
        part[0] = CLOSED
        closed = ask("/a")

        assert divided == [200, 200, 429]
        assert closed.status == 429 and dict(closed.fields)["retry-after"] == "1"


def test_a_request_that_is_denied_counts_for_no_limit(guarded: Open) -> None:
    with guarded(HEADER, rate_limits={"per-client": TIGHT}) as (_, ask):
        denied = [ask("/a").status for _ in range(5)]
        admitted = [ask("/a", secret()).status for _ in range(4)]

    assert denied == [403] * 5
    assert admitted == [200, 200, 200, 429]


def test_behind_a_trusted_proxy_each_client_has_its_budget(guarded: Open) -> None:
    access = {"allow": "all", "trusted_proxies": ["127.0.0.1"], "trusted_field": "x-forwarded-for"}
    with guarded(access, rate_limits={"per-client": TIGHT}) as (shield, ask):
        first = [ask("/a", ("X-Forwarded-For", "203.0.113.1, 192.0.2.1")).status for _ in range(4)]
        second = ask("/a", ("X-Forwarded-For", "192.0.2.2"))

        assert first == [200, 200, 200, 429]
        assert second.hit
        assert shield.state()["requests"]["plain_hit"] == 3  # the field makes a hit no less plain


def test_a_limit_by_key_takes_only_keys_of_valid_links(guarded: Open) -> None:
    limits = {"per-key": {"by": "signed-url-key", **TIGHT}}
    with guarded({**LINKS, **HEADER, "require": ["signed_urls or header"]}, rate_limits=limits) as (_, ask):
        forged = link("/a", key="f" * 32)
        with_secret = [ask(forged, secret()).status for _ in range(3)]  # they count for the address
        signed = [ask(link("/a")).status for _ in range(4)]

    assert with_secret == [200, 200, 200]
    assert signed == [200, 200, 200, 429]


def test_a_limit_by_header_and_route(guarded: Open) -> None:
    limits = {"per-key": {"by": "header", "header": "X-Api-Key", "routes": ["open"], **TIGHT}}
    routes = {"default": {}, "open": {"match": "/open"}}
    with guarded(None, rate_limits=limits, routes=routes) as (_, ask):
        first = [ask("/open/health", ("X-Api-Key", "one")).status for _ in range(4)]
        second = ask("/open/health", ("X-Api-Key", "two")).status
        elsewhere = ask("/a", ("X-Api-Key", "one")).status

    assert first == [200, 200, 200, 429]
    assert (second, elsewhere) == (200, 200)


def test_a_refused_request_takes_nothing_from_other_limits(guarded: Open, clock: FakeClock) -> None:
    limits = {"slow": {"rate": "3/h", "burst": 4}, "fast": {"rate": "1/s", "burst": 2}}
    with guarded(None, rate_limits=limits) as (_, ask):
        statuses = [ask("/a").status for _ in range(5)]
        clock.advance(2)
        later = [ask("/a") for _ in range(3)]

    assert statuses == [200, 200, 429, 429, 429]
    assert [answer.status for answer in later] == [200, 200, 429]
    assert dict(later[2].fields)["ratelimit"].startswith('"slow"')


def test_a_limit_that_only_counts_refuses_nothing(
    guarded: Open, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    with guarded(None, rate_limits={"trial": {**TIGHT, "action": "count"}}) as (shield, ask):
        statuses = [ask("/a").status for _ in range(5)]

        assert statuses == [200] * 5
        assert shield.state()["rate_limits"] == {"refused": {}, "counted": {"trial": 2}}
    assert [record.getMessage() for record in caplog.records].count(
        "rate limit trial is exceeded; it only counts"
    ) == 1


def test_questions_after_the_nodes_health_are_never_refused(guarded: Open) -> None:
    with guarded(None, rate_limits={"per-client": TIGHT}, health={"path": "/-/health"}) as (_, ask):
        assert [ask("/-/health").status for _ in range(5)] == [200] * 5


def test_exempt_clients_have_no_limit_and_their_connections_ask_for_none(
    origin: FaultyOrigin, clock: FakeClock
) -> None:
    exempt = {"per-client": {**TIGHT, "exempt": ["127.0.0.0/8"]}}
    with Shield(settings_of({"fra": origin}, rate_limits=exempt), clock=clock) as shield, shield.client() as client:
        assert [client.ask("/a").status for _ in range(5)] == [200] * 5
        assert not any(shield.call(lambda: [each._is_checked for each in shield._state.connections]))


def test_a_connection_stays_open_and_pipelined_requests_have_their_turn(
    origin: FaultyOrigin, clock: FakeClock
) -> None:
    settings = settings_of({"fra": origin}, rate_limits={"per-client": TIGHT})
    with Shield(settings, clock=clock) as shield, shield.client() as client:
        client.send(b"GET /a HTTP/1.1\r\nhost: x\r\n\r\n" * 5)
        statuses = [client.read().status for _ in range(5)]
        clock.advance(1)
        client.send(b"GET /a HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n" * 2)
        chunked = [client.read().status for _ in range(2)]
        clock.advance(1)
        client.send(b"HEAD /a HTTP/1.1\r\nhost: x\r\n\r\n" * 2)
        heads = [client.read("HEAD") for _ in range(2)]

        assert statuses == [200, 200, 200, 429, 429]
        assert chunked == [200, 429]
        assert [(head.status, head.body) for head in heads] == [(200, b""), (429, b"")]


def test_a_request_that_is_unsound_is_answered_as_such(origin: FaultyOrigin, clock: FakeClock) -> None:
    settings = settings_of({"fra": origin}, rate_limits={"per-client": {"rate": "1/h", "burst": 1}})
    with Shield(settings, clock=clock) as shield, shield.client() as client:
        client.ask("/a")
        client.send(b"GET /a HTTP/1.1\r\n\r\n")

        assert client.read().status == 400
        assert client.at_end()


def test_limits_change_with_a_regime_and_budgets_stay(origin: FaultyOrigin, clock: FakeClock) -> None:
    def regime(shield: Shield, **limits: object) -> None:
        another = regime_of(settings_of({"fra": origin}, rate_limits=limits), workers=1)
        shield.call(lambda: shield.node.in_force.swap(another))

    with Shield(settings_of({"fra": origin}), clock=clock) as shield, shield.client() as client:
        assert [client.ask("/a").status for _ in range(5)] == [200] * 5
        regime(shield, some=TIGHT)
        assert [client.ask("/a").status for _ in range(4)] == [200, 200, 200, 429]
        regime(shield, some={"rate": "1/s", "burst": 5})
        assert [client.ask("/a").status for _ in range(3)] == [200, 200, 429]
        regime(shield)
        assert client.ask("/a").status == 200
