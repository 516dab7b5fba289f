"""The cap on the bytes of an origin: exact over connections and workers, and never taken for the origin's fault."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.errors import Fault, OriginError
from shield.origin.flow import BURST_SECONDS, LIMITING_SECONDS, Flow
from shield.rate_cells import RateCells
from shield.shared import Shared
from tests.doubles.faulty_origin import FaultyOrigin
from tests.garbage import cycles, uncollected
from tests.node import FakeClock, Shield, settings_of
from tests.origin.bench import TIMEOUTS, Bench, ManualLoop, fault_of, taken

RATE = 1_000_000
HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 10000000\r\n\r\n"
PIECE = b"x" * 200_000


def flows(count: int) -> tuple[ManualLoop, list[Flow]]:
    """Those of several workers."""
    loop, cells = ManualLoop(), RateCells()
    made = [Flow("fra", RATE, loop.time) for _ in range(count)]
    for each in made:
        each.use(cells)
    return loop, made


@given(st.lists(st.integers(1, 300_000), min_size=1, max_size=100), st.integers(1, 4))
def test_no_more_comes_than_the_rate_whoever_reads(sizes: list[int], connections: int) -> None:
    loop, (one, other) = flows(2)
    begin, free_at = loop.now, [loop.now] * connections
    came = 0
    for place, size in enumerate(sizes):
        at = min(range(connections), key=lambda number: free_at[number])
        loop.now = max(loop.now, free_at[at])
        assert came <= RATE * (loop.now - begin + BURST_SECONDS + 0.001) + 300_000 * connections
        came += size
        free_at[at] = loop.now + (one if place % 2 else other).came(size)


def test_fetches_take_places_one_behind_the_other_and_small_responses_come_at_the_rate() -> None:
    loop, (flow,) = flows(1)
    begin, count = loop.now, 0
    while count < 400:  # of 10 kB each
        wait, _ = flow.take_place(5.0)
        loop.now += wait
        assert flow.came(10_000) == 0.0 or count < 30
        count += 1

    assert count * 10_000 / (loop.now - begin) == pytest.approx(RATE, rel=0.15)


def test_a_place_that_is_not_used_is_given_back() -> None:
    _, (flow,) = flows(1)
    for _ in range(100):
        wait, size = flow.take_place(5.0)
        flow.give_back(size)

    assert wait == 0.0


def test_one_that_would_wait_too_long_is_refused_and_takes_no_place() -> None:
    loop, (flow,) = flows(1)
    flow.came(10 * RATE)

    with pytest.raises(OriginError) as caught:
        flow.take_place(5.0)
    assert caught.value.fault is Fault.OVER_LIMIT and caught.value.retry_after == pytest.approx(9.9, abs=0.1)
    loop.now += 6.0
    assert flow.take_place(5.0)[0] == pytest.approx(3.9, abs=0.1)


def test_workers_share_one_cap_in_the_memory_of_the_node() -> None:
    loop, shared = ManualLoop(), Shared(workers=2)
    one, other = Flow("fra", RATE, loop.time), Flow("fra", RATE, loop.time)
    for each in (one, other):
        each.use(shared.flows)

    assert one.came(RATE) == pytest.approx(1.0 - BURST_SECONDS)
    assert other.came(RATE) == pytest.approx(2.0 - BURST_SECONDS)
    shared.close()


def test_a_connection_is_not_read_until_its_bytes_are_due_and_no_limit_runs() -> None:
    bench = Bench(rate=RATE // 20)
    response = bench.ask()
    taken(response)
    bench.says(HEAD + PIECE)  # four seconds of it
    assert not bench.transport.reading and response.is_slowed

    bench.loop.passes(3.0)
    assert not bench.transport.reading
    bench.loop.passes(1.0)
    assert bench.transport.reading
    bench.says(PIECE * 2)
    bench.loop.passes(TIMEOUTS.between_bytes + 1.0)
    assert not bench.transport.reading and fault_of(response) is None

    bench.loop.passes(3.0 + TIMEOUTS.between_bytes)  # now it is the origin that sends nothing
    assert fault_of(response) is Fault.BETWEEN_BYTES_TIMEOUT


def test_a_reader_that_holds_it_up_and_the_cap_do_not_free_one_another() -> None:
    bench = Bench(rate=RATE)
    response = bench.ask()
    taken(response)
    bench.says(HEAD + PIECE * 2)
    response.pause()
    bench.loop.passes(1.0)
    assert not bench.transport.reading and bench.connection.held_up(bench.loop.now) == 1.0
    response.resume()
    assert bench.transport.reading and bench.connection.held_up(bench.loop.now) == 0.0

    bench.says(PIECE * 3)
    response.pause()
    response.resume()
    assert not bench.transport.reading and bench.connection.held_up(bench.loop.now) == 0.0
    bench.loop.passes(1.0)
    assert bench.transport.reading


def test_after_its_response_a_connection_is_read_and_used_again() -> None:
    bench = Bench(rate=RATE)
    response = bench.ask()
    taken(response)
    bench.says(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n" + PIECE * 4)
    assert not bench.transport.reading
    bench.says(PIECE)  # what was read already

    assert bench.transport.reading and bench.reusable and fault_of(response) is None
    assert bench.loop.armed == 1  # the alarm


def test_an_origin_that_falls_silent_after_a_slowed_interim_response_is_not_waited_for_without_end() -> None:
    bench = Bench(rate=4_000)
    response = bench.ask()
    bench.says(b"HTTP/1.1 103 Early Hints\r\nlink: " + b"x" * 60_000 + b"\r\n\r\n")
    assert not bench.transport.reading

    bench.loop.passes(16.0)
    assert bench.transport.reading and fault_of(response) is None
    bench.loop.passes(TIMEOUTS.first_byte)

    assert fault_of(response) is Fault.FIRST_BYTE_TIMEOUT


def test_one_that_is_lost_leaves_no_reference_cycle() -> None:
    bench = Bench(rate=RATE)
    with uncollected():
        bench.ends()
        del bench.connection

        assert "shield.origin.connection.Connection" not in cycles()


def test_one_that_is_given_up_leaves_no_timer() -> None:
    bench = Bench(rate=RATE)
    response = bench.ask()
    taken(response)
    bench.says(HEAD + PIECE * 2)

    response.close()

    assert bench.loop.armed == 0


def test_the_time_of_a_body_that_was_slowed_measures_nothing() -> None:
    bench = Bench(rate=RATE)
    response = bench.ask()
    bench.says(b"HTTP/1.1 200 OK\r\ncontent-length: 800000\r\n\r\n" + PIECE * 3)
    response.weigh = lambda size, seconds: pytest.fail("it was held up")
    taken(response)
    bench.loop.passes(1.0)
    bench.says(PIECE)

    assert fault_of(response) is None


def test_what_comes_slowly_for_a_cap_counts_as_held_for_a_while() -> None:
    loop, (flow,) = flows(1)
    assert not flow.is_limiting
    flow.came(RATE)
    loop.now += 0.9
    assert flow.is_limiting
    loop.now += LIMITING_SECONDS
    assert not flow.is_limiting


def test_a_body_under_a_cap_is_whole_and_nothing_is_blamed(
    origin: FaultyOrigin, replica: FaultyOrigin, clock: FakeClock
) -> None:
    body = bytes(range(256)) * 2400
    for each in (origin, replica):
        each.serves("/a", body, lifetime=60)
    settings = settings_of({"fra": origin, "iad": replica})
    capped = settings.origins["fra"].model_copy(update={"max_rate": 4 * len(body)})
    settings = settings.model_copy(update={"origins": {**settings.origins, "fra": capped}})

    with Shield(settings, clock=clock) as shield, shield.client() as client:
        client.send(b"GET /a HTTP/1.1\r\nhost: x\r\n\r\n")
        flow = shield.node.origins.get("fra").pool.flow
        assert flow is not None
        shield.wait_for(lambda: flow.is_limiting)
        assert all(each.is_held for each in shield.call(shield.node.fills.bodies))
        assert client.read().body == body

        figures = shield.state()["origins"]["fra"]
        assert figures["faults"] == {} and figures["overtaken"] == 0 and figures["health"]["state"] == "up"
        assert figures["capped_seconds"] > 0.0
        assert shield.state()["fills"]["continued"] == {} and replica.fetches("/a") == 0
        assert shield.state()["fills"]["memory_used_bytes"] <= len(body)


def test_a_miss_beyond_the_cap_goes_to_the_next_origin(
    origin: FaultyOrigin, replica: FaultyOrigin, clock: FakeClock
) -> None:
    for each in (origin, replica):
        each.serves("/a", b"aaa", lifetime=60)
    settings = settings_of({"fra": origin, "iad": replica})
    capped = settings.origins["fra"].model_copy(update={"max_rate": 64 << 10})
    settings = settings.model_copy(update={"origins": {**settings.origins, "fra": capped}})

    with Shield(settings, clock=clock) as shield:
        flow = shield.node.origins.get("fra").pool.flow
        assert flow is not None
        shield.call(lambda: flow.came(100 << 20))

        assert shield.get("/a").body == b"aaa"
        assert (origin.fetches("/a"), replica.fetches("/a")) == (0, 1)
        figures = shield.state()["origins"]["fra"]
        assert figures["faults"] == {"over-limit": 1} and figures["health"]["state"] == "up"
