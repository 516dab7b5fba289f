"""How paths reach origins, over the wire: as web servers tell them apart, or as S3 spells them."""

from __future__ import annotations

import pytest

from shield.rules.signed_urls import signature
from tests.doubles.faulty_origin import FaultyOrigin
from tests.node import FakeClock, Shield, settings_of
from tests.test_response_fields import of_storage

PROCESSED = "/sig:n@ture/w:300,h:(200)/plain/https://images.example/a%2Fb%3Fc.jpg@webp"


def test_an_image_processors_path_arrives_as_it_was_asked_for(
    shield: Shield, origin: FaultyOrigin, clock: FakeClock
) -> None:
    origin.serves("/sig:n@ture/w:300,h:(200)/plain/https://images.example/a/b?c.jpg@webp", b"small", lifetime=60)

    miss, hit = shield.get(PROCESSED), shield.get(PROCESSED.replace("%2F", "%2f").replace("plain", "%70lain"))
    clock.advance(1)
    purged = shield.run(shield.node.purge.targets([PROCESSED.encode()]))

    assert (miss.body, hit.body, hit.hit) == (b"small", b"small", True)
    assert [received.target for received in origin.requests] == [PROCESSED]
    assert purged == 1
    assert not shield.get(PROCESSED).hit


@pytest.mark.parametrize(("one", "other"), [("/a:b", "/a%3Ab"), ("/a/b", "/a%2Fb"), ("/a//b", "/a/b")])
def test_what_a_web_server_may_tell_apart_is_two_entries(
    shield: Shield, origin: FaultyOrigin, one: str, other: str
) -> None:
    for path in ("/a:b", "/a/b", "/a//b"):
        origin.serves(path, b"x", lifetime=60)

    answers = [shield.get(path) for path in (one, other, one, other)]

    assert [answer.hit for answer in answers] == [False, False, True, True]
    assert [received.target for received in origin.requests] == [one, other]


def test_a_storage_is_asked_in_its_own_spelling(origin: FaultyOrigin, clock: FakeClock) -> None:
    with Shield(of_storage(origin), clock=clock) as shield:
        for path in ("/w:300/a%2Fb", "/w%3A300//a/b"):
            shield.get(path)

    assert {received.target for received in origin.requests} == {"/images/w%3A300/a/b"}


def test_a_signed_link_signs_the_path_as_the_origin_is_asked_for_it(origin: FaultyOrigin, clock: FakeClock) -> None:
    origin.serves("/w:1/a", b"x", lifetime=60)
    key = "0123456789abcdef0123456789abcdef"
    until = b"%d" % (clock() + 60)
    signed = signature(key.encode(), b"/w:1/a", until).decode()
    link = f"?expires={until.decode()}&key=k1&signature={signed}"
    settings = settings_of({"fra": origin}, access={"signed_urls": {"keys": {"k1": key}}, "require": ["signed_urls"]})

    with Shield(settings, clock=clock) as shield:
        answers = [shield.get(path + link) for path in ("/w:1/a", "/w:1/%61", "/w%3A1/a")]

    assert [answer.status for answer in answers] == [200, 200, 403]


@pytest.mark.parametrize(
    "path", ["/open/..;/secret/a", "/open/..%2fsecret/a", "/open/..%5csecret/a", "/open/.%2e;/a"]
)
@pytest.mark.parametrize("kind", ["http", "s3"])
def test_no_guise_of_a_climb_reaches_an_origin(origin: FaultyOrigin, clock: FakeClock, path: str, kind: str) -> None:
    routes = {"open": {"match": "/open"}, "secret": {"match": "/secret"}}
    settings = settings_of({"fra": origin}, routes=routes) if kind == "http" else of_storage(origin, routes=routes)

    with Shield(settings, clock=clock) as shield:
        answer = shield.get(path)

    assert (answer.status, origin.requests) == (400, [])
