"""`shield serve` with several workers: one node to its clients, whatever becomes of a worker."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from shield.rules.rendezvous import Rendezvous
from shield.rules.routes import Route, Routes
from tests.client import PATIENCE, Answer, Client, fetch, request
from tests.doubles.faults import at_body, preceded_by
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.pattern import Pattern
from tests.doubles.steps import Wait
from tests.process import Process, settings_file, until

pytestmark = pytest.mark.slow

BODY = Pattern(2_000_000)
WORKERS = 4


class Node(Process):
    """A node of several workers."""

    @property
    def workers(self) -> list[int]:
        """Pids of those that run."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in children.read_text().split()]

    def worker_of(self, client: Client) -> int:
        """Who has accepted a client's connection."""
        port = client.socket.getsockname()[1]
        holders: list[int] = []

        def is_there() -> bool:
            holders.extend(self._holders(port))  # once seen it is known: the table is read in pieces, as it changes
            return bool(holders)

        until(is_there)
        return holders[0]

    def _holders(self, port: int) -> list[int]:
        # The socket of the connection whose remote end is the client's.
        rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        inodes = {f"socket:[{row[9]}]" for row in rows if int(row[2].split(":")[1], 16) == port}
        return [pid for pid in self.workers if inodes & _descriptors(pid)]

    def all_serve(self) -> bool:
        return self.admin("/ready").status == 200


def _descriptors(pid: int) -> set[str]:
    found = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.add(os.readlink(link))  # noqa: PTH115  # no path
        except OSError:
            continue
    return found


def runs(pid: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


def get_together(port: int, targets: Sequence[str]) -> list[Answer]:
    async def together() -> list[Answer]:
        return list(await asyncio.gather(*[fetch(port, target) for target in targets]))

    return asyncio.run(together())


@pytest.fixture
def origin() -> Iterator[FaultyOrigin]:
    with FaultyOrigin() as made:
        made.serves("/a", b"hello", lifetime=60)
        made.serves("/large", BODY, lifetime=60)
        yield made


@pytest.fixture(scope="module")
def common() -> Iterator[FaultyOrigin]:
    """The origin of the node that tests share."""
    with FaultyOrigin() as made:
        made.serves("/a", b"hello", lifetime=3600)
        yield made


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, common: FaultyOrigin) -> Iterator[Node]:
    """A node that tests leave whole."""
    with Node(settings_file(tmp_path_factory.mktemp("node"), common, workers=WORKERS)) as made:
        yield made
        made.signal()
        assert made.ended() == 0, made.said


# one node


def test_clients_of_all_workers_are_served_and_counted_by_one_node(node: Node) -> None:
    answers = get_together(node.port, ["/a"] * 100)
    requests, metrics = _requests(node), node.admin("/metrics").body.decode()

    assert {answer.body for answer in answers} == {b"hello"}
    assert len(node.workers) == WORKERS
    assert requests == 100
    for worker in range(WORKERS):
        assert re.search(rf'^shield_process_cpu_seconds_total\{{worker="{worker}"\}} ', metrics, re.MULTILINE)
    assert f"shield_workers_up {WORKERS}.0" in metrics


def test_a_thousand_clients_on_one_cold_key_make_one_request_of_the_origin(node: Node, common: FaultyOrigin) -> None:
    gate, body = common.gate(), BODY[:20_000]
    common.serves("/cold", body, lifetime=60)
    common.spoils("/cold", preceded_by(Wait(gate)))

    async def storm() -> list[Answer]:
        clients = [asyncio.ensure_future(fetch(node.port, "/cold")) for _ in range(1000)]
        await gate.reached_async()
        gate.open()
        return list(await asyncio.gather(*clients))

    answers = asyncio.run(storm())

    assert [answer.body == body for answer in answers] == [True] * 1000
    assert common.fetches("/cold") == 1


# a worker that dies


def test_a_worker_that_is_killed_ends_its_clients_uncleanly_and_no_others(node: Node, common: FaultyOrigin) -> None:
    gate = common.gate()
    paths = [f"/slow-{number}" for number in range(24)]
    for path in paths:
        common.serves(path, BODY, lifetime=60)
        common.spoils(path, at_body(100_000, Wait(gate)), times=1)
    clients = [Client(node.port) for _ in paths]
    for client, path in zip(clients, paths, strict=True):
        client.send(request(path))
    gate.reached(times=len(paths))
    answers = [client.read_head() for client in clients]
    homes = [node.worker_of(client) for client in clients]
    victim = homes[0]

    os.kill(victim, signal.SIGKILL)
    node.says("was ended by SIGKILL")
    gate.open()
    for client, answer in zip(clients, answers, strict=True):
        client.read_body(answer)
        client.close()

    assert all(BODY.check(answer.body) for answer in answers)
    assert not any(answer.clean for answer, home in zip(answers, homes, strict=True) if home == victim)
    # Of the others those are whole whose key the dead one didn't own.
    assert any(answer.clean for answer, home in zip(answers, homes, strict=True) if home != victim)
    until(node.all_serve)
    after = get_together(node.port, paths)
    assert all(answer.clean and answer.body == BODY[:] for answer in after)


def test_a_killed_worker_is_replaced_and_the_port_never_refuses(node: Node) -> None:
    before, returned, counted = set(node.workers), node.said.count("is back"), _requests(node)

    for victim in before:
        os.kill(victim, signal.SIGKILL)
        answers = get_together(node.port, ["/a"] * 40)  # raises if a connection is refused
        assert sum(answer.body == b"hello" for answer in answers) >= 30  # its own connections are gone
    until(lambda: len(node.workers) == WORKERS and node.all_serve())

    assert not before & set(node.workers)
    assert _requests(node) >= counted > 0
    assert {answer.body for answer in get_together(node.port, ["/a"] * 40)} == {b"hello"}
    assert node.said.count("is back") == returned + WORKERS


def _requests(node: Node) -> float:
    """How many the node has answered, by its metrics."""
    metrics = node.admin("/metrics").body.decode()
    return sum(map(float, re.findall(r"^shield_requests_total\{.*?\} (.*)$", metrics, re.MULTILINE)))


def test_a_worker_that_dies_again_and_again_waits_longer_each_time(tmp_path: Path, origin: FaultyOrigin) -> None:
    with Node(settings_file(tmp_path, origin, workers=2)) as node:
        for delay in ("0.1", "0.2", "0.4"):
            with Client(node.admin_port) as client:
                client.ask("/live")
                pid = node.worker_of(client)  # always the first: it alone has the admin listener
            os.kill(pid, signal.SIGKILL)
            node.says(f"worker 0 (pid {pid}) was ended by SIGKILL; replacing it in {delay} s")

        until(node.all_serve)
        node.signal()
        assert node.ended() == 0, node.said


def test_the_admin_listener_survives_its_worker(node: Node) -> None:
    with Client(node.admin_port) as client:
        client.ask("/live")
        holder = node.worker_of(client)

    os.kill(holder, signal.SIGKILL)

    assert node.admin("/live").status == 200
    assert holder not in node.workers
    until(node.all_serve)


# a worker that hangs


PATIENT = {"deadline": "60s"}  # longer than a client here waits


def _on_one_worker(node: Node, count: int) -> tuple[list[Client], int]:
    """So many clients of one of two workers, and the other worker."""
    clients: dict[int, list[Client]] = {pid: [] for pid in node.workers}
    while not any(len(mine) == count for mine in clients.values()):
        client = Client(node.port)
        clients[node.worker_of(client)].append(client)
    home, other = sorted(clients, key=lambda pid: len(clients[pid]), reverse=True)
    for client in clients[other]:
        client.close()
    return clients[home], other


def _owned(count: int) -> list[str]:
    """Paths of which each of two workers owns so many."""
    owners, routes = Rendezvous([b"worker-0", b"worker-1"]), Routes([Route("all")])
    paths: list[list[str]] = [[], []]
    for number in itertools.count():
        path = f"/cold-{number}"
        paths[owners.owner(routes.resolve(path.encode()).key.digest)].append(path)
        if min(map(len, paths)) >= count:
            return [*paths[0][:count], *paths[1][:count]]
    raise AssertionError


def test_a_worker_that_hangs_is_replaced_and_others_answer_for_it_meanwhile(tmp_path: Path) -> None:
    paths = _owned(4)
    with FaultyOrigin() as origin:
        for path in paths:
            origin.serves(path, b"cold", lifetime=60)
        with Node(settings_file(tmp_path, origin, workers=2, failover=PATIENT, worker_stall="3s")) as node:
            (client,), victim = _on_one_worker(node, 1)

            os.kill(victim, signal.SIGSTOP)
            answers = [client.ask(path) for path in paths]
            node.says(f"(pid {victim}) has hung for")
            node.says("is back")

            assert [(answer.status, answer.body) for answer in answers] == [(200, b"cold")] * len(paths)
            assert victim not in node.workers
            assert node.said.count("killing it") == 1
            until(node.all_serve)
            client.close()
            node.signal()
            assert node.ended() == 0, node.said


def test_what_a_worker_asked_of_one_that_hangs_it_fetches_itself(tmp_path: Path) -> None:
    paths = _owned(2)
    with FaultyOrigin() as origin:
        gate = origin.gate()
        for path in paths:
            origin.serves(path, b"cold", lifetime=60)
            origin.spoils(path, preceded_by(Wait(gate)), times=1)
        with Node(settings_file(tmp_path, origin, workers=2, failover=PATIENT, worker_stall="1h")) as node:
            clients, victim = _on_one_worker(node, len(paths))
            for client, path in zip(clients, paths, strict=True):
                client.send(request(path))
            gate.reached(times=len(paths))

            os.kill(victim, signal.SIGSTOP)
            until(lambda: sum(origin.fetches(path) == 2 for path in paths) == 2)  # of those that it owns
            gate.open()
            answers = [client.read() for client in clients]

            assert [(answer.status, answer.body) for answer in answers] == [(200, b"cold")] * len(paths)
            assert victim in node.workers
            for client in clients:
                client.close()


def test_a_node_that_is_stopped_as_a_whole_goes_on_with_the_workers_it_had(
    tmp_path: Path, origin: FaultyOrigin
) -> None:
    with Node(settings_file(tmp_path, origin, workers=2, worker_stall="2s")) as node:
        before = node.workers
        for pid in (node.process.pid, *before):
            os.kill(pid, signal.SIGSTOP)
        time.sleep(2.5)  # longer than a worker may hang
        os.kill(node.process.pid, signal.SIGCONT)
        time.sleep(0.7)  # the supervisor looks, and finds itself late
        for pid in before:
            os.kill(pid, signal.SIGCONT)

        assert get_together(node.port, ["/a"] * 10)[0].body == b"hello"
        assert node.workers == before
        assert "has hung" not in node.said


# a hangup


def test_a_hangup_reloads_once_whoever_of_the_node_gets_it_and_ends_nothing(
    tmp_path: Path, origin: FaultyOrigin
) -> None:
    with Node(settings_file(tmp_path, origin, workers=2)) as node:
        before = node.workers

        for pid in (*before, node.process.pid):
            os.kill(pid, signal.SIGHUP)
        node.says("settings of generation 2 are in force")

        assert {answer.body for answer in get_together(node.port, ["/a"] * 20)} == {b"hello"}
        assert node.workers == before
        assert node.all_serve()
        node.signal()
        assert node.ended() == 0, node.said
        assert "generation 3" not in node.said


# stopping


def test_a_node_that_drains_finishes_what_runs_in_all_workers(tmp_path: Path, origin: FaultyOrigin) -> None:
    gate = origin.gate()
    origin.spoils("/large", at_body(1000, Wait(gate)))
    with Node(settings_file(tmp_path, origin, workers=WORKERS)) as node:
        clients = [Client(node.port) for _ in range(12)]
        for client in clients:
            client.send(request("/large"))
        gate.reached()
        answers = [client.read_head() for client in clients]

        node.signal()
        until(lambda: node.said.count("no longer accepting connections") == WORKERS)

        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", node.port), PATIENCE)
        gate.open()
        for client, answer in zip(clients, answers, strict=True):
            client.read_body(answer)
            client.close()
        assert node.ended() == 0, node.said
    assert all(answer.clean and answer.body == BODY[:] for answer in answers)
    assert origin.fetches("/large") == 1


def test_a_signal_to_all_processes_at_once_is_one_signal(tmp_path: Path, origin: FaultyOrigin) -> None:
    """As systemd sends it, or a terminal."""
    gate = origin.gate()
    origin.spoils("/large", at_body(1000, Wait(gate)))
    with Node(settings_file(tmp_path, origin, workers=WORKERS)) as node, Client(node.port) as client:
        client.send(request("/large"))
        gate.reached()
        answer = client.read_head()

        for pid in (*node.workers, node.process.pid):
            os.kill(pid, signal.SIGTERM)
        until(lambda: node.said.count("no longer accepting connections") == WORKERS)

        gate.open()
        client.read_body(answer)
        client.close()
        assert node.ended() == 0, node.said
    assert (answer.clean, answer.body == BODY[:]) == (True, True)
    assert "without waiting" not in node.said


def test_a_second_signal_does_not_wait_for_transfers(tmp_path: Path, origin: FaultyOrigin) -> None:
    gate = origin.gate()
    origin.spoils("/large", at_body(1000, Wait(gate)))
    with Node(settings_file(tmp_path, origin, workers=WORKERS)) as node, Client(node.port) as client:
        client.send(request("/large"))
        gate.reached()
        answer = client.read_head()
        node.signal()
        node.says("no longer accepting connections; 1 are open")

        node.signal(signal.SIGINT)

        assert node.ended() == 0, node.said
        client.read_body(answer)
    assert not answer.clean


def test_workers_end_when_their_parent_is_killed(tmp_path: Path, origin: FaultyOrigin) -> None:
    runtime = Path("/tmp") / f"shield-test-{os.getpid()}"
    runtime.mkdir()
    try:
        with Node(settings_file(tmp_path, origin, workers=2), RUNTIME_DIRECTORY=str(runtime)) as node:
            workers = node.workers
            assert len(list(runtime.glob("shield-*/worker-*"))) == 2

            node.signal(signal.SIGKILL)

            until(lambda: not any(runs(pid) for pid in workers))
            assert node.ended() == -signal.SIGKILL
        assert list(runtime.iterdir()) == []
    finally:
        runtime.rmdir()


def test_nothing_is_left_of_a_node_that_has_stopped(tmp_path: Path, origin: FaultyOrigin) -> None:
    runtime = Path("/tmp") / f"shield-test-{os.getpid()}"
    runtime.mkdir()
    try:
        with Node(settings_file(tmp_path, origin, workers=2), RUNTIME_DIRECTORY=f"{runtime}:/nowhere") as node:
            (private,) = runtime.iterdir()
            assert node.admin("/metrics").status == 200
            assert private.stat().st_mode & 0o777 == 0o700
            workers = node.workers

            node.signal()

            assert node.ended() == 0
        assert not any(runs(pid) for pid in workers)
        assert list(runtime.iterdir()) == []
    finally:
        runtime.rmdir()


# what can't be started


def _run(config: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "shield", "serve", "-c", str(config)]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)


def test_a_port_in_use_is_named(tmp_path: Path, origin: FaultyOrigin) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ended = _run(settings_file(tmp_path, origin, listen=address, workers=WORKERS))

    assert ended.returncode == 2
    assert f"listen {address}: Address already in use" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_node_does_not_share_the_port_of_another(tmp_path: Path, common: FaultyOrigin, node: Node) -> None:
    """Though several sockets on one port are what each of them has."""
    ended = _run(settings_file(tmp_path, common, listen=f"127.0.0.1:{node.port}", workers=2))

    assert ended.returncode == 2
    assert "Address already in use" in ended.stderr


def test_settings_that_a_worker_cannot_use_are_named_once_and_end_it(tmp_path: Path, origin: FaultyOrigin) -> None:
    (tmp_path / "no.pem").write_text("nothing")
    origins = {"fra": {"provider": "http", "endpoint": "https://127.0.0.1:1", "ca_file": str(tmp_path / "no.pem")}}

    ended = _run(settings_file(tmp_path, origin, workers=WORKERS, origins=origins))

    assert ended.returncode == 2
    assert ended.stderr.count("no.pem") == 1
    assert "Traceback" not in ended.stderr


def test_a_path_that_is_too_long_for_sockets_is_named(
    tmp_path: Path, origin: FaultyOrigin, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = tmp_path / ("long" * 30)
    runtime.mkdir()
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(runtime))

    ended = _run(settings_file(tmp_path, origin, workers=2))

    assert ended.returncode == 2
    assert "no socket can be made here: AF_UNIX path too long" in ended.stderr
    assert list(runtime.iterdir()) == []
