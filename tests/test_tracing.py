"""Traces of a whole node, at a collector that reads OTLP: what clients, fetches and origins did, in one tree."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shield.config.loading import load
from shield.config.tracing import TracingSettings
from shield.errors import ConfigError
from shield.tracing.tracer import TracingTerms
from tests.client import Client
from tests.disks import SLICE, settled, with_disk
from tests.doubles.collector import Collector, Span
from tests.doubles.faults import preceded_by
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.steps import Wait
from tests.node import FakeClock, Shield, settings_of
from tests.process import Process, settings_file

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0"
TRACE, SPAN = PARENT.split("-")[1:3]


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as made:
        yield made


def node(clock: FakeClock, collector: Collector, *origins: FaultyOrigin, **tracing: Any) -> Shield:
    named = dict(zip(("fra", "iad"), origins, strict=False))
    settings = settings_of(named, tracing={"endpoint": collector.url, **tracing})
    return Shield(settings, clock=clock)


def sent(shield: Shield, collector: Collector, count: int) -> list[Span]:
    """Spans, sent without a wait for the next batch, in the order of the tree."""
    shield.call(shield.node.tracing.flush)
    order = {"server": 0, "internal": 1, "client": 2}
    return sorted(collector.wait_for(count), key=lambda each: (order[each.kind], each.began))


def test_a_miss_is_a_tree_of_request_fetch_and_attempts(
    clock: FakeClock, collector: Collector, origin: FaultyOrigin, replica: FaultyOrigin
) -> None:
    origin.fails("/a", "InternalError")
    replica.serves("/a", b"x" * 10, lifetime=60)
    with node(clock, collector, origin, replica, headers={"x-key": "hidden"}) as shield:
        assert shield.get("/a?token=hidden").status == 200
        request, fetch, *attempts = sent(shield, collector, 4)

    assert {each.trace_id for each in (request, fetch, *attempts)} == {request.trace_id}
    assert [request.parent, fetch.parent] == ["", request.span_id]
    assert [each.parent for each in attempts] == [fetch.span_id] * 2
    assert [each.attributes["shield.origin"] for each in attempts] == ["fra", "iad"]
    assert [each.is_error for each in (request, fetch, *attempts)] == [False, False, True, False]
    assert request.attributes["shield.cache"] == "miss" and request.name == "GET default"
    assert request.resource.items() >= {"service.name": "shield", "service.instance.id": "test-1"}.items()
    assert collector.heads[0]["x-key"] == "hidden"
    assert "hidden" not in str(collector.spans)


def test_a_trace_goes_on_from_the_cdn_to_web_servers(
    clock: FakeClock, collector: Collector, origin: FaultyOrigin
) -> None:
    origin.serves("/a", b"x", lifetime=60)
    with node(clock, collector, origin, sample={"misses": "0%"}) as shield:
        shield.get("/a", [("traceparent", PARENT + "0"), ("tracestate", "cdn=1")])
        passed = dict(origin.requests[-1].fields)
        assert passed["traceparent"].startswith(f"00-{TRACE}-") and passed["traceparent"].endswith("-00")
        assert passed["tracestate"] == "cdn=1"

    with node(clock, collector, origin, sample={"misses": "1%"}) as shield:
        shield.get("/a", [("traceparent", PARENT + "1")])
        request, fetch, attempt = sent(shield, collector, 3)
        passed = dict(origin.requests[-1].fields)

    assert (request.trace_id, request.parent) == (TRACE, SPAN)
    assert passed["traceparent"] == f"00-{TRACE}-{attempt.span_id}-01"
    assert attempt.parent == fetch.span_id


def test_a_forwarded_context_is_replaced_by_the_traces_own(
    clock: FakeClock, collector: Collector, origin: FaultyOrigin
) -> None:
    origin.serves("/a", b"x", lifetime=60)
    routes = {"default": {"forward_request_headers": "all"}}
    settings = settings_of({"fra": origin}, routes=routes, tracing={"endpoint": collector.url})
    with Shield(settings, clock=clock) as shield:
        shield.get("/a", [("traceparent", PARENT + "1")])
        *_, attempt = sent(shield, collector, 3)

    values = [value for name, value in origin.requests[-1].fields if name == "traceparent"]
    assert values == [f"00-{TRACE}-{attempt.span_id}-01"]


def test_storages_get_no_context(clock: FakeClock, collector: Collector) -> None:
    with FaultyOrigin(clock=clock, bucket="images") as storage:
        storage.trusts("AKONE", "secret1", region="eu-central-1")
        storage.serves("/a", b"x", lifetime=60)
        place = {"provider": "ceph", "endpoint": storage.url, "region": "eu-central-1", "bucket": "images"}
        keys = {"access_key_id": "AKONE", "secret_key": "secret1"}
        settings = settings_of({}, origins={"fra": {**place, **keys}}, tracing={"endpoint": collector.url})
        with Shield(settings, clock=clock) as shield:
            assert shield.get("/a", [("traceparent", PARENT + "1")]).status == 200
            *_, attempt = sent(shield, collector, 3)
        assert storage.requests[-1].get("traceparent") is None

    assert attempt.attributes["url.full"] == f"{storage.url}/images/a"
    assert "secret1" not in str(collector.spans) and "AKONE" not in str(collector.spans)


def test_hits_have_spans_only_if_a_share_of_them_is_wanted(
    clock: FakeClock, collector: Collector, origin: FaultyOrigin
) -> None:
    origin.serves("/a", b"x", lifetime=60)
    with node(clock, collector, origin) as shield:
        for _ in range(5):
            shield.get("/a")
        sent(shield, collector, 3)
    assert len(collector.spans) == 3
    collector.spans.clear()

    with node(clock, collector, origin, sample={"hits": "100%", "misses": "0%"}) as shield:
        for _ in range(5):
            shield.get("/a")
    assert [each.attributes["shield.cache"] for each in collector.spans] == ["hit"] * 4


def test_a_request_that_shares_a_fetch_is_linked_to_it(
    clock: FakeClock, collector: Collector, origin: FaultyOrigin
) -> None:
    gate = origin.gate()
    origin.serves("/a", b"x", lifetime=60)
    origin.spoils("/a", preceded_by(Wait(gate)), times=1)
    with node(clock, collector, origin) as shield:
        with shield.client() as one, shield.client() as other:
            for client in (one, other):
                client.send(b"GET /a HTTP/1.1\r\nhost: cdn.example\r\n\r\n")
            shield.wait_for(lambda: shield.node.fills.statistics().collapsed)
            gate.open()
            assert [one.read().status, other.read().status] == [200, 200]
        *requests, fetch, _ = sent(shield, collector, 4)

    links = [each.links for each in requests]
    assert sorted(links, key=len) == [(), ((fetch.trace_id, fetch.span_id),)]


def test_each_run_of_a_large_objects_slices_is_a_fetch(
    clock: FakeClock, collector: Collector, origin: FaultyOrigin, tmp_path: Path
) -> None:
    origin.serves("/a", bytes(4 * SLICE), lifetime=60, fields={"etag": '"1"'})
    settings = with_disk(origin, tmp_path / "nvme")
    settings = settings.model_copy(update={"tracing": TracingSettings(endpoint=collector.url)})
    with Shield(settings, clock=clock) as shield:
        assert shield.get("/a", [("range", f"bytes={2 * SLICE}-")]).status == 206
        settled(shield)
        request, *fetches = sent(shield, collector, 3)

    assert request.attributes["http.response.status_code"] == 206
    names = [(each.name, each.kind) for each in fetches]
    assert names.count(("fetch", "internal")) == names.count(("GET", "client")) >= 1


def test_an_error_has_a_span_with_its_reason(clock: FakeClock, collector: Collector, origin: FaultyOrigin) -> None:
    origin.refuses()
    with node(clock, collector, origin, sample={"misses": "0%"}) as shield:
        assert shield.get("/a").status == 503
        (request,) = sent(shield, collector, 1)

    assert request.is_error and request.attributes["shield.detail"] == "fra=connect"


def test_a_collector_that_fails_costs_no_request_and_is_counted(
    clock: FakeClock, collector: Collector, origin: FaultyOrigin, caplog: pytest.LogCaptureFixture
) -> None:
    collector.status = 400
    origin.serves("/a", b"x", lifetime=60)
    with node(clock, collector, origin) as shield:
        assert shield.get("/a").status == 200
        shield.call(shield.node.tracing.flush)
        shield.wait_for(lambda: shield.node.tracing.statistics().failed)
        assert shield.node.tracing.statistics().failed == 3

    assert "spans can't be sent: the collector doesn't take them" in caplog.text


def test_tracing_begins_and_ends_while_the_node_runs(
    clock: FakeClock, collector: Collector, origin: FaultyOrigin
) -> None:
    for name in ("/a", "/b", "/c"):
        origin.serves(name, b"x", lifetime=60)
    with Shield(settings_of({"fra": origin}), clock=clock) as shield:
        shield.get("/a")
        shield.call(lambda: shield.node.tracing.use(TracingTerms(f"{collector.url}/v1/traces")))
        shield.get("/b")
        shield.call(lambda: shield.node.tracing.use(None))
        shield.get("/c")

    assert {each.attributes["url.path"] for each in collector.spans if each.kind == "server"} == {"/b"}


def test_without_the_extra_the_settings_are_refused_with_a_remedy(
    tmp_path: Path, origin: FaultyOrigin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    monkeypatch.setattr("shield.config.checks.OF_TRACING", ("opentelemetry_that_isnt_there.sdk",))
    file = settings_file(tmp_path, origin, tracing={"endpoint": "http://127.0.0.1:4318"})

    with pytest.raises(ConfigError) as refused:
        load(file, environ={}, secret_directories=())

    (problem,) = refused.value.problems
    assert "tracing: needs OpenTelemetry" in problem and "pip install 'shield[otel]'" in problem


@pytest.mark.slow
def test_a_fetch_through_the_worker_that_owns_a_key_is_one_trace(
    tmp_path: Path, collector: Collector, origin: FaultyOrigin
) -> None:
    for number in range(12):
        origin.serves(f"/{number}", b"x", lifetime=60)
    file = settings_file(tmp_path, origin, workers=2, tracing={"endpoint": collector.url})
    with Process(file) as process:
        for number in range(12):
            with Client(process.port) as client:
                assert client.ask(f"/{number}").status == 200
        process.signal()
        assert process.ended() == 0

    by_id = {each.span_id: each for each in collector.spans}
    through = [each for each in collector.spans if str(each.attributes.get("shield.origin")).startswith("worker-")]
    asked = [each for each in through if each.kind == "client"]
    assert asked, "no key was another worker's"
    below = [each for each in collector.spans if each.parent in {one.span_id for one in asked}]
    assert len(below) == len(asked) and {each.kind for each in below} == {"internal"}
    assert {each.trace_id for each in below} == {by_id[each.parent].trace_id for each in below}
    roots = [each for each in collector.spans if not each.parent]
    assert len(roots) == 12 and {each.kind for each in roots} == {"server"}
    assert all(each.parent in by_id for each in collector.spans if each.parent)
