"""What an origin answers to one client's credentials reaches no other, over the wire, whoever waits with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.client import request
from tests.disks import settled, with_disk
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.ledger import Received
from tests.doubles.plan import Answer as Steps
from tests.doubles.raw import answer
from tests.doubles.steps import Bytes, Wait
from tests.fill.test_whose import ask, bodies, for_who_asks
from tests.node import FakeClock, Shield, settings_of
from tests.peers.pair import two

USERS = ["alice", "bob", "carol", "dave", "erin"]


def node(origin: FaultyOrigin, clock: FakeClock, *, forwards: Any = ("cookie",), **changes: Any) -> Shield:
    listed = forwards if forwards == "all" else list(forwards)
    return Shield(
        settings_of({"fra": origin}, routes={"default": {"forward_request_headers": listed}}, **changes), clock=clock
    )


@pytest.mark.parametrize("forwards", [("cookie",), "all"])
@pytest.mark.parametrize("lines", [(), ("Cache-Control: max-age=60",), ('ETag: "1"', "Vary: Accept")])
def test_five_clients_at_once_get_five_answers(
    origin: FaultyOrigin, clock: FakeClock, forwards: Any, lines: tuple[str, ...]
) -> None:
    gate = origin.gate()
    origin.makes("/a", for_who_asks("cookie", *lines, gate=gate))

    with node(origin, clock, forwards=forwards) as shield:
        clients = [ask(shield, ("cookie", user)) for user in USERS]
        gate.open()
        together = bodies(clients)
        later = [shield.get("/a", [("cookie", user)]).body for user in USERS]

    assert together == later == [f"for {user}".encode() for user in USERS]
    assert origin.fetches("/a") == 10


def test_those_with_the_same_credentials_get_answers_of_their_own(origin: FaultyOrigin, clock: FakeClock) -> None:
    gate = origin.gate()
    origin.makes("/a", for_who_asks("cookie", gate=gate))

    with node(origin, clock) as shield:
        clients = [ask(shield, ("cookie", "alice")) for _ in range(3)]
        gate.open()
        bodies(clients)

    assert origin.fetches("/a") == 3


def test_who_has_no_credentials_gets_nothing_of_those_who_have(origin: FaultyOrigin, clock: FakeClock) -> None:
    gate = origin.gate()
    origin.makes("/a", for_who_asks("cookie", gate=gate))

    with node(origin, clock) as shield:
        clients = [ask(shield, *fields) for fields in ([("cookie", "alice")], [], [("cookie", "bob")])]
        gate.open()
        read = bodies(clients)
        after = shield.get("/a")

    assert read == [b"for alice", b"for None", b"for bob"]
    assert after.body == b"for None"


@pytest.mark.parametrize("there", [True, False])
def test_it_reaches_nobody_though_the_client_it_is_for_is_gone(
    origin: FaultyOrigin, clock: FakeClock, there: bool
) -> None:
    gate = origin.gate()
    origin.makes("/a", for_who_asks("cookie", gate=gate))

    with node(origin, clock) as shield:
        gone = [ask(shield, ("cookie", "alice")) for _ in range(2)]  # a fetch that one alone leaves is given up
        waiting = [ask(shield), ask(shield, ("cookie", "alice"))] if there else []
        for alice in gone:
            alice.reset()
        shield.wait_for(lambda: shield.node.proxy.accounting.counters.requests.get("abandoned") == len(gone))
        waiting = waiting or [ask(shield), ask(shield, ("cookie", "alice"))]
        gate.open()
        read = bodies(waiting)

    assert read == [b"for None", b"for alice"]
    assert origin.fetches("/a") == 3


def test_clients_are_answered_side_by_side_and_not_one_after_the_other(
    origin: FaultyOrigin, clock: FakeClock
) -> None:
    """Once it is known that the answer isn't for them, those who waited don't wait for each other."""
    first, rest = origin.gate(), origin.gate()
    gates = {"alice": first}

    def make(received: Received) -> Steps:
        user = received.get("cookie") or ""
        return [Wait(gates.get(user, rest)), Bytes(answer(body=f"for {user}"))]

    origin.makes("/a", make)
    with node(origin, clock) as shield:
        clients = [ask(shield, ("cookie", user)) for user in USERS]
        first.open()
        shield.wait_for(lambda: len(origin.requests) == len(USERS))  # while all but one wait for the origin
        rest.open()
        read = bodies(clients)

    assert read == [f"for {user}".encode() for user in USERS]


@pytest.mark.parametrize(
    ("line", "fetches"),
    [
        ("Cache-Control: public, max-age=60", 1),
        ("Cache-Control: s-maxage=60", 1),
        ("Cache-Control: max-age=60, must-revalidate", 1),
        ("Vary: Cookie", 5),
    ],
)
def test_what_an_origin_lets_others_have_they_share(
    origin: FaultyOrigin, clock: FakeClock, line: str, fetches: int
) -> None:
    origin.makes("/a", for_who_asks("cookie", line))

    with node(origin, clock) as shield:
        first = [shield.get("/a", [("cookie", user)]) for user in USERS]
        again = [shield.get("/a", [("cookie", user)]) for user in USERS]

    assert origin.fetches("/a") == fetches
    assert all(one.hit for one in again)
    assert [one.body for one in again] == [one.body for one in first]
    assert len({one.body for one in first}) == fetches


def test_authorization_is_for_its_bearer_whatever_vary_says(origin: FaultyOrigin, clock: FakeClock) -> None:
    origin.makes("/a", for_who_asks("authorization", "Vary: Authorization", "Cache-Control: max-age=60"))

    with node(origin, clock, forwards="all") as shield:
        read = [shield.get("/a", [("authorization", f"Bearer {user}")]) for user in ("alice", "alice", "bob")]

    assert [one.body for one in read] == [b"for Bearer alice", b"for Bearer alice", b"for Bearer bob"]
    assert not any(one.hit for one in read)


def test_it_leaves_what_is_stored_for_others(origin: FaultyOrigin, clock: FakeClock) -> None:
    origin.makes("/a", for_who_asks("cookie", "Cache-Control: max-age=10"))

    with node(origin, clock, freshness={"grace": 0, "honour_request_directives": "all"}) as shield:
        shield.get("/a")
        mine = shield.get("/a", [("cookie", "alice"), ("cache-control", "no-cache")])
        after = shield.get("/a")

    assert mine.body == b"for alice"
    assert (after.body, after.hit) == (b"for None", True)


def test_nothing_of_it_comes_to_a_disk(origin: FaultyOrigin, clock: FakeClock, tmp_path: Path) -> None:
    origin.makes("/a", for_who_asks("cookie", "Cache-Control: max-age=1000"))
    routes = {"default": {"forward_request_headers": ["cookie"]}}
    settings = settings_of({"fra": origin}, routes=routes, cache=with_disk(origin, tmp_path).cache)

    with Shield(settings, clock=clock) as shield:
        for user in USERS:
            shield.get("/a", [("cookie", user)])
        settled(shield)
    with Shield(settings, clock=clock) as shield:
        later = shield.get("/a", [("cookie", "mallory")])

    assert (later.body, later.hit) == (b"for mallory", False)


@pytest.mark.parametrize("status", ["404 Not Found", "403 Forbidden", "302 Found", "503 Service Unavailable"])
def test_errors_are_personal_as_well(origin: FaultyOrigin, clock: FakeClock, status: str) -> None:
    gate = origin.gate()
    origin.makes("/a", for_who_asks("cookie", "Cache-Control: max-age=60", status=status, gate=gate))

    with Shield(
        settings_of(
            {"fra": origin},
            routes={"default": {"forward_request_headers": ["cookie"]}},
            freshness={"unkeyed": "store", "negative": {404: "1m", 403: "1m", 503: "1m"}},
            origins={"fra": {"provider": "http", "endpoint": origin.url, "pass_errors": True}},
        ),
        clock=clock,
    ) as shield:
        clients = [ask(shield, ("cookie", user)) for user in USERS]
        gate.open()
        read = bodies(clients)

    assert read == [f"for {user}".encode() for user in USERS]


def test_workers_hand_each_other_nothing_of_it(origin: FaultyOrigin, clock: FakeClock) -> None:
    with two(origin, clock, routes={"default": {"forward_request_headers": ["cookie"]}}) as workers:
        path = workers.path
        origin.makes(path, for_who_asks("cookie", "Cache-Control: max-age=60"))
        read = [
            one.get(path, [("cookie", user)]).body
            for user in ("alice", "bob")
            for one in (workers.asker, workers.owner, workers.asker)
        ]

    assert read == [b"for alice"] * 3 + [b"for bob"] * 3
    assert origin.fetches(path) == 6


def test_a_field_of_the_operators_choice_is_one_too(origin: FaultyOrigin, clock: FakeClock) -> None:
    origin.makes("/a", for_who_asks("x-customer", "Cache-Control: max-age=60"))

    with node(origin, clock, forwards=("x-customer",), freshness={"credentials": ["X-Customer"]}) as shield:
        read = [shield.get("/a", [("x-customer", user)]).body for user in USERS]

    assert read == [f"for {user}".encode() for user in USERS]


def test_all_of_a_request_is_still_readable(origin: FaultyOrigin, clock: FakeClock) -> None:
    """What its reason is called in Cache-Status."""
    origin.makes("/a", for_who_asks("cookie"))

    with node(origin, clock) as shield, shield.client() as client:
        client.send(request("/a", [("cookie", "alice")]))
        told = client.read().get("cache-status")

    assert told is not None and told.endswith("detail=credentials")


@pytest.mark.parametrize("unkeyed", ["refuse", "store"])
@pytest.mark.parametrize("vary", [(), ("Vary: Accept",), ("Vary: *",)])
def test_what_is_not_there_for_one_may_be_for_another(
    origin: FaultyOrigin, clock: FakeClock, unkeyed: str, vary: tuple[str, ...]
) -> None:
    """With its document dropped, as it is unless errors are passed."""
    gate = origin.gate()

    def make(received: Received) -> Steps:
        if received.get("cookie") == "alice":
            return [Wait(gate), Bytes(answer(*vary, status="404 Not Found"))]
        return [Bytes(answer(*vary, body=f"for {received.get('cookie')}"))]

    origin.makes("/a", make)
    with node(origin, clock, freshness={"unkeyed": unkeyed}) as shield:
        clients = [ask(shield, ("cookie", user)) for user in ("alice", "bob", "alice")]
        gate.open()
        answers = [client.read() for client in clients]
        for client in clients:
            client.close()
        later = shield.get("/a", [("cookie", "carol")])

    assert [(one.status, one.body) for one in (*answers, later)] == [
        (404, b"not found\n"),
        (200, b"for bob"),
        (404, b"not found\n"),
        (200, b"for carol"),
    ]
    assert [(one.get("vary") or "").lower() or None for one in answers] == [
        vary[0].removeprefix("Vary: ").lower() if vary else None
    ] * 3
