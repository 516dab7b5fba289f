"""Access control at both fronts, over the wire: rejected clients cost nothing, leave no trace and learn nothing."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shield.build.regime import access_rules
from shield.edge.guard import GuardedConnection, GuardedFront
from shield.messages import Request
from shield.regime import Regime
from shield.reply import Reply
from shield.rules.signed_urls import Links, signature
from tests.client import Answer, Client, request
from tests.compiled import INTERPRETED_ONLY
from tests.doubles.certificates import Authority
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.steps import Close, Wait
from tests.edge.greeter import greeting
from tests.edge.hypercorn_front import H2Client, Streamed, hypercorn
from tests.node import START, FakeClock, Shield, settings_of

SECRET, OTHER = "0123456789abcdef", "fedcba9876543210"
KEY = "0123456789abcdef0123456789abcdef"
HEADER = {"header": {"secrets": [SECRET, OTHER]}}
PROXIED = {"addresses": ["192.0.2.0/24"], "trusted_proxies": ["127.0.0.1"]}
LINKS = {"signed_urls": {"keys": {"k1": KEY}}}

Ask = Callable[..., Answer]
Open = Callable[..., AbstractContextManager[tuple[Shield, Ask]]]


@pytest.fixture(autouse=True)
def objects(origin: FaultyOrigin) -> None:
    for path in ("/a", "/b", "/open/health", "/v2/x"):
        origin.serves(path, path.encode(), lifetime=60)


@pytest.fixture(params=["HTTP/1.1", "HTTP/2", "hypercorn HTTP/1.1", "hypercorn HTTP/2"])
def guarded(request: pytest.FixtureRequest, origin: FaultyOrigin, clock: FakeClock, tmp_path: Path) -> Open:
    """`guarded(access, **changes)` is a node with these settings, and a way to ask it on a connection of its own."""

    @contextmanager
    def opened(access: dict[str, Any] | None, **changes: Any) -> Iterator[tuple[Shield, Ask]]:
        if access is not None:
            changes["access"] = access
        authority = Authority()
        chain, key = authority.write_server(tmp_path, "localhost")
        if request.param == "HTTP/2":
            changes["tls"] = {"certificate_file": str(chain), "key_file": str(key)}
        settings = settings_of({"fra": origin}, **changes)
        with Shield(settings, clock=clock) as shield:
            if request.param == "HTTP/2":
                with greeting(shield, settings) as port:
                    yield shield, asking_h2(port, authority.client())
                return
            if request.param == "HTTP/1.1":
                yield shield, asking(shield.port)
                return
            with hypercorn(shield) as port:
                yield shield, asking(port) if request.param.endswith("1.1") else asking_h2(port)

    return opened


def asking(port: int) -> Ask:
    def ask(target: str, *fields: tuple[str, str], method: str = "GET", host: str = "cdn.example") -> Answer:
        with Client(port) as client:
            client.send(request(target, fields, method=method, host=host))
            answer = client.read(method)
        answer.fields = [(name.lower(), value) for name, value in answer.fields]
        return answer

    return ask


def asking_h2(port: int, tls: ssl.SSLContext | None = None) -> Ask:
    def ask(target: str, *fields: tuple[str, str], method: str = "GET", host: str = "cdn.example") -> Answer:
        with H2Client(port, tls) as client:
            stream = client.connection.get_next_available_stream_id()
            head = [(":method", method), (":scheme", "http"), (":authority", host), (":path", target)]
            head += [(name.lower(), value) for name, value in fields]
            client.connection.send_headers(stream, head, end_stream=True)
            client.streams[stream] = Streamed()
            client.flush()
            found = client.finish(stream)
        return Answer(found.status, list(found.fields.items()), bytes(found.body), found.ended)

    return ask


def secret(value: str = SECRET) -> tuple[str, str]:
    return ("X-Shield-Secret", value)


def link(target: str, *, until: float = START + 60, key: str = KEY) -> str:
    links = Links({b"k1": key.encode()})
    return links.signed(target.encode(), target.encode(), key=b"k1", expires=int(until)).decode()


def replace_rules(shield: Shield, origin: FaultyOrigin, access: dict[str, Any] | None) -> None:
    rules = access_rules(settings_of({"fra": origin}, **({} if access is None else {"access": access})))
    in_force = shield.node.in_force
    shield.call(lambda: in_force.swap(replace(in_force.regime, access=rules)))


# who is let in


def test_without_rules_everyone_is_let_in(guarded: Open) -> None:
    with guarded(None) as (_, ask):
        assert ask("/a").status == 200

    with guarded({"allow": "all", **HEADER}) as (_, ask):
        assert ask("/a").status == 200


def test_who_knows_a_secret_is_let_in(guarded: Open) -> None:
    with guarded(HEADER) as (_, ask):
        statuses = [
            ask("/a", *fields).status
            for fields in (
                [secret()],
                [secret(OTHER)],
                [("x-shield-secret", SECRET)],
                [],
                [secret("")],
                [secret(SECRET[:-1])],
                [secret(SECRET + "0")],
                [secret(), secret()],  # one line is what the CDN sends
                [("X-Other", SECRET)],
            )
        ]

    assert statuses == [200, 200, 200, 403, 403, 403, 403, 403, 403]


def test_the_address_of_the_peer_counts(guarded: Open) -> None:
    with guarded({"addresses": ["127.0.0.0/8"]}) as (_, ask):
        assert ask("/a").status == 200

    with guarded({"addresses": ["192.0.2.0/24"]}) as (_, ask):
        assert ask("/a", ("X-Forwarded-For", "192.0.2.1")).status == 403


def test_a_trusted_proxys_word_counts(guarded: Open) -> None:
    with guarded(PROXIED) as (_, ask):
        statuses = [
            ask("/a", *fields).status
            for fields in (
                [("X-Forwarded-For", "203.0.113.9, 192.0.2.1")],
                [("X-Forwarded-For", "192.0.2.1"), ("X-Forwarded-For", "127.0.0.1")],
                [("Forwarded", 'for="[2001:db8::1]", for=192.0.2.1;proto=https')],
                [("X-Forwarded-For", "192.0.2.1, 203.0.113.9")],
                [("X-Forwarded-For", "192.0.2.1, garbage")],
                [("Forwarded", "for=192.0.2.1"), ("X-Forwarded-For", "203.0.113.9")],
                [],
            )
        ]

    assert statuses == [200, 200, 200, 403, 403, 403, 403]


def test_what_proxies_say_does_not_make_a_hit_less_plain(guarded: Open) -> None:
    with guarded(PROXIED) as (shield, ask):
        ask("/a", ("X-Forwarded-For", "192.0.2.1"))
        hit = ask("/a", ("X-Forwarded-For", "192.0.2.1"))

        assert hit.hit
        assert shield.state()["requests"]["plain_hit"] == 1


def test_other_hosts_are_misdirected(guarded: Open) -> None:
    with guarded({"hosts": ["cdn.example", "*.images.example"]}) as (_, ask):
        hosts = ("cdn.example", "CDN.example:8080", "a.images.example", "images.example", "other.example")
        answers = [ask("/a", host=host) for host in hosts]

    assert [answer.status for answer in answers] == [200, 200, 200, 421, 421]
    assert answers[-1].body == b"misdirected request\n"


def test_a_signed_link_is_let_in_until_it_expires(guarded: Open, clock: FakeClock) -> None:
    with guarded(LINKS) as (_, ask):
        good = link("/a")
        targets = (
            good,
            good.replace("/a", "/%61"),
            "/a",
            link("/b").replace("/b", "/a"),
            good + "0",
            good + "&key=k1",
        )
        statuses = [ask(target).status for target in targets]
        clock.advance(60)
        late = ask(good).status

    assert statuses == [200, 200, 403, 403, 403, 403]
    assert late == 403


def test_all_links_to_a_path_share_one_entry(guarded: Open, origin: FaultyOrigin) -> None:
    with guarded(LINKS) as (shield, ask):
        answers = [ask(link("/a", until=START + 60 + n)) for n in range(3)]

        assert [answer.hit for answer in answers] == [False, True, True]
        assert shield.state()["memory"]["entries"] == 1
    assert origin.fetches("/a") == 1


def test_all_that_is_required_must_hold(guarded: Open) -> None:
    with guarded({**HEADER, **LINKS}) as (_, ask):
        assert ask(link("/a"), secret()).status == 200
        assert ask(link("/a")).status == 403
        assert ask("/a", secret()).status == 403

    with guarded({**HEADER, **LINKS, "require": ["header or signed_urls"]}) as (_, ask):
        assert [ask(link("/a")).status, ask("/a", secret()).status, ask("/a").status] == [200, 200, 403]


def test_a_route_may_be_open_or_ask_for_more(guarded: Open) -> None:
    routes = {
        "default": {"shares": True},  # who has the secret reaches /v2 as well
        "health": {"match": "/open", "access": "off"},
        "signed": {"match": "/v", "strip": "/v", "add": "/v2", "access": ["signed_urls"], "shares": True},
    }

    with guarded({**HEADER, **LINKS, "require": ["header"]}, routes=routes) as (_, ask):
        assert ask("/open/health").status == 200
        assert ask("/open/../a").status == 403  # the route is that of the path, not of its spelling
        assert ask("/openly").status == 403
        assert ask("/%6fpen/health").status == 200
        assert ask("/a").status == 403
        assert ask("/a", secret()).status == 200
        assert ask("/v/x", secret()).status == 403
        assert ask(link("/v/x")).body == b"/v2/x"


def test_what_names_nothing_is_for_those_to_know_who_may_ask(guarded: Open) -> None:
    routes = {"default": {}, "health": {"match": "/open", "access": "off"}}

    with guarded(HEADER, routes=routes) as (_, ask):
        assert [ask("/a%zz").status, ask("/").status] == [403, 403]
        assert [ask("/a%zz", secret()).status, ask("/", secret()).status] == [400, 404]


# what comes of being refused


@pytest.mark.parametrize("access", [HEADER, PROXIED, LINKS, {"addresses": ["192.0.2.1"]}])
def test_what_is_refused_reaches_neither_cache_nor_origin(
    guarded: Open, origin: FaultyOrigin, access: dict[str, Any]
) -> None:
    with guarded(access) as (shield, ask):
        for method in ("GET", "HEAD", "DELETE"):
            assert ask("/a", method=method).status == 403
        state = shield.state()

    assert origin.requests == []
    assert state["memory"]["entries"] == state["fills"]["started"] == 0
    assert state["requests"]["refused"] == 3


def test_an_entry_that_is_there_is_not_shown_to_who_is_refused(guarded: Open) -> None:
    with guarded(HEADER) as (_, ask):
        ask("/a", secret())

        answer = ask("/a")

    assert (answer.status, answer.body, answer.get("etag")) == (403, b"forbidden\n", None)


@pytest.mark.parametrize(
    ("access", "target"),
    [
        (HEADER, "/a"),
        (PROXIED, "/a"),
        ({"addresses": ["192.0.2.1"]}, "/a"),
        (LINKS, "/a"),
        (LINKS, link("/a", until=START)),
        (LINKS, link("/a", key=KEY[::-1])),
    ],
)
def test_a_refusal_says_nothing(guarded: Open, access: dict[str, Any], target: str) -> None:
    with guarded(access) as (_, ask):
        answer, head = ask(target), ask(target, method="HEAD")

    said = {name: value for name, value in answer.fields if not name.startswith(":")}
    assert answer.body == b"forbidden\n"
    assert said.pop("date") and said.pop("server", "hypercorn").startswith("hypercorn")
    if (":status", "403") not in answer.fields:  # HTTP/2 has no such field
        assert said.pop("connection") == "close"
    assert said == {
        "content-type": "text/plain; charset=utf-8",
        "content-length": "10",
        "cache-control": "no-store",
    }
    assert (head.status, head.body) == (403, b"")


def test_the_reason_is_in_our_own_log_and_metrics_only(guarded: Open) -> None:
    with guarded({**HEADER, **LINKS}) as (shield, ask):
        ask(link("/a"))
        ask(link("/a"), secret("not this one, nor that"))
        ask("/a", secret())
        lines = shield.log()
        families = shield.call(lambda: shield.node.report().families)

    assert [(line["status"], line["target"], line["detail"]) for line in lines] == [
        (403, "/a", "header: missing"),
        (403, "/a", "header: wrong"),
        (403, "/a", "signed_urls: not signed"),
    ]
    denied = next(family for family in families if family.name == "denied")
    assert {sample.labels["rule"]: sample.value for sample in denied.samples} == {"header": 2, "signed_urls": 1}
    requests = next(family for family in families if family.name == "requests")
    assert [sample.value for sample in requests.samples if sample.labels["cache"] == "refused"] == [3]


@INTERPRETED_ONLY
def test_secrets_and_signatures_go_no_further(
    guarded: Open, origin: FaultyOrigin, monkeypatch: pytest.MonkeyPatch
) -> None:
    signed = link("/a")
    with guarded({**HEADER, **LINKS}) as (shield, ask):
        proxy, passed_on = shield.node.proxy, list[Request]()
        try_hit = proxy.try_hit

        def noting(request: Request, now: float, regime: Regime | None = None) -> Reply | None:
            passed_on.append(request)
            return try_hit(request, now, regime)

        monkeypatch.setattr(proxy, "try_hit", noting)
        ask(signed, secret())
        ask(signed, secret())
        ask("/b?" + signed.partition("?")[2], secret())
        seen = json.dumps(shield.log())
        targets = shield.node.in_force.regime.targets
        kept = repr(shield.call(lambda: [targets.young, targets.old]))
        entry = shield.call(lambda: shield.node.store.lookup(b":/a"))

    forbidden = (SECRET, signed.rpartition("=")[2], "signature=")
    assert [request.target for request in origin.requests] == ["/a"]
    assert entry is not None
    fetched = repr(origin.requests[0].fields) + repr(entry.head.block) + repr(entry.blocks)
    inside = "".join(repr((request.target, request.fields, request.notable)) for request in passed_on)
    assert inside.count("cdn.example") == 2
    for text in forbidden:
        assert text not in seen + kept + fetched + inside


# the HTTP/1.1 front


@pytest.fixture
def shield(origin: FaultyOrigin, clock: FakeClock) -> Iterator[Shield]:
    with Shield(settings_of({"fra": origin}, access=HEADER), clock=clock) as made:
        yield made


def test_a_connection_that_is_refused_is_closed_and_the_rest_is_not_read(
    shield: Shield, origin: FaultyOrigin
) -> None:
    good = request("/a", [secret()])

    with shield.client() as client:
        client.send(good + request("/b", [("Content-Length", "5")], method="POST") + b"hello" + good + good)
        first, second = client.read(), client.read()
        assert client.at_end()

    assert (first.status, second.status) == (200, 403)
    assert second.get("connection") == "close"
    assert origin.fetches("/a") == 1


def test_a_refusal_of_head_has_no_body(shield: Shield) -> None:
    with shield.client() as client:
        answer = client.ask("/a", method="HEAD")

        assert (answer.status, answer.get("content-length")) == (403, "10")
        assert client.at_end()


def test_a_refusal_waits_for_what_was_asked_before_it(shield: Shield, origin: FaultyOrigin) -> None:
    gate = origin.gate()
    origin.script("/slow", Wait(gate), Close(), times=None)

    with shield.client() as client:
        client.send(request("/slow", [secret()]) + request("/a"))
        gate.reached()
        gate.open()
        answers = [client.read().status, client.read().status]
        assert client.at_end()

    assert answers == [503, 403]


def test_a_link_in_a_head_that_is_refused_is_not_logged(origin: FaultyOrigin, clock: FakeClock) -> None:
    with Shield(settings_of({"fra": origin}, access=LINKS), clock=clock) as shield:
        assert shield.get(link("/a"), [("x", "y" * 40_000)]).status == 431
        assert shield.get(link("/a"), [("x y", "z")]).status == 400

        assert [line["target"] for line in shield.log()] == ["/a", "/a"]


def test_many_requests_on_a_connection_are_each_looked_at(shield: Shield) -> None:
    with shield.client() as client:
        for _ in range(3):
            assert client.ask("/a", [secret()]).status == 200
        assert client.ask("/a", [secret(), ("Range", "bytes=0-0")]).status == 206
        assert client.ask("/a").status == 403
        assert client.at_end()


def test_a_target_in_absolute_form_means_its_own_host(origin: FaultyOrigin, clock: FakeClock) -> None:
    access = {"hosts": ["cdn.example"], **LINKS}
    with Shield(settings_of({"fra": origin}, access=access), clock=clock) as shield:
        assert shield.get("http://cdn.example" + link("/a")).status == 200
        assert shield.get("http://other.example" + link("/a")).status == 421
        assert shield.get("http://cdn.example/a").status == 403


@pytest.mark.parametrize("raw", [b"GET /a HTTP/1.0\r\n\r\n", b"GET /a HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"])
def test_no_host_or_two_are_none_of_ours(origin: FaultyOrigin, clock: FakeClock, raw: bytes) -> None:
    with (
        Shield(settings_of({"fra": origin}, access={"hosts": ["a", "b"]}), clock=clock) as shield,
        shield.client() as client,
    ):
        client.send(raw)

        assert client.read().status == 421
        assert client.at_end()


def test_what_a_connection_settles_is_not_looked_at_again(origin: FaultyOrigin, clock: FakeClock) -> None:
    settings = settings_of({"fra": origin}, access={"addresses": ["127.0.0.1"]})

    with Shield(settings, clock=clock) as shield, shield.client() as client:
        client.ask("/a")
        connections: set[GuardedConnection] = shield.call(lambda: set(shield._state.connections))

        assert [connection._identity for connection in connections] == [None]


def test_workers_among_themselves_are_not_guarded(shield: Shield) -> None:
    assert isinstance(shield.node.front, GuardedFront)
    assert not isinstance(shield.node.peers, GuardedFront)


# other rules while it runs


def test_secrets_are_changed_while_connections_stay_open(
    shield: Shield, origin: FaultyOrigin, clock: FakeClock
) -> None:
    with shield.client() as first, shield.client() as second:
        assert first.ask("/a", [secret()]).status == 200
        assert second.ask("/a", [secret()]).status == 200

        replace_rules(shield, origin, {"header": {"name": "X-New", "secrets": [OTHER * 2]}})

        assert first.ask("/a", [("X-New", OTHER * 2)]).status == 200
        assert second.ask("/a", [secret()]).status == 403
        assert second.at_end()


def test_rules_come_into_force_on_connections_that_are_open(origin: FaultyOrigin, clock: FakeClock) -> None:
    with Shield(settings_of({"fra": origin}), clock=clock) as shield, shield.client() as client:
        assert client.ask("/a").status == 200

        replace_rules(shield, origin, {"addresses": ["127.0.0.1"]})
        assert client.ask("/a").status == 200
        replace_rules(shield, origin, None)
        assert client.ask("/a").status == 200
        replace_rules(shield, origin, {"addresses": ["192.0.2.1"]})
        assert client.ask("/a").status == 403


def test_other_rules_come_into_force_at_the_asgi_front(origin: FaultyOrigin, clock: FakeClock) -> None:
    with (
        Shield(settings_of({"fra": origin}, access=LINKS), clock=clock) as shield,
        hypercorn(shield) as port,
        H2Client(port) as client,
    ):
        assert client.get(link("/a")).status == 200
        replace_rules(shield, origin, {"signed_urls": {"keys": {"k2": KEY[::-1]}}})
        assert client.get(link("/a")).status == 403


@pytest.mark.parametrize("large", [False, True])
def test_no_answer_to_a_link_is_told_to_hold_longer_than_the_link(
    origin: FaultyOrigin, clock: FakeClock, large: bool
) -> None:
    body = b"x" * (2 << 20 if large else 1)
    origin.serves("/a", body, fields={"cache-control": "max-age=3600, stale-if-error=600", "etag": '"x"'})
    key = b"0123456789abcdef0123456789abcdef"

    def link(seconds: int) -> str:
        until = b"%d" % (clock() + seconds)
        return f"/a?expires={until.decode()}&key=k1&signature={signature(key, b'/a', until).decode()}"

    access = {"signed_urls": {"keys": {"k1": key.decode()}}, "require": ["signed_urls or addresses"]}
    with Shield(settings_of({"fra": origin}, access={**access, "addresses": ["127.0.0.0/8"]}), clock=clock) as shield:
        miss = shield.get(link(5))
        clock.advance(10)
        answers = [
            shield.get(link(5)),
            shield.get(link(5), method="HEAD"),
            shield.get(link(5), [("range", "bytes=0-0")]),
        ]
        answers.append(shield.get(link(5), [("if-none-match", '"x"')]))
        plain, long = shield.get("/a"), shield.get(link(9000))

    assert miss.get("cache-control") == "max-age=5"
    assert [answer.status for answer in answers] == [200, 200, 206, 304]
    assert [(answer.get("age"), answer.get("cache-control")) for answer in answers] == [("10", "max-age=15")] * 4
    assert plain.get("cache-control") == "max-age=3600, stale-if-error=600"
    assert long.get("cache-control") == "max-age=3600"
    assert origin.fetches("/a") == 1
