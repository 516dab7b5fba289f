"""A node that stops makes the calls of CDNs that are due, and hands over the others: real files and sockets."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from shield.cdn.outbox import EdgeOutbox
from shield.cdn.parting import TAKE_CALLS, EdgeParting
from shield.errors import Fault, OriginError
from shield.rules.edge_purge import EdgeCall, PurgeEdge
from shield.rules.purge_orders import PurgeOrder
from tests.cdn.test_passing import EDGE, ORDER, Rig, in_a_loop
from tests.doubles.receiver import Receiver
from tests.node import FakeClock


class LeavingNode:
    """A node with CDNs, and ways to others, by name; None is one that can't be reached."""

    def __init__(self, rig: Rig, others: dict[str, LeavingNode | None] | None = None) -> None:
        self.rig = rig
        self.nodes = others or {}
        self.asked: list[str] = []

        async def rest(seconds: float) -> None:
            for edge in rig.purges._edges.values():
                if edge.task is not None:
                    await edge.task

        self.parting = EdgeParting(rig.purges, rig.outbox, self, clock=rig.clock, rest=rest)

    def others(self) -> tuple[str, ...]:
        return tuple(sorted(self.nodes))

    async def send(self, name: str, target: bytes, body: bytes = b"", *, seconds: float = 2.0) -> bytes:
        self.asked.append(name)
        other = self.nodes[name]
        if other is None or target != TAKE_CALLS:
            raise OriginError(name, Fault.CONNECT, "it is down")
        return await other.parting.take_over("leaving", body)

    @property
    def waiting(self) -> int:
        return sum(self.rig.outbox.waiting().values())


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as made:
        yield made


def rig(directory: Path, receiver: Receiver, clock: FakeClock, edge: PurgeEdge = EDGE) -> Rig:
    directory.mkdir(exist_ok=True)
    return Rig(directory, receiver, clock, edge)


@in_a_loop
async def test_calls_that_are_due_are_made_and_the_others_handed_over_with_their_times(
    tmp_path: Path, receiver: Receiver, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    other = LeavingNode(rig(tmp_path / "b", receiver, clock))
    leaves = LeavingNode(rig(tmp_path / "a", receiver, clock), {"b": None, "c": other})
    await leaves.rig.purges.hold(ORDER)
    await leaves.rig.purges.release("job-1")
    clock.advance(10.0)

    await leaves.parting.leave()
    assert [each.path for each in receiver.got] == ["/zones/z1/purge_cache"]
    assert leaves.asked == ["b", "c"] and leaves.waiting == 0 and other.waiting == 1
    assert (await leaves.rig.purges.status("job-1"))["cdn"].notes[-1] == "handed over to c, which sends it"
    assert "calls of CDNs' APIs handed over to node c: 1" in caplog.text
    await leaves.rig.purges.close()
    assert "aren't made yet" not in caplog.text

    clock.advance(49.0)
    await other.rig.ticks()
    assert len(receiver.got) == 1
    clock.advance(1.0)
    await other.rig.ticks()
    assert len(receiver.got) == 2 and await other.rig.state() == "done"
    await other.rig.purges.close()


@in_a_loop
async def test_what_nobody_takes_stays_in_the_file_and_the_log_says_so(
    tmp_path: Path, receiver: Receiver, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    elsewhere = LeavingNode(rig(tmp_path / "b", receiver, clock, replace(EDGE, place="z2")))
    leaves = LeavingNode(rig(tmp_path / "a", receiver, clock), {"b": elsewhere})
    receiver.answers = [(503, {})]
    await leaves.rig.purges.hold(ORDER)
    await leaves.rig.purges.release("job-1")

    await leaves.parting.leave()
    await leaves.rig.purges.close()
    assert len(receiver.got) == 1 and leaves.waiting == 2 and elsewhere.waiting == 0
    assert "calls for cdn that aren't made yet, but after the next start: 2" in caplog.text

    again = rig(tmp_path / "a", receiver, clock)
    await again.ticks()
    assert len(receiver.got) == 2
    await again.purges.close()


@in_a_loop
async def test_without_a_place_that_is_kept_it_is_told_what_is_lost(
    tmp_path: Path, receiver: Receiver, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    leaves = LeavingNode(rig(tmp_path / "a", receiver, clock))
    leaves.rig.outbox.is_kept = False
    await leaves.rig.purges.hold(ORDER)

    await leaves.parting.leave()
    await leaves.rig.purges.close()

    assert "calls for cdn that are lost, without a state_directory: 2. Purge it there" in caplog.text


@in_a_loop
async def test_many_calls_go_in_several_messages_and_a_full_node_takes_none(
    tmp_path: Path, receiver: Receiver, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    full, other = (LeavingNode(rig(tmp_path / name, receiver, clock)) for name in ("b", "c"))
    leaves = LeavingNode(rig(tmp_path / "a", receiver, clock), {"b": full, "c": other})
    for number in range(8):
        paths = tuple(b"/%d/%d/" % (number, each) + b"x" * 200 for each in range(100))
        await leaves.rig.purges.hold(PurgeOrder(f"job-{number}", paths=paths))
    monkeypatch.setattr(full.rig.outbox, "take", lambda calls, at: 0)

    await leaves.parting.leave()

    assert receiver.got == [] and leaves.waiting == 0 and other.waiting == 16
    assert leaves.asked.count("b") == 1 and leaves.asked.count("c") > 1
    for each in (leaves, full, other):
        await each.rig.purges.close()


@in_a_loop
async def test_a_cdn_that_hangs_holds_up_a_stop_for_a_while_only(
    tmp_path: Path, receiver: Receiver, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shield.cdn.parting.FINISH_SECONDS", 0.05)
    leaves = LeavingNode(rig(tmp_path / "a", receiver, clock))
    leaves.parting._rest = asyncio.sleep
    receiver.is_silent = True
    await leaves.rig.purges.hold(ORDER)
    await leaves.rig.purges.release("job-1")

    await leaves.parting.leave()
    await leaves.rig.purges.close()

    assert leaves.waiting == 2


@in_a_loop
@pytest.mark.parametrize(
    "target", ["@elsewhere.example/x", "/zones/z1/dns_records", "/zones/z2/purge_cache", "/zones/z1/purge_cache "]
)
async def test_a_call_that_doesnt_purge_is_taken_from_nobody(
    tmp_path: Path, receiver: Receiver, clock: FakeClock, target: str
) -> None:
    node = LeavingNode(rig(tmp_path / "a", receiver, clock))
    call = {"id": "x", "edge": "cdn", "place": "cloudflare:z1", "round": 1, "in": 0.0, "notes": []}
    body = json.dumps({"calls": [call | {"call": EdgeCall(target).plain()}]}).encode()

    assert json.loads(await node.parting.take_over("b", body)) == {"taken": []}
    await node.rig.ticks()
    assert receiver.got == []
    await node.rig.purges.close()


@in_a_loop
async def test_a_message_that_is_none_is_refused_as_a_whole(
    tmp_path: Path, receiver: Receiver, clock: FakeClock
) -> None:
    node = LeavingNode(rig(tmp_path / "a", receiver, clock))
    with pytest.raises(KeyError):
        await node.parting.take_over("b", json.dumps({"calls": [{"edge": "cdn", "place": "cloudflare:z1"}]}).encode())

    assert EdgeOutbox(lambda: tmp_path / "a" / "outbox.sqlite").waiting() == {}
    await node.rig.purges.close()
