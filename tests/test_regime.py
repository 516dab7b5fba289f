"""One regime at a time: what a worker goes by is swapped while it serves, and no answer is of two."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from shield.build.regime import regime_of
from shield.edge.states import Reading
from shield.errors import ConfigError, RequestError
from shield.regime import InForce, Regime
from shield.rules.access import AccessRules
from shield.rules.limits import ClientLimits
from shield.rules.routes import Route, Routes
from tests.client import Answer, Client, request
from tests.doubles.faults import at_body
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.steps import Wait
from tests.node import FakeClock, Shield, settings_of

WORDS = ("odd", "even")
SECRET = {"header": {"secrets": ["0123456789abcdef"]}}
CLIENTS = 6
SWAPS = 150


def routes(word: str) -> dict[str, Any]:
    """Two routes, of which all that they bring can be told from the other regime's."""
    return {
        name: {
            "match": f"/{name}",
            "add": f"/{word}",
            "response_fields": {"set": {"x-regime": word, "x-route": name}},
        }
        for name in ("a", "b")
    }


def regime(origin: FaultyOrigin, word: str, **more: Any) -> Regime:
    settings = settings_of({"fra": origin}, routes=routes(word), **more)
    return regime_of(settings, workers=1, generation=1 + WORDS.index(word))


def swap(shield: Shield, to: Regime) -> None:
    shield.call(lambda: shield.node.in_force.swap(to))


def is_of(answer: Answer, target: str, word: str) -> bool:
    return (
        answer.status == 200
        and answer.clean
        and answer.body == f"/{word}{target}".encode()
        and answer.get("x-regime") == word
        and answer.get("x-route") == target[1]
    )


@pytest.fixture
def node(origin: FaultyOrigin, clock: FakeClock) -> Iterator[Shield]:
    """A node under the regime "odd"."""
    for word in WORDS:
        for route in ("a", "b"):
            path = f"/{word}/{route}"
            origin.serves(f"{path}/kept", f"{path}/kept".encode(), lifetime=60)
            origin.serves(f"{path}/passing", f"{path}/passing".encode(), fields={"cache-control": "no-store"})
    with Shield(settings_of({"fra": origin}, routes=routes("odd")), clock=clock) as made:
        yield made


# over the wire


def test_each_answer_under_load_is_of_one_regime_and_none_fails(node: Shield, origin: FaultyOrigin) -> None:
    regimes = {word: regime(origin, word) for word in WORDS}
    targets = [f"/{route}/{kind}" for route in ("a", "b") for kind in ("kept", "passing")]
    wrong: list[tuple[str, Answer]] = []
    served = [0] * CLIENTS
    over = threading.Event()

    def hammer(number: int) -> None:
        with Client(node.port) as client:
            while not over.is_set():
                target = targets[(number + served[number]) % len(targets)]
                answer = client.ask(target)
                if not any(is_of(answer, target, word) for word in WORDS):
                    wrong.append((target, answer))
                served[number] += 1

    threads = [threading.Thread(target=hammer, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    with Client(node.port) as client:
        for turn in range(SWAPS):
            word = WORDS[turn % 2]
            swap(node, regimes[word])
            for target in targets:
                assert is_of(client.ask(target), target, word)
    over.set()
    for thread in threads:
        thread.join()

    assert wrong == []
    assert all(served)


def test_a_request_under_way_keeps_its_regime(node: Shield, origin: FaultyOrigin) -> None:
    gate = origin.gate()
    origin.spoils("/odd/a/passing", at_body(3, Wait(gate)), times=1)
    with Client(node.port) as client:
        client.send(request("/a/passing"))
        answer = client.read_head()
        gate.reached()

        swap(node, regime(origin, "even"))
        gate.open()
        client.read_body(answer)

        assert is_of(answer, "/a/passing", "odd")
        assert is_of(client.ask("/a/passing"), "/a/passing", "even")


def test_a_request_that_waits_behind_another_is_of_the_regime_at_its_turn(node: Shield, origin: FaultyOrigin) -> None:
    gate = origin.gate()
    origin.spoils("/odd/a/passing", at_body(3, Wait(gate)), times=1)
    with Client(node.port) as client:
        client.send(request("/a/passing") + request("/b/kept") + request("/b/passing"))
        first = client.read_head()
        gate.reached()

        swap(node, regime(origin, "even"))
        gate.open()
        client.read_body(first)
        others = [client.read(), client.read()]

        assert is_of(first, "/a/passing", "odd")
        assert is_of(others[0], "/b/kept", "even") and is_of(others[1], "/b/passing", "even")


def test_a_request_that_waits_behind_another_is_let_in_by_the_rules_at_its_turn(
    node: Shield, origin: FaultyOrigin
) -> None:
    gate = origin.gate()
    origin.spoils("/odd/a/passing", at_body(3, Wait(gate)), times=1)
    with Client(node.port) as client:
        client.send(request("/a/passing") + request("/b/kept"))
        first = client.read_head()
        gate.reached()

        swap(node, regime(origin, "odd", access=SECRET))
        gate.open()
        client.read_body(first)

        assert client.read().status == 403
        assert client.at_end()


def test_a_request_whose_empty_body_is_awaited_keeps_its_regime(node: Shield, origin: FaultyOrigin) -> None:
    with Client(node.port) as client:
        client.send(request("/a/kept", [("Transfer-Encoding", "chunked")]))
        node.wait_for(lambda: any(c._reading is Reading.BODY for c in node._state.connections))

        swap(node, regime(origin, "even", access=SECRET))
        client.send(b"0\r\n\r\n")

        assert is_of(client.read(), "/a/kept", "odd")


def test_connections_that_are_open_follow(node: Shield, origin: FaultyOrigin) -> None:
    with Client(node.port) as client, Client(node.port) as other:
        assert [each.ask("/a/kept").status for each in (client, other)] == [200, 200]

        swap(node, regime(origin, "odd", limits={"target_bytes": 256, "head_bytes": 1024}))
        assert client.ask("/a/" + 300 * "x").status == 414

        swap(node, regime(origin, "odd", limits={"requests": 1}))
        answer = other.ask("/a/kept")
        assert (answer.status, answer.get("connection")) == (200, "close")


def test_a_limit_on_connections_counts_those_from_before_it(node: Shield, origin: FaultyOrigin) -> None:
    with Client(node.port) as first:
        assert first.ask("/a/kept").status == 200

        swap(node, regime(origin, "odd", limits={"connections_per_address": 1}))

        with pytest.raises(ConnectionError), Client(node.port) as second:
            second.ask("/a/kept")
    node.wait_for(lambda: not node.connections)
    with Client(node.port) as third:
        assert third.ask("/a/kept").status == 200


def test_purging_goes_by_the_regime_in_force(node: Shield, origin: FaultyOrigin) -> None:
    with Client(node.port) as client:
        client.ask("/a/kept")
        swap(node, regime(origin, "even"))

        assert node.run(node.node.purge.targets([b"/a/kept"])) == 0
        client.ask("/a/kept")
        assert node.run(node.node.purge.targets([b"/a/kept"])) == 1


# by itself


def _regime(*origins: str, prefix: bytes = b"/") -> Regime:
    return Regime(Routes([Route("all", prefix=prefix, origins=origins)]))


def test_a_regime_that_names_an_origin_the_worker_does_not_have_is_refused_and_the_old_one_holds() -> None:
    first = _regime("fra")
    in_force = InForce(first, origins=lambda: {"fra"})

    with pytest.raises(ConfigError) as raised:
        in_force.swap(_regime("fra", "iad"))

    assert raised.value.problems == ["routes.all.origins: iad: the node has no origin of this name"]
    assert in_force.regime is first


def test_parts_that_derive_something_are_told_once_a_regime_is_in_force() -> None:
    in_force = InForce(_regime("fra"), origins=lambda: {"fra"})
    told: list[tuple[Regime, bool]] = []
    in_force.followed_by(lambda regime: told.append((regime, in_force.regime is regime)))

    second = replace(in_force.regime, limits=ClientLimits(max_fields=7))
    in_force.swap(second)

    assert told == [(second, True)]


def test_what_targets_name_is_remembered_within_a_regime_only() -> None:
    first = _regime("fra", prefix=b"/a")
    second = replace(first, routes=Routes([Route("other", prefix=b"/b", origins=("fra",))]))

    resource = first.targets.resolve(b"/a/x")

    assert first.targets.resolve(b"/a/x") is resource
    with pytest.raises(RequestError, match="no-route"):
        second.targets.resolve(b"/a/x")


def test_long_targets_are_not_remembered_and_others_are_forgotten_in_time() -> None:
    targets = _regime("fra").targets
    targets.resolve(b"/" + 600 * b"x")
    kept = targets.resolve(b"/kept")
    for number in range(40_000):
        targets.resolve(b"/%d" % number)
        if number % 10_000 == 0:
            assert targets.resolve(b"/kept") is kept

    assert len(targets.young) + len(targets.old) <= 2 * 16384
    assert not any(len(target) > 512 for target in (*targets.young, *targets.old))


def test_a_regime_made_of_settings_has_all_that_they_say(origin: FaultyOrigin) -> None:
    made = regime(origin, "even", access=SECRET, limits={"fields": 7})

    assert [route.name for route in made.routes] == ["a", "b"]
    assert isinstance(made.access, AccessRules)
    assert made.limits.max_fields == 7
    assert made.generation == 2
