"""What is fetched is counted to the byte, by origin, route and reason, as the origin itself counts it."""

from __future__ import annotations

from collections import Counter

from shield.egress.meter import EgressAccount, Meters
from shield.rules.egress import FetchReason
from tests.client import Client
from tests.doubles.faults import at_body
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.steps import Reset
from tests.node import FakeClock, Shield


def counted(shield: Shield) -> dict[tuple[str, str], tuple[int, int, dict[int, int]]]:
    """Requests, bytes and statuses by origin and reason."""
    found = {}
    for reading in shield.node.origins.meters.readings():
        assert reading.account.route == "default"
        found[reading.account.origin, reading.account.reason] = reading.requests, reading.received, reading.statuses
    return found


def sent(origin: FaultyOrigin) -> int:
    """What it has sent, once it has noted all of it: clients may be faster."""
    origin.wait_for(lambda: all(each.ended for each in origin.requests))
    return sum(each.sent for each in origin.requests)


def test_meters_of_an_account_are_one_and_requests_without_a_response_show() -> None:
    meters = Meters()
    meter = meters.of("fra", "images", FetchReason.MISS)
    meter.requests, meter.received, meter.unread = 3, 100, 7
    meter.answered(200)
    meter.answered(404)

    (reading,) = meters.readings()

    assert meters.of("fra", "images", FetchReason.MISS) is meter
    assert reading.account == EgressAccount("fra", "images", "miss")
    assert reading.received == 107 and reading.statuses == {200: 1, 404: 1, 0: 1}


def test_misses_revalidations_and_absences_agree_with_the_origin(
    shield: Shield, origin: FaultyOrigin, clock: FakeClock
) -> None:
    origin.serves("/a", bytes(50_000), lifetime=10)
    origin.serves("/b", bytes(3), lifetime=10)
    for target in ("/a", "/b", "/a", "/lacking"):
        shield.get(target)
    clock.advance(20)
    shield.get("/a")
    shield.wait_for(lambda: origin.fetches("/a") == 2 and not shield.node.fills.statistics().in_flight)

    found = counted(shield)

    assert {key: (requests, statuses) for key, (requests, _, statuses) in found.items()} == {
        ("fra", "miss"): (3, {200: 2, 404: 1}),
        ("fra", "revalidation"): (1, {304: 1}),
    }
    assert sum(received for _, received, _ in found.values()) == sent(origin)


def test_failover_is_counted_at_the_origin_that_it_goes_to(
    pair: Shield, origin: FaultyOrigin, replica: FaultyOrigin
) -> None:
    origin.refuses()
    replica.serves("/a", bytes(9_000), lifetime=10)

    assert pair.get("/a").status == 200

    found = counted(pair)
    assert found["iad", "failover"][0] == 1
    assert found["iad", "failover"][1] == sent(replica)
    assert Counter(reason for _, reason in found)["miss"] == 1


def test_the_rest_of_a_body_that_broke_off_is_a_resume(pair: Shield, origin: FaultyOrigin) -> None:
    origin.serves("/a", bytes(range(256)) * 1000, lifetime=10)
    origin.spoils("/a", at_body(100_000, Reset()), times=1)

    assert pair.get("/a").body == bytes(range(256)) * 1000

    found = counted(pair)
    assert found["fra", "miss"][1] < 256_000
    assert sum(numbers[0] for (_, reason), numbers in found.items() if reason == "resume") == 1


def test_of_a_body_that_is_given_up_all_that_has_arrived_counts(shield: Shield, origin: FaultyOrigin) -> None:
    origin.serves("/a", bytes(8 << 20), fields={"cache-control": "no-store"})
    with Client(shield.port, receive_buffer=4096) as client:
        client.send(b"GET /a HTTP/1.1\r\nhost: x\r\n\r\n")
        client.read_some(1000)
    shield.wait_for(lambda: not shield.node.fills.statistics().in_flight)
    shield.wait_for(lambda: origin.requests[0].ended)

    ((_, received, _),) = counted(shield).values()

    # Besides those, some were on their way, which nobody here can count.
    assert 1000 < received <= sent(origin)
