"""The directory of a node's sockets: it goes with the node, or at the next start."""

from __future__ import annotations

import os
import signal
import socket
import stat
from pathlib import Path

import pytest

from shield.errors import ConfigError
from shield.private import leave, private_directory, socket_path


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RUNTIME_DIRECTORY", f"{tmp_path}:/elsewhere")
    return tmp_path


def listens(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def killed(runtime: Path) -> Path:
    """What a node leaves that ends by SIGKILL."""
    before = set(runtime.iterdir())
    pid = os.fork()
    if pid == 0:
        with private_directory() as (directory, _):
            listens(socket_path(directory, 0))
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    (left,) = set(runtime.iterdir()) - before
    return left


def test_it_lets_in_its_user_alone_and_goes_at_the_end(runtime: Path) -> None:
    with private_directory() as (directory, _):
        listens(socket_path(directory, 0))
        listens(socket_path(directory, 1))
        for name in ("figures", "orders-fra.sqlite-wal", "edge-purges-fra.sqlite"):
            (directory / name).touch()

        assert directory.parent == runtime
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert list(runtime.iterdir()) == []


def test_what_a_killed_node_left_goes_at_the_next_start(runtime: Path) -> None:
    left = killed(runtime)
    assert sorted(path.name for path in left.iterdir()) == ["lock", "worker-0"]

    with private_directory() as (directory, _):
        assert list(runtime.iterdir()) == [directory]


def test_what_a_living_node_uses_stays_though_its_parent_was_killed(runtime: Path) -> None:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        with private_directory() as (directory, _):
            listens(socket_path(directory, 0))
            worker = os.fork()
            if worker == 0:
                os.close(reader)
                signal.pause()
            os.write(writer, b"%d\n" % worker)
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    worker = int(os.read(reader, 100))
    (used,) = runtime.iterdir()

    with private_directory() as (directory, _):
        assert set(runtime.iterdir()) == {used, directory}
        os.kill(worker, signal.SIGKILL)
        os.close(writer)
        assert os.read(reader, 1) == b""  # it has ended
        with private_directory() as (other, _):
            assert set(runtime.iterdir()) == {directory, other}
    os.close(reader)


def test_what_is_no_nodes_stays(runtime: Path) -> None:
    (runtime / "shield-demo-1").mkdir()
    (runtime / "shield-x").symlink_to("/")
    (runtime / "shield-file").write_text("")
    (runtime / "shield-more").mkdir()
    (runtime / "shield-more" / "lock").write_text("")
    (runtime / "shield-more" / "precious").write_text("")
    before = set(runtime.iterdir())

    with private_directory():
        pass

    assert set(runtime.iterdir()) == before
    assert (runtime / "shield-more" / "precious").exists()


def test_the_last_worker_without_a_parent_takes_it_away(runtime: Path) -> None:
    with private_directory() as (directory, _):
        sockets = [socket_path(directory, number) for number in range(2)]
        for path in sockets:
            listens(path)

        leave(sockets[0])
        assert sockets[1].exists()
        leave(sockets[1])
        assert list(runtime.iterdir()) == []


def test_no_place_for_it_is_a_problem_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/nowhere/at/all")

    with pytest.raises(ConfigError, match="/nowhere/at/all: no place for sockets"), private_directory():
        pass
