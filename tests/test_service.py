"""`shield serve` as a service: what its manager hears, and sockets that it hands over."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.client import PATIENCE, Client
from tests.doubles.faulty_origin import FaultyOrigin
from tests.installed import Installed
from tests.lifecycle.manager import Manager
from tests.process import Process, settings_file, until

pytestmark = pytest.mark.slow

STARTS = 60.0  # seconds in which programs are started, one after the other, on a busy machine

# Puts descriptors where a manager would, and says that they are for this process.
HAND_OVER = """
import os, sys
for number, descriptor in enumerate(sys.argv[1].split(",") if sys.argv[1] else []):
    os.dup2(int(descriptor), 3 + number)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.executable, [sys.executable, "-m", "shield", *sys.argv[2:]])
"""


@pytest.fixture
def origin() -> Iterator[FaultyOrigin]:
    with FaultyOrigin() as made:
        made.serves("/a", b"hello", lifetime=60)
        yield made


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    with Manager(tmp_path / "notify") as made:
        yield made


class News:
    """What a manager has heard, by its first lines."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager
        self.all: list[str] = []

    def has(self, *words: str) -> bool:
        """Whether these have come in this order, whatever came in between."""
        self.all += self._manager.heard()
        left = iter([news.partition("\n")[0] for news in self.all])
        return all(word in left for word in words)


def handed_over(descriptors: Sequence[int]) -> list[str]:
    return [sys.executable, "-c", HAND_OVER, ",".join(map(str, descriptors))]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_manager_hears_of_the_beginning_of_reloads_and_of_the_end(
    tmp_path: Path, origin: FaultyOrigin, manager: Manager, workers: int
) -> None:
    news = News(manager)
    config = settings_file(tmp_path, origin, workers=workers)
    with Process(config, NOTIFY_SOCKET=manager.address, WATCHDOG_USEC="200000") as node:
        until(lambda: news.has("READY=1", "WATCHDOG=1", "WATCHDOG=1"))
        node.signal(signal.SIGHUP)
        until(lambda: news.has("READY=1", "RELOADING=1", "READY=1"))
        config.write_text("rotes: {}")
        node.signal(signal.SIGHUP)
        until(lambda: news.has("READY=1", "RELOADING=1", "READY=1", "RELOADING=1", "READY=1"))
        node.signal()
        code = node.ended()
        assert news.has("READY=1", "RELOADING=1", "READY=1", "RELOADING=1", "READY=1", "STOPPING=1")

    assert code == 0
    (serves, reloaded, refused) = (each for each in news.all if each.startswith("READY=1"))
    assert f"serves with {workers} worker" in serves
    assert "settings of generation 2 are in force" in reloaded
    assert "the last reload was refused" in refused
    assert all("\nMONOTONIC_USEC=" in each for each in news.all if each.startswith("RELOADING=1"))


def test_a_manager_hears_of_an_upgrade_from_the_same_process(
    tmp_path: Path, origin: FaultyOrigin, manager: Manager
) -> None:
    news, installed = News(manager), Installed(tmp_path)
    installed.add("1.0")
    config = settings_file(tmp_path, origin, workers=2)
    with Process(config, program=[installed.current], NOTIFY_SOCKET=manager.address, WATCHDOG_USEC="200000") as node:
        until(lambda: news.has("READY=1"))
        installed.add("2.0")
        node.signal(signal.SIGUSR2)
        until(lambda: news.has("READY=1", "RELOADING=1", "WATCHDOG=1", "READY=1", "WATCHDOG=1"), patience=STARTS)
        node.signal()
        assert node.ended() == 0

    assert "STATUS=serves with 2 workers of version 2.0" in next(
        each for each in reversed(news.all) if each.startswith("READY=1")
    )


def test_a_manager_without_a_socket_for_it_harms_nothing(tmp_path: Path, origin: FaultyOrigin) -> None:
    with Process(settings_file(tmp_path, origin), NOTIFY_SOCKET="/nowhere/at/all", WATCHDOG_USEC="soon") as node:
        with Client(node.port) as client:
            assert client.ask("/a").body == b"hello"
        node.signal()
        assert node.ended() == 0
    assert "the service manager (/nowhere/at/all) can't be told" in node.said


# sockets


@pytest.mark.parametrize("workers", [1, 2])
def test_sockets_of_a_manager_are_listened_on_and_stay_open_when_the_node_has_ended(
    tmp_path: Path, origin: FaultyOrigin, workers: int
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as web, socket.create_server(("127.0.0.1", 0)) as admin:
        port, admin_port = web.getsockname()[1], admin.getsockname()[1]
        config = settings_file(
            tmp_path, origin, listen=f"127.0.0.1:{port}", workers=workers,
            admin={"listen": f"127.0.0.1:{admin_port}"},
        )  # fmt: skip
        descriptors = [web.fileno(), admin.fileno()]
        for _ in range(2):
            with Client(port) as client, Process(
                config, program=handed_over(descriptors), pass_fds=descriptors, LISTEN_FDS="2",
                LISTEN_FDNAMES="web:admin",
            ) as node:  # fmt: skip
                assert client.ask("/a").body == b"hello"  # it has waited since before the start
                assert node.admin("/ready").status == 200
                client.close()
                node.signal()
                assert node.ended() == 0, node.said


def test_a_manager_that_keeps_sockets_gets_them_and_the_next_run_has_them_again(
    tmp_path: Path, origin: FaultyOrigin, manager: Manager
) -> None:
    news = News(manager)
    with Process(settings_file(tmp_path, origin, workers=2), NOTIFY_SOCKET=manager.address) as node:
        until(lambda: news.has("READY=1"))
        port, admin_port = node.port, node.admin_port
        node.signal(signal.SIGKILL)
        node.ended()
    (name,) = [name for name in manager.held if "listen 127" in name and "admin" not in name]
    (admin_name,) = [name for name in manager.held if "admin" in name]
    kept = [*manager.held[name], *manager.held[admin_name]]
    assert [each.getsockname()[1] for each in kept] == [port, port, admin_port]

    names = ":".join([name, name, admin_name])
    descriptors = [each.fileno() for each in kept]
    config = settings_file(
        tmp_path, origin, listen=f"127.0.0.1:{port}", workers=2, admin={"listen": f"127.0.0.1:{admin_port}"}
    )
    waiting = [Client(port) for _ in range(20)]
    with Process(
        config, program=handed_over(descriptors), pass_fds=descriptors, LISTEN_FDS="3", LISTEN_FDNAMES=names,
        NOTIFY_SOCKET=manager.address,
    ) as node:  # fmt: skip
        answers = [client.ask("/a").body for client in waiting]
        for client in waiting:
            client.close()
        assert answers == [b"hello"] * 20
        node.signal()
        assert node.ended() == 0
    # One that isn't in the settings any more is forgotten.
    before = len(news.all)
    with Process(
        settings_file(tmp_path, origin, workers=2), program=handed_over(descriptors), pass_fds=descriptors,
        LISTEN_FDS="3", LISTEN_FDNAMES=names, NOTIFY_SOCKET=manager.address,
    ) as node:  # fmt: skip
        until(lambda: news.has("FDSTOREREMOVE=1"))
        assert {f"FDSTOREREMOVE=1\nFDNAME={each}" for each in (name, admin_name)} <= set(news.all[before:])


@pytest.mark.parametrize(
    ("count", "names", "said"),
    [
        ("2", "web:other", "LISTEN_FDS=2 says that descriptors 3 to 4 are sockets, but 4 isn't open"),
        ("1", "web:other", "LISTEN_FDNAMES=web:other: expected as many names as LISTEN_FDS=1 says"),
        ("1", "web", "which is neither in listen nor in admin.listen"),
    ],
)
def test_sockets_that_are_not_as_they_should_be_end_it_with_a_reason(
    tmp_path: Path, origin: FaultyOrigin, count: str, names: str, said: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as web:
        program = handed_over([web.fileno()])
        ended = subprocess.run(
            [*program, "serve", "--config", str(settings_file(tmp_path, origin))],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            pass_fds=[web.fileno()],
            env={**os.environ, "LISTEN_FDS": count, "LISTEN_FDNAMES": names},
        )

    assert ended.returncode == 2
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr
