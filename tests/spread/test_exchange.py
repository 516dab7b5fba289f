"""Orders from node to node: whatever is lost on the way, each has them all in the end, and says so only then."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from shield.rules.spreading import SpreadError, SpreadMessage, missing_at
from tests.spread.parts import Cluster, quick_directory, run


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with quick_directory() as directory:
        yield Cluster(Path(directory), ["a", "b", "c"])


def test_two_nodes_have_all_orders_after_one_exchange(cluster: Cluster) -> None:
    a, b = cluster.nodes["a"], cluster.nodes["b"]
    a.does(a.gives("x"), a.gives("y"))
    b.does(b.gives("z"))

    assert run(a.exchange._with("b"))

    assert sorted(b.carried_out) == sorted(a.carried_out)
    assert a.journal.state().positions == b.journal.state().positions
    assert a.journal.state().acknowledged == {"b": a.journal.state().newest}


def test_more_orders_than_a_message_holds_are_exchanged_in_several(cluster: Cluster) -> None:
    a, b = cluster.nodes["a"], cluster.nodes["b"]
    for number in range(20):
        a.does(a.gives(f"x{number}", "x" * 50_000))

    run(b.exchange._with("a"))

    assert len(b.carried_out) == 20


def test_an_order_that_cant_be_carried_out_isnt_acknowledged_until_it_is(cluster: Cluster) -> None:
    a, b = cluster.nodes["a"], cluster.nodes["b"]
    order = a.gives("x")
    a.does(order)
    b.refuses = True
    run(a.exchange._with("b"))
    assert missing_at(["b"], a.journal.state().acknowledged, order.sequence) == ("b",)

    b.refuses = False
    b.journal.complete(run(b.carry_out(b.journal.undone())))
    run(a.exchange._with("b"))

    assert missing_at(["b"], a.journal.state().acknowledged, order.sequence) == ()
    assert b.carried_out == [order.place]


def test_an_order_of_a_node_that_is_gone_is_learned_from_another(cluster: Cluster) -> None:
    a, _, c = cluster.nodes.values()
    a.does(a.gives("x"))
    run(a.exchange._with("b"))
    cluster.down.add("a")

    run(c.exchange._with("b"))

    assert c.carried_out == a.carried_out


def test_a_node_that_lost_its_journal_goes_on_behind_its_own_orders(cluster: Cluster) -> None:
    a, b = cluster.nodes["a"], cluster.nodes["b"]
    first = a.gives("x")
    a.does(first)
    run(a.exchange._with("b"))
    for path in cluster.directory.glob("a.sqlite*"):
        path.unlink()
    a.start()

    run(a.exchange._with("b"))
    second = a.gives("y")
    a.does(second)
    run(a.exchange._with("b"))

    assert second.before == first.sequence
    assert b.carried_out == [first.place, second.place]


def test_a_node_in_the_name_of_another_is_refused(cluster: Cluster) -> None:
    a = cluster.nodes["a"]

    with pytest.raises(SpreadError, match="the same name"):
        run(a.exchange.answer("b", SpreadMessage("c").encoded()))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"version": 2, "node": "b", "positions": {}, "floors": {}, "orders": []}',
        b'{"version": 1, "node": "b", "positions": {"a": -1}, "floors": {}, "orders": []}',
        b'{"version": 1, "node": "b", "positions": [], "floors": {}, "orders": []}',
        b'{"version": 1, "node": "b", "positions": {}, "floors": {}, "orders": [{}]}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_message_is_refused(cluster: Cluster, body: bytes) -> None:
    with pytest.raises(SpreadError):
        run(cluster.nodes["a"].exchange.answer("b", body))
