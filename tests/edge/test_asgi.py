"""The ASGI front under hypercorn decides as the HTTP/1.1 front does, and can be seen to fail."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client import Client, request
from tests.doubles.faults import Fault, at_body, chunked
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.pattern import Pattern
from tests.doubles.steps import Reset, Stall, Wait
from tests.edge.hypercorn_front import H2Client, hypercorn
from tests.node import FakeClock, Shield, settings_of

LARGE = Pattern(3_000_000)
ENDLESS = Pattern(64_000_000)


@pytest.fixture
def port(shield: Shield, origin: FaultyOrigin) -> Iterator[int]:
    origin.serves("/a", b"hello", lifetime=60)
    origin.serves("/large", LARGE, lifetime=60)
    origin.serves("/endless", ENDLESS, fields={"cache-control": "no-store"})
    with hypercorn(shield) as made:
        yield made


@pytest.fixture
def h2(port: int) -> Iterator[H2Client]:
    with H2Client(port) as made:
        yield made


@pytest.fixture
def h1(port: int) -> Iterator[Client]:
    with Client(port) as made:
        yield made


# HTTP/2


def test_a_miss_and_a_hit_over_http_2(h2: H2Client, origin: FaultyOrigin) -> None:
    miss, hit = h2.get("/a"), h2.get("/a")

    assert (miss.status, hit.status) == (200, 200)
    assert bytes(miss.body) == bytes(hit.body) == b"hello"
    assert "; hit" in hit.fields["cache-status"]
    assert hit.fields["content-length"] == "5"
    assert origin.fetches("/a") == 1


def test_a_request_that_has_been_here_before_is_refused(h2: H2Client, origin: FaultyOrigin) -> None:
    assert h2.get("/a", {"cdn-loop": "test-1"}).status == 508
    assert origin.requests == []


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({":method": "CONNECT", ":scheme": None, ":path": None}, 405),
        ({":path": "/\u00fc"}, 400),
        ({":method": "G\u00cbT"}, 400),
    ],
)
@pytest.mark.parametrize("ends", [True, False])
def test_a_request_that_hypercorn_cannot_read_ends_its_own_stream_only(
    h2: H2Client, origin: FaultyOrigin, changes: dict[str, str | None], status: int, ends: bool
) -> None:
    gate = origin.gate()
    origin.spoils("/large", at_body(1_000_000, Wait(gate)))
    large = h2.ask("/large")
    gate.reached()

    refused = h2.finish(h2.ask_for(changes, ends=ends))
    hit = h2.get("/a")
    gate.open()
    answer = h2.finish(large)

    assert refused.status == status
    assert refused.fields.get("allow") == ("GET, HEAD" if status == 405 else None)
    assert hit.status == 200
    assert bytes(answer.body) == LARGE[:]


def test_a_body_that_comes_after_the_answer_ends_no_other_stream(h2: H2Client) -> None:
    stream = h2.ask("/a", method="POST", ends=False)
    while not h2.streams[stream].ended:
        h2.step()

    for _ in range(20):
        h2.connection.send_data(stream, b"x" * 1000)
    h2.connection.end_stream(stream)
    h2.flush()

    assert h2.streams[stream].status == 405
    assert h2.get("/a").status == 200
    assert bytes(h2.get("/large").body) == LARGE[:]


def test_large_bodies_over_http_2(h2: H2Client) -> None:
    for _ in range(2):
        answer = h2.get("/large")
        assert answer.ended
        assert bytes(answer.body) == LARGE[:]


def test_head_range_and_not_modified_over_http_2(h2: H2Client) -> None:
    etag = h2.get("/a").fields["etag"]

    head = h2.get("/a", method="HEAD")
    part = h2.get("/a", {"range": "bytes=1-3"})
    same = h2.get("/a", {"if-none-match": etag})

    assert (head.status, bytes(head.body), head.fields["content-length"]) == (200, b"", "5")
    assert (part.status, bytes(part.body)) == (206, b"ell")
    assert (same.status, bytes(same.body)) == (304, b"")


def test_refusals_over_http_2(h2: H2Client) -> None:
    assert h2.get("/a", method="DELETE").fields["allow"] == "GET, HEAD"
    assert h2.finish(h2.ask("/a", body=b"body")).status == 400
    assert h2.get("/a%zz").status == 400
    assert h2.get("/absent").status == 404
    assert h2.get("/a").status == 200


def test_streams_do_not_wait_for_each_other(h2: H2Client, origin: FaultyOrigin) -> None:
    gate = origin.gate()
    origin.spoils("/large", at_body(1000, Wait(gate)))
    slow = h2.ask("/large")
    gate.reached()

    assert h2.get("/a").ended
    gate.open()
    assert bytes(h2.finish(slow).body) == LARGE[:]


def test_a_stream_that_is_not_read_stays_at_the_origin(h2: H2Client, shield: Shield, origin: FaultyOrigin) -> None:
    h2.reading = False
    slow = h2.ask("/endless")
    h2.read_body(slow, 65_535)

    seen = origin.requests[-1]
    assert h2.get("/absent", method="HEAD").status == 404  # the node's loop has turned
    assert seen.sent < len(ENDLESS)
    h2.cancel(slow)

    origin.wait_for(lambda: seen.ended)
    assert not seen.complete


@pytest.mark.parametrize("spoilt", [(at_body(1_000_000, Reset()),), (chunked(8000, last=False),)])
def test_a_body_that_breaks_off_resets_its_stream_only(
    h2: H2Client, origin: FaultyOrigin, spoilt: tuple[Fault, ...]
) -> None:
    origin.spoils("/large", *spoilt, times=1)
    origin.spoils("/large", at_body(0, Reset()))  # what would continue it

    answer = h2.get("/large")

    assert answer.status == 200
    assert answer.reset is not None and not answer.ended
    assert LARGE.check(bytes(answer.body))
    assert h2.get("/a").ended


def test_a_client_that_cancels_ends_its_request(h2: H2Client, origin: FaultyOrigin) -> None:
    origin.spoils("/endless", at_body(500_000, Stall()))
    stream = h2.ask("/endless")
    h2.read_body(stream, 400_000)

    h2.cancel(stream)

    origin.wait_for(lambda: origin.requests_active == 0)
    assert h2.get("/a").ended


# HTTP/1.1


def test_the_same_over_http_1_1(h1: Client) -> None:
    miss, hit = h1.ask("/a"), h1.ask("/a")
    head = h1.ask("/a", method="HEAD")
    large = h1.ask("/large")
    refused = h1.ask("/a", method="POST")

    assert (miss.body, hit.body, hit.hit) == (b"hello", b"hello", True)
    assert (head.status, head.get("content-length")) == (200, "5")
    assert large.body == LARGE[:]
    assert (refused.status, refused.get("allow")) == (405, "GET, HEAD")


def test_a_target_in_absolute_form_over_http_1_1(h1: Client) -> None:
    assert h1.ask("http://cdn.example/a").body == b"hello"


@pytest.mark.parametrize("spoilt", [(at_body(1_000_000, Reset()),), (chunked(8000, last=False),)])
def test_a_body_that_breaks_off_ends_short_over_http_1_1(
    h1: Client, origin: FaultyOrigin, spoilt: tuple[Fault, ...]
) -> None:
    origin.spoils("/large", *spoilt, times=1)
    origin.spoils("/large", at_body(0, Reset()))  # what would continue it

    h1.send(request("/large"))
    answer = h1.read_head()
    answer.fields = [(name.lower(), value) for name, value in answer.fields]
    h1.read_body(answer)

    assert answer.status == 200
    assert not answer.clean
    assert LARGE.check(answer.body)
    assert h1.at_end()


def test_a_client_that_leaves_ends_its_request(h1: Client, origin: FaultyOrigin) -> None:
    h1.send(request("/endless"))
    h1.read_head()
    h1.read_some(100_000)

    h1.reset()

    origin.wait_for(lambda: origin.requests_active == 0)


def test_a_client_that_leaves_before_the_answer_ends_its_request(
    h1: Client, shield: Shield, origin: FaultyOrigin
) -> None:
    gate = origin.gate()
    origin.script("/slow", Wait(gate), Stall())
    h1.send(request("/slow"))
    gate.reached()

    h1.reset()

    shield.wait_for(lambda: shield.node.state()["requests"].get("abandoned"))  # type: ignore[attr-defined]


def test_one_line_in_the_access_log_for_each(h2: H2Client, shield: Shield, origin: FaultyOrigin) -> None:
    origin.serves("/broken", LARGE, lifetime=60)
    origin.spoils("/broken", at_body(100_000, Reset()))
    for target in ("/a", "/a", "/large", "/large", "/broken"):
        h2.get(target)

    shield.wait_for(lambda: shield.node.state()["fills"]["in_flight"] == 0)  # type: ignore[index]
    lines = shield.log()

    assert [(line["target"], line["status"], line["bytes"], line["cache"]) for line in lines[:4]] == [
        ("/a", 200, 5, "miss"),
        ("/a", 200, 5, "hit"),
        ("/large", 200, 3_000_000, "miss"),
        ("/large", 200, 3_000_000, "hit"),
    ]
    assert "broken" not in lines[0]
    assert (lines[4]["target"], lines[4]["broken"]) == ("/broken", True)


# without an address


@pytest.mark.parametrize("known", [["unix"], ["0.0.0.0/0", "::/0", "unix"]])
def test_a_client_without_an_address_is_a_stranger_even_where_unix_sockets_are_let_in(
    origin: FaultyOrigin, clock: FakeClock, tmp_path: Path, known: list[str]
) -> None:
    origin.serves("/a", b"hello", lifetime=60)
    settings, path = settings_of({"fra": origin}, access={"addresses": known}), str(tmp_path / "socket")

    with (
        Shield(settings, clock=clock) as shield,
        hypercorn(shield, path),
        socket.socket(socket.AF_UNIX) as client,
    ):
        client.connect(path)
        client.sendall(request("/a"))
        told = client.recv(4096)

    assert told.startswith(b"HTTP/1.1 403 ")
    assert origin.requests == []
