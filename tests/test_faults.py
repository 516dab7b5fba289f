"""What an origin can do wrong, seen by a client: the right status or an unclean end, nothing wrong stored, nothing
left behind. That no task, connection or memory stays is checked by `Shield` on leaving; descriptors are counted here.
"""

from __future__ import annotations

import gc
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from shield.config.settings import Settings
from tests.doubles.certificates import Authority
from tests.doubles.faults import Fault as Spoiled
from tests.doubles.faults import adds, at_body, chunked, closes, drips, followed_by, huge_head, preceded_by, says
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.pattern import Pattern
from tests.doubles.steps import Bytes, Close, Head, Reset, Wait
from tests.node import FakeClock, Shield, settings_of

BODY = Pattern(200_000)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


# Each fault, and whether the response is whole all the same: a body that breaks off is continued by Range.
SPOILED_BODIES: dict[str, tuple[Sequence[Spoiled], bool]] = {
    "truncated": ([at_body(100_000, Close())], True),
    "truncated at the last byte": ([at_body(199_999, Close())], True),
    "reset in mid-body": ([at_body(100_000, Reset())], True),
    "promises more than it sends": ([says(content_length="200001"), closes()], False),
    "no last chunk": ([chunked(1000, last=False)], False),
    "chunks and then garbage": ([chunked(1000), lambda steps: [*steps[:50], Bytes(b"zz\r\n"), *steps[50:]]], False),
    "sends more than it promises": ([followed_by(Bytes(b"surplus"))], True),
    "promises less than it sends": ([says(content_length="100000")], True),
    "interim responses first": ([preceded_by(Head(103, [("link", "</x>")]), Head(100))], True),
    "closes without announcing it": ([followed_by(Close())], True),
    "a trailer": ([chunked(1000, trailers=[("x-sum", "1")])], True),
}


@pytest.mark.parametrize("name", SPOILED_BODIES)
def test_a_spoiled_body_is_whole_or_visibly_broken_for_all(origin: FaultyOrigin, clock: FakeClock, name: str) -> None:
    faults, whole = SPOILED_BODIES[name]
    gate = origin.gate()
    origin.serves("/a", BODY, lifetime=60)
    origin.spoils("/a", preceded_by(Wait(gate)), *faults, times=1)

    with Shield(settings_of({"fra": origin}), clock=clock) as shield:
        clients = [shield.client() for _ in range(3)]
        for client in clients:
            client.send(b"GET /a HTTP/1.1\r\nhost: x\r\n\r\n")
        shield.wait_for(lambda: shield.node.state()["fills"]["collapsed"] == 2)  # type: ignore[index]
        gate.open()
        answers = [client.read() for client in clients]
        for client in clients:
            client.close()
        after = shield.get("/a")

    assert {answer.clean for answer in answers} == {whole}
    assert all(BODY.check(answer.body) for answer in answers)
    assert after.hit is whole
    assert BODY.check(after.body)


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (huge_head(), 503),
        (huge_head(size=50_000, lines=5000), 503),
        (adds(("content-length", "1")), 503),
        (adds(("transfer-encoding", "chunked")), 503),
        (says(content_length="abc"), 503),
        (says(content_length="-1"), 503),
        (says(status=206), 503),
    ],
    ids=["huge head", "many fields", "two lengths", "length and chunks", "no number", "negative", "206"],
)
def test_a_spoiled_head_is_an_honest_error(shield: Shield, origin: FaultyOrigin, fault: Spoiled, status: int) -> None:
    origin.serves("/a", BODY, lifetime=60)
    origin.spoils("/a", fault, times=1)

    broken, after = shield.get("/a"), shield.get("/a")

    assert (broken.status, broken.get("cache-control")) == (status, "no-store")
    assert broken.get("retry-after") is not None
    assert (after.status, after.hit, after.body == BODY[:]) == (200, False, True)


STALLING = {"timeouts": {"first_byte": "200ms"}}


@pytest.mark.parametrize("known", ["another origin has it", "it is stored", "nobody has it"])
def test_a_slow_first_byte_gives_way_to_the_next_origin_or_to_what_is_stale_and_is_504_last(
    origin: FaultyOrigin, replica: FaultyOrigin, clock: FakeClock, caplog: pytest.LogCaptureFixture, known: str
) -> None:
    gate = origin.gate()
    origin.serves("/a", BODY, lifetime=60, grace=0)
    replica.serves("/a", BODY, lifetime=60)
    alone = known != "another origin has it"
    origins = {"fra": {"provider": "http", "endpoint": origin.url, **STALLING}}
    if not alone:
        origins["iad"] = {"provider": "http", "endpoint": replica.url}

    with Shield(settings_of({}, origins=origins), clock=clock) as shield:
        if known == "it is stored":
            shield.get("/a")
            clock.advance(100)
        asked = len(origin.requests)
        origin.spoils("/a", preceded_by(Wait(gate)))
        clients = [shield.client() for _ in range(5)]
        for client in clients:
            client.send(b"GET /a HTTP/1.1\r\nhost: x\r\n\r\n")
        answers = [client.read() for client in clients]
        for client in clients:
            client.close()
        faults = shield.state()["origins"]["fra"]["faults"]
        asked = len(origin.requests) - asked
        gate.open()

    told = {answer.get("cache-status") for answer in answers}
    if known == "nobody has it":
        assert {answer.status for answer in answers} == {504}
        assert all("fra=first-byte-timeout" in (answer.get("cache-status") or "") for answer in answers)
    else:
        assert {answer.status for answer in answers} == {200}
        assert all(BODY.check(answer.body) and len(answer.body) == len(BODY) for answer in answers)
    if known == "it is stored":
        assert told == {'test-1; fwd=stale; ttl=-40; detail="fra=first-byte-timeout"'}
    assert (asked, faults) == (1, {"first-byte-timeout": 1})
    assert [record.message for record in caplog.records if "first-byte-timeout" in record.message]


def test_a_dripping_body_ends_at_the_total_limit_and_other_keys_are_served(clock: FakeClock) -> None:
    with FaultyOrigin(clock=clock) as origin:
        gate = origin.gate()
        origin.serves("/drip", BODY, lifetime=60)
        origin.spoils("/drip", drips(gate))
        origin.serves("/a", b"x", lifetime=60)
        origins = {
            "fra": {"provider": "http", "endpoint": origin.url, "timeouts": {"between_bytes": "250ms"}},
        }
        with Shield(settings_of({}, origins=origins), clock=clock) as shield, shield.client() as client:
            client.send(b"GET /drip HTTP/1.1\r\nhost: x\r\n\r\n")
            answer = client.read_head()
            gate.let(3)
            answer.body = client.read_some(3)
            assert shield.get("/a").body == b"x"
            client.read_body(answer)
            faults = shield.log()

        gate.open()
    assert not answer.clean
    assert BODY.check(answer.body)
    assert [line["broken"] for line in faults if line["target"] == "/drip"] == [True]


CONTEXTS: dict[str, Callable[[Authority], ssl.SSLContext]] = {
    "unknown authority": lambda authority: Authority("another").server("localhost"),
    "expired": lambda authority: authority.expired("localhost"),
    "another host": lambda authority: authority.server("elsewhere.example"),
    "stalls": lambda authority: authority.server("localhost"),
}


@pytest.mark.parametrize("kind", CONTEXTS)
def test_an_origin_whose_tls_is_no_good_is_never_asked(clock: FakeClock, tmp_path: Path, kind: str) -> None:
    authority = Authority()

    with FaultyOrigin(clock=clock, tls=CONTEXTS[kind](authority)) as origin:
        origin.serves("/a", BODY, lifetime=60)
        gate = origin.gate()
        if kind == "stalls":
            origin.greets(Wait(gate), times=None)
        with Shield(over_tls(origin, authority, tmp_path), clock=clock) as shield:
            answer = shield.get("/a")
            faults = list(shield.state()["origins"]["fra"]["faults"])
        gate.open()

        assert answer.status == (504 if kind == "stalls" else 503)
        assert faults == ["connect-timeout" if kind == "stalls" else "tls"]
        assert origin.requests == []


@pytest.mark.parametrize("dot", ["", "."])
def test_an_origin_with_a_good_certificate_is_asked_by_its_name(clock: FakeClock, tmp_path: Path, dot: str) -> None:
    authority = Authority()

    with FaultyOrigin(clock=clock, tls=authority.server("localhost")) as origin:
        origin.serves("/a", BODY, lifetime=60)
        with Shield(over_tls(origin, authority, tmp_path, host=f"localhost{dot}"), clock=clock) as shield:
            answer = shield.get("/a")

        assert (answer.status, answer.body == BODY[:]) == (200, True)
        assert origin.requests[0].server_name == "localhost"  # RFC 6066 §3: without the root's dot
        assert origin.requests[0].get("host") == f"localhost:{origin.port}"


def over_tls(origin: FaultyOrigin, authority: Authority, directory: Path, *, host: str = "localhost") -> Settings:
    fra = {
        "provider": "http",
        "endpoint": f"https://{host}:{origin.port}",
        "ca_file": str(authority.write(directory)),
        "timeouts": {"connect": "1s"},
    }
    return settings_of({}, origins={"fra": fra})


def test_descriptors_return_to_their_base(origin: FaultyOrigin, replica: FaultyOrigin, clock: FakeClock) -> None:
    origin.serves("/a", BODY, lifetime=60)
    gc.collect()
    base = descriptors()

    for _ in range(3):
        with Shield(settings_of({"fra": origin, "iad": replica}), clock=clock) as shield:
            for fault in (at_body(100, Reset()), huge_head(), at_body(100, Close())):
                origin.spoils("/a", fault, times=1)
                shield.get("/a")
            replica.refuses()
            shield.get("/none")
            replica.returns()
    gc.collect()

    assert descriptors() <= base
