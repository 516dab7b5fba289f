"""Responses of the HTTP/1.1 front to well-formed requests, alone and in bursts."""

from __future__ import annotations

import socket

import pytest

from shield.rules.limits import ClientLimits
from tests.client import Client, request
from tests.doubles.faults import at_body, chunked, until_close
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.pattern import Pattern
from tests.doubles.steps import Close, Reset, Wait
from tests.node import FakeClock, Shield
from tests.purging import order

SMALL = b"small"
MOST = ClientLimits().pipelined_bytes
LARGE = Pattern(3_000_000)


@pytest.fixture(autouse=True)
def objects(origin: FaultyOrigin) -> None:
    origin.serves("/hit", SMALL, lifetime=60)
    origin.serves("/large", LARGE, lifetime=60)
    origin.serves("/miss", b"from afar", lifetime=60)


def test_answers_to_a_burst_of_hits_misses_and_refusals_come_in_order(shield: Shield) -> None:
    shield.get("/hit")
    shield.get("/large")
    burst = [
        request("/hit"),
        request("/miss"),
        request("/hit", method="POST"),
        request("/large"),
        request("/absent"),
        request("/hit", method="HEAD"),
        request("/hit", [("Range", "bytes=1-2")]),
        request("/a%zz"),
        request("/never looked at"),
    ]

    with shield.client() as client:
        client.send(b"".join(burst))
        answers = [client.read("HEAD" if at == 5 else "GET") for at in range(8)]
        assert client.at_end()

    assert [a.status for a in answers] == [200, 200, 405, 200, 404, 200, 206, 400]
    assert [a.body for a in answers[:2]] == [SMALL, b"from afar"]
    assert LARGE.check(answers[3].body) and len(answers[3].body) == len(LARGE)
    assert answers[6].body == SMALL[1:3]
    assert answers[7].get("connection") == "close"


@pytest.mark.parametrize("size", [0, 10_000, 40_000, 100_000])
def test_hits_of_one_second_are_alike_and_true_when_it_is_over(
    shield: Shield, origin: FaultyOrigin, clock: FakeClock, size: int
) -> None:
    first, second = b"1" * size, b"2" * size
    origin.serves("/hot", first, lifetime=60)
    shield.get("/hot")

    with shield.client() as client:
        same = [client.ask("/hot") for _ in range(12)]  # so often that what is sent is kept
        head_alone = client.ask("/hot", method="HEAD")
        clock.advance(7)
        later, again = client.ask("/hot"), client.ask("/hot")
        origin.serves("/hot", second, lifetime=60)
        order(shield, paths=["/hot"])
        fetched, other = client.ask("/hot"), client.ask("/hot")

    assert {(a.body, a.get("age"), a.get("content-length")) for a in same} == {(first, "0", str(size))}
    assert head_alone.body == b"" and head_alone.get("content-length") == str(size)
    assert {(a.body, a.get("age")) for a in (later, again)} == {(first, "7")}
    assert not fetched.hit and (fetched.body, other.body) == (second, second)


def test_a_refusal_waits_for_the_miss_before_it(shield: Shield, origin: FaultyOrigin) -> None:
    gate = origin.gate()
    origin.script("/slow", Wait(gate), Close(), times=None)

    with shield.client() as client:
        client.send(request("/slow") + b"nonsense\r\n\r\n")
        gate.reached()
        shield.sweep(times=5)
        gate.open()
        first, second = client.read(), client.read()
        assert client.at_end()

    assert (first.status, second.status) == (503, 400)


def test_requests_sent_while_a_miss_is_under_way_wait_for_it(shield: Shield, origin: FaultyOrigin) -> None:
    shield.get("/hit")
    gate = origin.gate()
    origin.spoils("/miss", at_body(4, Wait(gate)))

    with shield.client() as client:
        client.send(request("/miss"))
        gate.reached()
        client.send(request("/hit"))
        client.send(request("/hit"))
        gate.open()
        answers = [client.read() for _ in range(3)]
        again = client.ask("/hit")

    assert [a.body for a in answers] == [b"from afar", SMALL, SMALL]
    assert again.hit


def test_more_requests_than_may_wait_are_left_to_another_connection(shield: Shield, origin: FaultyOrigin) -> None:
    shield.get("/hit")
    gate = origin.gate()
    origin.spoils("/miss", at_body(0, Wait(gate)))

    with shield.client() as client:
        client.send(request("/miss"))
        gate.reached()
        client.send(request("/hit") * (2 * MOST // len(request("/hit"))))
        gate.open()
        first = client.read()
        answers = [client.read() for _ in range(MOST // len(request("/hit")))]
        assert client.at_end()

    assert first.body == b"from afar"
    assert {a.body for a in answers} == {SMALL}


def test_what_is_sent_ahead_takes_no_more_memory_than_its_bytes(shield: Shield, origin: FaultyOrigin) -> None:
    gate = origin.gate()
    origin.spoils("/miss", at_body(0, Wait(gate)))
    ahead = request("/hit", [(f"x{number}", "") for number in range(95)]) * 40
    assert len(ahead) < MOST

    with shield.client() as client:
        client.send(request("/miss"))
        gate.reached()
        client.send(ahead)
        (connection,) = shield._state.connections
        shield.wait_for(lambda: len(connection._later) == len(ahead))
        assert not connection._turns
        assert len(connection._fields) < 10
        assert not connection._transport.is_reading()
        gate.open()
        assert client.read().body == b"from afar"
        assert [client.read().body for _ in range(40)] == [SMALL] * 40
        assert client.ask("/hit").hit


def test_requests_sent_ahead_are_answered_in_order_whether_they_hit_miss_or_are_refused(shield: Shield) -> None:
    shield.get("/hit")

    with shield.client() as client:
        client.send(
            (request("/hit") + request("/miss?1") + request("/nothing") + request("/hit", method="POST")) * 50
        )
        answers = [client.read() for _ in range(200)]
        client.send(request("/miss") + request("/hit") + b"nonsense\r\n\r\n" + request("/hit"))
        last = [client.read() for _ in range(3)]
        assert client.at_end()

    assert [answer.status for answer in answers] == [200, 200, 404, 405] * 50
    assert [answer.status for answer in last] == [200, 200, 400]


def test_a_request_that_comes_byte_by_byte_is_answered(shield: Shield) -> None:
    with shield.client() as client:
        for byte in request("/hit"):
            client.send(bytes([byte]))
        assert client.read().body == SMALL
        assert client.ask("/hit").hit


def test_a_connection_is_kept_unless_the_client_says_otherwise(shield: Shield) -> None:
    with shield.client() as client:
        assert client.ask("/hit").get("connection") is None
        assert client.ask("/hit", [("Connection", "keep-alive")]).hit
        last = client.ask("/hit", [("Connection", "close")])
        assert client.at_end()

    assert last.hit
    assert last.get("connection") == "close"


def test_a_miss_on_a_connection_to_be_closed_is_whole(shield: Shield) -> None:
    with shield.client() as client:
        answer = client.ask("/large", [("Connection", "close")])
        assert client.at_end()

    assert answer.clean
    assert LARGE.check(answer.body)


@pytest.mark.parametrize("field", [[], [("Connection", "keep-alive")], [("Proxy-Connection", "keep-alive")]])
@pytest.mark.parametrize("target", ["/hit", "/miss"])
def test_http_1_0_is_answered_and_its_connection_closed(
    shield: Shield, target: str, field: list[tuple[str, str]]
) -> None:
    shield.get("/hit")

    with shield.client() as client:
        client.send(request(target, field, version="1.0", host=None))
        answer = client.read()
        assert client.at_end()

    assert answer.clean
    assert answer.get("connection") == "close"


@pytest.mark.parametrize("field", [[], [("Proxy-Connection", "keep-alive")]])
def test_http_1_0_gets_no_chunks(shield: Shield, origin: FaultyOrigin, field: list[tuple[str, str]]) -> None:
    origin.spoils("/large", chunked(8000))

    with shield.client() as client:
        client.send(request("/large", field, version="1.0", host=None))
        answer = client.read()

    assert answer.get("transfer-encoding") is None
    assert answer.body == LARGE[:]


@pytest.mark.parametrize("fault", [chunked(8000), until_close()])
def test_a_body_of_unknown_length_comes_in_chunks(shield: Shield, origin: FaultyOrigin, fault: object) -> None:
    origin.spoils("/large", fault)  # type: ignore[arg-type]

    with shield.client() as client:
        answer = client.ask("/large")
        after = client.ask("/hit")

    assert answer.get("transfer-encoding") == "chunked"
    assert answer.clean
    assert answer.body == LARGE[:]
    assert after.body == SMALL


@pytest.mark.parametrize("target", ["/hit", "/large"])
def test_head_has_the_fields_of_get_and_no_body(shield: Shield, target: str) -> None:
    whole = shield.get(target)

    with shield.client() as client:
        answer = client.ask(target, method="HEAD")
        after = client.ask(target)

    assert after.body == whole.body
    assert {n for n, _ in answer.fields} == {n for n, _ in after.fields}
    assert answer.get("content-length") == str(len(whole.body))


def test_head_of_what_is_not_stored_has_no_body(shield: Shield, origin: FaultyOrigin) -> None:
    origin.spoils("/large", chunked(8000))

    with shield.client() as client:
        answers = [client.ask(target, method="HEAD") for target in ("/large", "/absent", "/miss")]
        after = client.ask("/hit")

    assert [a.status for a in answers] == [200, 404, 200]
    assert after.body == SMALL


@pytest.mark.parametrize("step", [Reset(), Close()])
def test_a_body_that_breaks_off_ends_short(shield: Shield, origin: FaultyOrigin, step: Reset | Close) -> None:
    origin.spoils("/large", at_body(1_000_000, step), times=1)
    origin.spoils("/large", at_body(0, step))  # what would continue it

    answer = shield.get("/large")

    assert answer.status == 200
    assert not answer.clean
    assert LARGE.check(answer.body)


def test_chunks_that_break_off_have_no_last_one(shield: Shield, origin: FaultyOrigin) -> None:
    origin.spoils("/large", chunked(8000, last=False))

    answer = shield.get("/large")

    assert answer.get("transfer-encoding") == "chunked"
    assert not answer.clean


def test_a_body_that_ends_with_its_connection_is_reset_when_it_breaks_off(
    shield: Shield, origin: FaultyOrigin
) -> None:
    gate = origin.gate()
    origin.spoils("/large", at_body(1000, Wait(gate), Close()), chunked(500, last=False))

    with shield.client() as client:
        client.send(request("/large", version="1.0", host=None))
        answer = client.read_head()
        client.read_some(500)
        gate.open()
        with pytest.raises(ConnectionResetError):
            client.read_body(answer)


@pytest.mark.parametrize("target", ["http://cdn.example/hit", "HTTPS://CDN.example:443/hit?x=1"])
def test_a_target_in_absolute_form_means_its_path(shield: Shield, target: str) -> None:
    shield.get("/hit")

    answer = shield.get(target)

    assert answer.status == 200
    assert answer.hit


def test_expect_and_upgrade_are_ignored(shield: Shield) -> None:
    shield.get("/hit")
    h2c = [("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c"), ("HTTP2-Settings", "AAMAAABkAAQAAP__")]

    with shield.client() as client:
        assert client.ask("/hit", [("Expect", "100-continue")]).hit
        assert client.ask("/hit", [("Upgrade", "h2c")]).status == 200
        assert client.ask("/hit", h2c).hit
        assert client.at_end()


def test_an_upgrade_asked_with_a_miss_is_ignored(shield: Shield) -> None:
    with shield.client() as client:
        client.send(request("/large", [("Connection", "upgrade"), ("Upgrade", "websocket")]) + b"\x81\x00")
        answer = client.read()
        assert client.at_end()

    assert answer.clean
    assert LARGE.check(answer.body)


@pytest.mark.parametrize("target", ["/hit", "/miss", "/large"])
def test_a_client_that_has_said_all_is_still_answered(shield: Shield, target: str) -> None:
    shield.get("/hit")

    with shield.client() as client:
        client.send(request(target))
        client.socket.shutdown(socket.SHUT_WR)
        answer = client.read()
        assert client.at_end()

    assert answer.clean


def test_a_client_that_has_said_all_gets_all_its_answers(shield: Shield) -> None:
    with shield.client() as client:
        client.send(request("/miss") + request("/large") + request("/hit"))
        client.socket.shutdown(socket.SHUT_WR)
        answers = [client.read() for _ in range(3)]
        assert client.at_end()

    assert [a.body for a in answers] == [b"from afar", LARGE[:], SMALL]


def test_a_client_is_told_of_its_connection_by_nobody_else(shield: Shield) -> None:
    def ask(client: Client) -> list[str | None]:
        return [client.ask("/miss", [("Connection", "close, x-y"), ("X-Y", "z")]).get("connection")]

    with shield.client() as client:
        assert ask(client) == ["close"]
    with shield.client() as client:
        assert client.ask("/miss").get("connection") is None
