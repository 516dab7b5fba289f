"""Sockets of an address: those that are there, or new ones."""

from __future__ import annotations

import socket
import stat
from pathlib import Path

import pytest

from shield.config.admin import UnixAddress
from shield.errors import ConfigError
from shield.lifecycle.activation import PassedSocket, Stock
from shield.lifecycle.listening import bind, bind_unix, names, opened, unlink


def test_what_is_there_is_used_and_nothing_is_bound_beside_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as there:
        address = there.getsockname()

        found = opened("listen", address, 4, Stock([PassedSocket(there, "web")]))

        assert (list(found.sockets), found.bound) == ([there], False)


def test_without_any_as_many_are_bound_as_there_are_workers_and_each_gets_connections() -> None:
    found = opened("listen", ("127.0.0.1", 0), 3, Stock(()))

    assert found.bound and len(found.sockets) == 3
    assert len({each.getsockname() for each in found.sockets}) == 1
    where = found.sockets[0].getsockname()
    clients = [socket.create_connection(where) for _ in range(60)]
    accepted = [0, 0, 0]
    for number, listener in enumerate(found.sockets):
        while True:
            try:
                listener.accept()[0].close()
            except BlockingIOError:
                break
            accepted[number] += 1
    assert sum(accepted) == 60 and min(accepted) > 0
    for each in (*clients, *found.sockets):
        each.close()


def test_an_address_that_cannot_be_had_is_named_with_its_key() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            ConfigError, match=rf"admin.listen 127.0.0.1:{port}: Address already in use; another proc"
        ):
            bind(("127.0.0.1", port), key="admin.listen")
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"listen \[::1\]:{port}: Address already in use; another proc"):
            bind(("::1", port))
    with pytest.raises(ConfigError, match=r"listen nowhere\.invalid:80: "):
        bind(("nowhere.invalid", 80))


def test_listeners_are_called_by_what_a_client_asks_for() -> None:
    (four,) = bind(("127.0.0.1", 0))
    (six,) = bind(("::1", 0))
    ports = [each.getsockname()[1] for each in (four, six)]

    assert names([four, six], "https") == f"https://127.0.0.1:{ports[0]}, https://[::1]:{ports[1]}"
    assert names([]) == "off"
    four.close()
    six.close()


# unix sockets


def test_a_unix_socket_has_its_permissions_from_the_start(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"

    found = opened("admin.listen", UnixAddress(str(path)), 1, Stock(()), mode=0o620)

    assert found.bound and stat.S_IMODE(path.stat().st_mode) == 0o620
    assert names(found.sockets) == f"unix:{path}"
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    found.sockets[0].close()


def test_a_socket_that_a_killed_node_left_is_replaced(tmp_path: Path) -> None:
    path = str(tmp_path / "admin.sock")
    bind_unix(path, 0o600, key="admin.listen").close()

    made = bind_unix(path, 0o600, key="admin.listen")

    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
    with pytest.raises(ConfigError, match=r"admin.listen unix:.*: Address already in use; another process has it"):
        bind_unix(path, 0o600, key="admin.listen")
    made.close()


def test_what_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "admin.sock").write_text("mine")

    with pytest.raises(ConfigError, match=r"admin.listen unix:.*: something else is there than a socket; remove it"):
        bind_unix(str(tmp_path / "admin.sock"), 0o600, key="admin.listen")
    with pytest.raises(ConfigError, match="No such file or directory; make the directory"):
        bind_unix(str(tmp_path / "none/admin.sock"), 0o600, key="admin.listen")
    assert (tmp_path / "admin.sock").read_text() == "mine"


def test_a_unix_socket_that_is_there_is_used_unless_its_name_is_gone(tmp_path: Path) -> None:
    path = str(tmp_path / "admin.sock")
    there = bind_unix(path, 0o600, key="admin.listen")

    kept = opened("admin.listen", UnixAddress(path), 1, Stock([PassedSocket(there, "")]))
    unlink(path)
    renewed = opened("admin.listen", UnixAddress(path), 1, Stock([PassedSocket(there, "")]))

    assert (list(kept.sockets), kept.bound) == ([there], False)
    assert renewed.bound and there.fileno() == -1
    renewed.sockets[0].close()
