"""Fetching through the worker that owns a key: two workers of a node in one process, over their real unix sockets."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import shutil
import socket
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shield.build.regime import regime_of
from shield.errors import Fault
from shield.messages import Request
from shield.origin.dial import Endpoint
from shield.origin.pool import Pool
from shield.origin.terms import Timeouts
from shield.origin.want import Absent, Failed, Fetched, Want
from shield.peers.front import REPORT
from shield.peers.owners import Owners, OwnerStatistics, Ring
from shield.rules.ranges import Span
from shield.shared import Standing
from tests.client import PATIENCE, Answer, request
from tests.doubles.faults import at_body, preceded_by
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.pattern import Pattern
from tests.doubles.steps import Bytes, Head, Reset, Wait
from tests.node import FakeClock, settings_of
from tests.origin.leg import LoopFactory, body, no_descriptor_left, on_both_loops, run, until
from tests.peers.pair import Two, Worker, two

BODY = Pattern(200_000)


@pytest.fixture
def workers(origin: FaultyOrigin, clock: FakeClock) -> Iterator[Two]:
    with two(origin, clock) as made:
        yield made


# one fetch for all


def test_what_another_worker_owns_is_fetched_through_it_and_kept_by_both(workers: Two, origin: FaultyOrigin) -> None:
    origin.serves(workers.path, BODY, lifetime=60)

    first, again = workers.asker.get(workers.path), workers.asker.get(workers.path)
    at_owner = workers.owner.get(workers.path)

    assert [answer.body == BODY[:] for answer in (first, again, at_owner)] == [True] * 3
    assert [answer.hit for answer in (first, again, at_owner)] == [False, True, True]
    assert origin.fetches(workers.path) == 1
    assert workers.asker.state()["peers"]["asked"] == 1


def test_the_origin_is_told_the_identifier_of_the_clients_request(workers: Two, origin: FaultyOrigin) -> None:
    origin.serves(workers.path, BODY, lifetime=60)

    answer = workers.asker.get(workers.path, [("cf-ray", "8f1a-FRA")])

    assert [dict(request.fields)["x-request-id"] for request in origin.requests] == ["8f1a-FRA"]
    assert "shield-request-id" not in dict(origin.requests[0].fields)
    assert answer.body == BODY[:]
    assert [line["request_id"] for line in workers.asker.log()] == ["8f1a-FRA"]


def test_another_workers_lists_and_lines_can_be_asked_for(workers: Two, origin: FaultyOrigin) -> None:
    origin.serves(workers.path, BODY, lifetime=60)
    asker, owner = workers.asker, workers.owner

    def ask(target: bytes) -> Any:
        return json.loads(asker.run(asker.node.owners.reports(target))[0])

    begun = ask(b"*log?name=x&query=bytes%3E10")
    owner.get(workers.path)
    owner.get(workers.path, [("Range", "bytes=0-9")])
    asker.get(workers.path)
    lines, top = ask(b"*log?name=x&query=bytes%3E10")["lines"], ask(b"*top?keys&missed_bytes")

    assert begun["lines"] == []
    assert [(line["target"], line["cache"]) for line in lines] == [(workers.path, "miss")]
    assert [(name, example, sums[:2]) for name, example, sums, _ in top["rows"]] == [
        (f":{workers.path}", workers.path, [2.0, len(BODY)])
    ]
    assert ask(b"*unheard-of") == {}


def test_what_a_worker_owns_it_fetches_itself(workers: Two, origin: FaultyOrigin) -> None:
    origin.serves(workers.path, b"x", lifetime=60)

    workers.owner.get(workers.path)

    assert origin.fetches(workers.path) == 1
    assert (workers.owner.state()["peers"]["asked"], workers.asked.get("miss", 0)) == (
        0,
        0,
    )


def test_clients_of_all_workers_share_one_fill(workers: Two, origin: FaultyOrigin) -> None:
    gate = origin.gate()
    origin.serves(workers.path, BODY, lifetime=60)
    origin.spoils(workers.path, preceded_by(Wait(gate)))
    clients = [worker.client() for worker in (workers.owner, workers.asker) for _ in range(3)]

    for client in clients:
        client.send(request(workers.path))
    workers.owner.wait_for(lambda: workers.owner.node.state()["fills"]["collapsed"] >= 3)  # type: ignore[index]
    gate.open()
    answers = [client.read() for client in clients]
    for client in clients:
        client.close()

    assert all(answer.clean and BODY.check(answer.body) for answer in answers)
    assert origin.fetches(workers.path) == 1


def test_head_is_asked_as_head(workers: Two, origin: FaultyOrigin) -> None:
    origin.serves(workers.path, b"hello", lifetime=60)

    answer = workers.asker.get(workers.path, method="HEAD")

    assert (answer.status, answer.get("content-length"), answer.body) == (200, "5", b"")
    assert [seen.method for seen in origin.requests] == ["HEAD"]


# what a client sees


def test_a_client_sees_one_cache_and_one_proxy(workers: Two, origin: FaultyOrigin) -> None:
    fields = {"cache-status": "upstream; hit", "via": "1.1 upstream", "shield-peer": "failed by-the-origin"}
    origin.serves(workers.path, b"x", lifetime=60, fields=fields)

    answer = workers.asker.get(workers.path)

    assert answer.status == 200
    assert [value for name, value in answer.fields if name == "via"] == ["1.1 upstream", "1.1 test-1"]
    assert [value for name, value in answer.fields if name == "cache-status"] == [
        "upstream; hit",
        "test-1; fwd=uri-miss; fwd-status=200; stored; ttl=60",
    ]
    assert answer.get("shield-peer") is None
    assert [line["origin"] for line in workers.asker.log()] == ["fra"]


def test_an_absence_that_the_owner_concludes_is_logged_as_if_it_were_concluded_here(workers: Two) -> None:
    workers.asker.get(workers.path)

    (line,) = workers.asker.log()
    assert (line["status"], line["cache"], "origin" in line) == (404, "miss", False)


def test_an_answer_that_its_owner_had_stored_keeps_its_age(
    workers: Two, origin: FaultyOrigin, clock: FakeClock
) -> None:
    origin.serves(workers.path, b"x", lifetime=60)
    workers.owner.get(workers.path)

    clock.advance(20)
    first = workers.asker.get(workers.path)
    clock.advance(20)
    second = workers.asker.get(workers.path)
    clock.advance(21)
    third = workers.asker.get(workers.path)

    assert first.get("cache-status") == "test-1; hit; ttl=40"  # the node had it, whichever of its workers was asked
    assert [answer.get("age") for answer in (first, second)] == ["20", "40"]
    assert (second.hit, third.get("cache-status")) == (True, "test-1; hit; ttl=-1")


def test_an_absent_object_is_absent_no_longer_than_its_owner_says(
    workers: Two, origin: FaultyOrigin, clock: FakeClock
) -> None:
    at_owner = workers.owner.get(workers.path)
    clock.advance(6)
    at_asker = workers.asker.get(workers.path)
    clock.advance(5)
    later = workers.asker.get(workers.path)

    assert [answer.status for answer in (at_owner, at_asker, later)] == [404] * 3
    assert (at_asker.body, at_asker.get("age")) == (at_owner.body, "6")
    assert not later.hit
    assert origin.fetches(workers.path) == 2


def test_a_failure_at_the_origin_is_told_as_the_owner_tells_it(workers: Two, origin: FaultyOrigin) -> None:
    origin.fails(workers.path, "InternalError", status=500)

    at_asker, at_owner = workers.asker.get(workers.path), workers.owner.get(workers.path)

    assert (at_asker.status, at_asker.get("cache-status")) == (503, at_owner.get("cache-status"))
    assert at_asker.get("retry-after") == at_owner.get("retry-after")
    assert origin.fetches(workers.path) == 4  # it may have passed a moment later


@pytest.mark.parametrize(("status", "control"), [(500, "no-store"), (501, "max-age=60"), (503, "no-store")])
def test_an_error_of_an_origin_that_speaks_for_itself_is_fetched_once(
    origin: FaultyOrigin, clock: FakeClock, status: int, control: str
) -> None:
    speaks = {"fra": {"provider": "http", "endpoint": origin.url, "pass_errors": True}}
    with two(origin, clock, origins=speaks) as workers:
        said = Head(status, [("content-length", "4"), ("cache-control", control)]), Bytes(b"oops")
        origin.script(workers.path, *said, times=None)
        answer = workers.asker.get(workers.path)
        done_without = workers.asker.state()["peers"]["done_without"]

    assert (answer.status, answer.body) == (status, b"oops")
    assert (origin.fetches(workers.path), done_without) == (1, 0)


def test_a_timeout_at_the_origin_is_504_for_both(origin: FaultyOrigin, clock: FakeClock) -> None:
    gate = origin.gate()
    origin.spoils("*", preceded_by(Wait(gate)))
    with two(origin, clock, failover={"deadline": "200ms"}) as workers:
        at_asker, at_owner = workers.asker.get(workers.path), workers.owner.get(workers.path)
        gate.open()

    assert (at_asker.status, at_asker.get("cache-status")) == (504, at_owner.get("cache-status"))


def test_when_origins_fail_a_worker_serves_what_it_has_kept(
    workers: Two, origin: FaultyOrigin, clock: FakeClock
) -> None:
    origin.serves(workers.path, b"x", fields={"cache-control": "max-age=60, stale-while-revalidate=0"})
    workers.asker.get(workers.path)
    origin.fails(workers.path, "InternalError", status=500)

    clock.advance(100)
    answer = workers.asker.get(workers.path)

    assert (answer.status, answer.body, answer.get("age")) == (200, b"x", "100")


def test_a_stale_entry_is_validated_through_the_owner_once_for_both(
    workers: Two, origin: FaultyOrigin, clock: FakeClock
) -> None:
    origin.serves(workers.path, b"x", fields={"cache-control": "max-age=60, stale-while-revalidate=0"})
    workers.asker.get(workers.path)

    clock.advance(100)
    at_asker, at_owner = workers.asker.get(workers.path), workers.owner.get(workers.path)

    assert (at_asker.status, at_asker.body, at_asker.get("age")) == (200, b"x", "0")
    assert at_owner.hit
    assert [seen.get("if-none-match") is not None for seen in origin.requests] == [False, True]


def test_another_version_at_the_owner_replaces_what_is_stale(
    workers: Two, origin: FaultyOrigin, clock: FakeClock
) -> None:
    control = {"cache-control": "max-age=60, stale-while-revalidate=0"}
    origin.serves(workers.path, b"old", fields=control)
    workers.asker.get(workers.path)
    origin.serves(workers.path, b"new", fields=control)

    clock.advance(100)

    assert workers.asker.get(workers.path).body == b"new"
    assert workers.asker.get(workers.path).hit


def test_a_range_is_cut_from_what_the_owner_brings(workers: Two, origin: FaultyOrigin) -> None:
    origin.serves(workers.path, BODY, lifetime=60)

    answer = workers.asker.get(workers.path, [("range", "bytes=100-299")])

    assert (answer.status, answer.body == BODY[100:300]) == (206, True)
    assert origin.fetches(workers.path) == 1


def test_what_cannot_be_shared_goes_to_each_client_by_itself(workers: Two, origin: FaultyOrigin) -> None:
    origin.serves(workers.path, b"mine", fields={"cache-control": "private"})

    answers = [workers.asker.get(workers.path) for _ in range(3)]

    assert [answer.body for answer in answers] == [b"mine"] * 3
    assert origin.fetches(workers.path) == 3


def test_an_owner_knows_what_a_client_demands_of_caches(origin: FaultyOrigin, clock: FakeClock) -> None:
    with two(origin, clock, freshness={"honour_request_directives": True}) as workers:
        origin.serves(workers.path, b"x", lifetime=60)
        workers.asker.get(workers.path)
        answer = workers.asker.get(workers.path, [("cache-control", "no-cache")])

    assert answer.body == b"x"
    assert [seen.get("if-none-match") is not None for seen in origin.requests] == [False, True]


# spans, as large objects are fetched


def test_a_span_of_a_version_is_fetched_and_of_another_refused(workers: Two, origin: FaultyOrigin) -> None:
    origin.serves(workers.path, BODY, lifetime=60)
    etag = (workers.owner.get(workers.path).get("etag") or "").encode()

    found = workers.asker.fetch(workers.path, Want(b"GET", b"", span=Span(10, 20), etag=etag))
    other = workers.asker.fetch(workers.path, Want(b"GET", b"", span=Span(10, 20), etag=b'"other"'))

    assert isinstance(found, Fetched)
    assert (found.by_peer, found.response.head.status) == (True, 206)
    assert found.response.head.get(b"content-range") == b"bytes 10-19/200000"
    assert isinstance(other, Failed)
    assert other.names(Fault.VALIDATOR)


def test_a_tentative_span_beyond_the_object_brings_what_there_is(workers: Two, origin: FaultyOrigin) -> None:
    origin.serves(workers.path, b"hello", lifetime=60)
    workers.owner.get(workers.path)

    found = workers.asker.fetch(workers.path, Want(b"GET", b"", span=Span(0, 1000), tentative=True))

    assert isinstance(found, Fetched)
    assert found.response.head.get(b"content-range") in (None, b"bytes 0-4/5")


def test_a_tentative_span_of_an_empty_object_is_asked_for_again_without(workers: Two, origin: FaultyOrigin) -> None:
    origin.serves(workers.path, b"", lifetime=60)
    workers.owner.get(workers.path)

    found = workers.asker.fetch(workers.path, Want(b"GET", b"", span=Span(0, 1000), tentative=True))

    assert isinstance(found, Fetched)
    assert (found.response.head.status, found.response.head.length) == (200, 0)


def test_a_part_of_what_is_gone_is_absent(workers: Two, origin: FaultyOrigin) -> None:
    want = Want(b"GET", workers.path.encode(), span=Span(0, 10), etag=b'"a"')

    found = workers.asker.fetch(workers.path, want)

    assert found == Absent(404, 10.0)  # as long as its owner remembers it
    assert origin.fetches(workers.path) == 1


# without the owner


def test_an_owner_that_is_down_is_not_asked(workers: Two, origin: FaultyOrigin) -> None:
    origin.serves(workers.path, b"x", lifetime=60)
    workers.shared.standing[1] = Standing.DOWN

    assert workers.asker.get(workers.path).body == b"x"

    assert workers.asker.state()["peers"] == {"asked": 0, "done_without": 1, "requests": {"hit": 0}}


def test_an_owner_that_cannot_be_reached_is_done_without_and_named_once(
    workers: Two, origin: FaultyOrigin, caplog: pytest.LogCaptureFixture
) -> None:
    origin.default()
    workers.owner.stop_listening_to_peers()

    with caplog.at_level(logging.WARNING, "shield.origin"):
        answers = [workers.asker.get(f"{workers.path}?n={number}") for number in range(2)]
        answers += [workers.asker.get(path) for path in _more_of(workers)]

    assert {answer.status for answer in answers} == {404}
    assert [record.getMessage().split(":")[0] for record in caplog.records] == ["worker 1 gave no response"]


def _more_of(workers: Two) -> list[str]:
    """More paths of the owner's."""

    def find() -> list[str]:
        node = workers.owner.node
        paths = [f"/more-{number}" for number in range(40)]
        return [path for path in paths if node.owners.owns(node.proxy.resolve(path.encode()).key)][:3]

    return workers.owner.call(find)


def test_an_owner_that_dies_before_its_head_is_done_without(workers: Two, origin: FaultyOrigin) -> None:
    gate = origin.gate()
    origin.serves(workers.path, BODY, lifetime=60)
    origin.spoils(workers.path, preceded_by(Wait(gate)), times=1)

    with workers.asker.client() as client:
        client.send(request(workers.path))
        gate.reached()
        workers.owner.stop_listening_to_peers()
        workers.owner.drop_connections()
        answer = client.read()
        gate.open()

    assert (answer.status, answer.clean, answer.body == BODY[:]) == (200, True, True)
    assert origin.fetches(workers.path) == 2


def test_an_owner_that_dies_within_its_body_leaves_no_answer_that_looks_whole(
    workers: Two, origin: FaultyOrigin
) -> None:
    gate = origin.gate()
    origin.serves(workers.path, BODY, lifetime=60)
    origin.spoils(workers.path, at_body(100_000, Wait(gate)), times=1)

    with workers.asker.client() as client:
        client.send(request(workers.path))
        gate.reached()
        answer = client.read_head()
        workers.owner.drop_connections()
        client.read_body(answer)
        gate.open()
    again = workers.asker.get(workers.path)

    assert BODY.check(answer.body)
    assert answer.clean == (answer.body == BODY[:])
    assert (again.clean, again.body == BODY[:]) == (True, True)


def test_a_broken_body_is_broken_for_the_clients_of_both(workers: Two, origin: FaultyOrigin) -> None:
    origin.serves(workers.path, BODY, lifetime=60)
    origin.spoils(workers.path, at_body(100_000, Reset()), times=1)
    origin.fails(workers.path, "AccessDenied")

    broken = workers.asker.get(workers.path)
    origin.recovers()
    again = workers.asker.get(workers.path)

    assert not broken.clean
    assert (again.hit, again.clean, again.body == BODY[:]) == (False, True, True)


def test_a_body_that_breaks_off_continues_for_the_clients_of_both(workers: Two, origin: FaultyOrigin) -> None:
    origin.serves(workers.path, BODY, lifetime=60)
    origin.spoils(workers.path, at_body(100_000, Reset()), times=1)

    first, again = workers.asker.get(workers.path), workers.owner.get(workers.path)

    assert (first.clean, first.body == BODY[:]) == (True, True)
    assert (again.hit, again.clean, again.body == BODY[:]) == (True, True, True)


# never in circles


def test_what_a_worker_does_not_own_it_refuses_its_peers(workers: Two, origin: FaultyOrigin) -> None:
    origin.serves(workers.path, b"x", lifetime=60)

    answer = _ask_peer(workers.asker, workers.path)

    assert (answer.status, answer.get("shield-peer")) == (421, "refused")
    assert origin.requests == []


def test_a_worker_that_disowns_what_it_is_asked_for_is_done_without(origin: FaultyOrigin, clock: FakeClock) -> None:
    """As when two disagree on who there is."""
    with two(origin, clock) as workers:
        origin.serves(workers.path, b"x", lifetime=60)
        workers.owner.call(lambda: setattr(workers.owner.node.owners, "_owner", lambda digest: 0))

        answer = workers.asker.get(workers.path)

    assert answer.body == b"x"
    assert origin.fetches(workers.path) == 1


def _ask_peer(worker: Worker, target: str) -> Answer:
    """Over its unix socket."""
    raw = socket.socket(socket.AF_UNIX)
    with raw, raw.makefile("rb") as file:
        raw.settimeout(10.0)
        raw.connect(worker._place.peers[worker._place.worker])
        raw.sendall(request(target, [("connection", "close")]))
        head, _, body = file.read().partition(b"\r\n\r\n")
    line, *fields = head.decode().split("\r\n")
    pairs = [(name, value) for name, _, value in (field.partition(": ") for field in fields)]
    return Answer(int(line.split()[1]), pairs, body, clean=True)


# figures


def test_requests_of_peers_are_not_clients_requests(workers: Two, origin: FaultyOrigin) -> None:
    origin.serves(workers.path, b"x", lifetime=60)

    workers.asker.get(workers.path)

    assert workers.owner.state()["requests"] == {"plain_hit": 0}
    assert workers.asked == {"miss": 1, "hit": 0}
    assert workers.owner.log() == []


def test_a_worker_reports_for_all(workers: Two, origin: FaultyOrigin) -> None:
    origin.serves(workers.path, b"12345", lifetime=60)
    for worker in (workers.asker, workers.owner, workers.owner):
        worker.get(workers.path)

    report = workers.asker.run(workers.asker.node.figures.report_of_all())

    figures = {family.name: [sample.value for sample in family.samples] for family in report.families}
    assert report.state["workers_up"] == 2
    assert report.state["node"] == "test-1"
    assert report.state["requests"] == {"plain_hit": 2, "miss": 1}
    assert report.state["origins"]["fra"]["fetches"] == 1
    assert report.state["memory"]["entries"] == 2
    assert report.state["memory"]["capacity_bytes"] == 64 << 20
    assert (sorted(figures["sent_bytes"]), figures["workers_up"]) == ([5, 10], [2])


def test_what_happened_at_each_worker_s_door_and_in_answers_of_origins_is_summed(
    workers: Two, origin: FaultyOrigin
) -> None:
    raw = b"HTTP/1.1 200 OK\r\nnot a field\r\ncontent-length: 1\r\n\r\nx"
    origin.answers(workers.path, raw)
    for worker, turned_away, gave_way in ((workers.asker, 1, 2), (workers.owner, 4, 8)):
        door = worker.node.front.door
        door.turned_away, door.gave_way = turned_away, gave_way
        worker.get(workers.path)

    report = workers.asker.run(workers.asker.node.figures.report_of_all())

    figures = {family.name: [(each.value, each.labels) for each in family.samples] for family in report.families}
    assert report.state["door"] == {"turned_away": 5, "gave_way": 10}
    assert figures["connections_turned_away"] == [(5, {})]
    assert figures["connections_gave_way"] == [(10, {})]
    assert figures["origin_fields_dropped"] == [(origin.fetches(workers.path), {"origin": "fra"})]
    assert origin.fetches(workers.path) > 0


def test_a_worker_that_is_down_or_silent_is_left_out(workers: Two) -> None:
    workers.owner.stop_listening_to_peers()
    silent = workers.asker.run(workers.asker.node.figures.report_of_all())
    workers.shared.standing[1] = Standing.DOWN
    down = workers.asker.run(workers.asker.node.figures.report_of_all())

    assert (silent.state["workers_up"], down.state["workers_up"]) == (1, 1)


def test_figures_are_for_peers_only(workers: Two) -> None:
    target = REPORT.decode()

    assert workers.asker.get(target).status == 400
    assert _ask_peer(workers.asker, target).status == 200


def test_a_node_is_ready_when_all_its_workers_serve(workers: Two) -> None:
    asker = workers.asker
    assert asker.call(asker.node.figures.readiness).ready

    workers.shared.standing[1] = Standing.DRAINING

    assert not asker.call(asker.node.figures.readiness).ready


# an owner that is stuck


def test_an_owner_that_says_nothing_in_time_is_done_without_and_not_asked_again_for_a_while(
    workers: Two, origin: FaultyOrigin, clock: FakeClock
) -> None:
    origin.serves(workers.path, b"x", lifetime=60)
    node = workers.asker.node

    async def scenario(owners: Owners) -> tuple[Any, Any]:
        key, target = node.proxy.resolve(workers.path.encode()).key, workers.path.encode()
        want = Want(b"GET", target, key=key, request=Request.of(b"GET", target))
        first, second = [await owners.fetch(("fra",), want) for _ in range(2)]
        assert owners.statistics() == OwnerStatistics(asked=1, done_without=2)
        return first, second

    brought = workers.asker.run(_before_silence(workers, clock, scenario, timeouts=Timeouts(first_byte=0.05)))

    assert [isinstance(each, Fetched) and each.by_peer for each in brought] == [False, False]
    assert origin.fetches(workers.path) == 2


def test_an_owner_that_hangs_is_given_up_long_before_its_time_is_over(
    workers: Two, origin: FaultyOrigin, clock: FakeClock
) -> None:
    origin.serves(workers.path, b"x", lifetime=60)
    node, hangs = workers.asker.node, list[int]()

    async def scenario(owners: Owners) -> tuple[Any, Any]:
        key, target = node.proxy.resolve(workers.path.encode()).key, workers.path.encode()
        want = Want(b"GET", target, key=key, request=Request.of(b"GET", target))
        fetch = asyncio.ensure_future(owners.fetch(("fra",), want))
        async with asyncio.timeout(PATIENCE):
            while not owners.statistics().asked:  # noqa: ASYNC110  # nothing tells of it
                await asyncio.sleep(0)
        hangs.append(1)
        return await fetch, None

    patient = Timeouts(first_byte=3600, total=3600)
    brought, _ = workers.asker.run(
        _before_silence(workers, clock, scenario, timeouts=patient, is_silent=lambda worker: worker in hangs)
    )

    assert isinstance(brought, Fetched)
    assert not brought.by_peer


def test_a_worker_that_has_stood_still_for_a_while_is_taken_for_down(workers: Two, origin: FaultyOrigin) -> None:
    origin.serves(workers.path, b"x", lifetime=60)
    now = workers.asker.call(workers.asker._loop.time)

    workers.shared.beat(1, now / 2)  # the clock may have begun a minute ago, with the machine
    assert workers.asker.get(workers.path).body == b"x"
    assert workers.asker.state()["peers"]["asked"] == 0

    workers.shared.beat(1, now + 3600)
    assert workers.asker.get(workers.path + "?n=1").status == 200


async def _before_silence(
    workers: Two,
    clock: FakeClock,
    scenario: Callable[[Owners], Awaitable[tuple[Any, Any]]],
    *,
    timeouts: Timeouts,
    is_silent: Callable[[int], bool] = lambda worker: False,
) -> tuple[Any, Any]:
    """Run it with an owner that takes connections and says nothing."""
    directory = tempfile.mkdtemp(prefix="shield-")
    path = f"{directory}/silent"
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(path)
        silent.listen()
        ring = Ring(0, (f"{directory}/none", path), is_down=lambda worker: False, is_silent=is_silent)
        owners = Owners(workers.asker.node.origins, ring, node="test-1", timeouts=timeouts, clock=clock)
        try:
            brought = await scenario(owners)
            for each in brought:
                if isinstance(each, Fetched):
                    each.response.close()
            return brought
        finally:
            await owners.close()
            await asyncio.to_thread(shutil.rmtree, directory)


# the sockets


@on_both_loops
def test_a_pool_takes_the_path_of_a_unix_socket_for_a_host(new_loop: LoopFactory) -> None:
    directory = Path(tempfile.mkdtemp(prefix="shield-"))
    ended: list[bool] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readline():
            if await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello")
        writer.close()
        ended.append(True)

    async def scenario() -> None:
        server = await asyncio.start_unix_server(serve, directory / "socket")
        pool = Pool(Endpoint("peer", str(directory / "socket"), 0))

        assert [await body(pool) for _ in range(2)] == [b"hello"] * 2
        assert pool.statistics().opened_total == 1

        server.close()
        await pool.close()
        await server.wait_closed()
        await until(lambda: bool(ended))

    try:
        with no_descriptor_left():
            run(new_loop, scenario)
    finally:
        shutil.rmtree(directory)


def test_the_way_of_a_request_is_told_by_the_owner_too(origin: FaultyOrigin, clock: FakeClock) -> None:
    with two(origin, clock) as workers:
        origin.serves(workers.path, b"a", lifetime=60)
        workers.asker.get(workers.path, [("CDN-Loop", "other")])

    assert [seen.get("cdn-loop") for seen in origin.requests] == ["other, test-1"]


def test_what_an_origin_says_before_its_answer_comes_through_the_owner(
    origin: FaultyOrigin, clock: FakeClock
) -> None:
    with two(origin, clock) as node:
        origin.serves(node.path, b"hello", lifetime=60)
        origin.spoils(node.path, preceded_by(Head(103, [("link", "</a.css>; rel=preload")])))
        with node.asker.client() as client:
            client.send(request(node.path))
            hint, answer = client.read_head(), client.read()

    assert (hint.status, hint.fields) == (103, [("link", "</a.css>; rel=preload")])
    assert (answer.status, answer.body, answer.get("link")) == (200, b"hello", None)
    assert origin.fetches(node.path) == 1


# workers under different settings


def test_an_owner_that_takes_a_target_for_another_key_is_done_without(origin: FaultyOrigin, clock: FakeClock) -> None:
    moved = settings_of({"fra": origin}, routes={"all": {"add": "/moved"}})
    with two(origin, clock) as workers:
        owns = workers.owner.node.owners.owns
        after = regime_of(moved, workers=2, generation=2)

        def is_owned(target: str) -> bool:
            before = workers.owner.node.proxy.resolve(target.encode())
            return owns(before.key) and owns(after.targets.resolve(target.encode()).key)

        path = next(path for path in map("/object-{}".format, itertools.count()) if is_owned(path))
        origin.serves(path, b"old", lifetime=60)
        origin.serves(f"/moved{path}", b"new", lifetime=60)
        workers.asker.call(lambda: workers.asker.node.in_force.swap(after))

        answers = [workers.asker.get(path), workers.owner.get(path), workers.asker.get(path)]

    assert [answer.body for answer in answers] == [b"new", b"old", b"new"]
