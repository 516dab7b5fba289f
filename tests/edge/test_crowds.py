"""Very many clients that behave badly: the others are served, and the resources of each stay limited."""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from shield.edge.states import Reading
from tests.client import Answer, Client, request
from tests.doubles.faults import at_body
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.pattern import Pattern
from tests.doubles.steps import Wait
from tests.edge.corpus import SIZES
from tests.node import Shield
from tests.process import Process, settings_file

pytestmark = pytest.mark.slow

MIB = 1 << 20
LARGE = Pattern(8_000_000)
CROWD = 1000
DESCRIPTORS = 200


@pytest.fixture(scope="module", autouse=True)
def many_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard < 3 * CROWD:
        pytest.skip(f"only {hard} descriptors may be open")
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture(autouse=True)
def objects(origin: FaultyOrigin) -> None:
    origin.serves("/a", b"a", lifetime=600)
    origin.serves("/large", LARGE, lifetime=600)


def _memory() -> int:
    """Bytes of this process in RAM."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_hits_are_answered_amid_a_thousand_slow_clients_that_are_cut_in_the_end(shield: Shield) -> None:
    shield.get("/a")
    shield.get("/large")
    before = _memory()

    with contextlib.ExitStack() as stack, shield.client() as good:
        crowd = [stack.enter_context(shield.client(receive_buffer=4096)) for _ in range(CROWD)]
        slow_heads, slow_bodies, slow_readers = crowd[0::3], crowd[1::3], crowd[2::3]
        for client in slow_heads:
            client.send(request("/a")[:-2] + b"x-")
        for client in slow_bodies:
            client.send(request("/a", [("Content-Length", "1000000")], method="POST") + b"x")
        for client in slow_readers:
            client.send(request("/large"))
        shield.wait_for(lambda: sum(c._reading is Reading.HEAD for c in shield._state.connections) == len(slow_heads))
        shield.wait_for(lambda: sum(not c.ready for c in shield._state.connections) == len(slow_readers))
        assert all(good.ask("/a").hit for _ in range(100))
        assert _memory() - before < 100 * MIB

        assert {client.read().status for client in slow_bodies} == {405}
        for _ in range(12):
            shield.sweep()
            assert good.ask("/a").hit
        assert {client.read().status for client in slow_heads} == {408}
        shield.sweep(times=80)
        shield.wait_for(lambda: shield.connections == 1)
        assert good.ask("/a").hit
        assert _memory() - before < 100 * MIB


@pytest.mark.parametrize(
    ("head", "status"),
    [(b"x: " + b"y" * 30_000, 408), (b"x: y\r\n" * 95 + b"x: " + b"y" * 20_000, 408), (b"x:\r\n" * 5000, 431)],
)
def test_heads_without_end_take_little_more_memory_than_their_bytes(shield: Shield, head: bytes, status: int) -> None:
    shield.get("/a")
    connections, before = shield._state.connections, _memory()

    with contextlib.ExitStack() as stack:
        crowd = [stack.enter_context(shield.client()) for _ in range(CROWD)]
        for client in crowd:
            client.send(request("/a")[:-2] + head)
        shield.wait_for(
            lambda: sum(c._reading is Reading.DEAF or len(c._heads.kept) > len(head) for c in connections) == CROWD
        )
        assert _memory() - before < CROWD * 120 * 1024
        shield.sweep(times=12)
        assert {client.read().status for client in crowd} == {status}

    shield.wait_for(lambda: shield.connections == 0)


def test_what_is_too_large_leaves_nothing_behind(shield: Shield) -> None:
    def refuse_all() -> None:
        for case in SIZES:
            if case.closes:
                with shield.client() as client:
                    client.send(case.raw)
                    assert (client.read().status,) == case.answers
        shield.wait_for(lambda: shield.connections == 0)

    refuse_all()
    before = _memory()
    for _ in range(10):
        refuse_all()

    assert _memory() - before < 8 * MIB


def test_pipelining_without_end_and_without_reading_stops_at_the_clients_door(shield: Shield) -> None:
    shield.get("/large")
    burst = request("/large") * 1000
    before = _memory()

    with shield.client(receive_buffer=4096) as client:
        client.send(burst)
        shield.wait_for(lambda: all(not c._transport.is_reading() for c in shield._state.connections))
        client.socket.setblocking(False)
        with pytest.raises(BlockingIOError):
            for _ in range(1000):
                client.socket.send(burst)

        assert shield.call(lambda: max(len(c._later) for c in shield._state.connections)) <= 32 * 1024
        assert _memory() - before < 50 * MIB


@pytest.fixture
def node(tmp_path: Path) -> Iterator[tuple[Process, FaultyOrigin]]:
    """A process that may open few descriptors."""
    with FaultyOrigin() as origin:
        origin.serves("/a", b"a", lifetime=600)
        origin.serves("/slow", b"0123456789", lifetime=600)
        made = Process(settings_file(tmp_path, origin))
        resource.prlimit(made.process.pid, resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
        with made:
            yield made, origin


def test_a_node_that_runs_out_of_descriptors_turns_clients_away_and_goes_on(
    node: tuple[Process, FaultyOrigin],
) -> None:
    process, origin = node
    gate = origin.gate()
    origin.spoils("/slow", at_body(5, Wait(gate)))
    with contextlib.ExitStack() as stack:
        running = stack.enter_context(Client(process.port))
        running.send(request("/slow"))
        gate.reached()
        crowd = []
        for _ in range(2 * DESCRIPTORS):
            crowd.append(stack.enter_context(Client(process.port)))
            with contextlib.suppress(ConnectionError):
                crowd[-1].send(b"GET /a HTTP/1.1\r\n")  # an idle one would give way
        process.says("descriptors are in use")
        last = stack.enter_context(Client(process.port))
        assert last.at_end()

        inside = [client for client in crowd if _is_open(client)]
        assert DESCRIPTORS // 2 < len(inside) < DESCRIPTORS
        assert process.admin("/ready").status == 200
        inside[-1].send(b"Host: cdn.example\r\n\r\n")
        assert inside[-1].read().body == b"a"  # from the origin
        gate.open()
        assert running.read().body == b"0123456789"
        assert process.said.count("turned away") == 1

    assert _ask_until_served(process.port).hit


def _ask_until_served(port: int) -> Answer:
    """Those who have left may not be gone yet."""
    for _ in range(1000):
        with contextlib.suppress(ConnectionError), Client(port) as client:
            return client.ask("/a")
    raise AssertionError("clients are still turned away")


def _is_open(client: Client) -> bool:
    client.socket.setblocking(False)
    try:
        return client.socket.recv(1, socket.MSG_PEEK) != b""
    except BlockingIOError:
        client.socket.settimeout(10)
        return True
    except ConnectionError:
        return False
