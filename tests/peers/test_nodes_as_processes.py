"""Three nodes of two workers, as they run: a herd, and a node that freezes, and dies."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from loadtest.processes import free_port
from tests.client import Answer, Client, request
from tests.crowd import Crowd
from tests.doubles.certificates import Authority
from tests.doubles.faults import preceded_by
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.pattern import Pattern
from tests.doubles.steps import Wait
from tests.process import Process, settings_file, until

pytestmark = pytest.mark.slow

NAMES = ("fra-1", "fra-2", "fra-3")
WORKERS = 2


def first_port() -> int:
    """Of those that all nodes can have, one for each worker, each node on a loopback address of its own."""
    while True:
        with ExitStack() as stack:
            first = free_port()
            try:
                for host in range(1, len(NAMES) + 1):
                    for worker in range(WORKERS):
                        stack.enter_context(socket.create_server((f"127.0.0.{host}", first + worker)))
            except OSError:
                continue
            return first


@pytest.fixture(scope="module")
def origin() -> Iterator[FaultyOrigin]:
    """With the time of the nodes."""
    with FaultyOrigin(clock=time.time) as made:
        yield made


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the certificates, which all nodes have."""
    return tmp_path_factory.mktemp("nodes")


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def nodes(directory: Path, origin: FaultyOrigin, authority: Authority) -> Iterator[Sequence[Process]]:
    """They prove to each other by certificates who they are."""
    port = first_port()
    ca_file = authority.write(directory)
    certificate, key = authority.write_server(directory, "node.test")
    tls = {"certificate_file": str(certificate), "key_file": str(key), "ca_file": str(ca_file)}
    addresses = {name: f"127.0.0.{place + 1}:{port}" for place, name in enumerate(NAMES)}
    with ExitStack() as stack:
        made = []
        for name in NAMES:
            own = directory / name
            own.mkdir()
            file = settings_file(own, origin, node=name, workers=WORKERS, cluster={"nodes": addresses, "tls": tls})
            made.append(Process(file))
        for node in made:
            stack.enter_context(node)
        until(lambda: not any(metric(node, "shield_peer_node_down") for node in made))
        yield made


def metric(node: Process, name: str) -> float:
    lines = node.admin("/metrics").body.decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(name))


def test_certificates_of_another_authority_take_the_place_of_those_in_use(
    nodes: Sequence[Process], origin: FaultyOrigin, authority: Authority, directory: Path
) -> None:
    others, ca_file, said = Authority("the next"), directory / "authority.pem", [len(node.said) for node in nodes]

    def use(issuer: Authority, *accepted: Authority) -> None:
        """All files are other ones, so that they count as whole at once."""
        ca_file.write_text("".join(each.pem for each in accepted))
        issuer.write_server(directory, "node.test")
        for place, node in enumerate(nodes):
            until(lambda: node.said.count("cluster.tls: its files were replaced", said[place]) == WORKERS)  # noqa: B023
            said[place] = len(node.said)
        for path in [f"/{issuer is others}-{len(accepted)}-{number}" for number in range(9)]:
            origin.serves(path, b"x", lifetime=600)
            for node in nodes:
                with Client(node.port) as client:
                    client.send(request(path))
                    assert client.read().status == 200
            assert origin.fetches(path) == 1
        assert not any(metric(node, "shield_peer_node_down") for node in nodes)

    use(authority, authority, others)
    use(others, authority, others)
    use(others, others)


def test_a_herd_makes_one_request_and_no_request_fails_because_of_a_node(
    nodes: Sequence[Process], origin: FaultyOrigin
) -> None:
    body, gate = Pattern(300_000), origin.gate()
    origin.serves("/cold", body, lifetime=600)
    origin.spoils("/cold", preceded_by(Wait(gate)))
    answers: list[Answer] = []

    def ask(node: Process) -> None:
        with Client(node.port) as client:
            client.send(request("/cold"))
            answers.append(client.read())

    threads = [threading.Thread(target=ask, args=(nodes[number % 3],)) for number in range(60)]
    for thread in threads:
        thread.start()
    until(lambda: sum(metric(node, "shield_fills_readers") for node in nodes) >= 60)
    gate.open()
    for thread in threads:
        thread.join()
    assert [answer.body == body[:] for answer in answers] == [True] * 60
    assert origin.fetches("/cold") == 1

    objects = {f"/object-{number}": b"%d" % number * 2000 for number in range(60)}
    for path, text in objects.items():
        origin.serves(path, text, lifetime=2)
    last = nodes[2].process.pid
    with Crowd(nodes[0].port, objects, kept=4) as one, Crowd(nodes[1].port, objects, kept=4) as other:
        os.killpg(last, signal.SIGSTOP)
        until(lambda: metric(nodes[0], 'shield_peer_node_down{node="fra-3"}') == WORKERS)
        os.killpg(last, signal.SIGCONT)
        until(lambda: metric(nodes[0], 'shield_peer_node_down{node="fra-3"}') == 0)
        answered = one.answered
        until(lambda: one.answered > answered + 100)
        os.killpg(last, signal.SIGKILL)
        until(lambda: metric(nodes[1], 'shield_peer_node_down{node="fra-3"}') == WORKERS)
        answered = other.answered
        until(lambda: other.answered > answered + 100)
    assert one.failed + other.failed == []
