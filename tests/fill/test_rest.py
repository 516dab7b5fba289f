"""Bodies that break off or are late, and continue: at the same origin, or at one with the same bytes."""

from __future__ import annotations

import base64
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from shield.rules.identity import OVERLAP
from shield.rules.persistence import MOST_IN_A_ROW
from tests.client import Answer, request
from tests.doubles.faults import at_body, preceded_by, says
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.pattern import Body, Pattern
from tests.doubles.steps import Reset, Stall, Wait
from tests.fill.ground import Ground, on_ground, turns
from tests.node import FakeClock, Shield, settings_of
from tests.peers.pair import two

LENGTH = 3_000_000
BODY, OTHER = Pattern(LENGTH), Pattern(LENGTH, seed=1)
BROKEN_AT = 2_000_000
MISSING = LENGTH - BROKEN_AT
ONE, TWO = {"etag": '"one"'}, {"etag": '"two-2"'}
HEADS = 4096  # bytes of the heads that an origin sends beside bodies


def fills(shield: Shield) -> Any:
    return shield.state()["fills"]


def digest_of(body: Pattern) -> dict[str, str]:
    return {"repr-digest": f"sha-256=:{base64.b64encode(bytes.fromhex(body.sha256())).decode()}:"}


def breaks_off(origin: FaultyOrigin, at: int = BROKEN_AT) -> None:
    """It serves the body up to there, and nothing afterwards."""
    origin.spoils("/a", at_body(at, Reset()), times=1)
    origin.fails("/a", "InternalError")


def sent(origin: FaultyOrigin) -> int:
    return sum(seen.sent for seen in origin.requests)


def etag(answer: Answer) -> str | None:
    return answer.get("etag")


def test_a_body_continues_at_its_own_origin_and_is_stored(shield: Shield, origin: FaultyOrigin) -> None:
    origin.serves("/a", BODY, lifetime=60, fields=ONE)
    origin.spoils("/a", at_body(BROKEN_AT, Reset()), times=1)

    first, second = shield.get("/a"), shield.get("/a")

    assert (first.clean, first.body == BODY[:]) == (True, True)
    assert (second.hit, second.body == BODY[:]) == (True, True)
    assert [(seen.get("range"), seen.get("if-match")) for seen in origin.requests] == [
        (None, None),
        (f"bytes={BROKEN_AT}-{LENGTH - 1}", '"one"'),
    ]
    assert fills(shield)["continued"] == {"fra": 1}


@pytest.mark.parametrize(
    ("here", "there"),
    [
        (ONE | digest_of(BODY), TWO | digest_of(BODY)),
        (ONE | {"x-amz-checksum-crc64nvme": "AAAAAAAAAAA="}, TWO | {"x-amz-checksum-crc64nvme": "AAAAAAAAAAA="}),
    ],
    ids=["digest", "checksum"],
)
def test_a_body_continues_at_an_origin_with_the_same_checksum_and_is_stored(
    pair: Shield, origin: FaultyOrigin, replica: FaultyOrigin, here: dict[str, str], there: dict[str, str]
) -> None:
    origin.serves("/a", BODY, lifetime=60, fields=here)
    replica.serves("/a", BODY, lifetime=60, fields=there)
    breaks_off(origin)

    first, second = pair.get("/a"), pair.get("/a")

    assert (first.clean, first.body == BODY[:], etag(first)) == (True, True, '"one"')
    assert (second.hit, second.body == BODY[:], etag(second)) == (True, True, '"one"')
    assert [(seen.method, seen.get("range"), seen.get("if-match")) for seen in replica.requests] == [
        ("HEAD", None, None),
        ("GET", f"bytes={BROKEN_AT}-{LENGTH - 1}", '"two-2"'),
    ]
    assert sent(replica) <= MISSING + HEADS
    assert fills(pair)["continued"] == {"iad": 1}
    assert fills(pair)["broken"] == 0


def test_an_origin_that_is_killed_costs_all_readers_a_pause_only(
    pair: Shield, origin: FaultyOrigin, replica: FaultyOrigin
) -> None:
    origin.serves("/a", BODY, lifetime=60, fields=ONE | digest_of(BODY))
    replica.serves("/a", BODY, lifetime=60, fields=TWO | digest_of(BODY))
    gate = origin.gate()
    origin.spoils("/a", at_body(BROKEN_AT, Wait(gate)), times=1)

    clients = [pair.client() for _ in range(8)]
    for client in clients:
        client.send(request("/a"))
    heads = [client.read_head() for client in clients]
    gate.reached()
    clients[0].close()  # the leader
    origin.stops()
    for client, head in zip(clients[1:], heads[1:], strict=True):
        client.read_body(head)
        client.close()

    assert all(answer.clean and answer.body == BODY[:] for answer in heads[1:])
    [examined, continued] = replica.requests
    begin = int((continued.get("range") or "").removeprefix("bytes=").split("-")[0])
    assert (examined.method, continued.get("range")) == ("HEAD", f"bytes={begin}-{LENGTH - 1}")
    assert sent(replica) <= LENGTH - begin + HEADS


@pytest.mark.parametrize(
    "at", [BROKEN_AT, 100_000, LENGTH - 1], ids=["in the middle", "with less than the overlap", "at the last byte"]
)
def test_without_a_proof_the_last_bytes_are_compared_and_nothing_is_stored(
    pair: Shield, origin: FaultyOrigin, replica: FaultyOrigin, at: int
) -> None:
    origin.serves("/a", BODY, lifetime=60, fields=ONE)
    replica.serves("/a", BODY, lifetime=60, fields=TWO)
    breaks_off(origin, at)

    first = pair.get("/a")
    before, cost = replica.fetches("/a"), sent(replica)
    second = pair.get("/a")

    assert (first.clean, first.body == BODY[:], etag(first)) == (True, True, '"one"')
    start = max(0, at - OVERLAP)
    ranges = [seen.get("range") for seen in replica.requests[:3]]
    assert ranges == [None, f"bytes={start}-{at - 1}", f"bytes={at}-{LENGTH - 1}"]
    assert cost <= LENGTH - at + OVERLAP + HEADS
    assert (second.hit, second.body == BODY[:], replica.fetches("/a")) == (False, True, before + 1)


def _overlapping(start: int, stop: int) -> bytes:
    """The body with other bytes outside of this."""
    return OTHER[:start] + BODY[start:stop] + OTHER[stop:]


@pytest.mark.parametrize(
    ("here", "there", "body"),
    [
        ({}, {}, OTHER),
        ({}, {}, Pattern(LENGTH + 1)),
        (digest_of(BODY), digest_of(OTHER), OTHER),
        ({}, {"etag": 'W/"one"'}, BODY),
        ({}, {}, _overlapping(BROKEN_AT - OVERLAP + 1, LENGTH)),
        (digest_of(BODY), digest_of(OTHER), _overlapping(BROKEN_AT - OVERLAP, LENGTH)),
        ({"etag": '"0123456789abcdef0123456789abcdef"'}, {"etag": '"0123456789abcdef0123456789abcdef"'}, OTHER),
        ({}, {}, None),
    ],
    ids=[
        "other bytes",
        "another length",
        "another digest",
        "a weak ETag",
        "one other byte in the overlap",
        "another digest and equal bytes",
        "the same ETag and other bytes",
        "absent",
    ],
)
def test_without_the_same_bytes_it_ends_visibly_broken_and_nothing_is_stored(
    pair: Shield,
    origin: FaultyOrigin,
    replica: FaultyOrigin,
    here: dict[str, str],
    there: dict[str, str],
    body: Body | None,
) -> None:
    origin.serves("/a", BODY, lifetime=60, fields=ONE | here)
    if body is not None:
        replica.serves("/a", body, lifetime=60, fields=TWO | there)
    breaks_off(origin)

    first = pair.get("/a")
    origin.recovers()
    second = pair.get("/a")

    assert not first.clean
    assert first.body == BODY[: len(first.body)]
    assert len(first.body) <= BROKEN_AT
    assert (second.hit, second.body == BODY[:]) == (False, True)
    assert fills(pair)["broken"] == 1


def test_a_copy_that_changes_while_it_continues_ends_it_visibly_broken(
    pair: Shield, origin: FaultyOrigin, replica: FaultyOrigin
) -> None:
    origin.serves("/a", BODY, lifetime=60, fields=ONE)
    replica.serves("/a", BODY, lifetime=60, fields=TWO)
    breaks_off(origin)
    replica.changes("/a", OTHER, after=2, fields={"etag": '"three"'})  # after HEAD and the comparison

    answer = pair.get("/a")

    assert not answer.clean
    assert answer.body == BODY[: len(answer.body)]
    assert [seen.get("if-match") for seen in replica.requests] == [None, '"two-2"', '"two-2"']


def test_a_body_that_is_not_kept_continues_too(pair: Shield, origin: FaultyOrigin, replica: FaultyOrigin) -> None:
    origin.serves("/a", BODY, fields=ONE | digest_of(BODY) | {"cache-control": "no-store"})
    replica.serves("/a", BODY, fields=TWO | digest_of(BODY))
    breaks_off(origin)

    answer = pair.get("/a")

    assert (answer.clean, answer.body == BODY[:], etag(answer)) == (True, True, '"one"')
    assert sent(replica) <= MISSING + HEADS


def test_a_slow_client_gets_the_rest_at_its_own_pace(
    pair: Shield, origin: FaultyOrigin, replica: FaultyOrigin
) -> None:
    fields = {"cache-control": "no-store"} | digest_of(BODY)
    origin.serves("/a", BODY, fields=ONE | fields)
    replica.serves("/a", BODY, fields=TWO | fields)
    breaks_off(origin)

    with pair.client(receive_buffer=4096) as client:
        client.send(request("/a"))
        answer = client.read_head()
        client.read_body(answer)

    assert (answer.clean, answer.body == BODY[:]) == (True, True)


def test_a_part_continues_within_its_bounds(
    origin: FaultyOrigin, replica: FaultyOrigin, clock: FakeClock, tmp_path: Any
) -> None:
    origin.serves("/a", BODY, fields=ONE | digest_of(BODY) | {"cache-control": "no-store"})
    replica.serves("/a", BODY, fields=TWO | digest_of(BODY))
    origin.spoils("/a", at_body(500_000, Reset()), times=1)
    origin.fails("/a", "InternalError")
    first, stop = 1_000_000, 1_900_000

    with Shield(settings_of({"fra": origin, "iad": replica}), clock=clock) as shield:
        shield.get("/b")
        answer = shield.get("/a", [("range", f"bytes={first}-{stop - 1}")])

    assert (answer.clean, answer.body == BODY[first:stop]) == (answer.status == 206, answer.clean)


def test_an_origin_that_breaks_off_again_and_again_is_given_up(shield: Shield, origin: FaultyOrigin) -> None:
    origin.serves("/a", BODY, lifetime=60, fields=ONE)
    origin.spoils("/a", at_body(1000, Reset()))

    answer = shield.get("/a")

    assert (answer.clean, answer.body == BODY[: len(answer.body)]) == (False, True)
    assert origin.fetches("/a") == 1 + MOST_IN_A_ROW
    assert fills(shield)["broken"] == 1


def test_many_breaks_are_forgiven_if_much_comes_between_them(shield: Shield, origin: FaultyOrigin) -> None:
    body = Pattern(12_000_000)
    origin.serves("/a", body, lifetime=60, fields=ONE)
    origin.spoils("/a", at_body(1 << 20, Reset()))

    answer = shield.get("/a")

    assert (answer.clean, answer.body == body[:]) == (True, True)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda origin: origin.ignores("range"),
        lambda origin: origin.serves("/a", BODY, lifetime=60, fields={"etag": 'W/"one"'}),
        lambda origin: origin.serves("/a", BODY, lifetime=60, fields=ONE | {"accept-ranges": "none"}),
        lambda origin: origin.fails("/a", "PreconditionFailed"),
    ],
    ids=["it ignores ranges", "a weak ETag", "no ranges", "another version"],
)
def test_a_body_that_no_range_can_continue_ends_visibly_broken(
    shield: Shield, origin: FaultyOrigin, spoil: Callable[[FaultyOrigin], None]
) -> None:
    origin.serves("/a", BODY, lifetime=60, fields=ONE)
    origin.spoils("/a", at_body(BROKEN_AT, Reset()), times=1)
    spoil(origin)

    answer = shield.get("/a")

    assert (answer.clean, BODY.check(answer.body)) == (False, True)


def test_the_rest_waits_for_the_reader_that_the_first_response_waited_for() -> None:
    async def scenario(ground: Ground) -> None:
        client = await ground.asked()
        first = ground.source.last
        first.answers(
            (b"etag", b'"one"'), (b"cache-control", b"no-store"), (b"accept-ranges", b"bytes"), length=LENGTH
        )
        await turns()
        first.sends(BODY[:1000])
        client.ready = False
        first.sends(BODY[1000:BROKEN_AT])
        assert first.connection.is_held
        first.breaks_off()
        await turns()
        rest = ground.source.last
        assert rest is not first
        stated = (b"content-range", b"bytes %d-%d/%d" % (BROKEN_AT, LENGTH - 1, LENGTH))
        rest.answers((b"etag", b'"one"'), stated, status=206, length=MISSING)
        await turns()
        assert rest.connection.is_held
        client.takes_more()
        assert not rest.connection.is_held
        rest.sends(BODY[BROKEN_AT:], ends=True)
        assert (client.clean, client.body == BODY[:]) == (True, True)

    on_ground(scenario)


def test_without_a_proof_no_worker_stores_it(origin: FaultyOrigin, replica: FaultyOrigin, clock: FakeClock) -> None:
    origins = settings_of({"fra": origin, "iad": replica}).model_dump(mode="json", include={"origins"})["origins"]
    with two(origin, clock, origins=origins) as workers:
        origin.serves(workers.path, BODY, lifetime=60, fields=ONE)
        replica.serves(workers.path, BODY, lifetime=60, fields=TWO)
        origin.spoils(workers.path, at_body(BROKEN_AT, Reset()), times=1)
        origin.fails(workers.path, "InternalError")

        first = workers.asker.get(workers.path)
        again = [worker.get(workers.path) for worker in (workers.asker, workers.owner)]

    assert (first.clean, first.body == BODY[:], etag(first)) == (True, True, '"one"')
    assert [(answer.hit, etag(answer)) for answer in again] == [(False, '"two-2"'), (True, '"two-2"')]


def test_nothing_continues_for_nobody(pair: Shield, origin: FaultyOrigin, replica: FaultyOrigin) -> None:
    origin.serves("/a", BODY, lifetime=60, fields=ONE)
    replica.serves("/a", BODY, lifetime=60, fields=TWO)
    gate, held = origin.gate(), replica.gate()
    origin.spoils("/a", at_body(100_000, Wait(gate), Reset()), times=1)
    origin.fails("/a", "InternalError")
    replica.spoils("/a", says(), lambda steps: [Wait(held), *steps])

    with pair.client() as client:
        client.send(request("/a"))
        client.read_head()
        gate.reached()
        gate.open()
        held.reached()
    pair.wait_for(lambda: pair.node.state()["fills"]["in_flight"] == 0)  # type: ignore[index]
    held.open()

    assert replica.fetches("/a") == 0


# bodies that are late


def gets_meanwhile(shield: Shield, place: int, work: Callable[[], object]) -> Answer:
    """The response to a client that reads all the time; `work` is done once the body has come up to this place."""
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(shield.get, "/a")
        shield.wait_for(lambda: [body.place for body in shield.node.fills.bodies()] == [place])
        work()
        return answer.result()


def look(shield: Shield, *seconds: float) -> None:
    """Look at bodies under way at these times."""
    fills = shield.node.fills
    for second in seconds:
        shield.call(lambda: fills.look(1000.0 + second, lambda name: 0.5))  # noqa: B023  # it is over by then


def test_a_body_that_stalls_goes_on_elsewhere_long_before_its_time_limit(
    pair: Shield, origin: FaultyOrigin, replica: FaultyOrigin
) -> None:
    origin.serves("/a", BODY, lifetime=60, fields=ONE | digest_of(BODY))
    replica.serves("/a", BODY, lifetime=60, fields=TWO | digest_of(BODY))
    origin.spoils("/a", at_body(BROKEN_AT, Stall()), times=1)

    first = gets_meanwhile(pair, BROKEN_AT, lambda: look(pair, 0, 1))
    second = pair.get("/a")

    assert (first.clean, first.body == BODY[:], etag(first)) == (True, True, '"one"')
    assert (second.hit, second.body == BODY[:]) == (True, True)
    assert [(seen.method, seen.get("range")) for seen in replica.requests] == [
        ("HEAD", None),
        ("GET", f"bytes={BROKEN_AT}-{LENGTH - 1}"),
    ]
    assert sent(replica) <= MISSING + HEADS


def test_a_body_that_crawls_goes_on_elsewhere_and_no_byte_comes_twice(
    pair: Shield, origin: FaultyOrigin, replica: FaultyOrigin
) -> None:
    origin.serves("/a", BODY, lifetime=60, fields=ONE | digest_of(BODY))
    replica.serves("/a", BODY, lifetime=60, fields=TWO | digest_of(BODY))
    crawl, held = origin.gate(), replica.gate()
    origin.spoils("/a", at_body(BROKEN_AT, Wait(crawl), Wait(crawl)), at_body(BROKEN_AT + 5000, Stall()), times=1)
    replica.spoils("/a", preceded_by(Wait(held)))

    def work() -> None:
        look(pair, 0, 1)
        held.reached()
        crawl.open()  # a little more comes while the other one is asked
        pair.wait_for(lambda: [body.place for body in pair.node.fills.bodies()] == [BROKEN_AT + 5000])
        held.open()

    answer = gets_meanwhile(pair, BROKEN_AT, work)

    assert (answer.clean, answer.body == BODY[:]) == (True, True)


def test_without_a_full_proof_a_body_that_stalls_is_waited_for(
    pair: Shield, origin: FaultyOrigin, replica: FaultyOrigin
) -> None:
    origin.serves("/a", BODY, lifetime=60, fields=ONE)
    replica.serves("/a", BODY, lifetime=60, fields=TWO)
    gate = origin.gate()
    origin.spoils("/a", at_body(BROKEN_AT, Wait(gate)), times=1)

    def work() -> None:
        look(pair, 0, 1)
        pair.wait_for(lambda: not any(body.is_held for body in pair.node.fills.bodies()))
        look(pair, 2, 3, 4, 5)
        gate.open()

    answer = gets_meanwhile(pair, BROKEN_AT, work)

    assert (answer.clean, answer.body == BODY[:]) == (True, True)
    assert pair.get("/a").hit
    assert [seen.method for seen in replica.requests] == ["HEAD"]


def test_a_body_that_breaks_off_while_others_are_asked_continues_all_the_same(
    pair: Shield, origin: FaultyOrigin, replica: FaultyOrigin
) -> None:
    origin.serves("/a", BODY, lifetime=60, fields=ONE)
    replica.serves("/a", BODY, lifetime=60, fields=TWO)
    gate, held = origin.gate(), replica.gate()
    origin.spoils("/a", at_body(BROKEN_AT, Wait(gate), Reset()), times=1)
    origin.fails("/a", "InternalError")
    replica.spoils("/a", preceded_by(Wait(held)), times=1)

    def work() -> None:
        look(pair, 0, 1)
        held.reached()
        gate.open()
        origin.wait_for(lambda: origin.requests[0].ended)
        held.open()

    answer = gets_meanwhile(pair, BROKEN_AT, work)

    assert (answer.clean, answer.body == BODY[:]) == (True, True)  # by the last bytes, which is enough by then
    assert not pair.get("/a").hit
