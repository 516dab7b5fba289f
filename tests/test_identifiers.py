"""Identifiers of requests, from the CDN's field to the origin's, and into the log."""

from __future__ import annotations

from typing import Any

import pytest

from tests.client import Fields
from tests.doubles.faulty_origin import FaultyOrigin
from tests.node import FakeClock, Shield, settings_of

CDN: Fields = [("x-request-id", "of-the-client"), ("cf-ray", "8f1a-FRA")]


def node(clock: FakeClock, origin: FaultyOrigin, **said: Any) -> Shield:
    origin.serves("/a", b"abc", lifetime=60)
    return Shield(settings_of({"fra": origin}, request_id=said), clock=clock)


def named(origin: FaultyOrigin, name: str) -> list[str]:
    return [value for request in origin.requests for known, value in request.fields if known == name]


def test_the_cdns_identifier_is_in_the_log_and_at_the_origin(origin: FaultyOrigin, clock: FakeClock) -> None:
    with node(clock, origin) as shield, shield.client() as client:
        answer = client.ask("/a", CDN)
        lines = shield.log()

    assert named(origin, "x-request-id") == ["8f1a-FRA"]
    assert [line["request_id"] for line in lines] == ["8f1a-FRA"]
    assert answer.get("x-request-id") is None


def test_without_any_one_is_made_and_is_the_same_everywhere(origin: FaultyOrigin, clock: FakeClock) -> None:
    with node(clock, origin, answer="x-shield-id") as shield, shield.client() as client:
        miss, missing, hit = client.ask("/a"), client.ask("/missing"), client.ask("/a")
        lines = shield.log()

    said = [line["request_id"] for line in lines]
    assert named(origin, "x-request-id") == said[:2] == [miss.get("x-shield-id"), missing.get("x-shield-id")]
    assert hit.get("x-shield-id") is None
    assert len(set(said)) == 3


def test_it_is_neither_sent_nor_taken_if_the_settings_say_so(origin: FaultyOrigin, clock: FakeClock) -> None:
    with node(clock, origin, send="off", fields=[]) as shield, shield.client() as client:
        client.ask("/a", CDN)
        lines = shield.log()

    assert named(origin, "x-request-id") == []
    assert lines[0]["request_id"] not in ("8f1a-FRA", "of-the-client")


def test_a_forwarded_field_of_that_name_is_replaced(origin: FaultyOrigin, clock: FakeClock) -> None:
    origin.serves("/a", b"abc", lifetime=60)
    routes = {"default": {"match": "/", "forward_request_headers": ["x-request-id"]}}
    settings = settings_of({"fra": origin}, routes=routes)

    with Shield(settings, clock=clock) as shield, shield.client() as client:
        client.ask("/a", CDN)

    assert named(origin, "x-request-id") == ["8f1a-FRA"]


def test_a_warning_about_a_fetch_names_its_request(
    origin: FaultyOrigin, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    with node(clock, origin) as shield, shield.client() as client:
        origin.fails("/a", "InternalError")
        client.ask("/a", CDN)

    assert any("for /a (request 8f1a-FRA)" in record.getMessage() for record in caplog.records)
