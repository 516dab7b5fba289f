"""Metered bytes agree with the origin's own count, whatever it does: faults of all kinds, one after the other."""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.client import Client
from tests.doubles.faults import (
    Fault,
    at_body,
    at_head,
    chunked,
    closes,
    followed_by,
    preceded_by,
    says,
    until_close,
    without_body,
)
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.steps import Bytes, Close, Head, Pause, Reset, Stall, Step
from tests.node import Shield

BODY = random.Random(1).randbytes(90_000)


def received(shield: Shield) -> int:
    return sum(each.received for each in shield.node.origins.meters.readings())


def sent(origin: FaultyOrigin) -> int:
    return sum(each.sent for each in origin.requests)


MIX: dict[str, Callable[[random.Random], list[Fault]]] = {
    "as it should be": lambda _: [],
    "in chunks": lambda rng: [chunked(rng.randint(1, 9_000), extension=";a=b", trailers=(("x-sum", "1"),))],
    "chunks without their end": lambda rng: [chunked(rng.randint(1_000, 9_000), last=False)],
    "until the end of the connection": lambda _: [until_close()],
    "the connection ends": lambda _: [closes()],
    "gzip": lambda _: [says(content_encoding="gzip")],
    "a redirect": lambda _: [says(302, location="/elsewhere")],
    "absent": lambda _: [says(404)],
    "denied": lambda _: [says(403)],
    "an error": lambda _: [says(500)],
    "not satisfiable": lambda _: [says(416)],
    "no content": lambda _: [without_body(), says(204, content_length=None)],
    "interim responses": lambda _: [preceded_by(Head(103, {"link": "</x>"}), Head(103, {}))],
    "too short": lambda _: [says(content_length="120000"), followed_by(Close())],
    "a reset within the body": lambda rng: [at_body(rng.randint(1, 89_000), Reset())],
    "a reset within the head": lambda rng: [at_head(rng.randint(1, 90), Reset())],
    "the end within the body": lambda rng: [at_body(rng.randint(1, 89_000), Close())],
    "surplus": lambda rng: [followed_by(Bytes(bytes(rng.randint(1, 9_000))))],
    "surplus later": lambda rng: [followed_by(Pause(0.01), Bytes(bytes(rng.randint(1, 9_000))))],
}
HTTP_1_0: tuple[Step, ...] = (Bytes(b'HTTP/1.0 200 OK\r\nserver: x\r\netag: "a"\r\n\r\n' + BODY), Close())


def test_a_mix_of_faults_is_counted_to_the_byte(shield: Shield, origin: FaultyOrigin) -> None:
    rng = random.Random(7)
    ways = [("GET", ()), ("HEAD", ()), ("GET", (("range", "bytes=100-60000"),))]
    turns = [(what, *way) for what in MIX for way in ways]
    rng.shuffle(turns)
    for number, (what, method, fields) in enumerate(turns):
        origin.serves(f"/{number}", BODY, lifetime=10)
        origin.spoils(f"/{number}", *MIX[what](rng))
        shield.get(f"/{number}", fields, method=method)
        # Else bytes may be on their way to a connection that is closed, which nobody here can count.
        origin.wait_for(lambda: all(each.ended for each in origin.requests))
        shield.wait_for(lambda: not shield.node.fills.statistics().in_flight)

    shield.wait_for(lambda: received(shield) >= sent(origin))
    assert received(shield) == sent(origin) > 2_000_000


def test_a_body_of_http_1_0_is_counted_to_the_byte(shield: Shield, origin: FaultyOrigin) -> None:
    origin.script("/a", *HTTP_1_0)

    assert shield.get("/a").body == BODY

    assert received(shield) == sent(origin) > len(BODY)


def test_of_a_body_that_is_reset_before_a_slow_client_took_it_all_that_had_arrived_counts(
    shield: Shield, origin: FaultyOrigin
) -> None:
    size = 700_000
    origin.serves("/a", bytes(size), fields={"cache-control": "no-store"})
    origin.spoils("/a", at_body(size - 1000, Stall()), times=1)
    with Client(shield.port, receive_buffer=4096) as client:
        client.send(b"GET /a HTTP/1.1\r\nhost: x\r\n\r\n")
        client.read_some(1000)
        shield.wait_for(lambda: origin.acknowledged() >= size - 1000)  # by TCP's own count
        assert received(shield) < size - 1000  # the rest waits in the kernel
        origin.drops_connections()
    shield.wait_for(lambda: not shield.node.fills.statistics().in_flight)

    assert received(shield) == origin.acknowledged() == sent(origin)
