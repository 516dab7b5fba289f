"""A worker's number, and the processes that hold it."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator

import pytest

from shield.line import Line
from shield.posts import Post, Process
from shield.shared import Seat
from shield.worker import Sockets

pytestmark = pytest.mark.slow


@pytest.fixture
def running() -> Iterator[list[Process]]:
    """Two workers' processes of a node."""
    children = [subprocess.Popen(["sleep", "600"]) for _ in range(2)]
    pairs = [socket.socketpair() for _ in children]
    yield [
        Process(child.pid, Line(ours), program=2, tenant=tenant)
        for tenant, (child, (ours, _)) in enumerate(zip(children, pairs, strict=True))
    ]
    for child, pair in zip(children, pairs, strict=True):
        child.kill()
        child.wait()
        for each in pair:
            each.close()


def test_a_successor_that_ends_before_another_program_takes_over_is_waited_for_once(running: list[Process]) -> None:
    post = Post(Seat(), Sockets(()))
    post.holder, post.successor = running

    record = post.record(-1)

    assert [each.pid for each in record.processes()] == [each.pid for each in running]
    assert post.processes == running
    post.lose(running[1])
    assert post.processes == running[:1]
