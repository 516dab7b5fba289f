"""Origins that hang, refuse and fail, over the wire: clients don't wait for them, and don't meet them for long."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from shield.origin.want import Fetched, Want
from shield.records import Came
from shield.rules.health import HealthRecord, HealthState
from tests.client import Answer, request
from tests.doubles.faults import at_body, preceded_by
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.gate import Gate
from tests.doubles.steps import Close, Wait
from tests.node import FakeClock, Shield, settings_of

SOON = 2.0  # later than anything is waited for, in times of an origin that little is known of


def look_later(shield: Shield, seconds: float) -> None:
    """What the node does when so much time has passed."""
    shield.call(lambda: shield.node.origins.conductor.look(asyncio.get_running_loop().time() + seconds))


@pytest.fixture
def pair(pair: Shield) -> Shield:
    """A node with a primary and a replica, whose conductor looks only when it is told to."""
    return _unwatched(pair)


@pytest.fixture
def shield(shield: Shield) -> Shield:
    """The same with one origin."""
    return _unwatched(shield)


def _unwatched(shield: Shield) -> Shield:
    shield.run(shield.node.origins.conductor.close())
    return shield


@pytest.fixture
def gate(origin: FaultyOrigin) -> Gate:
    return origin.gate()


def hang(origin: FaultyOrigin, gate: Gate, *paths: str) -> None:
    for path in paths:
        origin.serves(path, path.encode(), lifetime=60)
        origin.spoils(path, preceded_by(Wait(gate)))


def asked(shield: Shield, pool: ThreadPoolExecutor, *paths: str) -> list[Future[Answer]]:
    return [pool.submit(shield.get, path) for path in paths]


def state(shield: Shield, name: str = "fra") -> str:
    health: str = shield.state()["origins"][name]["health"]["state"]
    return health


def test_fetches_that_wait_at_a_hung_origin_get_away_as_soon_as_it_is_suspect(
    pair: Shield, origin: FaultyOrigin, replica: FaultyOrigin, gate: Gate
) -> None:
    paths = ["/a", "/b", "/c"]
    hang(origin, gate, *paths)
    for path in (*paths, "/d"):
        replica.serves(path, path.encode(), lifetime=60)

    with ThreadPoolExecutor(4) as pool:
        waiting = asked(pair, pool, *paths)
        origin.wait_for(lambda: origin.requests_active == 3)
        look_later(pair, SOON)
        answers = [each.result() for each in waiting]
    after = pair.get("/d")
    state_then = state(pair)
    gate.open()

    assert [answer.body for answer in answers] == [b"/a", b"/b", b"/c"]
    assert (after.body, origin.fetches("/d")) == (b"/d", 0)
    assert state_then == "suspect"
    assert pair.state()["origins"]["fra"]["overtaken"] == 3


def test_one_that_refuses_connections_is_left_alone_after_three(
    pair: Shield, origin: FaultyOrigin, replica: FaultyOrigin
) -> None:
    for number in range(6):
        replica.serves(f"/{number}", b"x", lifetime=60)
    origin.refuses()

    answers = [pair.get(f"/{number}") for number in range(6)]

    assert {answer.body for answer in answers} == {b"x"}
    assert pair.state()["origins"]["fra"]["faults"] == {"connect": 3}


def test_one_that_fails_for_different_objects_is_left_alone_after_five(
    pair: Shield, origin: FaultyOrigin, replica: FaultyOrigin
) -> None:
    for number in range(8):
        origin.fails(f"/{number}", status=500, code="InternalError")
        replica.serves(f"/{number}", b"x", lifetime=60)

    answers = [pair.get(f"/{number}") for number in range(8)]

    assert {answer.body for answer in answers} == {b"x"}
    assert len(origin.requests) == 5


def test_one_broken_object_does_not_put_its_origin_out(
    pair: Shield, origin: FaultyOrigin, replica: FaultyOrigin
) -> None:
    origin.fails("/a", status=500, code="InternalError")
    replica.serves("/a", b"x", lifetime=0)

    for _ in range(8):
        assert pair.get("/a").body == b"x"

    assert len(origin.requests) == 8
    assert state(pair) == "up"


def test_an_object_that_is_slow_at_the_first_and_absent_elsewhere_still_comes(
    pair: Shield, origin: FaultyOrigin, replica: FaultyOrigin, gate: Gate
) -> None:
    hang(origin, gate, "/a")

    with ThreadPoolExecutor(1) as pool:
        (waiting,) = asked(pair, pool, "/a")
        origin.wait_for(lambda: origin.requests_active == 1)
        pair.call(lambda: rescue(pair))
        replica.wait_for(lambda: replica.fetches("/a") == 1 and not replica.requests_active)
        gate.open()
        answer = waiting.result()

    assert (answer.status, answer.body) == (200, b"/a")


def test_what_is_absent_elsewhere_is_not_said_to_be_absent_while_the_first_cannot_tell(
    clock: FakeClock, origin: FaultyOrigin, replica: FaultyOrigin, gate: Gate
) -> None:
    hang(origin, gate, "/a")
    settings = settings_of({"fra": origin, "iad": replica}, failover={"retry_budget": 0})

    with Shield(settings, clock=clock) as pair, ThreadPoolExecutor(1) as pool:
        (waiting,) = asked(pair, pool, "/a")
        origin.wait_for(lambda: origin.requests_active == 1)
        pair.call(lambda: rescue(pair))
        replica.wait_for(lambda: replica.fetches("/a") == 1 and not replica.requests_active)
        origin.drops_connections()
        answer = waiting.result()
        gate.open()

    assert answer.status == 503


def test_the_last_attempt_of_a_fetch_whose_client_leaves_is_given_up_with_the_first(
    origin: FaultyOrigin, replica: FaultyOrigin, gate: Gate, clock: FakeClock
) -> None:
    other = replica.gate()
    hang(origin, gate, "/a")
    hang(replica, other, "/a")

    cache = {"memory": {"capacity": "64MiB"}, "fills": {"linger": "1ms"}}
    with Shield(settings_of({"fra": origin, "iad": replica}, cache=cache), clock=clock) as pair:
        _unwatched(pair)
        with pair.client() as client:
            client.send(request("/a"))
            origin.wait_for(lambda: origin.requests_active == 1)
            pair.call(lambda: rescue(pair))
            replica.wait_for(lambda: replica.requests_active == 1)
        pair.wait_for(lambda: not pair.node.fills.statistics().in_flight)

        pair.wait_for(lambda: not any(each.pool.in_use for each in pair.node.origins.all()))
    gate.open()
    other.open()


def test_a_sole_origin_is_asked_whatever_it_does(shield: Shield, origin: FaultyOrigin) -> None:
    for number in range(9):
        origin.fails(f"/{number}", status=500, code="InternalError")

    answers = [shield.get(f"/{number}") for number in range(9)]
    look_later(shield, SOON)
    look_later(shield, 2 * SOON)
    origin.recovers()
    origin.serves("/b", b"x", lifetime=60)

    assert {answer.status for answer in answers} == {503}
    assert {seen.path for seen in origin.requests} == {f"/{number}" for number in range(9)}
    assert state(shield) == "suspect"
    assert shield.get("/b").body == b"x"


def test_an_origin_that_returns_gets_its_fetches_back_key_by_key(
    pair: Shield, origin: FaultyOrigin, replica: FaultyOrigin
) -> None:
    paths = [f"/{number}" for number in range(40)]
    for path in ("/first", *paths):
        origin.serves(path, b"x", lifetime=60)
        replica.serves(path, b"x", lifetime=60)
    pair.get("/first")  # what it is probed with
    origin.stops()
    for path in ("/x", "/y", "/z"):
        pair.get(path)

    look_later(pair, 0.0)  # suspect
    pair.wait_for(lambda: _looked(pair, 0.1) is HealthState.OPEN)
    origin.returns()
    pair.wait_for(lambda: _looked(pair, 20.0) is HealthState.RECOVERING)
    before = len(origin.requests)
    answers = [pair.get(path) for path in paths]
    soon_after = len(origin.requests) - before
    pair.wait_for(lambda: _looked(pair, 60.0) is HealthState.UP)

    assert {answer.body for answer in answers} == {b"x"}
    assert 0 < soon_after < 40
    assert pair.state()["origins"]["fra"]["health"]["out_seconds"] == 0.0


def _looked(shield: Shield, seconds: float) -> HealthState:
    """The state after the node has looked as if so much time had passed; called on its loop."""
    origins = shield.node.origins
    origins.conductor.look(asyncio.get_running_loop().time() + seconds)
    return origins.get("fra").seen.record().state


def rescue(shield: Shield, name: str = "fra") -> None:
    """As if an origin were suspect: those who wait at it go on elsewhere."""
    for waiter in list(shield.node.origins.get(name).waiting):
        waiter.suspect(name)


def test_whoever_wins_the_others_are_given_up_and_the_question_counts_from_the_first(
    clock: FakeClock, origin: FaultyOrigin, replica: FaultyOrigin, gate: Gate
) -> None:
    other = replica.gate()
    hang(origin, gate, "/a")
    hang(replica, other, "/a")
    sent: list[int] = []

    with FaultyOrigin(clock=clock) as third:
        third.serves("/a", b"x", lifetime=60)
        origins = {
            name: {"provider": "http", "endpoint": each.url, "timeouts": {"first_byte": "60s"}}
            for name, each in (("fra", origin), ("iad", replica), ("lhr", third))
        }
        settings = settings_of({}, origins=origins, failover={"deadline": "60s"})
        with Shield(settings, clock=clock) as shield, ThreadPoolExecutor(1) as pool:
            _unwatched(shield)
            pools = [each.pool for each in shield.node.origins.all()]
            want = Want(b"GET", b"/a", sent=lambda: sent.append(1))

            async def fetch() -> str:
                result = await shield.node.origins.fetch(("fra", "iad", "lhr"), want)
                assert isinstance(result, Fetched)
                await result.response.read(10)
                return result.origin

            fetching = pool.submit(lambda: shield.run(fetch()))
            origin.wait_for(lambda: origin.requests_active == 1)
            shield.call(lambda: rescue(shield, "fra"))
            replica.wait_for(lambda: replica.requests_active == 1)
            shield.call(lambda: rescue(shield, "iad"))
            winner = fetching.result()
            shield.wait_for(lambda: not any(each.in_use for each in pools))
            gate.open()
            other.open()

    assert winner == "lhr"
    assert sent == [1]  # whoever asks later than that may get an older response


def test_one_that_is_out_is_tried_last_and_only_briefly(
    pair: Shield, origin: FaultyOrigin, replica: FaultyOrigin, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    hang(origin, gate, "/a")
    seen = pair.node.origins.get("fra").seen

    def put_out() -> None:
        now = asyncio.get_running_loop().time()
        for _ in range(20):
            seen.succeeded(Came.OK, now, 0.01)
        seen.measure(now)
        seen.publish(HealthRecord(HealthState.OPEN, since=now, until=now + 60.0, bad_since=now))

    pair.call(put_out)
    answer = pair.get("/a")
    faults = pair.state()["origins"]["fra"]["faults"]
    gate.open()

    assert answer.status == 504  # it could not tell, and the other one doesn't have it
    assert faults == {"first-byte-timeout": 1}
    assert "all that was left" in caplog.text  # for this attempt, long before the five seconds are over


def test_one_whose_bodies_all_break_off_is_suspect_and_then_out_though_probes_pass(
    pair: Shield, origin: FaultyOrigin, replica: FaultyOrigin
) -> None:
    for number in range(20):
        origin.serves(f"/{number}", b"x" * 1000, lifetime=60, fields={"accept-ranges": "none"})
        replica.serves(f"/{number}", b"x" * 1000, lifetime=60)
        origin.spoils(f"/{number}", at_body(500, Close()))
    origin.serves("/well", b"x" * 1000, lifetime=60)
    pair.get("/well")  # what it is probed with

    for number in range(5):
        assert not pair.get(f"/{number}").clean
    look_later(pair, 0.0)
    suspect = state(pair)
    pair.wait_for(lambda: _looked(pair, 0.0) is HealthState.UP)
    for number in range(5, 10):
        assert not pair.get(f"/{number}").clean
    look_later(pair, 0.0)

    assert suspect == "suspect"
    assert (state(pair), pair.state()["origins"]["fra"]["health"]["reason"]) == (
        "open",
        "5 bodies in a row broke off",
    )
    assert pair.get("/15").body == b"x" * 1000
    assert pair.state()["origins"]["fra"]["faults"] == {"short-body": 10}


def test_one_object_whose_body_breaks_off_does_not_put_its_origin_out(pair: Shield, origin: FaultyOrigin) -> None:
    origin.serves("/a", b"x" * 1000, lifetime=0, fields={"accept-ranges": "none"})
    origin.spoils("/a", at_body(500, Close()))

    for _ in range(8):
        assert not pair.get("/a").clean
    look_later(pair, 0.0)

    assert state(pair) == "up"


def put_out(shield: Shield, *names: str, state: HealthState = HealthState.OPEN) -> None:
    """As if these origins had been found to be bad."""

    def publish() -> None:
        now = asyncio.get_running_loop().time()
        for name in names:
            seen = shield.node.origins.get(name).seen
            seen.publish(HealthRecord(state, since=now, until=now + 60.0, bad_since=now))

    shield.call(publish)


def test_while_all_origins_are_bad_a_stale_entry_is_served_at_once_and_refreshed_behind(
    pair: Shield, origin: FaultyOrigin, replica: FaultyOrigin, gate: Gate, clock: FakeClock
) -> None:
    paths = ["/a", "/b"]
    for path in paths:
        origin.serves(path, b"x", lifetime=60, grace=0)
        pair.get(path)
    clock.advance(100)
    hang(origin, gate, *paths)
    put_out(pair, "fra", "iad")

    answers = [pair.get(path) for path in (*paths, *paths)]
    origin.wait_for(lambda: origin.requests_active == 1 and len(origin.requests) == 3)  # not one for each
    asked = len(origin.requests) + len(replica.requests)
    gate.open()

    assert [(answer.status, answer.body) for answer in answers] == [(200, b"x")] * 4
    assert answers[0].get("cache-status") == "test-1; hit; ttl=-40; detail=cut-off"
    assert asked == 3


def test_what_may_not_be_served_stale_waits_even_then(
    pair: Shield, origin: FaultyOrigin, replica: FaultyOrigin, clock: FakeClock
) -> None:
    origin.serves("/a", b"x", fields={"cache-control": "max-age=60, must-revalidate"})
    pair.get("/a")
    clock.advance(100)
    origin.stops()
    put_out(pair, "fra", "iad")

    assert pair.get("/a").status == 504


def test_as_long_as_one_origin_is_well_it_is_asked(
    pair: Shield, origin: FaultyOrigin, replica: FaultyOrigin, clock: FakeClock
) -> None:
    origin.serves("/a", b"x", lifetime=60, grace=0)
    replica.serves("/a", b"newer", lifetime=60)
    pair.get("/a")
    clock.advance(100)
    put_out(pair, "fra")

    assert pair.get("/a").body == b"newer"


def test_a_sole_origin_that_is_suspect_is_not_waited_for_either(
    shield: Shield, origin: FaultyOrigin, gate: Gate, clock: FakeClock
) -> None:
    origin.serves("/a", b"x", lifetime=60, grace=0)
    shield.get("/a")
    clock.advance(100)
    hang(origin, gate, "/a")
    put_out(shield, "fra", state=HealthState.SUSPECT)

    answer = shield.get("/a")
    gate.open()

    assert (answer.status, answer.body) == (200, b"x")


def test_a_node_that_is_cut_off_from_all_origins_serves_what_is_stale_at_once(
    pair: Shield, origin: FaultyOrigin, gate: Gate, clock: FakeClock
) -> None:
    origin.serves("/a", b"x", lifetime=60, grace=0)
    pair.get("/a")
    clock.advance(100)
    hang(origin, gate, "/a")
    records = pair.node.origins._records
    pair.call(lambda: setattr(records, "frozen_at", 1.0))

    answer = pair.get("/a")
    gate.open()

    assert (answer.status, answer.body) == (200, b"x")
