"""What outlasts a node is of one running node at a time."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from shield.errors import ConfigError
from shield.sole import alone, lock_of


@contextmanager
def other_node(paths: list[Path]) -> Iterator[int]:
    """In another process, which is killed at the end."""
    ready, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        with alone(paths, "other"):
            os.write(told, b"x")
            signal.pause()
    os.read(ready, 1)
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(ready)
        os.close(told)


def test_a_second_node_is_refused_and_the_first_one_named(tmp_path: Path) -> None:
    free, shared = lock_of(tmp_path, "mine"), lock_of(tmp_path, "n1")
    with other_node([shared]) as pid:
        refused = pytest.raises(
            ConfigError, match=rf"n1\.lock: another node uses .*\(node other, pid {pid}\).*: stop it"
        )
        with refused, alone([free, shared], "n1"):
            pytest.fail("it is in use")

    with alone([free, shared], "n1"):  # as after kill -9
        assert shared.read_text() == f"node n1, pid {os.getpid()}\n"


def test_a_node_that_runs_already_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with (
        other_node([tmp_path / "l"]),
        caplog.at_level(logging.WARNING),
        alone([tmp_path / "l"], "n1", is_running=True),
    ):
        assert "another node uses these files now" in caplog.text


def test_where_no_lock_can_be_made_it_is_only_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), alone([tmp_path / "away" / "l"], "n1"):
        assert "can't be locked" in caplog.text
