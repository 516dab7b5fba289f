"""Readers that are told together: all of their bytes go out before anything is recorded, and what they have in common
is made once.
"""

from __future__ import annotations

import pytest

from shield.messages import Part
from shield.outcome import Outcome
from shield.rules.amplification import AmplificationLimits
from tests.fill.ground import MIB, FakeClient, Ground, on_ground, turns

LASTING = (b"cache-control", b"max-age=60")
TAG = (b"etag", b'"1"')


def noted(client: FakeClient, name: str, events: list[str]) -> None:
    """Have it note when it gets a head, and when the end."""
    begin, finish = client.begin, client.finish

    def begins(head: bytes, data: Part | None, *, status: int, length: int | None, outcome: Outcome) -> None:
        events.append(f"{name} begins")
        begin(head, data, status=status, length=length, outcome=outcome)

    def ends(*, clean: bool) -> None:
        events.append(f"{name} ends")
        finish(clean=clean)

    client.begin, client.finish = begins, ends  # type: ignore[method-assign]


def test_the_bytes_of_all_go_out_before_the_end_of_any_is_recorded() -> None:
    async def scenario(ground: Ground) -> None:
        events: list[str] = []
        clients = [await ground.asked() for _ in range(3)]
        for number, client in enumerate(clients):
            noted(client, str(number), events)

        ground.source.last.answers(LASTING, body=b"hello")
        await turns()

        assert events == ["0 begins", "1 begins", "2 begins", "0 ends", "1 ends", "2 ends"]
        assert {(client.body, client.clean) for client in clients} == {(b"hello", True)}
        assert ground.store.find(clients[0].transfer._resource.key) is not None  # type: ignore[union-attr]

    on_ground(scenario)


def test_those_who_wait_for_the_same_are_told_the_same_and_the_first_is_told_the_truth() -> None:
    async def scenario(ground: Ground) -> None:
        clients = [await ground.asked() for _ in range(3)]
        other = await ground.asked(fields={b"range": b"bytes=1-2"})

        ground.source.last.answers(LASTING, TAG, body=b"hello")
        await turns()

        first, *followers = clients
        assert first.told == "fwd=uri-miss; fwd-status=200; stored; ttl=60"
        assert {client.told for client in followers} == {"fwd=uri-miss; fwd-status=200; stored; collapsed; ttl=60"}
        assert followers[0].head is followers[1].head and followers[0].outcome is followers[1].outcome
        assert (other.status, other.body, other.told) == (206, b"el", followers[0].told)

    on_ground(scenario)


def test_one_that_comes_later_is_told_its_own_age() -> None:
    async def scenario(ground: Ground) -> None:
        clients = [await ground.asked() for _ in range(2)]
        fetch = ground.source.last
        fetch.answers(LASTING, length=10)
        await turns()
        fetch.sends(b"hello")
        ground.clock.advance(7)
        later = await ground.asked()
        fetch.sends(b"world", ends=True)
        await turns()

        assert {client.body for client in (*clients, later)} == {b"helloworld"}
        assert later.told == "fwd=uri-miss; fwd-status=200; stored; collapsed; ttl=53"
        assert b"age: 7\r\n" in later.head and b"age: 0\r\n" in clients[1].head

    on_ground(scenario)


@pytest.mark.parametrize("burst", [0, 64 * MIB])
def test_when_all_leave_together_the_rest_is_fetched_only_if_the_budget_allows(burst: int) -> None:
    async def scenario(ground: Ground) -> None:
        first = await ground.asked()
        parts = [await ground.asked(fields={b"range": b"bytes=0-49"}) for _ in range(2)]
        fetch = ground.source.last
        first.leaves()
        fetch.answers(LASTING, TAG, (b"accept-ranges", b"bytes"), length=7 * MIB)
        await turns()
        fetch.sends(bytes(100))

        assert {(part.status, len(part.body), part.clean) for part in parts} == {(206, 50, True)}
        assert fetch.connection.is_held == (burst == 0)
        again = await ground.asked()
        fetch.sends(bytes(7 * MIB - 100), ends=True)
        await turns()
        assert again.body == bytes(7 * MIB)

    on_ground(scenario, amplification=AmplificationLimits(burst=burst))


def test_when_all_read_on_together_a_window_that_was_full_opens_once_they_have() -> None:
    async def scenario(ground: Ground) -> None:
        clients = [await ground.asked() for _ in range(3)]
        fetch = ground.source.last
        fetch.answers(LASTING, length=7 * MIB)
        await turns()
        for client in clients:
            client.ready = False
        for _ in range(4):
            fetch.sends(bytes(MIB // 4))
        assert fetch.connection.is_held

        for client in clients:
            assert fetch.connection.is_held
            client.takes_more()
        assert not fetch.connection.is_held
        fetch.sends(bytes(6 * MIB), ends=True)
        await turns()
        assert {(len(client.body), client.clean) for client in clients} == {(7 * MIB, True)}

    on_ground(scenario, memory=MIB)
