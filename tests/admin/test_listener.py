"""Clients of the admin API that say nothing, or only half, or take nothing, over real connections."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client import Client, request
from tests.doubles.faulty_origin import FaultyOrigin
from tests.process import Process, settings_file

MOST = 5


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with FaultyOrigin() as origin:
        admin = {"listen": "127.0.0.1:0", "connections": MOST, "timeout": "1s"}
        with Process(settings_file(Path(tmp_path_factory.mktemp("node")), origin, admin=admin)) as made:
            yield made


def asked(path: str = "/live", *fields: tuple[str, str], method: str = "GET") -> bytes:
    return request(path, fields, method=method, host="localhost")


@pytest.mark.parametrize("said", [b"", b"GET /live HT", asked()[:-2] + b"X: y\r\n"])
def test_who_does_not_say_all_of_a_head_is_closed_when_its_time_is_over(node: Process, said: bytes) -> None:
    with Client(node.admin_port) as client:
        client.send(said)
        assert client.at_end()
    assert node.admin("/live").status == 200


def test_half_a_head_behind_a_request_has_no_more_time(node: Process) -> None:
    with Client(node.admin_port) as client:
        client.send(asked() + asked()[:-2])
        assert client.read().status == 200
        assert client.at_end()


def test_a_body_that_does_not_come_is_no_longer_awaited(node: Process) -> None:
    fields = [("Content-Type", "application/json"), ("Content-Length", "100")]
    with Client(node.admin_port) as client:
        client.send(asked("/store/remove", *fields, method="POST") + b"{")
        assert client.read().status == 408
        assert client.at_end()


def test_a_body_that_is_too_large_is_refused_before_it_comes(node: Process) -> None:
    fields = [("Content-Type", "application/json"), ("Content-Length", "100000000")]
    with Client(node.admin_port) as client:
        client.send(asked("/store/remove", *fields, method="POST"))
        assert client.read().status == 413
        assert client.at_end()


def test_a_crowd_that_says_nothing_keeps_nobody_out(node: Process) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(10 * MOST):
            stack.enter_context(Client(node.admin_port))
        assert node.admin("/live").status == 200
        assert json.loads(node.admin("/state").body)["ready"] is True


def test_one_that_is_kept_may_ask_again_and_a_new_one_takes_its_place_when_there_are_too_many(node: Process) -> None:
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Client(node.admin_port)) for _ in range(MOST)]
        for client in clients:
            client.send(asked())
            assert client.read().status == 200
        clients[0].send(asked("/ready"))
        assert clients[0].read().status == 200

        late = stack.enter_context(Client(node.admin_port))
        late.send(asked())
        assert late.read().status == 200
