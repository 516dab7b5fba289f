"""What is asked of an origin once more: after a failure that may have passed, and on a connection it had given up."""

from __future__ import annotations

import pytest

from shield.messages import ResponseHead
from shield.origin.refusal import Refusal
from shield.origin.want import Failed, Fetched, Want
from shield.rules.dates import imf_fixdate
from shield.rules.ranges import Span
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.s3 import Refusal as Refused
from tests.doubles.steps import Close, Reset
from tests.node import START, FakeClock, Shield, settings_of
from tests.origin.test_origins import s3

ONCE = {"failover": {"retry_budget": 0}}


@pytest.mark.parametrize(
    ("status", "code"),
    [(500, "InternalError"), (503, "ServiceUnavailable"), (503, "SlowDown"), (429, "TooManyRequests"), (502, "x")],
)
def test_a_passing_failure_of_the_only_origin_is_invisible(
    origin: FaultyOrigin, clock: FakeClock, status: int, code: str
) -> None:
    origin.serves("/images/a", b"x", lifetime=60)
    origin.fails("/images/a", code, status=status, times=1)

    with Shield(settings_of({}, origins=s3(origin)), clock=clock) as shield:
        answer, again = shield.get("/a"), shield.get("/a")
        retries = shield.state()["origins"]["a"]["extra"]["retry"]

    assert (answer.status, answer.body, again.hit, retries) == (200, b"x", True, 1)
    assert origin.fetches("/images/a") == 2


def test_a_failure_is_repeated_on_another_connection_and_others_are_kept(
    shield: Shield, origin: FaultyOrigin
) -> None:
    for path in ("/a", "/b", "/c"):
        origin.serves(path, b"x", lifetime=60)
    shield.get("/a")
    opened = origin.connections_opened
    origin.fails("/b", "InternalError", times=1)
    assert shield.get("/b").status == 200
    assert origin.connections_opened == opened + 1

    assert shield.get("/c").status == 200
    assert origin.connections_opened == opened + 1


def test_a_reset_of_the_only_origin_is_invisible(shield: Shield, origin: FaultyOrigin) -> None:
    origin.serves("/a", b"x", lifetime=60)
    origin.script("/a", Reset())

    assert shield.get("/a").body == b"x"


def test_the_others_are_asked_first_and_then_all_that_stumbled_once_more(
    pair: Shield, origin: FaultyOrigin, replica: FaultyOrigin
) -> None:
    origin.fails("/a", "InternalError")
    replica.serves("/a", b"x", lifetime=60)
    replica.fails("/a", "InternalError", times=1)

    assert pair.get("/a").body == b"x"
    assert replica.fetches("/a") == 2
    assert [seen.path for seen in origin.requests] in (["/a"], ["/a", "/a"])  # which is asked again first is chance


def test_a_replica_s_absence_is_believed_once_the_primary_could_say_so(
    pair: Shield, origin: FaultyOrigin, replica: FaultyOrigin
) -> None:
    origin.fails("/a", "InternalError", times=1)

    assert pair.get("/a").status == 404
    assert (origin.fetches("/a"), replica.fetches("/a")) == (2, 1)


@pytest.mark.parametrize("code", ["AccessDenied", "NoSuchBucket", "ExpiredToken"])
def test_a_failure_that_lasts_is_not_asked_for_again(origin: FaultyOrigin, clock: FakeClock, code: str) -> None:
    origin.fails("/images/a", code)

    with Shield(settings_of({}, origins=s3(origin)), clock=clock) as shield:
        assert shield.get("/a").status == 503

    assert origin.fetches("/images/a") == 1


def test_an_outage_is_asked_for_again_within_the_budget(origin: FaultyOrigin, clock: FakeClock) -> None:
    origin.fails("*", "InternalError")

    with Shield(settings_of({"fra": origin}), clock=clock) as shield:
        answers = [shield.get(f"/{number}") for number in range(30)]

    assert {answer.status for answer in answers} == {503}
    assert len(origin.requests) == 30 + 10  # what is saved at the start; failures earn nothing


def test_without_a_budget_nothing_is_asked_for_again(origin: FaultyOrigin, clock: FakeClock) -> None:
    origin.serves("/a", b"x", lifetime=60)
    origin.fails("/a", "InternalError", times=1)

    with Shield(settings_of({"fra": origin}, **ONCE), clock=clock) as shield:
        assert shield.get("/a").status == 503


def test_one_who_waits_for_an_origin_to_recover_holds_no_connection(origin: FaultyOrigin, clock: FakeClock) -> None:
    origins = {"fra": {"provider": "http", "endpoint": origin.url, "connections": 1}}
    origin.serves("/a", b"a", lifetime=60)
    origin.serves("/b", b"b", lifetime=60)
    origin.fails("/a", "SlowDown", times=1)

    with Shield(settings_of({}, origins=origins), clock=clock) as shield, shield.client() as client:
        client.send(b"GET /a HTTP/1.1\r\nhost: x\r\n\r\n")
        shield.wait_for(lambda: shield.node.state()["origins"]["fra"]["faults"] == {"throttled": 1})  # type: ignore[index]
        busy = shield.state()["origins"]["fra"]["pool"]["busy"]
        other = shield.get("/b")
        answer = client.read()

    assert (busy, other.body, answer.body) == (0, b"b", b"a")
    assert origin.connections_peak == 1


def test_an_origin_that_wants_to_be_left_alone_for_long_is(shield: Shield, origin: FaultyOrigin) -> None:
    origin.serves("/a", b"x", lifetime=60)
    origin.fails("/a", "SlowDown", times=1, fields={"retry-after": "3600"})

    assert shield.get("/a").status == 503
    assert origin.fetches("/a") == 1


def test_one_who_could_be_given_what_is_stale_does_not_wait_for_long(
    shield: Shield, origin: FaultyOrigin, clock: FakeClock
) -> None:
    origin.serves("/a", b"x", lifetime=60, grace=0)
    shield.get("/a")
    origin.fails("/a", "SlowDown", fields={"retry-after": "5"})

    clock.advance(100)
    answer = shield.get("/a")

    assert (answer.status, answer.body) == (200, b"x")
    assert origin.fetches("/a") == 2


@pytest.mark.parametrize(("status", "code"), [(408, "RequestTimeout"), (400, "RequestTimeout")])
def test_a_kept_connection_that_the_origin_gave_up_is_replaced_at_once(
    origin: FaultyOrigin, clock: FakeClock, status: int, code: str
) -> None:
    origin.serves("/images/a", b"a", lifetime=60)
    origin.serves("/images/b", b"b", lifetime=60)
    origin.fails("/images/b", code, status=status, times=1)

    with Shield(settings_of({}, origins=s3(origin), **ONCE), clock=clock) as shield:
        answers = [shield.get("/a"), shield.get("/b")]
        faults = shield.state()["origins"]["a"]["faults"]

    assert [answer.body for answer in answers] == [b"a", b"b"]
    assert faults == {}
    assert origin.connections_opened == 2


def test_a_plain_origin_s_408_is_taken_the_same_way(origin: FaultyOrigin, clock: FakeClock) -> None:
    origin.serves("/a", b"a", lifetime=60)
    origin.serves("/b", b"b", lifetime=60)

    with Shield(settings_of({"fra": origin}, **ONCE), clock=clock) as shield:
        shield.get("/a")
        origin.fails("/b", Refused("x", 408), times=1, fields={"connection": "close"})
        answer = shield.get("/b")

    assert answer.body == b"b"


def test_a_new_connection_on_which_it_waited_in_vain_is_not_replaced(origin: FaultyOrigin, clock: FakeClock) -> None:
    origin.fails("/images/a", "RequestTimeout", status=408)

    with Shield(settings_of({}, origins=s3(origin), **ONCE), clock=clock) as shield:
        answer = shield.get("/a")
        faults = shield.state()["origins"]["a"]["faults"]

    assert (answer.status, origin.fetches("/images/a"), faults) == (503, 1, {"server": 1})


def test_a_connection_is_replaced_once(origin: FaultyOrigin, clock: FakeClock) -> None:
    origin.serves("/images/a", b"a", lifetime=60)
    origin.fails("/images/b", "RequestTimeout", status=408)

    with Shield(settings_of({}, origins=s3(origin), **ONCE), clock=clock) as shield:
        shield.get("/a")
        answer = shield.get("/b")

    assert (answer.status, origin.fetches("/images/b")) == (503, 2)


def test_places_hold_when_connections_are_replaced(origin: FaultyOrigin, clock: FakeClock) -> None:
    settings = settings_of({}, origins=s3(origin, connections=1), **ONCE)
    for name in "abcd":
        origin.serves(f"/images/{name}", b"x", lifetime=60)
        origin.fails(f"/images/{name}", "RequestTimeout", status=408, times=1)
    origin.script("/images/d", Close())

    with Shield(settings, clock=clock) as shield:
        answers = [shield.get(f"/{name}").status for name in "abc"]
        pool = shield.state()["origins"]["a"]["pool"]

    assert answers == [503, 200, 200]
    assert (pool["busy"], pool["waiting"], pool["idle"]) == (0, 0, 1)


# what an origin says of time


def refusal(status: int, **fields: str) -> Refusal:
    lines = tuple([(name.replace("_", "-").encode(), value.encode()) for name, value in fields.items()])
    return Refusal(ResponseHead(status, lines, None), kept=False)


@pytest.mark.parametrize(
    ("status", "said", "seconds"),
    [
        (503, "7", 7.0),
        (429, "0", 0.0),
        (503, "99999999999999999999", 3600.0),
        (503, "-1", None),
        (503, "soon", None),
        (503, "1.5", None),
        (500, "7", None),
    ],
)
def test_how_long_an_origin_wants_to_be_left_alone(status: int, said: str, seconds: float | None) -> None:
    assert refusal(status, retry_after=said).retry_after(START) == seconds


def test_a_date_until_when_is_by_its_own_clock_where_it_shows_that() -> None:
    until = imf_fixdate(START + 30).decode()

    assert refusal(503, retry_after=until).retry_after(START) == 30.0
    assert refusal(503, retry_after=until, date=imf_fixdate(START + 20).decode()).retry_after(START) == 10.0
    assert refusal(503, retry_after=until).retry_after(START + 60) == 0.0


def test_an_origin_that_broke_off_too_many_bodies_is_not_asked_for_the_rest_and_another_one_is(
    pair: Shield, origin: FaultyOrigin, replica: FaultyOrigin
) -> None:
    for each in (origin, replica):
        each.serves("/a", b"0123456789", lifetime=60)
    origins = pair.node.origins

    async def rest(*names: str) -> tuple[str, list[str]]:
        want = Want(b"GET", b"/a", span=Span(5, 10), resumes="fra")
        result = await origins.fetch(names, want)
        if isinstance(result, Fetched):
            await result.response.read(10)
            return result.origin, []
        assert isinstance(result, Failed)
        return "", [error.fault.value for error in result.failures]

    async def spend() -> None:
        while origins.get("fra").seen.repeats.take():
            pass

    before = pair.run(rest("fra", "iad"))
    pair.run(spend())

    assert before == ("fra", [])
    assert pair.run(rest("fra", "iad")) == ("iad", [])
    assert pair.run(rest("fra")) == ("", ["budget"])
    assert (origin.fetches("/a"), replica.fetches("/a")) == (1, 1)
    assert pair.state()["origins"]["iad"]["extra"]["failover"] == 1
    assert pair.state()["origins"]["fra"]["faults"] == {"budget": 1}
