"""Access over HTTP/2: the same rules, each request by itself, since clients share connections."""

from __future__ import annotations

from dataclasses import replace

from shield.build.regime import access_rules
from shield.rules.signed_urls import Links
from tests.edge.http2.conftest import Ground
from tests.node import START, settings_of

SECRET = "0123456789abcdef0123456789abcdef"
HEADER = {"header": {"name": "X-Secret", "secrets": [SECRET]}}


def test_requests_are_let_in_one_by_one(ground: Ground) -> None:
    with ground.node(access=HEADER) as shield:
        client = ground.client()

        good, wrong = {"x-secret": SECRET}, {"x-secret": SECRET[:-1]}
        answers = [client.get("/a", fields) for fields in (good, wrong, {}, good)]

        assert [answer.status for answer in answers] == [200, 403, 403, 200]
        assert "cache-status" not in answers[1].fields
        assert ground.origin.fetches("/a") == 1
        assert [name for name, _ in ground.origin.requests[0].fields if "secret" in name] == []
        assert shield.node.guard.denied == {"header": 2}
        assert [line["status"] for line in shield.log()] == [200, 403, 403, 200]


def test_other_hosts_are_misdirected(ground: Ground) -> None:
    with ground.node(access={"allow": "required", "hosts": ["cdn.example"], **HEADER}):
        client = ground.client()

        assert client.get("/a", {"x-secret": SECRET}).status == 200
        assert client.finish(client.ask_for({":authority": "other.example", "x-secret": SECRET})).status == 421


def test_addresses_count(ground: Ground) -> None:
    with ground.node(access={"addresses": ["127.0.0.1"]}):
        assert ground.client().get("/a").status == 200
    with ground.node(access={"addresses": ["192.0.2.1"]}):
        assert ground.client().get("/a").status == 403
    assert ground.origin.fetches("/a") == 1


def test_many_denials_end_a_connection_after_its_answers(ground: Ground) -> None:
    with ground.node(access=HEADER) as shield:
        client = ground.client()
        for _ in range(200):
            assert client.get("/a").status == 403
        assert client.goaways == []

        assert client.get("/a").status == 403
        client.wait_for_end()

        assert client.goaways == [(401, 11)]  # ENHANCE_YOUR_CALM
        shield.wait_for(lambda: shield.connections == 0)


def test_other_rules_come_into_force_on_connections_that_are_open(ground: Ground) -> None:
    rules = access_rules(settings_of({"fra": ground.origin}, access=HEADER))
    with ground.node() as shield:
        client, in_force = ground.client(), shield.node.in_force
        assert client.get("/a").status == 200

        shield.call(lambda: in_force.swap(replace(in_force.regime, access=rules)))

        assert client.get("/a").status == 403
        assert client.get("/a", {"x-secret": SECRET}).status == 200


def test_a_link_in_a_malformed_request_is_not_logged(ground: Ground) -> None:
    with ground.node(access={"signed_urls": {"keys": {"one": SECRET}}}) as shield:
        client = ground.client()
        link = Links({b"one": SECRET.encode()}).signed(b"/a", b"/a", key=b"one", expires=int(START) + 60).decode()
        assert client.get(link).status == 200

        client.finish(client.ask_for({":path": link, "connection": "close"}))

        assert [line["target"] for line in shield.log()] == ["/a", "/a"]
