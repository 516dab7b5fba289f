"""Answers that vary by fields of the request, over the wire: who gets which, and what an origin is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shield.config.settings import Settings
from tests.client import Answer, request
from tests.disks import settled, with_disk
from tests.doubles.faults import preceded_by
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.ledger import Received
from tests.doubles.steps import Bytes, Head, Step, Wait
from tests.node import FakeClock, Shield, settings_of
from tests.test_response_fields import keyed, of_storage


def by_accept(received: Received) -> bytes:
    return f"as {received.get('accept')}".encode()


def varying(origin: FaultyOrigin, **route: Any) -> Settings:
    """A route that forwards Accept, unless told otherwise."""
    return settings_of({"fra": origin}, routes={"default": {"forward_request_headers": ["accept"], **route}})


def get(shield: Shield, accept: str, path: str = "/a", **fields: str) -> Answer:
    return shield.get(path, [("accept", accept), *fields.items()])


def test_each_variant_is_fetched_once_and_found_again(origin: FaultyOrigin, clock: FakeClock) -> None:
    origin.varies("/a", by_accept, vary="Accept")

    with Shield(varying(origin), clock=clock) as shield:
        first = [get(shield, kind) for kind in ("image/webp", "image/jpeg")]
        again = [get(shield, kind) for kind in ("image/webp", "image/jpeg", "image/webp")]

    assert [answer.body for answer in first] == [b"as image/webp", b"as image/jpeg"]
    assert [answer.hit for answer in first] == [False, False]
    assert [answer.body for answer in again] == [b"as image/webp", b"as image/jpeg", b"as image/webp"]
    assert all(answer.hit for answer in again)
    assert origin.fetches("/a") == 2
    assert [str(answer.get("cache-status")).split("; ")[1] for answer in first] == ["fwd=uri-miss", "fwd=vary-miss"]


def test_a_route_that_forwards_nothing_is_not_led_astray_by_the_variants_of_one_with_the_same_keys(
    origin: FaultyOrigin, clock: FakeClock
) -> None:
    origin.varies("/a", by_accept, vary="Accept")
    routes = {"default": {"forward_request_headers": ["accept"]}, "plain": {"match": "/plain", "strip": "/plain"}}

    with Shield(settings_of({"fra": origin}, routes=routes), clock=clock) as shield:
        get(shield, "image/webp")
        plain = [get(shield, "image/webp", "/plain/a") for _ in range(2)]

    assert [(answer.body, answer.hit) for answer in plain] == [(b"as None", False), (b"as None", True)]


def test_what_does_not_vary_is_one_entry_whatever_is_asked(origin: FaultyOrigin, clock: FakeClock) -> None:
    origin.varies("/a", by_accept, vary=None)

    with Shield(varying(origin), clock=clock) as shield:
        answers = [get(shield, kind) for kind in ("image/webp", "image/jpeg")]

    assert [answer.body for answer in answers] == [b"as image/webp"] * 2
    assert origin.fetches("/a") == 1


def test_a_vary_on_what_no_origin_saw_makes_no_variants(origin: FaultyOrigin, clock: FakeClock) -> None:
    origin.varies("/a", by_accept, vary="Cookie, Accept-Language")

    with Shield(varying(origin), clock=clock) as shield:
        first = get(shield, "image/webp", cookie="a")
        second = get(shield, "image/webp", cookie="b")

    assert second.hit
    assert first.get("vary") == "Cookie, Accept-Language"
    assert origin.requests[0].get("cookie") is None


def test_thousands_of_spellings_make_as_many_variants_as_the_platform_has(
    origin: FaultyOrigin, clock: FakeClock
) -> None:
    origin.varies("/a", by_accept, vary="Accept")
    settings = varying(origin, accept=["image/avif", "image/webp", "image/jpeg"])

    with Shield(settings, clock=clock) as shield:
        for number in range(60):
            kind = ("image/avif", "image/webp", "text/html")[number % 3]
            get(shield, f"{kind}, x/{number};q=0.{number + 1}, */*;q=0.1")

    assert {received.get("accept") for received in origin.requests} == {"image/avif", "image/webp", "image/jpeg"}
    assert origin.fetches("/a") == 3


def test_those_who_wait_for_one_variant_do_not_get_another(origin: FaultyOrigin, clock: FakeClock) -> None:
    gate = origin.gate()
    origin.varies("/a", by_accept, preceded_by(Wait(gate)), vary="Accept")
    kinds = ["image/webp", "image/jpeg", "image/webp", "image/jpeg", "image/avif"]

    with Shield(varying(origin), clock=clock) as shield:
        clients = [shield.client() for _ in kinds]
        for client, kind in zip(clients, kinds, strict=True):
            client.send(request("/a", [("accept", kind)]))
        shield.wait_for(lambda: shield.node.proxy._fills.statistics().collapsed == 4)
        gate.open()
        answers = [client.read() for client in clients]
        for client in clients:
            client.close()

    assert [answer.body.decode() for answer in answers] == [f"as {kind}" for kind in kinds]
    assert origin.fetches("/a") == 3


def test_variants_survive_a_restart_on_disk_and_go_together(
    origin: FaultyOrigin, clock: FakeClock, tmp_path: Path
) -> None:
    origin.varies("/a", by_accept, vary="Accept", lifetime=600)
    plain = with_disk(origin, tmp_path / "nvme")
    settings = plain.model_copy(update={"routes": varying(origin).routes})

    with Shield(settings, clock=clock) as shield:
        for kind in ("image/webp", "image/jpeg"):
            get(shield, kind)
        settled(shield)
    with Shield(settings, clock=clock) as shield:
        kept = [get(shield, kind) for kind in ("image/jpeg", "image/webp")]
        removed = shield.run(shield.node.purge.targets([b"/a"]))
        gone = [get(shield, kind) for kind in ("image/jpeg", "image/webp")]

    assert [answer.body for answer in kept] == [b"as image/jpeg", b"as image/webp"]
    assert all(answer.hit for answer in kept)
    assert removed == 1
    assert not any(answer.hit for answer in gone)


def test_more_variants_than_allowed_are_answered_and_not_stored(origin: FaultyOrigin, clock: FakeClock) -> None:
    origin.varies("/a", by_accept, vary="Accept")

    with Shield(varying(origin, max_variants=3), clock=clock) as shield:
        answers = [get(shield, f"x/{number}") for number in range(6)]
        entries: Any = shield.state()["memory"]
        again = get(shield, "x/0")

    assert [answer.body.decode() for answer in answers] == [f"as x/{number}" for number in range(6)]
    assert "detail=too-many-variants" in (answers[-1].get("cache-status") or "")
    assert entries["entries"] == 4  # and the marker
    assert again.hit


def test_a_variant_is_validated_as_itself(origin: FaultyOrigin, clock: FakeClock) -> None:
    origin.varies("/a", by_accept, vary="Accept", lifetime=10)

    with Shield(varying(origin), clock=clock) as shield:
        for kind in ("image/webp", "image/jpeg"):
            get(shield, kind)
        clock.advance(1000)
        later = [get(shield, kind) for kind in ("image/webp", "image/jpeg")]

    assert [answer.body for answer in later] == [b"as image/webp", b"as image/jpeg"]
    asked = origin.requests[2:]
    assert [received.get("accept") for received in asked] == ["image/webp", "image/jpeg"]
    assert all(received.get("if-none-match") for received in asked)


@pytest.mark.parametrize("other", ["x-forwarded-host", "x-original-url", "range", "if-none-match", "te"])
def test_all_forwards_all_but_what_would_poison(origin: FaultyOrigin, clock: FakeClock, other: str) -> None:
    origin.serves("/a", b"a", lifetime=60)

    with Shield(varying(origin, forward_request_headers="all"), clock=clock) as shield:
        shield.get("/a", [("x-mine", "1"), ("cookie", "c=1"), (other, "x")])

    received = origin.requests[0]
    assert (received.get("x-mine"), received.get("cookie"), received.get(other)) == ("1", "c=1", None)
    assert [name for name, _ in received.fields].count("host") == 1


# what S3 answers by though it says so only where it was asked for it


def as_s3(received: Received) -> list[Step]:
    asked_by = received.get("origin")
    fields = {"access-control-allow-origin": asked_by, "vary": "Origin"} if asked_by else {}
    return [Head(200, {"content-length": "1", "cache-control": "max-age=60", **fields}), Bytes(b"x")]


@pytest.mark.parametrize("memory", ["64MiB", "0"])
def test_an_image_asked_for_first_is_no_answer_to_a_script(
    origin: FaultyOrigin, clock: FakeClock, tmp_path: Path, memory: str
) -> None:
    origin.makes(keyed("/a"), as_s3)
    routes = {"default": {"forward_request_headers": ["origin"]}}
    disk = with_disk(origin, tmp_path / "nvme", memory=memory)
    settings = disk.model_copy(update=dict(of_storage(origin, routes=routes)) | {"cache": disk.cache})

    with Shield(settings, clock=clock) as shield:
        answers = []
        for _ in range(2):
            answers.append(shield.get("/a"))
            answers += [shield.get("/a", [("origin", site)]) for site in ("https://a.example", "https://b.example")]
            settled(shield)

    told = [answer.get("access-control-allow-origin") for answer in answers]
    assert told == [None, "https://a.example", "https://b.example"] * 2
    assert [answer.hit for answer in answers] == [False] * 3 + [True] * 3
    assert origin.fetches(keyed("/a")) == 3


# variants that nobody needs


def by_language(received: Received) -> bytes:
    return f"in {received.get('accept-language')}".encode()


@pytest.mark.parametrize("name", ["accept-language", "origin"])
def test_junk_keeps_no_place_from_what_is_asked_for(origin: FaultyOrigin, clock: FakeClock, name: str) -> None:
    """However much comes first, and however much comes after."""
    origin.varies("/a", lambda received: f"for {received.get(name)}".encode(), vary=name)
    real = ["de", "en", "fr"]

    with Shield(varying(origin, forward_request_headers=[name]), clock=clock) as shield:
        for number in range(40):
            shield.get("/a", [(name, f"x-{number}")])
        for value in real * 3:
            shield.get("/a", [(name, value)])
        settled_hits = [shield.get("/a", [(name, value)]).hit for value in real]
        for number in range(40, 200):
            shield.get("/a", [(name, f"x-{number}")])
        answers = [shield.get("/a", [(name, value)]) for value in real]
        entries: Any = shield.state()["memory"]

    assert settled_hits == [True] * 3
    assert [(answer.body, answer.hit) for answer in answers] == [(f"for {value}".encode(), True) for value in real]
    assert entries["entries"] == 32 + 1  # and the marker


def test_what_gives_way_is_gone_from_the_disk_as_well(origin: FaultyOrigin, clock: FakeClock, tmp_path: Path) -> None:
    origin.varies("/a", by_accept, vary="Accept")
    routes = {"default": {"forward_request_headers": ["accept"], "max_variants": 1}}
    settings = settings_of({"fra": origin}, routes=routes, cache=with_disk(origin, tmp_path).cache)

    with Shield(settings, clock=clock) as shield:
        for kind in ("x/junk", "x/real", "x/real"):
            get(shield, kind)
        settled(shield)
        hits = [get(shield, kind).hit for kind in ("x/real", "x/junk")]

    assert hits == [True, False]


def test_of_languages_those_of_the_platform_are_variants(origin: FaultyOrigin, clock: FakeClock) -> None:
    origin.varies("/a", by_language, vary="Accept-Language")
    settings = varying(origin, forward_request_headers=["accept-language"], accept_language=["en", "DE"])

    with Shield(settings, clock=clock) as shield:
        for number in range(40):
            shield.get("/a", [("accept-language", f"x-{number}, de-{number:02};q=0.{number % 9 + 1}")])
            shield.get("/a", [("accept-language", f"x-{number}")])

    assert [received.get("accept-language") for received in origin.requests] == ["de", "en"]
