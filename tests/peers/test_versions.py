"""Nodes of different versions: each answers what it understands of the other, and else does without it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from shield.errors import OriginError
from shield.messages import Request
from shield.peers import front, node_front, words
from shield.peers.node_front import NodeProxy
from shield.reply import Reply
from tests.doubles.faulty_origin import FaultyOrigin
from tests.node import FakeClock
from tests.peers.cluster import Three, three


@pytest.fixture
def cluster(origin: FaultyOrigin, clock: FakeClock) -> Iterator[Three]:
    with three(origin, clock) as made:
        yield made


FIRST: dict[str, Any] = {"node": "fra-1", "workers": 1, "ring": "0011", "version": "0.0.1"}
NEXT: dict[str, Any] = {
    "node": {"name": "fra-1"},
    "workers": 1,
    "ring": "ffee",
    "version": "9.0",
    "near": [{"origin": "fra"}],
    "secrets": {"kind": "post-quantum"},
    "offer": ["something", "else"],
    "moon": 1,
}


@pytest.mark.parametrize("said", [FIRST, NEXT, [], "hello", {**FIRST, "workers": "many"}, {**FIRST, "near": 7}])
def test_a_greeting_of_another_version_is_read_as_far_as_it_is_understood(
    cluster: Three, origin: FaultyOrigin, monkeypatch: pytest.MonkeyPatch, said: object
) -> None:
    def told(proxy: NodeProxy, request: Request, now: float) -> Reply:
        return node_front._in_json(json.dumps(said).encode())

    monkeypatch.setattr(NodeProxy, "_told", told)
    asked, owner, _ = cluster.nodes
    path = cluster.path(owner=1)
    origin.serves(path, b"x", lifetime=600)

    assert asked.run(asked.others.greet(owner.name))
    assert [asked.get(path).body for _ in range(2)] == [b"x"] * 2
    assert asked.asked["owner"] == 2 and origin.fetches(path) == 1


def test_an_answer_in_words_of_another_version_is_done_without(
    cluster: Three, origin: FaultyOrigin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front, "outcome_line", lambda status, outcome: b"shield-peer: teleported fra 7\r\n")
    path = cluster.path(owner=1)
    origin.serves(path, b"x", lifetime=600)

    answer = cluster.nodes[0].get(path)

    assert (answer.status, answer.body, cluster.nodes[0].asked["without"]) == (200, b"x", 1)
    assert answer.get("shield-peer") is None


def test_what_a_later_version_asks_is_answered_or_refused(
    cluster: Three, origin: FaultyOrigin, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, owner, _ = cluster.nodes
    path = cluster.path(owner=1)
    origin.serves(path, b"x", lifetime=600)
    head = words.request_head

    def with_news(method: bytes, target: bytes, fields: Any, **more: Any) -> bytes:
        return head(method, target, (*fields, (b"shield-moon", b"full")), **more)

    monkeypatch.setattr(words, "request_head", with_news)
    assert asked.get(path).body == b"x" and asked.asked["owner"] == 1
    assert [received for received in origin.requests if "shield-moon" in dict(received.fields)] == []
    with pytest.raises(OriginError, match="it answers 404"):
        asked.run(asked.others.send(owner.name, b"*moon", b"{}"))
    assert asked.others.is_up(owner.name)
