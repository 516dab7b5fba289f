"""Whose answer it is: one client's, or one version's, reaches nobody else, whoever waits, comes late or is gone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from shield.store.disk import Disk
from tests.client import Client, request
from tests.disks import SLICE, settled, with_disk
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.gate import Gate
from tests.doubles.ledger import Received
from tests.doubles.plan import Answer as Steps
from tests.doubles.raw import answer, not_modified
from tests.doubles.steps import Bytes, Wait
from tests.node import FakeClock, Shield, settings_of
from tests.peers.pair import two


def forwarding(origin: FaultyOrigin, clock: FakeClock, *names: str, **changes: Any) -> Shield:
    routes = {"default": {"forward_request_headers": list(names)}}
    return Shield(settings_of({"fra": origin}, routes=routes, **changes), clock=clock)


def for_who_asks(
    name: str, *lines: str, status: str = "200 OK", gate: Gate | None = None
) -> Callable[[Received], Steps]:
    """An answer that says whose it is."""

    def make(received: Received) -> Steps:
        said = Bytes(answer(*lines, status=status, body=f"for {received.get(name)}"))
        return [said] if gate is None else [Wait(gate), said]

    return make


def ask(shield: Shield, *fields: tuple[str, str]) -> Client:
    """A client whose request is under way, or has joined one."""
    before = _begun(shield)
    client = shield.client()
    client.send(request("/a", fields))
    shield.wait_for(lambda: _begun(shield) == before + 1)
    return client


def _begun(shield: Shield) -> int:
    fills = shield.node.fills.statistics()
    return fills.started + fills.collapsed


def bodies(clients: Sequence[Client]) -> list[bytes]:
    read = [client.read().body for client in clients]
    for client in clients:
        client.close()
    return read


# private answers


@pytest.mark.parametrize("there", [True, False])
def test_a_private_answer_goes_to_nobody_else_when_its_leader_is_gone(
    origin: FaultyOrigin, clock: FakeClock, there: bool
) -> None:
    gate = origin.gate()
    origin.makes("/a", for_who_asks("cookie", "Cache-Control: private", "Set-Cookie: s=1", gate=gate))

    with forwarding(origin, clock, "cookie") as shield:
        alice = ask(shield, ("cookie", "alice"))
        bob = ask(shield, ("cookie", "bob")) if there else None
        alice.reset()
        shield.wait_for(lambda: bool(shield.node.proxy.accounting.counters.requests.get("abandoned")))
        bob = bob or ask(shield, ("cookie", "bob"))
        gate.open()
        read = bodies([bob])

    assert read == [b"for bob"]
    assert [seen.get("cookie") for seen in origin.requests][-1:] == ["bob"]


def test_a_private_answer_goes_to_nobody_else_though_their_requests_are_equal(
    origin: FaultyOrigin, clock: FakeClock
) -> None:
    gate = origin.gate()
    origin.makes("/a", for_who_asks("cookie", "Cache-Control: private", "Set-Cookie: s=1", gate=gate))

    with forwarding(origin, clock, "cookie") as shield:
        first, second = (ask(shield, ("cookie", "both")) for _ in range(2))
        first.reset()
        shield.wait_for(lambda: bool(shield.node.proxy.accounting.counters.requests.get("abandoned")))
        gate.open()
        read = bodies([second])

    assert read == [b"for both"]
    assert len(origin.requests) == 2


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (("Cache-Control: max-age=0", "Vary: Accept"), "200 OK"),
        (("Vary: Accept",), "403 Forbidden"),
        (("Location: /login",), "302 Found"),
        (("Cache-Control: no-cache",), "200 OK"),
        (("Cache-Control: no-cache", 'ETag: "1"'), "200 OK"),
        (("Cache-Control: max-age=0", "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT"), "200 OK"),
    ],
)
def test_what_cannot_be_reused_is_for_those_whose_request_an_origin_would_have_seen(
    origin: FaultyOrigin, clock: FakeClock, lines: tuple[str, ...], status: str
) -> None:
    gate = origin.gate()
    origin.makes("/a", for_who_asks("accept", *lines, status=status, gate=gate))
    kinds = ["image/webp", "image/jpeg", "image/webp", "image/jpeg"]

    with forwarding(origin, clock, "accept") as shield:
        clients = [ask(shield, ("accept", kind)) for kind in kinds]
        gate.open()
        read = bodies(clients)

    assert read == [f"for {kind}".encode() for kind in kinds]
    assert origin.fetches("/a") in (2, 3)  # those who ask alike share, but for who came after the first question


@pytest.mark.parametrize("said", ["Set-Cookie: session=of-leader", "Cache-Control: private"])
def test_what_a_304_makes_private_reaches_its_leader_alone(
    shield: Shield, origin: FaultyOrigin, clock: FakeClock, said: str
) -> None:
    gate = origin.gate()
    origin.answers("/a", answer("Cache-Control: max-age=10, must-revalidate", 'ETag: "1"'), times=1)
    shield.get("/a")
    clock.advance(60)
    origin.script("/a", Wait(gate), Bytes(not_modified('ETag: "1"', said)))
    origin.answers("/a", answer("Cache-Control: max-age=10", body="anew"))

    clients = [ask(shield) for _ in range(3)]
    gate.open()
    answers = [client.read() for client in clients]
    for client in clients:
        client.close()

    name, _, value = said.partition(": ")
    assert [one.get(name.lower()) == value for one in answers] == [True, False, False]
    assert [one.body for one in answers] == [b"12345", b"anew", b"anew"]


def test_a_cookie_that_no_cache_names_reaches_nobody_where_others_may_wait(
    origin: FaultyOrigin, clock: FakeClock
) -> None:
    gate = origin.gate()
    cookie = ('Cache-Control: no-cache="Set-Cookie", max-age=60', "Set-Cookie: session=of-leader")
    origin.script("/a", Wait(gate), Bytes(answer(*cookie)))

    with Shield(settings_of({"fra": origin}, freshness={"honour_field_names": True}), clock=clock) as shield:
        clients = [ask(shield) for _ in range(2)]
        gate.open()
        answers = [client.read() for client in clients]
        hit = shield.get("/a")
        for client in clients:
            client.close()

    assert hit.hit
    assert [one.get("set-cookie") for one in (*answers, hit)] == [None] * 3


# requests that come while a body streams


@pytest.mark.parametrize(
    ("control", "asked", "shares"),
    [
        ("max-age=60", (), True),
        ("max-age=5, stale-while-revalidate=60", (), True),
        ("max-age=5, must-revalidate", (), False),
        ("max-age=5, stale-while-revalidate=0", (), False),
        ("no-cache", (), False),
        ("max-age=60", (("cache-control", "no-cache"),), False),
        ("max-age=60", (("cache-control", "max-age=10"),), False),
    ],
)
def test_who_comes_late_shares_what_would_be_a_hit_and_nothing_else(
    origin: FaultyOrigin, clock: FakeClock, control: str, asked: Sequence[tuple[str, str]], shares: bool
) -> None:
    gate = origin.gate()
    raw = answer(f"Cache-Control: {control}", 'ETag: "1"', body="old" * 10)
    origin.script("/a", Bytes(raw[:-10]), Wait(gate), Bytes(raw[-10:]))
    origin.answers("/a", answer(f"Cache-Control: {control}", 'ETag: "2"', body="new" * 10))
    freshness = {"honour_request_directives": ["no-cache", "max-age"]}

    with Shield(settings_of({"fra": origin}, freshness=freshness), clock=clock) as shield:
        early = ask(shield)
        gate.reached()
        early.read_head()
        clock.advance(50)
        late = ask(shield, *asked)
        gate.open()
        (read,) = bodies([late])
        early.close()

    assert read == (b"old" if shares else b"new") * 10


# what a later head changes


def test_a_vary_that_comes_with_a_304_holds_from_then_on(origin: FaultyOrigin, clock: FakeClock) -> None:
    origin.answers("/a", answer('ETag: "1"', "Cache-Control: max-age=10", body="webp!"), times=1)
    origin.answers("/a", not_modified('ETag: "1"', "Cache-Control: max-age=60", "Vary: Accept"), times=1)
    origin.answers("/a", answer('ETag: "2"', "Cache-Control: max-age=60", "Vary: Accept", body="jpeg!"))

    with forwarding(origin, clock, "accept", freshness={"grace": 0}) as shield:
        shield.get("/a", [("accept", "image/webp")])
        clock.advance(20)
        validated = shield.get("/a", [("accept", "image/webp")])
        other = shield.get("/a", [("accept", "image/jpeg")])

    assert (validated.body, other.body) == (b"webp!", b"jpeg!")


@pytest.mark.parametrize("memory", ["0", "64MiB"])
def test_a_304_that_forbids_what_was_allowed_does_so_on_disk_as_well(
    origin: FaultyOrigin, clock: FakeClock, tmp_path: Path, memory: str
) -> None:
    origin.answers("/a", answer("Cache-Control: max-age=10", 'ETag: "1"', "X-A: old"), times=1)
    origin.answers("/a", not_modified('ETag: "1"', "Cache-Control: no-cache", "X-A: new"))
    settings = with_disk(origin, tmp_path / "nvme", memory=memory)

    with Shield(settings, clock=clock) as shield:
        shield.get("/a")
        settled(shield)
        clock.advance(100)
        shield.get("/a")
        settled(shield)
    with Shield(settings, clock=clock) as shield:
        after = shield.get("/a")
        origin.stops()
        down = shield.get("/a")

    assert (after.status, after.get("x-a"), after.hit) == (200, "new", False)
    assert down.status == 504


def test_workers_validate_with_each_other_by_all_that_the_origin_said(origin: FaultyOrigin, clock: FakeClock) -> None:
    lines = ("Cache-Control: max-age=99", 'ETag: "1"')

    with two(origin, clock, freshness={"grace": 0}) as workers:
        path, (asker, owner) = workers.path, (workers.asker, workers.owner)
        origin.answers(path, answer(*lines, "CDN-Cache-Control: max-age=10", "X-A: old"), times=1)
        origin.answers(path, not_modified(*lines, "CDN-Cache-Control: max-age=2", "X-A: new"))
        asker.get(path)
        clock.advance(11)
        owner.get(path)
        told = [asker.get(path), asker.get(path)]

    assert [(one.get("x-a"), one.get("cdn-cache-control")) for one in told] == [("new", "max-age=2")] * 2
    assert told[1].get("cache-status") == "test-1; hit; ttl=2"


# what one request says about others


def test_a_request_with_authorization_takes_nothing_from_the_others(
    shield: Shield, origin: FaultyOrigin, clock: FakeClock
) -> None:
    origin.serves("/a", b"a", lifetime=10)
    shield.get("/a")

    clock.advance(20)
    stale = shield.get("/a", [("authorization", "Bearer x")])
    shield.wait_for(lambda: origin.fetches("/a") == 2)
    after = shield.get("/a", [("authorization", "Bearer y")])

    assert (stale.status, after.status, after.hit) == (200, 200, True)
    assert all(seen.get("authorization") is None for seen in origin.requests)


def test_a_request_that_forbids_storing_leaves_what_is_stored(origin: FaultyOrigin, clock: FakeClock) -> None:
    origin.serves("/a", b"a", lifetime=10)
    settings = settings_of({"fra": origin}, freshness={"honour_request_directives": "no-store"})

    with Shield(settings, clock=clock) as shield:
        shield.get("/a")
        alone = shield.get("/a", [("cache-control", "no-store")])
        after = shield.get("/a")

    assert (alone.hit, after.hit) == (False, True)


def test_variants_that_are_over_leave_room_for_others(origin: FaultyOrigin, clock: FakeClock) -> None:
    origin.makes("/a", for_who_asks("accept", "Cache-Control: max-age=10", "Vary: Accept"))
    routes = {"default": {"forward_request_headers": ["accept"], "max_variants": 2}}

    with Shield(settings_of({"fra": origin}, routes=routes), clock=clock) as shield:
        for kind in ("a/a", "b/b"):
            shield.get("/a", [("accept", kind)])
        for _ in range(2):
            shield.get("/a", [("accept", "h/h")], method="HEAD")
        clock.advance(86400 * 10)
        answers = [shield.get("/a", [("accept", kind)]) for kind in ("c/c", "d/d", "c/c", "d/d")]

    assert [one.hit for one in answers] == [False, False, True, True]


# versions


@pytest.mark.parametrize("etag", ["", 'ETag: "v1"'])
def test_a_part_that_may_be_of_another_version_is_not_put_behind_one(
    origin: FaultyOrigin, clock: FakeClock, tmp_path: Path, etag: str
) -> None:
    """One replica without ETags, or with another length under the same, and deaf to If-Match, is enough."""
    versions = [b"1" * (3 * SLICE), b"2" * (3 * SLICE if not etag else 4 * SLICE)]

    def make(received: Received) -> Steps:
        first = len(origin.requests) == 1
        body, line = (versions[0], 'ETag: "v1"') if first else (versions[1], etag)
        start, _, stop = (received.get("range") or "bytes=0-99999999").removeprefix("bytes=").partition("-")
        part = body[int(start) : int(stop) + 1]
        where = f"Content-Range: bytes {start}-{int(start) + len(part) - 1}/{len(body)}"
        lines = [line] if line else []
        return [Bytes(answer(*lines, "Cache-Control: max-age=60", where, status="206 Part", body=part.decode()))]

    origin.makes("/a", make)

    with Shield(with_disk(origin, tmp_path / "nvme"), clock=clock) as shield:
        shield.get("/a", [("range", "bytes=0-9")])
        settled(shield)
        whole = shield.get("/a")

    assert not (b"1" in whole.body and b"2" in whole.body)
    assert not whole.clean or whole.status != 200


def test_an_older_version_does_not_come_back_from_disk(
    origin: FaultyOrigin, clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even where the newer one wouldn't be admitted, were it the first."""
    lasting = "Cache-Control: max-age=10, stale-while-revalidate=86400"
    origin.answers("/a", answer(lasting, 'ETag: "1"', body="v1"), times=1)
    origin.answers("/a", answer(lasting, 'ETag: "2"', body="v2"))
    settings = with_disk(origin, tmp_path / "nvme", memory="64MiB")
    with Shield(settings, clock=clock) as shield:
        shield.get("/a")
        settled(shield)
    clock.advance(20)
    monkeypatch.setattr(Disk, "is_full", lambda disk, digest: True)

    with Shield(settings, clock=clock) as shield:
        stale = shield.get("/a")
        settled(shield)
        fresh = shield.get("/a")
    with Shield(settings, clock=clock) as shield:
        after = shield.get("/a")

    assert [one.body for one in (stale, fresh, after)] == [b"v1", b"v2", b"v2"]


def test_a_304_with_a_tag_that_is_not_stored_is_for_something_else(
    shield: Shield, origin: FaultyOrigin, clock: FakeClock
) -> None:
    modified = "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT"
    origin.answers("/a", answer("Cache-Control: max-age=10", modified, body="AAAAA"), times=1)
    origin.answers("/a", not_modified('ETag: "of-B"', modified), times=1)
    origin.answers("/a", answer("Cache-Control: max-age=10", 'ETag: "of-B"', modified, body="BBBBB"))
    shield.get("/a")

    clock.advance(100)
    validated = shield.get("/a")

    assert (validated.body, validated.get("etag")) == (b"BBBBB", '"of-B"')


def test_an_origin_that_knows_no_ranges_is_read_from_the_whole(
    origin: FaultyOrigin, clock: FakeClock, tmp_path: Path
) -> None:
    body = "0123456789" * (SLICE // 4)
    origin.answers("/a", answer("Cache-Control: max-age=60", 'ETag: "1"', body=body))

    with Shield(with_disk(origin, tmp_path / "nvme"), clock=clock) as shield:
        part = shield.get("/a", [("range", "bytes=3-5")])
        answers = [
            shield.get("/a"),
            shield.get("/a"),
            shield.get("/a", [("range", f"bytes={2 * SLICE}-{2 * SLICE}")]),
        ]

    assert (part.status, part.body) == (206, b"345")
    assert all(one.clean and one.body.decode() == body for one in answers)
    assert answers[2].status == 200  # to skip so much of a body that isn't kept costs an origin more than the client


# absence


def test_what_is_gone_takes_what_was_stored_with_it_though_absence_is_not_stored(
    origin: FaultyOrigin, clock: FakeClock
) -> None:
    origin.serves("/a", b"a", lifetime=10)
    freshness = {"negative_lifetime": 0, "grace": 0}

    with Shield(settings_of({"fra": origin}, freshness=freshness), clock=clock) as shield:
        shield.get("/a")
        clock.advance(20)
        origin.absent("/a")
        gone = shield.get("/a")
        origin.stops()
        down = shield.get("/a")

    assert (gone.status, down.status) == (404, 503)


@pytest.mark.parametrize(
    ("control", "lifetime"), [("no-store", 0), ("private", 0), ("no-cache", 0), ("max-age=3", 3), ("max-age=99", 10)]
)
def test_an_absence_is_believed_no_longer_than_the_origin_lets_it(
    shield: Shield, origin: FaultyOrigin, clock: FakeClock, control: str, lifetime: int
) -> None:
    origin.answers("/a", answer(f"Cache-Control: {control}", status="404 Not Found"))

    first = shield.get("/a")
    clock.advance(max(0, lifetime - 1))
    again = shield.get("/a")
    clock.advance(1)
    after = shield.get("/a")

    assert (first.status, first.get("cache-control")) == (404, f"max-age={lifetime}")
    assert (again.hit, after.hit) == (lifetime > 0, False)
